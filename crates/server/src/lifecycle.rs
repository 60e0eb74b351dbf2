//! The server as a function of a listener and a shutdown. `main`, the command line and every test
//! call the same.

mod tasks;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use usher_policy::Catalogue;
use usher_storage::{ConnectOptions, Engine, SharedKey, Store, Tx};

use crate::app::{App, Choices, Parts};
use crate::cache::{Lease, Standings};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::health::{self, Health};
use crate::mail::Mailer;
use crate::metrics::Counters;
use crate::metrics::calls::Calls;
use crate::metrics::export::Meters;
use crate::metrics::figures::{self, Samples, Sources};
use crate::metrics::page;
use crate::password::Passwords;
use crate::random;
use crate::rpc::{self, Api};
use crate::token::PageTokens;
use crate::transport::accept::Door;
use crate::transport::listen::check_listen;
use crate::transport::outcome::OutcomeLayer;
use crate::transport::serving::Serving;
use crate::transport::tls::{RELOAD_INTERVAL, Tls};
use crate::worker::changes;
use crate::worker::outbox::{self, Links};
use tasks::Tasks;

/// Why the server did not start, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl From<usher_storage::Error> for StartError {
    fn from(error: usher_storage::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// Opens the store, with its schema as it must be.
///
/// # Errors
/// When it cannot be reached, or its schema is older and `migrate` is not set, or newer.
pub async fn open_store(config: &Config) -> Result<Store, StartError> {
    let store = Store::connect(&connect_options(config)).await?;
    if config.database.migrate {
        store.migrate().await?;
    }
    let pending = store.pending_migrations().await?;
    if !pending.is_empty() {
        return Err(StartError(format!(
            "the database lacks the migrations {}; run `usher migrate`, or start with `--migrate`",
            pending.join(", ")
        )));
    }
    let newer = store.newer_migrations().await?;
    if !newer.is_empty() {
        tracing::warn!(?newer, "the schema is newer than this usher, and fits it");
    }
    Ok(store)
}

/// Puts the app together: the store, the role models and what all servers of the store share.
///
/// # Errors
/// Those of the store and of the role model files.
pub async fn build_app(config: &Config, clock: Clock) -> Result<App, StartError> {
    let roles = Catalogue::load(config.roles.directory.as_deref()).map_err(|e| StartError(e.to_string()))?;
    let roles: &Catalogue = Box::leak(Box::new(roles));
    let store = open_store(config).await?;
    let roles_missing = note_role_models(&store, roles).await?;
    let (epoch, key) = shared(&store).await?;
    let engine = store.engine();
    Ok(App::new(Parts {
        store,
        roles,
        roles_missing,
        clock,
        standings: Standings::new(config.cache.standings_max, lease(config, engine)),
        choices: Choices {
            invitation_url: config.mail.invitation_url.clone(),
            oauth_issuers: config.oauth.issuers.clone(),
            mails_per_hour: config.mail.account_hourly_max,
            slow_reader: Duration::from_secs(config.limits.slow_reader_seconds),
            answer_bytes: config.limits.response_bytes,
        },
        epoch: ArcSwap::from_pointee(epoch),
        page_tokens: PageTokens::new(key),
        passwords: Passwords::new(PASSWORDS_AT_ONCE)?,
        changes: tokio::sync::broadcast::channel(1024).0,
        histories: tokio::sync::watch::Sender::new(()),
        mail_waits: tokio::sync::Notify::new(),
        counters: Counters::default(),
        closing: CancellationToken::new(),
    }))
}

/// Alone on SQLite; one of several, perhaps, on PostgreSQL.
fn lease(config: &Config, engine: Engine) -> Lease {
    match engine {
        Engine::Sqlite => Lease::alone(),
        Engine::Postgres => Lease::polled(
            Duration::from_millis(config.cache.staleness_max_ms),
            Duration::from_millis(config.cache.outage_grace_ms),
        ),
    }
}

/// Follows the changes of other servers, where there can be some.
fn start_changes(config: &Config, app: &App, tasks: &mut Tasks, stop: &CancellationToken) {
    if app.store.engine() == Engine::Postgres {
        let every = Duration::from_millis(config.cache.poll_interval_ms);
        tasks.spawn("changes", changes::run(app.clone(), connect_options(config), every, stop.clone()));
    }
}

pub(crate) fn connect_options(config: &Config) -> ConnectOptions {
    let mut options = ConnectOptions::new(&config.database.url);
    options.connections_max = config.database.connections_max;
    options.pooler = config.database.pooler;
    options
}

async fn shared(store: &Store) -> Result<(String, [u8; 32]), Error> {
    let offer = STANDARD.encode(random::bytes::<32>()?);
    let epoch = hex::encode(random::bytes::<8>()?);
    let (epoch, key) = store
        .write(async |tx: &Tx| {
            let epoch = tx.shared_value(SharedKey::Epoch, &epoch).await?;
            Ok::<_, Error>((epoch, tx.shared_value(SharedKey::PageTokenKey, &offer).await?))
        })
        .await?;
    let key = STANDARD.decode(key).ok().and_then(|key| key.try_into().ok());
    Ok((epoch, key.ok_or_else(|| Error::Internal("the shared page token key is damaged".into()))?))
}

/// Remembers the models' digests, so that a changed file shows cell by cell, and says which models
/// and roles accounts use that no file has: their members are denied.
async fn note_role_models(store: &Store, roles: &Catalogue) -> Result<Vec<String>, Error> {
    let known = store.read(async |tx: &Tx| Ok::<_, Error>(tx.role_model_list().await?)).await?;
    for model in roles.models() {
        let former = known.iter().find(|(id, _, _)| id == model.id());
        match former {
            Some((_, digest, _)) if digest == model.digest() => continue,
            Some((_, _, matrix)) => {
                for change in model.changed_cells(matrix) {
                    tracing::warn!(model = model.id(), change, "the role model changed");
                }
            }
            None => {}
        }
        let (id, digest, matrix) = (model.id(), model.digest(), model.matrix());
        store.write(async |tx: &Tx| Ok::<_, Error>(tx.role_model_save(id, digest, &matrix).await?)).await?;
    }
    // With very many members the look may take longer than a statement may: no reason not to start.
    let missing = missing_roles(store, roles).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "could not look whether all roles in use are known; such members are denied");
        Vec::new()
    });
    for problem in &missing {
        tracing::error!("{problem}");
    }
    Ok(missing)
}

