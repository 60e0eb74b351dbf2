//! What is read when somebody asks: from atomics, never from the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tokio_util::sync::CancellationToken;
use usher_domain::time::Time;
use usher_policy::Reason;
use usher_storage::{SeatTotals, Tx};

use super::{Counters, MAILS, upper_snake};
use crate::app::App;
use crate::cache::Moment;
use crate::error::Error;
use crate::rpc::status;
use crate::transport::accept::Door;
use crate::transport::tls::Tls;

/// How often the database is asked for [`Sample`]s.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);
/// Seats are counted with every so many samples, because that reads every member.
const SEATS_EVERY: u32 = 8;

/// What the database alone knows, as it was a moment ago.
#[derive(Debug, Clone, Copy)]
struct Sample {
    mails: u32,
    oldest_mail: Option<Time>,
    seats: SeatTotals,
}

/// The newest sample; none while the database is away.
#[derive(Clone, Default)]
pub struct Samples(Arc<ArcSwapOption<Sample>>);

impl Samples {
    /// Takes samples until it is told to stop.
    pub async fn run(self, app: App, stop: CancellationToken) {
        let mut seats = SeatTotals::default();
        for round in 0_u32.. {
            if round.is_multiple_of(SEATS_EVERY) {
                seats = count_seats(&app).await.unwrap_or(seats);
            }
            self.0.store(sample(&app, seats).await.ok().map(Arc::new));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SAMPLE_EVERY) => {}
            }
        }
    }
}

async fn count_seats(app: &App) -> Result<SeatTotals, Error> {
    let now = app.clock.now();
    app.store.read(async |tx: &Tx| Ok(tx.seat_totals(now).await?)).await
}

async fn sample(app: &App, seats: SeatTotals) -> Result<Sample, Error> {
    let (mails, oldest_mail) =
        app.store.read(async |tx: &Tx| Ok::<_, Error>(tx.outbox_depth().await?)).await?;
    Ok(Sample { mails, oldest_mail, seats })
}

/// What the figures are of.
pub struct Sources {
    pub app: App,
    pub samples: Samples,
    pub door: Door,
    pub tls: Option<Arc<Tls>>,
}

/// Makes all instruments that are read and not written.
pub fn register(meter: &Meter, sources: Sources) {
    let Sources { app, samples, door, tls } = sources;
    build(meter);
    counters(meter, &app);
    cache(meter, &app);
    pool(meter, &app);
    sampled(meter, &app, samples);
    doors(meter, door);
    if let Some(tls) = tls {
        gauge(
            meter,
            "usher.tls.not_after",
            "s",
            "When the first TLS certificate or authority expires, since 1970",
            move |tell| tell(tls.not_after() as f64, &[]),
        );
    }
}

type Tell<'a> = &'a mut dyn FnMut(f64, &[KeyValue]);

