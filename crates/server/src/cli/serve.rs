//! `usher serve` and `usher migrate`.

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{BaseOptions, Options, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::{self, StartError, build_app};
use crate::telemetry;

pub(super) async fn serve(options: &Options) -> Result<(), StartError> {
    let config = options.load()?;
    let telemetry = telemetry::start(&config.log)?;
    let app = build_app(&config, Clock::system()).await?;
    let listener = listen(&config).await?;
    let served = lifecycle::serve(&config, app, listener, stop_signal()?).await;
    telemetry.flush().await;
    served
}

pub(super) async fn listen(config: &Config) -> Result<TcpListener, StartError> {
    let address = config.server.listen;
    TcpListener::bind(address)
        .await
        .map_err(|e| StartError(format!("cannot listen on `{address}`: {e}; is it in use? see `--listen`")))
}

/// Ends with the first signal to stop. A second one stops the process at once.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, StartError> {
    let failed = |e| StartError(format!("cannot wait for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: calls finish; a second signal stops at once");
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("stopped at once");
            std::process::exit(130);
        });
    })
}

pub(super) async fn migrate(options: &BaseOptions) -> Result<(), StartError> {
    let mut config = options.load()?;
    config.database.migrate = true;
    let store = lifecycle::open_store(&config).await?;
    store.close().await;
    say("the schema is up to date");
    Ok(())
}