/// Models and roles that accounts use and this server's files lack.
///
/// # Errors
/// Those of the store.
pub async fn missing_roles(store: &Store, roles: &Catalogue) -> Result<Vec<String>, Error> {
    let used = store.read(async |tx: &Tx| Ok::<_, Error>(tx.member_roles_in_use().await?)).await?;
    let lacks = used.into_iter().filter_map(|(model, role)| match roles.get(&model) {
        None => Some(format!("accounts use the role model `{model}`, which this server lacks")),
        Some((_, found)) if found.role(&role).is_none() => {
            Some(format!("members have the role `{role}`, which the role model `{model}` lacks"))
        }
        Some(_) => None,
    });
    let mut lacks: Vec<String> = lacks.collect();
    lacks.dedup();
    Ok(lacks)
}

/// Serves until `shutdown`, then lets calls finish.
///
/// # Errors
/// When it cannot start.
pub async fn serve(
    config: &Config,
    app: App,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let address = listener.local_addr().map_err(|e| StartError(format!("cannot listen: {e}")))?;
    let authenticator = Arc::new(config.authenticator(&app.clock).map_err(|e| StartError(e.to_string()))?);
    let warning = check_listen(address, !authenticator.is_open(), config.server.insecure);
    if let Some(warning) = warning.map_err(StartError)? {
        tracing::warn!(%address, "{}", warning.0);
    }
    app.store.limit_transactions(TRANSACTION_MAX);
    let (stop, meters) = (CancellationToken::new(), Meters::start(config.server.metrics_listen.is_some())?);
    let mut tasks = Tasks::default();
    let tls = start_tls(config, &app, &mut tasks, &stop)?;
    authenticator.warm_up().await;
    let health = Health::new(app.closing.clone());
    start_probes(config, &health, &mut tasks, &stop).await?;
    start_mails(config, &app, &mut tasks, &stop)?;
    start_changes(config, &app, &mut tasks, &stop);
    tasks.spawn("beat", stop.clone().run_until_cancelled_owned(health.clone().beat()).map(drop));
    tasks.spawn("readiness", health::keep_watch(app.clone(), health.clone(), stop.clone()));

    let api = Api::new(app.clone(), authenticator, tokio::runtime::Handle::current());
    let reflection = config.server.reflection;
    let services = rpc::services(api, &config.limits, reflection, health.service()).map_err(StartError)?;
    let calls = Calls::new(app.clone(), &meters.meter(), rpc::methods());
    let outcome = OutcomeLayer::new(&config.limits, rpc::methods(), calls);
    if let Some(unused) = outcome.deadlines_unused(&config.limits).first() {
        return Err(StartError(format!("`limits.deadlines_ms` names `{unused}`, which is no unary method")));
    }
    let door = Door::new(config.limits.clone(), tls.clone());
    start_metrics(config, &app, &meters, (door.clone(), tls), &mut tasks, &stop).await?;
    let (limits, closing) = (config.limits.clone(), app.closing.clone());
    let serving = Serving::start(config.server.threads(), &door, listener, move |incoming| {
        limits.apply(Server::builder()).layer(outcome.clone()).serve_with_incoming_shutdown(
            services.clone(),
            incoming,
            closing.clone().cancelled_owned(),
        )
    })
    .map_err(|e| StartError(format!("cannot start the threads that serve: {e}")))?;
    tracing::info!(%address, "serving");
    let cut = serving.cut();
    let mut serving = pin!(serving.ended());
    let (served, is_over) = tokio::select! {
        served = &mut serving => (served.map_err(|e| StartError(format!("the server failed: {e}"))), true),
        () = drain(config, &app, &health, shutdown) => {
            tracing::warn!("calls did not finish in time and are cut");
            (Ok(()), false)
        }
        ended = tasks.first_end() => (Err(ended), false),
    };
    app.closing.cancel();
    cut.cancel();
    if !is_over {
        let _ = serving.await;
    }
    stop.cancel();
    tasks.finish(TASKS_STOP_MAX).await;
    meters.flush().await;
    app.store.clone().close().await;
    tracing::info!("stopped");
    served
}

