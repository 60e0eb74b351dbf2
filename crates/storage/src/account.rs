//! Accounts, their rows' locks and their seat figures.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};
use usher_domain::account::Account;
use usher_domain::id::AccountId;
use usher_domain::license::{License, Seats, Subscription, over_limit_clear_time};
use usher_domain::time::Time;

use crate::convert::{account_id, count, from_word, micros, time, time_opt, word};
use crate::entity::{account, invitation, member};
use crate::error::Error;
use crate::store::{Engine, Tx};

impl Tx {
    /// Locks the account's row until the transaction ends, and reads it. Everything that is right
    /// about seats, holders, audit order and revisions rests on this lock being taken first. On
    /// SQLite the transaction itself is the lock.
    ///
    /// # Errors
    /// [`Error::Contention`] when the lock cannot be had in time.
    pub async fn account_lock(&self, id: &AccountId) -> Result<Option<Account>, Error> {
        let query = account::Entity::find_by_id(id.as_str());
        let query = match self.engine {
            Engine::Postgres => query.lock_exclusive(),
            Engine::Sqlite => query,
        };
        query.one(&self.inner).await?.map(from_row).transpose()
    }

    pub async fn account_fetch(&self, id: &AccountId) -> Result<Option<Account>, Error> {
        account::Entity::find_by_id(id.as_str()).one(&self.inner).await?.map(from_row).transpose()
    }

    /// Writes a new account, at its first revision.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken.
    pub async fn account_insert(&self, account: &Account, nonce: i64, event_kind: &str) -> Result<(), Error> {
        account::Entity::insert(new_row(account, nonce, event_kind))
            .exec_without_returning(&self.inner)
            .await?;
        Ok(())
    }

    /// Keeps the `as_of` times of the licence, which are no change of the account: its revision stays.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_note_as_of(&self, id: &AccountId, license: &License) -> Result<(), Error> {
        let row = account::ActiveModel {
            seats_as_of: Set(micros(license.seats_as_of)),
            subscription_as_of: Set(micros(license.subscription_as_of)),
            ..Default::default()
        };
        account::Entity::update_many()
            .set(row)
            .filter(account::Column::Id.eq(id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// Writes the account as it is now, stamped with this transaction. `account_event` is the kind
    /// of event when the account itself changed, and not only a member of it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_update(
        &self,
        account: &Account,
        now: Time,
        nonce: i64,
        account_event: Option<&str>,
    ) -> Result<(), Error> {
        let over = self.over_limit(account, now).await?;
        let stamp = match self.engine {
            Engine::Postgres => Expr::cust("(pg_current_xact_id()::text)::bigint"),
            Engine::Sqlite => Expr::val(0i64),
        };
        let mut row = account::ActiveModel {
            name: Set(account.name.clone()),
            state: Set(word(account.state)),
            plan: Set(account.license.subscription.plan.clone()),
            purchased: Set(account.license.purchased.map(i64::from)),
            expire_time: Set(micros(account.license.subscription.expire_time)),
            grace_end_time: Set(micros(account.license.subscription.grace_end_time)),
            over_limit: Set(over.is_some()),
            // Seats that were freed since end it: then nothing is denied at its time.
            over_limit_end_time: Set(micros(account.license.over_limit_end_time.filter(|_| over.is_some()))),
            over_limit_clear_time: Set(micros(over.flatten())),
            seats_as_of: Set(micros(account.license.seats_as_of)),
            subscription_as_of: Set(micros(account.license.subscription_as_of)),
            revision: Set(account.revision),
            nonce: Set(nonce),
            event_hash: Set(account.event_hash.clone()),
            suspend_time: Set(micros(account.suspend_time)),
            close_time: Set(micros(account.close_time)),
            ..Default::default()
        };
        if let Some(kind) = account_event {
            row.changed_time = Set(now.micros());
            row.changed_event = Set(kind.to_owned());
            row.changed_revision = Set(account.revision);
        }
        let done = account::Entity::update_many()
            .set(row)
            .col_expr(account::Column::ChgXid, stamp)
            .filter(account::Column::Id.eq(account.id.as_str()))
            .exec(&self.inner)
            .await?;
        if done.rows_affected == 1 { Ok(()) } else { Err(Error::corrupt("account", &account.id)) }
    }

    /// Whether the account is over its limit and, if so, when it stops being so by itself.
    async fn over_limit(&self, account: &Account, now: Time) -> Result<Option<Option<Time>>, Error> {
        // Nothing but being allowed takes an account there, so most are not even counted.
        if !account.license.over_limit {
            return Ok(None);
        }
        let seats = self.seats(account, now).await?;
        if seats.over_limit_by() == 0 {
            return Ok(None);
        }
        let expiries: Vec<i64> = reservations(&account.id, now)
            .select_only()
            .column(invitation::Column::ExpireTime)
            .into_tuple()
            .all(&self.inner)
            .await?;
        let expiries: Vec<Time> = expiries.into_iter().map(time).collect();
        Ok(Some(over_limit_clear_time(seats, &expiries)))
    }

    /// The account's seat figures, counted now. Exact while the account is locked.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn seats(&self, account: &Account, now: Time) -> Result<Seats, Error> {
        let active = member::Entity::find()
            .filter(member::Column::AccountId.eq(account.id.as_str()))
            .filter(member::Column::Seat.eq(true))
            .count(&self.inner)
            .await?;
        let reserved = reservations(&account.id, now).count(&self.inner).await?;
        let narrow = |n: u64| count(i64::try_from(n).unwrap_or(i64::MAX));
        Ok(account.license.seats(narrow(active)?, narrow(reserved)?))
    }

