//! Mails to be sent: rows written with the change that causes them, sent by a worker afterwards.
//!
//! A row holds ids and the address, never a token; the worker draws that when it sends.

use std::time::Duration;

use sea_orm::sea_query::{Condition, Expr, LockBehavior, LockType};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Deserialize, Serialize};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, InvitationId};
use usher_domain::time::Time;

use crate::convert::{account_id, count, from_word, time, word};
use crate::entity::outbox;
use crate::error::Error;
use crate::store::{Engine, Tx};

/// What a mail is about; `subject_id` of the row is the id named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailKind {
    /// To accept an invitation. Subject: the invitation.
    Invitation,
    /// To set a first password, for the founder of an account. Subject: the user.
    Founder,
    /// To set a password again. Subject: the user.
    PasswordReset,
    /// To prove a new address. Subject: the user.
    EmailChange,
    /// To tell who was made a member by username. Subject: the user.
    Joined,
    /// To tell both people that an ownership ticket was opened. Subject: the ticket.
    OwnershipTransfer,
}

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub id: String,
    pub kind: MailKind,
    pub account_id: Option<AccountId>,
    pub subject_id: String,
    pub email: String,
    pub language: String,
    /// Attempts begun so far.
    pub attempts: u32,
    pub create_time: Time,
}

/// How an attempt to send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailResult {
    Sent,
    /// To be tried again then.
    Later {
        next_attempt_time: Time,
        failure: String,
    },
    Failed {
        failure: String,
    },
    /// What it was about is over; nothing was sent.
    Dropped,
}

impl Tx {
    /// # Errors
    /// Those of the database.
    pub async fn outbox_insert(&self, mail: &Mail) -> Result<(), Error> {
        let row = outbox::ActiveModel {
            id: Set(mail.id.clone()),
            kind: Set(word(mail.kind)),
            account_id: Set(mail.account_id.as_ref().map(ToString::to_string)),
            subject_id: Set(mail.subject_id.clone()),
            email: Set(mail.email.clone()),
            email_key: Set(
                EmailAddress::parse(&mail.email).map_or_else(|_| String::new(), |email| email.key())
            ),
            language: Set(mail.language.clone()),
            state: Set("queued".into()),
            attempts: Set(0),
            next_attempt_time: Set(mail.create_time.micros()),
            claim: Set(None),
            claimed_until: Set(None),
            create_time: Set(mail.create_time.micros()),
            done_time: Set(None),
            failure: Set(String::new()),
        };
        outbox::Entity::insert(row).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// Claims mails that are due for one worker, so that no other sends them meanwhile. A claim that
    /// its worker does not finish (it died) ends at `now + hold`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_claim(
        &self,
        claim: &str,
        now: Time,
        hold: Duration,
        limit: u32,
    ) -> Result<Vec<Mail>, Error> {
        let free = Condition::any()
            .add(outbox::Column::ClaimedUntil.is_null())
            .add(outbox::Column::ClaimedUntil.lte(now.micros()));
        let mut query = outbox::Entity::find()
            .filter(outbox::Column::State.eq("queued"))
            .filter(outbox::Column::NextAttemptTime.lte(now.micros()))
            .filter(free)
            .order_by_asc(outbox::Column::NextAttemptTime)
            .limit(u64::from(limit));
        if self.engine == Engine::Postgres {
            query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        let rows = query.all(&self.inner).await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        if !ids.is_empty() {
            outbox::Entity::update_many()
                .col_expr(outbox::Column::Claim, Expr::val(claim))
                .col_expr(outbox::Column::ClaimedUntil, Expr::val((now + hold).micros()))
                .col_expr(outbox::Column::Attempts, Expr::col(outbox::Column::Attempts).add(1))
                .filter(outbox::Column::Id.is_in(ids))
                .exec(&self.inner)
                .await?;
        }
        rows.into_iter().map(from_row).collect()
    }

    /// Holds a claimed mail until then, if it is still this worker's to send; whether it is.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_hold(&self, id: &str, claim: &str, until: Time) -> Result<bool, Error> {
        let done = outbox::Entity::update_many()
            .col_expr(outbox::Column::ClaimedUntil, Expr::val(until.micros()))
            .filter(outbox::Column::Id.eq(id))
            .filter(outbox::Column::Claim.eq(claim))
            .filter(outbox::Column::State.eq("queued"))
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Records how an attempt ended, if the mail is still this worker's; whether it was. One that was
    /// taken back meanwhile stays so: a failed attempt would bring it to life again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_finish(
        &self,
        id: &str,
        claim: &str,
        result: &MailResult,
        now: Time,
    ) -> Result<bool, Error> {
        let mut row =
            outbox::ActiveModel { claim: Set(None), claimed_until: Set(None), ..Default::default() };
        let (state, failure) = match result {
            MailResult::Sent => ("sent", ""),
            MailResult::Later { next_attempt_time, failure } => {
                row.next_attempt_time = Set(next_attempt_time.micros());
                ("queued", failure.as_str())
            }
            MailResult::Failed { failure } => ("failed", failure.as_str()),
            MailResult::Dropped => ("dropped", ""),
        };
        row.state = Set(state.to_owned());
        row.failure = Set(failure.to_owned());
        if state != "queued" {
            row.done_time = Set(Some(now.micros()));
        }
        let done = outbox::Entity::update_many()
            .set(row)
            .filter(outbox::Column::Id.eq(id))
            .filter(outbox::Column::Claim.eq(claim))
            .filter(outbox::Column::State.eq("queued"))
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Takes back mails about a subject that are not sent yet.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_drop(&self, kind: MailKind, subject_id: &str, now: Time) -> Result<(), Error> {
        outbox::Entity::update_many()
            .col_expr(outbox::Column::State, Expr::val("dropped"))
            .col_expr(outbox::Column::DoneTime, Expr::val(now.micros()))
            .filter(outbox::Column::SubjectId.eq(subject_id))
            .filter(outbox::Column::Kind.eq(word(kind)))
            .filter(outbox::Column::State.eq("queued"))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// How many mails an account caused since then, and when the oldest of these was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_count_since(
        &self,
        account: &AccountId,
        since: Time,
    ) -> Result<(u32, Option<Time>), Error> {
        let query = outbox::Entity::find()
            .filter(outbox::Column::AccountId.eq(account.as_str()))
            .filter(outbox::Column::CreateTime.gt(since.micros()));
        count_and_oldest(query, &self.inner).await
    }

    /// The user whom a founder's mail to this address was for, the newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_find_founder(&self, email_key: &str) -> Result<Option<String>, Error> {
        let row = outbox::Entity::find()
            .filter(outbox::Column::EmailKey.eq(email_key))
            .filter(outbox::Column::Kind.eq(word(MailKind::Founder)))
            .order_by_desc(outbox::Column::CreateTime)
            .one(&self.inner)
            .await?;
        Ok(row.map(|row| row.subject_id))
    }

