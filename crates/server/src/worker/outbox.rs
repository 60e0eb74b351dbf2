//! Sends the mails that changes left in the outbox: at least once, by one worker at a time.
//!
//! The token is drawn here, its hash is stored and committed, and only then the mail leaves; each
//! attempt has its own. No transaction is open while a mail server is spoken to.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use usher_domain::id::InvitationId;
use usher_domain::invitation::{DeliveryState, DeliveryStatus};
use usher_domain::time::Time;
use usher_storage::{Mail, MailKind, MailResult, Tx};

use super::housekeeping;
use super::letter::{Desk, Ready};
use crate::app::App;
use crate::error::Error;
use crate::mail::{Mailer, Outgoing, SendError};
use crate::random;

/// How many mails one worker has in hand. Only so many are claimed, so that none waits for its turn
/// while its claim ends.
const AT_ONCE: usize = 8;
/// Beyond what an attempt may take: after this a mail whose worker died is another's.
const HOLD_MARGIN: Duration = Duration::from_secs(60);
/// How often the outbox is looked at when nobody wakes the worker: retries, and other replicas' mails.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long mails in hand may take when the server stops; one that is cut is sent again.
const STOP_MAX: Duration = Duration::from_secs(10);
const BACK_OFF_FIRST: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// With the back-off above, about eight hours.
const ATTEMPTS_MAX: u32 = 18;

/// Where links lead; each holds `{token}`.
#[derive(Debug, Clone)]
pub struct Links {
    pub invitation: String,
    pub password: String,
    pub email: String,
}

/// Sends mails, and forgets old ones, until it is told to stop; mails in hand are finished.
pub async fn run(app: App, mailer: Mailer, links: Links, stop: CancellationToken) {
    let worker = Arc::new(Worker { app: app.clone(), mailer, links });
    tokio::join!(worker.run(&stop), housekeeping::run(app, stop.clone()));
}

/// A mail that is this worker's to send, by this claim.
struct Claimed {
    mail: Mail,
    claim: String,
}

struct Worker {
    app: App,
    mailer: Mailer,
    links: Links,
}

