//! Forgets what nobody asks for any more. Every server does it; that it was done already does no harm.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use usher_storage::Tx;

use crate::app::{App, REQUEST_MEMORY};
use crate::error::Error;

const EVERY: Duration = Duration::from_secs(3600);
/// How long it can be looked up what became of a mail.
const MAIL_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs until it is told to stop, first at once.
pub async fn run(app: App, stop: CancellationToken) {
    loop {
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "old requests, mails and tokens could not be deleted");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Each in a transaction of its own, so that none waits for the others.
///
/// # Errors
/// Those of the store.
pub async fn once(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    let requests = app
        .store
        .write(async |tx: &Tx| Ok::<_, Error>(tx.request_delete_before(now.minus(REQUEST_MEMORY)).await?));
    let requests = requests.await?;
    let mails = app
        .store
        .write(async |tx: &Tx| Ok::<_, Error>(tx.outbox_delete_before(now.minus(MAIL_MEMORY)).await?));
    let mails = mails.await?;
    let tokens =
        app.store.write(async |tx: &Tx| Ok::<_, Error>(tx.user_token_delete_before(now).await?)).await?;
    if requests + mails + tokens > 0 {
        tracing::info!(requests, mails, tokens, "what nobody asks for any more was deleted");
    }
    Ok(())
}
