//! Sends the mails that changes left in the outbox: at least once, by one worker at a time.
//!
//! The token is drawn here, its hash is stored and committed, and only then the mail leaves; each
//! attempt has its own. No transaction is open while a mail server is spoken to.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;
use usher_domain::account::Account;
use usher_domain::email::EmailAddress;
use usher_domain::id::{InvitationId, TransferId, UserId};
use usher_domain::invitation::{DeliveryState, DeliveryStatus};
use usher_domain::ownership::TransferState;
use usher_domain::secret::token_hash;
use usher_domain::time::Time;
use usher_storage::{Mail, MailKind, MailResult, TokenPurpose, Tx};

use crate::app::App;
use crate::app::invite_user::link;
use crate::error::Error;
use crate::mail::{Letter, Mailer, SendError};
use crate::random;

/// How many mails one worker has in hand.
const BATCH: u32 = 16;
const AT_ONCE: usize = 4;
/// Longer than any attempt: after this a mail whose worker died is another's.
const CLAIM_HOLD: Duration = Duration::from_secs(120);
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the outbox is looked at when nobody wakes the worker: retries, and other replicas' mails.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const BACK_OFF_FIRST: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// With the back-off above, about nine hours.
const ATTEMPTS_MAX: u32 = 18;
/// How long the link in the mail to a founder works.
const FOUNDER_LINK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long links to a new password or address work.
pub const LINK_LIFETIME: Duration = Duration::from_secs(3600);