fn gauge(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    read: impl Fn(Tell<'_>) + Send + Sync + 'static,
) {
    let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(description);
    gauge
        .with_callback(move |observer| read(&mut |value, attributes| observer.observe(value, attributes)))
        .build();
}

type Count<'a> = &'a mut dyn FnMut(u64, &[KeyValue]);

fn counter(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    read: impl Fn(Count<'_>) + Send + Sync + 'static,
) {
    let counter = meter.u64_observable_counter(name).with_description(description);
    counter
        .with_callback(move |observer| read(&mut |value, attributes| observer.observe(value, attributes)))
        .build();
}

fn text(key: &'static str, value: impl Into<opentelemetry::Value>) -> KeyValue {
    KeyValue::new(key, value.into())
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn build(meter: &Meter) {
    gauge(meter, "usher.build.info", "", "The version that runs; always 1", |tell| {
        tell(1.0, &[text("version", env!("CARGO_PKG_VERSION"))]);
    });
}

fn counters(meter: &Meter, app: &App) {
    let named: Vec<[KeyValue; 2]> = Reason::ALL
        .map(|reason| {
            let decision = if reason.allows() { "ALLOW" } else { "DENY" };
            [text("decision", decision), text("reason", upper_snake(&format!("{reason:?}")))]
        })
        .into();
    of_counters(meter, app, "usher.decisions", "Checks answered", move |counters, count| {
        for (counter, attributes) in counters.decisions.iter().zip(&named) {
            count(load(counter), attributes);
        }
    });
    let reasons: Vec<(usize, KeyValue)> = (1..super::REASONS_MAX)
        .filter_map(|number| Some((number, text("reason", status::name_of(i32::try_from(number).ok()?)?))))
        .collect();
    of_counters(meter, app, "usher.calls.refused", "Calls refused", move |counters, count| {
        for (number, reason) in &reasons {
            count(load(&counters.refused[*number]), std::slice::from_ref(reason));
        }
    });
    of_counters(meter, app, "usher.mails", "Attempts to send mails", |counters, count| {
        for (counter, result) in counters.mails.iter().zip(MAILS) {
            count(load(counter), &[text("result", result)]);
        }
    });
    of_counters(meter, app, "usher.cache.polls", "Looks for changes of other servers", |counters, count| {
        count(load(&counters.polls), &[text("result", "ok")]);
        count(load(&counters.polls_failed), &[text("result", "failed")]);
    });
    of_counters(meter, app, "usher.panics", "Handlers that panicked", |counters, count| {
        count(load(&counters.panics), &[]);
    });
    let app = app.clone();
    let time = meter.f64_observable_counter("usher.cache.poll.time").with_unit("s");
    time.with_description("Time spent looking for changes of other servers")
        .with_callback(move |observer| {
            observer.observe(Duration::from_micros(load(&app.counters.poll_micros)).as_secs_f64(), &[]);
        })
        .build();
}

fn of_counters(
    meter: &Meter,
    app: &App,
    name: &'static str,
    description: &'static str,
    read: impl Fn(&Counters, Count<'_>) + Send + Sync + 'static,
) {
    let app = app.clone();
    counter(meter, name, description, move |count| read(&app.counters, count));
}

fn cache(meter: &Meter, app: &App) {
    let of = app.clone();
    counter(meter, "usher.cache.reads", "Standings asked for, by where they came from", move |count| {
        let figures = of.standings.figures();
        count(figures.hits, &[text("source", "memory")]);
        count(figures.loads, &[text("source", "load")]);
        count(figures.direct, &[text("source", "direct")]);
    });
    let of = app.clone();
    gauge(meter, "usher.cache.standings", "{standing}", "Standings in memory", move |tell| {
        tell(of.standings.figures().entries as f64, &[]);
    });
    let of = app.clone();
    gauge(meter, "usher.cache.floors", "{floor}", "Accounts that changed of late", move |tell| {
        tell(of.standings.figures().floors as f64, &[]);
    });
    let of = app.clone();
    gauge(
        meter,
        "usher.cache.lease.age",
        "s",
        "How old the last good poll is; none on SQLite",
        move |tell| {
            if let Some(age) = of.standings.lease().age(Moment::now()) {
                tell(age.as_secs_f64(), &[]);
            }
        },
    );
    let of = app.clone();
    gauge(meter, "usher.passwords.waiting", "{password}", "Passwords that wait to be hashed", move |tell| {
        tell(of.passwords.waiting() as f64, &[]);
    });
}

fn pool(meter: &Meter, app: &App) {
    let of = app.clone();
    gauge(meter, "usher.database.connections", "{connection}", "Connections to the database", move |tell| {
        let pool = of.store.pool_figures();
        tell(f64::from(pool.used), &[text("state", "used")]);
        tell(f64::from(pool.idle), &[text("state", "idle")]);
    });
    let of = app.clone();
    gauge(
        meter,
        "usher.database.connections.max",
        "{connection}",
        "The most that there may be",
        move |tell| {
            tell(f64::from(of.store.pool_figures().max), &[]);
        },
    );
}

fn sampled(meter: &Meter, app: &App, samples: Samples) {
    let of = samples.clone();
    gauge(meter, "usher.outbox.mails", "{mail}", "Mails that wait to be sent", move |tell| {
        if let Some(sample) = &*of.0.load() {
            tell(f64::from(sample.mails), &[]);
        }
    });
    let (of, clock) = (samples.clone(), app.clock.clone());
    gauge(meter, "usher.outbox.oldest", "s", "How long the oldest of them waits", move |tell| {
        if let Some(sample) = &*of.0.load() {
            let since = |oldest| clock.now().since(oldest).as_secs_f64();
            tell(sample.oldest_mail.map_or(0.0, since), &[]);
        }
    });
    gauge(meter, "usher.seats", "{seat}", "Seats of all accounts, without those that may have any number", {
        move |tell| {
            if let Some(sample) = &*samples.0.load() {
                tell(sample.seats.purchased as f64, &[text("state", "purchased")]);
                tell(sample.seats.active as f64, &[text("state", "active")]);
                tell(sample.seats.reserved as f64, &[text("state", "reserved")]);
            }
        }
    });
}

fn doors(meter: &Meter, door: Door) {
    let of = door.clone();
    gauge(meter, "usher.connections", "{connection}", "Connections of callers", move |tell| {
        tell(of.open() as f64, &[]);
    });
    counter(
        meter,
        "usher.connections.accepted",
        "Connections of callers, by what became of them",
        move |count| {
            let figures = door.figures();
            count(figures.accepted, &[text("result", "accepted")]);
            count(figures.refused_by_address, &[text("result", "refused_by_address")]);
            count(figures.handshakes_failed, &[text("result", "handshake_failed")]);
            count(figures.accept_errors, &[text("result", "accept_failed")]);
        },
    );
}