/// Longer than the outbox takes for the mails in hand.
const TASKS_STOP_MAX: Duration = Duration::from_secs(15);

/// Waits for the signal; then says that this server stops, goes on for a while until those who balance
/// have heard it, takes no more, and gives the calls in hand their time.
async fn drain(config: &Config, app: &App, health: &Health, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    health.stop();
    tokio::time::sleep(Duration::from_secs(config.server.drain_lead_seconds)).await;
    app.closing.cancel();
    tokio::time::sleep(Duration::from_secs(config.server.drain_seconds)).await;
}

/// The page for Prometheus where a port is configured for it, and what it and a collector are told.
async fn start_metrics(
    config: &Config,
    app: &App,
    meters: &Meters,
    (door, tls): (Door, Option<Arc<Tls>>),
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    // Where nobody reads them, the SDK logs an error for each instrument that it would have to ask.
    if !meters.are_read() {
        return Ok(());
    }
    let samples = Samples::default();
    figures::register(&meters.meter(), Sources { app: app.clone(), samples: samples.clone(), door, tls });
    tasks.spawn("samples", samples.run(app.clone(), stop.clone()));
    if let Some(address) = config.server.metrics_listen {
        let serving = page::serve(page::bind(address).await?, meters.clone());
        tasks.spawn("metrics", stop.clone().run_until_cancelled_owned(serving).map(drop));
    }
    Ok(())
}

/// Reads the certificates, and goes on looking for new ones.
fn start_tls(
    config: &Config,
    app: &App,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<Option<Arc<Tls>>, StartError> {
    let Some(files) = config.tls.files().map_err(StartError)? else { return Ok(None) };
    let tls = Tls::load(files, app.clock.wall()).map_err(|e| StartError(e.to_string()))?;
    let watching = tls.clone().watch(RELOAD_INTERVAL);
    tasks.spawn("certificates", stop.clone().run_until_cancelled_owned(watching).map(drop));
    Ok(Some(tls))
}

/// Health alone, without TLS and callers, where a port is configured for it.
async fn start_probes(
    config: &Config,
    health: &Health,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let Some(address) = config.server.probe_listen else { return Ok(()) };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| StartError(format!("cannot listen on `{address}`: {e}; see `server.probe_listen`")))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "serving probes");
    let incoming = Door::new(config.limits.clone(), None).incoming(listener);
    let server = config.limits.apply(Server::builder()).add_service(health.service());
    let server = server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tasks.spawn("probes", async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the probe server failed");
        }
    });
    Ok(())
}

fn start_mails(
    config: &Config,
    app: &App,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let mailer = Mailer::new(&config.mail).map_err(StartError)?;
    if !mailer.is_configured() {
        tracing::warn!(
            "no mail is configured: mails wait; set `mail.smtp_host`, or `mail.directory` for a trial"
        );
    }
    let links = Links {
        invitation: config.mail.invitation_url.clone(),
        password: config.mail.password_url.clone(),
        email: config.mail.email_url.clone(),
    };
    tasks.spawn("outbox", outbox::run(app.clone(), mailer, links, stop.clone()));
    Ok(())
}

/// How many passwords are hashed at once: each takes a core and 46 MiB for a tenth of a second.
const PASSWORDS_AT_ONCE: usize = 2;

/// Longer than anybody waits for a change: a transaction still open then waits for a silent network.
const TRANSACTION_MAX: Duration = Duration::from_secs(10);