    /// When the next open reservation ends by itself.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reservation_next_expiry(&self, id: &AccountId, now: Time) -> Result<Option<Time>, Error> {
        let next: Option<Option<i64>> = reservations(id, now)
            .select_only()
            .column_as(invitation::Column::ExpireTime.min(), "next")
            .into_tuple()
            .one(&self.inner)
            .await?;
        Ok(time_opt(next.flatten()))
    }

    /// The ids of all accounts, closed ones too, in the order of their bytes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_ids(&self) -> Result<Vec<AccountId>, Error> {
        let ids: Vec<String> = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .into_tuple()
            .all(&self.inner)
            .await?;
        // Engines collate differently.
        let mut ids: Vec<AccountId> = ids.iter().map(|id| account_id(id)).collect::<Result<_, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The role models that accounts use.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_models(&self) -> Result<Vec<String>, Error> {
        let query = account::Entity::find().select_only().column(account::Column::Model).distinct();
        Ok(query.into_tuple().all(&self.inner).await?)
    }
}

/// The row of a new account, which no transaction has changed since.
pub(crate) fn new_row(account: &Account, nonce: i64, event_kind: &str) -> account::ActiveModel {
    account::ActiveModel {
        id: Set(account.id.to_string()),
        name: Set(account.name.clone()),
        model: Set(account.model.clone()),
        state: Set(word(account.state)),
        plan: Set(account.license.subscription.plan.clone()),
        purchased: Set(account.license.purchased.map(i64::from)),
        expire_time: Set(micros(account.license.subscription.expire_time)),
        grace_end_time: Set(micros(account.license.subscription.grace_end_time)),
        over_limit: Set(false),
        over_limit_end_time: Set(None),
        over_limit_clear_time: Set(None),
        seats_as_of: Set(micros(account.license.seats_as_of)),
        subscription_as_of: Set(micros(account.license.subscription_as_of)),
        revision: Set(account.revision),
        nonce: Set(nonce),
        chg_xid: Set(0),
        event_hash: Set(account.event_hash.clone()),
        create_time: Set(account.create_time.micros()),
        suspend_time: Set(micros(account.suspend_time)),
        close_time: Set(micros(account.close_time)),
        changed_time: Set(account.create_time.micros()),
        changed_event: Set(event_kind.to_owned()),
        changed_revision: Set(account.revision),
    }
}

/// Open, unexpired invitations that take a seat.
fn reservations(id: &AccountId, now: Time) -> sea_orm::Select<invitation::Entity> {
    invitation::Entity::find()
        .filter(invitation::Column::AccountId.eq(id.as_str()))
        .filter(invitation::Column::State.eq("pending"))
        .filter(invitation::Column::UsesSeat.eq(true))
        .filter(invitation::Column::ExpireTime.gt(now.micros()))
}

pub(crate) fn from_row(row: account::Model) -> Result<Account, Error> {
    Ok(Account {
        id: account_id(&row.id)?,
        state: from_word("account state", &row.state)?,
        name: row.name,
        model: row.model,
        license: License {
            purchased: row.purchased.map(count).transpose()?,
            subscription: Subscription {
                plan: row.plan,
                expire_time: time_opt(row.expire_time),
                grace_end_time: time_opt(row.grace_end_time),
            },
            over_limit: row.over_limit,
            over_limit_end_time: time_opt(row.over_limit_end_time),
            seats_as_of: time_opt(row.seats_as_of),
            subscription_as_of: time_opt(row.subscription_as_of),
        },
        revision: row.revision,
        event_hash: row.event_hash,
        create_time: time(row.create_time),
        suspend_time: time_opt(row.suspend_time),
        close_time: time_opt(row.close_time),
    })
}
