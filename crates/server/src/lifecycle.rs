//! The server as a function of a listener and a shutdown. `main`, the command line and every test
//! call the same.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptorLayer;
use tonic::transport::Server;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use usher_domain::caller::Caller;
use usher_policy::Catalogue;
use usher_storage::{ConnectOptions, SharedKey, Store, Tx};

use crate::app::{App, Choices, Parts};
use crate::cache::Standings;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::mail::Mailer;
use crate::password::Passwords;
use crate::random;
use crate::rpc::{self, Api};
use crate::token::PageTokens;
use crate::worker::outbox::{self, Links};

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
    let mut options = ConnectOptions::new(&config.database.url);
    options.connections_max = config.database.connections_max;
    let store = Store::connect(&options).await?;
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
    Ok(store)
}

/// Puts the app together: the store, the role models and what all servers of the store share.
///
/// # Errors
/// Those of the store and of the role model files.
pub async fn build_app(config: &Config, clock: Clock) -> Result<App, StartError> {
    let roles = Catalogue::load(config.roles.directory.as_deref()).map_err(|e| StartError(e.to_string()))?;
    let store = open_store(config).await?;
    note_role_models(&store, &roles).await?;
    let (epoch, key) = shared(&store).await?;
    Ok(App::new(Parts {
        store,
        roles,
        clock,
        standings: Standings::new(config.cache.standings_max),
        choices: Choices {
            invitation_url: config.mail.invitation_url.clone(),
            oauth_issuers: config.oauth.issuers.clone(),
            mails_per_hour: config.mail.account_hourly_max,
        },
        epoch,
        page_tokens: PageTokens::new(key),
        passwords: Passwords::new(PASSWORDS_AT_ONCE)?,
        mail_waits: tokio::sync::Notify::new(),
    }))
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
async fn note_role_models(store: &Store, roles: &Catalogue) -> Result<(), Error> {
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
    for problem in missing_roles(store, roles).await? {
        tracing::error!("{problem}");
    }
    Ok(())
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
    if !address.ip().is_loopback() && !config.server.insecure {
        return Err(StartError(format!(
            "no callers are configured, so `{address}` would let everybody do everything; \
             listen on 127.0.0.1, or give `--insecure`"
        )));
    }
    tracing::warn!(%address, "no callers are configured: whoever reaches this address may do everything");
    let stop = CancellationToken::new();
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
    let mails = tokio::spawn(outbox::run(app.clone(), mailer, links, stop.clone()));
    let (health, health_service) = tonic_health::server::health_reporter();
    let ready = tokio::spawn(watch_readiness(app.clone(), health.clone(), stop.clone()));
    let stopping = health.clone();
    let drained = CancellationToken::new();
    let begin = drained.clone();
    let signal = async move {
        shutdown.await;
        set_all(&stopping, ServingStatus::NotServing).await;
        begin.cancel();
    };
    let api = Api::new(app.clone(), tokio::runtime::Handle::current());
    let routes = rpc::routes(api, config.server.reflection).map_err(StartError)?.add_service(health_service);
    let server = Server::builder()
        .layer(InterceptorLayer::new(local_caller))
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), signal);
    tracing::info!(%address, "serving");
    let drain_limit = async {
        drained.cancelled().await;
        tokio::time::sleep(Duration::from_secs(config.server.drain_seconds)).await;
    };
    let served = tokio::select! {
        served = server => served.map_err(|e| StartError(format!("the server failed: {e}"))),
        () = drain_limit => {
            tracing::warn!("calls did not finish in time and are cut");
            Ok(())
        }
    };
    stop.cancel();
    let _ = tokio::join!(mails, ready);
    app.store.clone().close().await;
    tracing::info!("stopped");
    served
}

/// Until callers prove themselves, there is one, on loopback only.
#[expect(clippy::unnecessary_wraps, reason = "the shape of an interceptor")]
fn local_caller(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.extensions_mut().insert(Caller::local());
    Ok(request)
}

async fn set_all(health: &HealthReporter, status: ServingStatus) {
    for service in [""].into_iter().chain(rpc::SERVICES) {
        health.set_service_status(service, status).await;
    }
}

/// How many passwords are hashed at once: each takes a core and 46 MiB for a tenth of a second.
const PASSWORDS_AT_ONCE: usize = 2;

/// How often readiness is looked at.
const READINESS_EVERY: Duration = Duration::from_secs(1);
/// How many looks in a row must fail before the server calls itself not ready.
const READINESS_FAILURES: u32 = 3;

async fn watch_readiness(app: App, health: HealthReporter, stop: CancellationToken) {
    let mut failures = 0;
    loop {
        match app.store.ping().await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "the database does not answer");
            }
        }
        if stop.is_cancelled() {
            return;
        }
        match failures {
            0 => set_all(&health, ServingStatus::Serving).await,
            READINESS_FAILURES.. => set_all(&health, ServingStatus::NotServing).await,
            _ => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(READINESS_EVERY) => {}
        }
    }
}