    /// Forgets mails that were done with before then, and how many they were. A founder's stays: one
    /// who never set a password is found again by it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_delete_before(&self, before: Time) -> Result<u64, Error> {
        let done = outbox::Entity::delete_many()
            .filter(outbox::Column::DoneTime.lte(before.micros()))
            .filter(outbox::Column::Kind.ne(word(MailKind::Founder)))
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected)
    }

    /// How many mails of one kind went to an address since then, and when the oldest of these was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_count_for(
        &self,
        kind: MailKind,
        email_key: &str,
        since: Time,
    ) -> Result<(u32, Option<Time>), Error> {
        let query = outbox::Entity::find()
            .filter(outbox::Column::EmailKey.eq(email_key))
            .filter(outbox::Column::Kind.eq(word(kind)))
            .filter(outbox::Column::CreateTime.gt(since.micros()));
        count_and_oldest(query, &self.inner).await
    }

    /// How many mails wait, and since when the oldest does.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox_depth(&self) -> Result<(u32, Option<Time>), Error> {
        let query = outbox::Entity::find().filter(outbox::Column::State.eq("queued"));
        count_and_oldest(query, &self.inner).await
    }

    /// The mails about an invitation, oldest first. For tests and support.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn outbox_list_invitation(&self, id: &InvitationId) -> Result<Vec<Mail>, Error> {
        outbox::Entity::find()
            .filter(outbox::Column::SubjectId.eq(id.as_str()))
            .order_by_asc(outbox::Column::CreateTime)
            .all(&self.inner)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

async fn count_and_oldest(
    query: sea_orm::Select<outbox::Entity>,
    tx: &sea_orm::DatabaseTransaction,
) -> Result<(u32, Option<Time>), Error> {
    let n = query.clone().count(tx).await?;
    let oldest = query.order_by_asc(outbox::Column::CreateTime).one(tx).await?;
    Ok((count(i64::try_from(n).unwrap_or(i64::MAX))?, oldest.map(|row| time(row.create_time))))
}

fn from_row(row: outbox::Model) -> Result<Mail, Error> {
    Ok(Mail {
        id: row.id,
        kind: from_word("mail kind", &row.kind)?,
        account_id: row.account_id.as_deref().map(account_id).transpose()?,
        subject_id: row.subject_id,
        email: row.email,
        language: row.language,
        attempts: count(row.attempts)?,
        create_time: time(row.create_time),
    })
}
