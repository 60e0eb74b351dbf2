//! Keeps the cache exact on several servers of one PostgreSQL: polls which accounts changed, under a
//! lease, woken early by writers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use usher_storage::{ChangedAccount, ConnectOptions, Error, Polled, Poller, Wakes};

use crate::app::App;
use crate::cache::Moment;

/// The shortest time between two polls: a burst of changes is one poll.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// How long to wait before a lost connection is made again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Polls until it is told to stop.
pub async fn run(app: App, options: ConnectOptions, every: Duration, stop: CancellationToken) {
    let wake = Arc::new(Notify::new());
    // A pooler does not pass what is told to a session.
    let listener = (!options.pooler).then(|| tokio::spawn(listen(options.clone(), wake.clone())));
    let mut poller = None;
    let mut seen = Seen::default();
    let mut is_away = false;
    while !stop.is_cancelled() {
        let began = Moment::now();
        let polled = poll(&mut poller, &options).await;
        app.counters.polled(Moment::now().since(began), polled.is_ok());
        match polled {
            Ok(polled) => {
                app.store.is_there().await;
                if std::mem::take(&mut is_away) {
                    tracing::info!("the database answers again; checks come from memory");
                }
                apply(&app, polled, began, &mut seen);
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "polls fail: checks will be read from the database, or be unavailable");
                }
                app.store.probe().await;
                // Not while memory is all that there is.
                let may_clear = !app.standings.lease().outlives_outage();
                if may_clear && poller.as_ref().is_some_and(Poller::cannot_catch_up) {
                    tracing::error!(
                        "polls cannot catch up: more changed than can be read in time; everything in memory is dropped"
                    );
                    app.standings.clear();
                    poller = None;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = pause(every, &wake) => {}
        }
    }
    if let Some(listener) = listener {
        listener.abort();
    }
}

async fn pause(every: Duration, wake: &Notify) {
    let started = Moment::now();
    tokio::select! { () = tokio::time::sleep(every) => {}, () = wake.notified() => {} }
    tokio::time::sleep(PAUSE_MIN.saturating_sub(Moment::now().since(started))).await;
}

async fn poll(poller: &mut Option<Poller>, options: &ConnectOptions) -> Result<Polled, Error> {
    let connected = match poller.take() {
        Some(connected) => connected,
        None => Poller::connect(options).await?,
    };
    poller.insert(connected).poll().await
}

/// What the polls before have seen.
#[derive(Default)]
struct Seen {
    /// The server's history and when it started.
    server: Option<(String, String)>,
    has_foreign: bool,
    /// As the last poll found them. As long as any transaction is open, each poll finds all changes since it began;
    /// told each time, all followers would read five times a second.
    changed: HashSet<ChangedAccount>,
}

/// Raises the floors and renews the lease; begins anew when the database is another one.
fn apply(app: &App, polled: Polled, began: Moment, seen: &mut Seen) {
    let (history, start) = (polled.history.clone(), polled.start.clone());
    let before = seen.server.replace((history, start));
    let is_other = polled.epoch != *app.epoch()
        || polled.went_back
        || before.as_ref().is_some_and(|(history, _)| *history != polled.history);
    let restarted = before.is_some_and(|(_, start)| start != polled.start);
    if is_other {
        tracing::error!(
            "the database was restored or failed over: everything in memory is dropped, and followers are cut"
        );
        app.set_epoch(&polled.epoch);
    } else if restarted {
        // Its files may have been exchanged meanwhile, and nothing else would show it.
        tracing::warn!(
            "the database was restarted: everything in memory is read again, and followers are cut"
        );
    }
    if is_other || restarted {
        app.begin_anew();
        return;
    }
    if polled.foreign > 0 && !std::mem::replace(&mut seen.has_foreign, true) {
        let accounts = polled.foreign;
        tracing::error!(
            accounts,
            "the database was restored from another server's dump: run `usher epoch bump`; until then \
             every poll reads these accounts, and old consistency tokens are taken for new ones"
        );
    }
    for changed in &polled.changed {
        if !seen.changed.contains(changed) {
            let _ = app.changes.send(changed.id.clone());
        }
    }
    if !app.standings.polled(&polled.changed, began) {
        tracing::error!("an account's history differs from what was seen: everything in memory is dropped");
        app.begin_anew();
    }
    seen.changed = polled.changed.into_iter().collect();
}

/// Wakes the poller when somebody commits. Best effort: without it changes are seen at the next poll.
async fn listen(options: ConnectOptions, wake: Arc<Notify>) {
    loop {
        if let Ok(mut wakes) = Wakes::connect(&options).await {
            // What was missed while there was no connection.
            wake.notify_one();
            while wakes.next().await.is_ok() {
                wake.notify_one();
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}