impl Worker {
    async fn run(self: &Arc<Self>, stop: &CancellationToken) {
        if !self.mailer.is_configured() {
            return;
        }
        // Tasks of their own: one that stands in a transaction must go on while this one asks for another.
        let mut in_hand = JoinSet::new();
        while !stop.is_cancelled() {
            let free = AT_ONCE - in_hand.len();
            let claimed = self.claim(free).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox cannot be read");
                Vec::new()
            });
            let is_waiting = claimed.len() < free;
            for mail in claimed {
                in_hand.spawn(Arc::clone(self).deliver(mail));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = in_hand.join_next() => note(ended),
                () = self.app.mail_waits.notified(), if is_waiting => {}
                () = tokio::time::sleep(LOOK_EVERY), if is_waiting => {}
            }
        }
        let finishing = async {
            while let Some(ended) = in_hand.join_next().await {
                note(ended);
            }
        };
        if tokio::time::timeout(STOP_MAX, finishing).await.is_err() {
            tracing::warn!("a mail was cut by the stop and will be sent again");
        }
        self.mailer.close().await;
    }

    fn hold_until(&self, now: Time) -> Time {
        now + self.mailer.attempt_max() + HOLD_MARGIN
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        // A new one each time: should a claim end while this worker still sends, it is not mistaken
        // for the next.
        let claim = random::id("claim");
        let now = self.app.clock.now();
        let hold = self.hold_until(now).since(now);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let claiming = self
            .app
            .store
            .write(async |tx: &Tx| Ok::<_, Error>(tx.outbox_claim(&claim, now, hold, limit).await?));
        let mails = claiming.await?;
        Ok(mails.into_iter().map(|mail| Claimed { mail, claim: claim.clone() }).collect())
    }

    async fn deliver(self: Arc<Self>, Claimed { mail, claim }: Claimed) {
        if let Err(error) = self.try_deliver(&mail, &claim).await {
            tracing::warn!(mail = mail.id, %error, "a mail is left for later");
        }
    }

    async fn try_deliver(&self, mail: &Mail, claim: &str) -> Result<(), Error> {
        let prepared = self.app.store.write(async |tx: &Tx| self.prepare(tx, mail, claim).await).await?;
        let result = match prepared {
            Some(Ready { to, letter }) => {
                let outgoing = Outgoing { id: &mail.id, to: &to, language: &mail.language, letter: &letter };
                let sent = self.mailer.send(outgoing).await;
                self.result(mail, sent)?
            }
            None => MailResult::Dropped,
        };
        self.app.counters.mailed(&result);
        self.app.store.write(async |tx: &Tx| self.finish(tx, mail, claim, &result).await).await
    }

    /// Draws the token and stores its hash, or says that there is nothing to send any more.
    async fn prepare(&self, tx: &Tx, mail: &Mail, claim: &str) -> Result<Option<Ready>, Error> {
        let desk = Desk { app: &self.app, links: &self.links, tx, now: self.app.clock.now() };
        let locked = desk.lock(mail).await?;
        // Only now: until it had the lock, somebody may have taken the mail back.
        if !tx.outbox_hold(&mail.id, claim, self.hold_until(self.app.clock.now())).await? {
            return Ok(None);
        }
        desk.write(mail, locked).await
    }

    fn result(&self, mail: &Mail, sent: Result<(), SendError>) -> Result<MailResult, Error> {
        let attempts = mail.attempts + 1;
        Ok(match sent {
            Ok(()) => MailResult::Sent,
            Err(error) if error.permanent || attempts >= ATTEMPTS_MAX => {
                tracing::warn!(mail = mail.id, attempts, failure = error.message, "a mail failed for good");
                MailResult::Failed { failure: error.message }
            }
            Err(error) => {
                tracing::info!(
                    mail = mail.id,
                    attempts,
                    failure = error.message,
                    "a mail failed and is tried again"
                );
                let next_attempt_time = self.app.clock.now() + back_off(attempts, random::bytes::<1>()?[0]);
                MailResult::Later { next_attempt_time, failure: error.message }
            }
        })
    }

    async fn finish(&self, tx: &Tx, mail: &Mail, claim: &str, result: &MailResult) -> Result<(), Error> {
        let now = self.app.clock.now();
        // In the order in which a change locks them: the account, its invitations, their mails.
        if let Some(account) = &mail.account_id {
            tx.account_lock(account).await?;
        }
        let is_ours = tx.outbox_finish(&mail.id, claim, result, now).await?;
        let (Some(account), Ok(id)) = (&mail.account_id, InvitationId::parse(&mail.subject_id)) else {
            return Ok(());
        };
        let is_invitation = is_ours && mail.kind == MailKind::Invitation;
        if let Some(status) = delivery_status(result, now).filter(|_| is_invitation) {
            let sent = *result == MailResult::Sent;
            tx.invitation_update_delivery(account, &id, &status, sent).await?;
        }
        Ok(())
    }
}

/// A mail on which the worker itself failed is left until its claim ends, and the others go on.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "sending a mail broke off");
    }
}

/// How long to wait before the next attempt: doubling, at most an hour, with a quarter of jitter.
fn back_off(attempts: u32, random: u8) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(BACK_OFF_MAX);
    doubled.mul_f64(0.75 + f64::from(random) / 512.0)
}

fn delivery_status(result: &MailResult, now: Time) -> Option<DeliveryStatus> {
    let (state, next_attempt_time, failure) = match result {
        MailResult::Sent => (DeliveryState::Sent, None, String::new()),
        MailResult::Later { next_attempt_time, failure } => {
            (DeliveryState::Queued, Some(*next_attempt_time), failure.clone())
        }
        MailResult::Failed { failure } => (DeliveryState::Failed, None, failure.clone()),
        MailResult::Dropped => return None,
    };
    Some(DeliveryStatus { state, sends: 0, last_send_time: Some(now), next_attempt_time, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_within_bounds() {
        assert!(back_off(1, 0) >= BACK_OFF_FIRST.mul_f64(0.75));
        assert!(back_off(2, 0) > back_off(1, 255));
        assert!(back_off(40, 255) <= BACK_OFF_MAX.mul_f64(1.25));
    }
}
