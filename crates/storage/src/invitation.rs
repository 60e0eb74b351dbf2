//! Invitations and the hashes of their tokens.

use std::collections::HashMap;

use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, InvitationId, UserId};
use usher_domain::invitation::{
    DeliveryStatus, ExternalUsername, Invitation, InvitationState, TOKENS_ALIVE_MAX,
};
use usher_domain::time::Time;

use crate::convert::{
    account_id, count, from_word, invitation_id, micros, time, time_opt, user_id_opt, word,
};
use crate::entity::{invitation, invitation_token};
use crate::error::Error;
use crate::store::Tx;

/// Which invitations a list shows. Empty lists ask for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvitationFilter {
    /// As judged by the clock: an unrevoked one past its time is `Expired`.
    pub states: Vec<InvitationState>,
    pub roles: Vec<String>,
    pub email_key: Option<String>,
}

impl Tx {
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn invitation_fetch(
        &self,
        account: &AccountId,
        id: &InvitationId,
    ) -> Result<Option<Invitation>, Error> {
        let row = of(account).filter(invitation::Column::Id.eq(id.as_str())).one(&self.inner).await?;
        row.map(from_row).transpose()
    }

    /// The stored-pending invitations of these addresses, by the addresses' keys; they may have expired.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn invitation_find_pending(
        &self,
        account: &AccountId,
        email_keys: &[String],
    ) -> Result<HashMap<String, Invitation>, Error> {
        of(account)
            .filter(invitation::Column::EmailKey.is_in(email_keys))
            .filter(invitation::Column::State.eq(word(InvitationState::Pending)))
            .all(&self.inner)
            .await?
            .into_iter()
            .map(|row| Ok((row.email_key.clone(), from_row(row)?)))
            .collect()
    }

    /// The invitation that a token belongs to. The one finder without an account: whoever holds a
    /// token does not know it.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn invitation_find_by_token(&self, hash: &str) -> Result<Option<Invitation>, Error> {
        let Some(token) = invitation_token::Entity::find_by_id(hash).one(&self.inner).await? else {
            return Ok(None);
        };
        invitation::Entity::find_by_id(token.invitation_id).one(&self.inner).await?.map(from_row).transpose()
    }

    /// The pending invitations that a member sponsors.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn invitation_list_sponsored(
        &self,
        account: &AccountId,
        sponsor: &UserId,
    ) -> Result<Vec<Invitation>, Error> {
        of(account)
            .filter(invitation::Column::InvitedBy.eq(sponsor.as_str()))
            .filter(invitation::Column::State.eq(word(InvitationState::Pending)))
            .order_by_asc(invitation::Column::Id)
            .all(&self.inner)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }

    /// # Errors
    /// [`Error::Exists`] when the address has a pending invitation in the account.
    pub async fn invitation_insert(&self, invitation: &Invitation) -> Result<(), Error> {
        let status = &invitation.delivery_status;
        let row = invitation::ActiveModel {
            delivery_state: Set(word(status.state)),
            sends: Set(i64::from(status.sends)),
            last_send_time: Set(micros(status.last_send_time)),
            next_attempt_time: Set(micros(status.next_attempt_time)),
            failure: Set(status.failure.clone()),
            id: Set(invitation.id.to_string()),
            account_id: Set(invitation.account_id.to_string()),
            email: Set(invitation.email.clone()),
            email_key: Set(
                EmailAddress::parse(&invitation.email).map_or_else(|_| String::new(), |email| email.key())
            ),
            create_time: Set(invitation.create_time.micros()),
            language: Set(invitation.language.clone()),
            new_user_id: Set(invitation.new_user_id.as_ref().map(ToString::to_string)),
            delivery: Set(word(invitation.delivery)),
            issuer: Set(invitation.identity.as_ref().map(|identity| identity.issuer.clone())),
            username: Set(invitation.identity.as_ref().map(|identity| identity.username.clone())),
            ..changing(invitation)
        };
        invitation::Entity::insert(row).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// Writes what can change of an invitation.
    ///
    /// # Errors
    /// Those of the database; when it is not there.
    pub async fn invitation_update(&self, invitation: &Invitation) -> Result<(), Error> {
        let mut row = changing(invitation);
        row.delivery = Set(word(invitation.delivery));
        let done = invitation::Entity::update_many()
            .set(row)
            .filter(invitation::Column::AccountId.eq(invitation.account_id.as_str()))
            .filter(invitation::Column::Id.eq(invitation.id.as_str()))
            .exec(&self.inner)
            .await?;
        if done.rows_affected == 1 { Ok(()) } else { Err(Error::corrupt("invitation", &invitation.id)) }
    }

    /// Writes how far the mail of an invitation got; `sent` adds one to its sends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn invitation_update_delivery(
        &self,
        account: &AccountId,
        id: &InvitationId,
        status: &DeliveryStatus,
        sent: bool,
    ) -> Result<(), Error> {
        let mut row = invitation::ActiveModel {
            delivery_state: Set(word(status.state)),
            next_attempt_time: Set(micros(status.next_attempt_time)),
            failure: Set(status.failure.clone()),
            ..Default::default()
        };
        if sent {
            row.last_send_time = Set(micros(status.last_send_time));
        }
        invitation::Entity::update_many()
            .set(row)
            .col_expr(invitation::Column::Sends, Expr::col(invitation::Column::Sends).add(i64::from(sent)))
            .filter(invitation::Column::AccountId.eq(account.as_str()))
            .filter(invitation::Column::Id.eq(id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// A page of invitations in the order of (address, id), and how many the filter finds in all.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn invitation_list(
        &self,
        account: &AccountId,
        filter: &InvitationFilter,
        now: Time,
        after: Option<&(String, String)>,
        limit: u32,
    ) -> Result<(Vec<Invitation>, u32), Error> {
        let mut query = of(account);
        if !filter.states.is_empty() {
            query = query.filter(
                filter.states.iter().fold(Condition::any(), |any, state| any.add(is_in(*state, now))),
            );
        }
        if !filter.roles.is_empty() {
            query = query.filter(invitation::Column::Role.is_in(&filter.roles));
        }
        if let Some(key) = &filter.email_key {
            query = query.filter(invitation::Column::EmailKey.eq(key));
        }
        let total = query.clone().count(&self.inner).await?;
        if let Some((email_key, id)) = after {
            let same = invitation::Column::EmailKey.eq(email_key).and(invitation::Column::Id.gt(id));
            // The first bound is where the index begins.
            query = query
                .filter(invitation::Column::EmailKey.gte(email_key))
                .filter(Condition::any().add(invitation::Column::EmailKey.gt(email_key)).add(same));
        }
        let rows = query
            .order_by_asc(invitation::Column::EmailKey)
            .order_by_asc(invitation::Column::Id)
            .limit(u64::from(limit))
            .all(&self.inner)
            .await?;
        let page: Result<Vec<_>, _> = rows.into_iter().map(from_row).collect();
        Ok((page?, count(i64::try_from(total).unwrap_or(i64::MAX))?))
    }

    /// Keeps the hash of a token that is about to leave, and ends the oldest beyond
    /// [`TOKENS_ALIVE_MAX`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn invitation_token_insert(
        &self,
        id: &InvitationId,
        hash: &str,
        now: Time,
    ) -> Result<(), Error> {
        let row = invitation_token::ActiveModel {
            hash: Set(hash.to_owned()),
            invitation_id: Set(id.to_string()),
            create_time: Set(now.micros()),
        };
        invitation_token::Entity::insert(row).exec_without_returning(&self.inner).await?;
        let alive: Vec<String> = invitation_token::Entity::find()
            .filter(invitation_token::Column::InvitationId.eq(id.as_str()))
            .order_by_desc(invitation_token::Column::CreateTime)
            .select_only()
            .column(invitation_token::Column::Hash)
            .into_tuple()
            .all(&self.inner)
            .await?;
        let alive_max = usize::try_from(TOKENS_ALIVE_MAX).unwrap_or(usize::MAX);
        // The new one may share its time with an older one; it is never the one to go.
        let old: Vec<&String> = alive.iter().filter(|other| *other != hash).skip(alive_max - 1).collect();
        if !old.is_empty() {
            invitation_token::Entity::delete_many()
                .filter(invitation_token::Column::Hash.is_in(old))
                .exec(&self.inner)
                .await?;
        }
        Ok(())
    }

    /// Ends all tokens of an invitation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn invitation_token_delete(&self, id: &InvitationId) -> Result<(), Error> {
        invitation_token::Entity::delete_many()
            .filter(invitation_token::Column::InvitationId.eq(id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }
}

fn of(account: &AccountId) -> sea_orm::Select<invitation::Entity> {
    invitation::Entity::find().filter(invitation::Column::AccountId.eq(account.as_str()))
}

fn is_in(state: InvitationState, now: Time) -> Expr {
    let stored = |state| invitation::Column::State.eq(word(state));
    match state {
        InvitationState::Pending => {
            stored(InvitationState::Pending).and(invitation::Column::ExpireTime.gt(now.micros()))
        }
        InvitationState::Expired => stored(InvitationState::Expired)
            .or(stored(InvitationState::Pending).and(invitation::Column::ExpireTime.lte(now.micros()))),
        InvitationState::Accepted | InvitationState::Revoked => stored(state),
    }
}

/// How far the mail got is not in it: a worker writes that without the account's lock.
fn changing(invitation: &Invitation) -> invitation::ActiveModel {
    invitation::ActiveModel {
        display_name: Set(invitation.display_name.clone()),
        role: Set(invitation.role.clone()),
        state: Set(word(invitation.stored_state)),
        uses_seat: Set(invitation.uses_seat),
        invited_by: Set(invitation.invited_by.as_ref().map(ToString::to_string)),
        expire_time: Set(invitation.expire_time.micros()),
        accept_time: Set(micros(invitation.accept_time)),
        revoke_time: Set(micros(invitation.revoke_time)),
        accepted_user_id: Set(invitation.accepted_user_id.as_ref().map(ToString::to_string)),
        ..Default::default()
    }
}

pub(crate) fn from_row(row: invitation::Model) -> Result<Invitation, Error> {
    let identity =
        row.issuer.zip(row.username).map(|(issuer, username)| ExternalUsername { issuer, username });
    Ok(Invitation {
        account_id: account_id(&row.account_id)?,
        id: invitation_id(&row.id)?,
        email: row.email,
        display_name: row.display_name,
        role: row.role,
        stored_state: from_word("invitation state", &row.state)?,
        uses_seat: row.uses_seat,
        invited_by: user_id_opt(row.invited_by.as_deref())?,
        create_time: time(row.create_time),
        expire_time: time(row.expire_time),
        accept_time: time_opt(row.accept_time),
        revoke_time: time_opt(row.revoke_time),
        accepted_user_id: user_id_opt(row.accepted_user_id.as_deref())?,
        new_user_id: user_id_opt(row.new_user_id.as_deref())?,
        language: row.language,
        delivery: from_word("delivery", &row.delivery)?,
        delivery_status: DeliveryStatus {
            state: from_word("delivery state", &row.delivery_state)?,
            sends: count(row.sends)?,
            last_send_time: time_opt(row.last_send_time),
            next_attempt_time: time_opt(row.next_attempt_time),
            failure: row.failure,
        },
        identity,
    })
}