/// Runs until it is told to stop; mails in hand are finished.
pub async fn run(app: App, mailer: Mailer, links: Links, stop: CancellationToken) {
    let worker = Worker { app, mailer, links };
    while !stop.is_cancelled() {
        match worker.round().await {
            Ok(0) => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = worker.app.mail_waits.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot be read");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
}

/// Where links lead; each holds `{token}`.
#[derive(Debug, Clone)]
pub struct Links {
    pub invitation: String,
    pub password: String,
    pub email: String,
}

struct Worker {
    app: App,
    mailer: Mailer,
    links: Links,
}

impl Worker {
    /// Claims what is due and sends it; how many mails that were.
    async fn round(&self) -> Result<usize, Error> {
        if !self.mailer.is_configured() {
            return Ok(0);
        }
        let claim = random::id("claim");
        let now = self.app.clock.now();
        let mails = self
            .app
            .store
            .write(async |tx: &Tx| Ok::<_, Error>(tx.outbox_claim(&claim, now, CLAIM_HOLD, BATCH).await?));
        let mails = mails.await?;
        let count = mails.len();
        let claim = claim.as_str();
        stream::iter(mails)
            .for_each_concurrent(AT_ONCE, async |mail| {
                if let Err(error) = self.deliver(&mail, claim).await {
                    tracing::warn!(mail = mail.id, %error, "a mail is left for later");
                }
            })
            .await;
        Ok(count)
    }

    async fn deliver(&self, mail: &Mail, claim: &str) -> Result<(), Error> {
        let prepared = self.app.store.write(async |tx: &Tx| self.prepare(tx, mail, claim).await).await?;
        let result = match (prepared, EmailAddress::parse(&mail.email)) {
            (Some(letter), Ok(to)) => {
                let sending = self.mailer.send(&mail.id, &to, &letter);
                let timed_out = || SendError {
                    permanent: false,
                    message: "the mail server did not answer in time".into(),
                };
                let sent =
                    tokio::time::timeout(SEND_TIMEOUT, sending).await.unwrap_or_else(|_| Err(timed_out()));
                self.result(mail, sent)?
            }
            _ => MailResult::Dropped,
        };
        self.app.store.write(async |tx: &Tx| self.finish(tx, mail, claim, &result).await).await
    }

    /// Draws the token and stores its hash, or says that there is nothing to send any more.
    async fn prepare(&self, tx: &Tx, mail: &Mail, claim: &str) -> Result<Option<Letter>, Error> {
        let now = self.app.clock.now();
        // Under the account's lock, so that a resend that ends older links cannot miss this one.
        let account = match &mail.account_id {
            Some(id) => tx.account_lock(id).await?,
            None => None,
        };
        if !tx.outbox_is_claimed(&mail.id, claim).await? {
            return Ok(None);
        }
        let account_name = account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
        let token = random::token()?;
        let hash = token_hash(token.expose());
        match mail.kind {
            MailKind::Invitation => {
                let (Some(account), Ok(id)) = (account, InvitationId::parse(&mail.subject_id)) else {
                    return Ok(None);
                };
                let invitation = tx.invitation_fetch(&account.id, &id).await?;
                let Some(invitation) = invitation.filter(|invitation| invitation.is_open(now)) else {
                    return Ok(None);
                };
                tx.invitation_token_insert(&id, &hash, now).await?;
                let sponsor = match &invitation.invited_by {
                    Some(sponsor) => tx.member_fetch(&account.id, sponsor).await?,
                    None => None,
                };
                let model = self.app.roles.get(&account.model).map(|(_, model)| model);
                let role = model.and_then(|model| model.role_at(model.role(&invitation.role)?));
                Ok(Some(Letter::Invitation {
                    account_name,
                    role_title: role.map_or(invitation.role, |role| role.title.to_string()),
                    invited_by_name: sponsor.map(|member| member.display_name).unwrap_or_default(),
                    link: link(&self.links.invitation, &token),
                    expire_time: invitation.expire_time,
                }))
            }
            MailKind::Founder | MailKind::PasswordReset | MailKind::EmailChange => {
                let Ok(user) = UserId::parse(&mail.subject_id) else { return Ok(None) };
                let (purpose, lifetime, url) = match mail.kind {
                    MailKind::Founder => {
                        (TokenPurpose::SetPassword, FOUNDER_LINK_LIFETIME, &self.links.password)
                    }
                    MailKind::EmailChange => (TokenPurpose::ChangeEmail, LINK_LIFETIME, &self.links.email),
                    _ => (TokenPurpose::SetPassword, LINK_LIFETIME, &self.links.password),
                };
                let expire_time = now + lifetime;
                // A new link ends older ones; a retry may have reached the person already.
                if mail.kind == MailKind::PasswordReset && mail.attempts == 0 {
                    tx.user_token_delete(&user, purpose).await?;
                }
                tx.user_token_insert(&hash, &user, purpose, &mail.email, (now, expire_time)).await?;
                let link = link(url, &token);
                Ok(Some(match mail.kind {
                    MailKind::Founder => Letter::Founder { account_name, link, expire_time },
                    MailKind::EmailChange => Letter::EmailChange { link, expire_time },
                    _ => Letter::PasswordReset { link, expire_time },
                }))
            }
            MailKind::OwnershipTransfer => match account {
                Some(account) => self.ticket_letter(tx, &account, &mail.subject_id, now).await,
                None => Ok(None),
            },
        }
    }

    /// Tells the present and the new holder of a role of the ticket that is to move it, while it is open.
    async fn ticket_letter(
        &self,
        tx: &Tx,
        account: &Account,
        ticket: &str,
        now: Time,
    ) -> Result<Option<Letter>, Error> {
        let Ok(id) = TransferId::parse(ticket) else { return Ok(None) };
        let ticket = tx.ownership_transfer_fetch(&account.id, &id).await?;
        let Some(ticket) = ticket.filter(|ticket| ticket.state(now) == TransferState::Open) else {
            return Ok(None);
        };
        let new_owner = tx.member_fetch(&account.id, &ticket.new_owner_id).await?;
        let name = new_owner.map(|member| member.display_name).filter(|name| !name.is_empty());
        let model = self.app.roles.get(&account.model).map(|(_, model)| model);
        let role = model.and_then(|model| model.role_at(model.role(&ticket.role)?));
        Ok(Some(Letter::OwnershipTransfer {
            account_name: account.name.clone(),
            ticket_ref: ticket.ticket_ref,
            role_title: role.map_or(ticket.role, |role| role.title.to_string()),
            new_owner_name: name.unwrap_or_else(|| ticket.new_owner_id.to_string()),
        }))
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
        // The account first, as every change of an invitation locks it, or the two wait for each other.
        if let Some(account) = &mail.account_id {
            tx.account_lock(account).await?;
        }
        let is_ours = tx.outbox_finish(&mail.id, claim, result, now).await?;
        let (Some(account), Ok(id)) = (&mail.account_id, InvitationId::parse(&mail.subject_id)) else {
            return Ok(());
        };
        if is_ours
            && mail.kind == MailKind::Invitation
            && let Some(status) = delivery_status(result, now)
        {
            let sent = *result == MailResult::Sent;
            tx.invitation_update_delivery(account, &id, &status, sent).await?;
        }
        Ok(())
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
