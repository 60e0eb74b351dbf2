//! Ownership tickets.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use usher_domain::id::{AccountId, TransferId};
use usher_domain::ownership::{OwnershipTransfer, TransferState};
use usher_domain::time::Time;

use crate::convert::{
    account_id, from_word, micros, time, time_opt, transfer_id, user_id, user_id_opt, word,
};
use crate::entity::ownership_transfer;
use crate::error::Error;
use crate::store::Tx;

impl Tx {
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn ownership_transfer_fetch(
        &self,
        account: &AccountId,
        id: &TransferId,
    ) -> Result<Option<OwnershipTransfer>, Error> {
        let row = of(account).filter(ownership_transfer::Column::Id.eq(id.as_str())).one(&self.inner).await?;
        row.map(from_row).transpose()
    }

    /// The stored-open ticket of an account; it may have expired.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn ownership_transfer_find_open(
        &self,
        account: &AccountId,
    ) -> Result<Option<OwnershipTransfer>, Error> {
        let open = ownership_transfer::Column::State.eq(word(TransferState::Open));
        of(account).filter(open).one(&self.inner).await?.map(from_row).transpose()
    }

    /// # Errors
    /// [`Error::Exists`] when the account has an open ticket.
    pub async fn ownership_transfer_insert(&self, transfer: &OwnershipTransfer) -> Result<(), Error> {
        let row = ownership_transfer::ActiveModel {
            id: Set(transfer.id.to_string()),
            account_id: Set(transfer.account_id.to_string()),
            role: Set(transfer.role.clone()),
            successor_role: Set(transfer.successor_role.clone()),
            present_owner_id: Set(transfer.present_owner_id.as_ref().map(ToString::to_string)),
            new_owner_id: Set(transfer.new_owner_id.to_string()),
            ticket_ref: Set(transfer.ticket_ref.clone()),
            requested_by: Set(transfer.requested_by.clone()),
            note: Set(transfer.note.clone()),
            opened_by: Set(transfer.opened_by.clone()),
            open_time: Set(transfer.open_time.micros()),
            expire_time: Set(transfer.expire_time.micros()),
            ..ending(transfer)
        };
        ownership_transfer::Entity::insert(row).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// Writes how a ticket ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ownership_transfer_update(&self, transfer: &OwnershipTransfer) -> Result<(), Error> {
        ownership_transfer::Entity::update_many()
            .set(ending(transfer))
            .filter(ownership_transfer::Column::AccountId.eq(transfer.account_id.as_str()))
            .filter(ownership_transfer::Column::Id.eq(transfer.id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// A page of an account's tickets, newest first, after the given (open time, id).
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn ownership_transfer_list(
        &self,
        account: &AccountId,
        states: &[TransferState],
        now: Time,
        after: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<OwnershipTransfer>, Error> {
        use ownership_transfer::Column;
        let mut query = of(account);
        if !states.is_empty() {
            let open = || Column::State.eq(word(TransferState::Open));
            query = query.filter(states.iter().fold(Condition::any(), |any, state| {
                match state {
                    TransferState::Open => any.add(open().and(Column::ExpireTime.gt(now.micros()))),
                    TransferState::Expired => any
                        .add(Column::State.eq(word(*state)))
                        .add(open().and(Column::ExpireTime.lte(now.micros()))),
                    TransferState::Approved | TransferState::Cancelled => {
                        any.add(Column::State.eq(word(*state)))
                    }
                }
            }));
        }
        if let Some((open_time, id)) = after {
            let same = Column::OpenTime.eq(open_time).and(Column::Id.lt(id));
            query = query.filter(Condition::any().add(Column::OpenTime.lt(open_time)).add(same));
        }
        query
            .order_by_desc(Column::OpenTime)
            .order_by_desc(Column::Id)
            .limit(u64::from(limit))
            .all(&self.inner)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

fn of(account: &AccountId) -> sea_orm::Select<ownership_transfer::Entity> {
    ownership_transfer::Entity::find().filter(ownership_transfer::Column::AccountId.eq(account.as_str()))
}

fn ending(transfer: &OwnershipTransfer) -> ownership_transfer::ActiveModel {
    ownership_transfer::ActiveModel {
        state: Set(word(transfer.stored_state)),
        ended_by: Set(transfer.ended_by.clone()),
        end_time: Set(micros(transfer.end_time)),
        ..Default::default()
    }
}

fn from_row(row: ownership_transfer::Model) -> Result<OwnershipTransfer, Error> {
    Ok(OwnershipTransfer {
        account_id: account_id(&row.account_id)?,
        id: transfer_id(&row.id)?,
        role: row.role,
        stored_state: from_word("transfer state", &row.state)?,
        present_owner_id: user_id_opt(row.present_owner_id.as_deref())?,
        successor_role: row.successor_role,
        new_owner_id: user_id(&row.new_owner_id)?,
        ticket_ref: row.ticket_ref,
        requested_by: row.requested_by,
        note: row.note,
        opened_by: row.opened_by,
        open_time: time(row.open_time),
        expire_time: time(row.expire_time),
        ended_by: row.ended_by,
        end_time: time_opt(row.end_time),
    })
}
