//! Who has an address: what an invitation to it needs to know of the account's members.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use usher_domain::id::AccountId;
use usher_domain::member::Member;

use super::of;
use crate::entity::{identity, invitation, member, user};
use crate::error::Error;
use crate::store::Tx;

impl Tx {
    /// The members who have these addresses, by the addresses' keys: whose user proved one, or, if their user has
    /// proven none, who followed a link that was made for one, or was named by one and has no login yet, as a
    /// founder. Anybody else's contact address is somebody's typing and matches nobody.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn member_find_by_email(
        &self,
        account: &AccountId,
        keys: &[String],
    ) -> Result<HashMap<String, Member>, Error> {
        let proven: HashMap<String, String> = user::Entity::find()
            .filter(user::Column::EmailKey.is_in(keys))
            .select_only()
            .column(user::Column::Id)
            .column(user::Column::EmailKey)
            .into_tuple()
            .all(&self.inner)
            .await?
            .into_iter()
            .collect();
        let mut either = Condition::any().add(member::Column::EmailKey.is_in(keys));
        if !proven.is_empty() {
            either = either.add(member::Column::UserId.is_in(proven.keys()));
        }
        let rows = of(account).filter(either).order_by_asc(member::Column::UserId).all(&self.inner).await?;
        let others: Vec<&str> =
            rows.iter().map(|row| row.user_id.as_str()).filter(|id| !proven.contains_key(*id)).collect();
        let named = self.users_named_by(account, keys, &others).await?;
        let key_of = |row: &member::Model| match proven.get(&row.user_id) {
            Some(key) => Some((true, key.clone())),
            None => named.contains(&row.user_id).then(|| (false, row.email_key.clone())),
        };
        let mut found: Vec<_> = rows.into_iter().filter_map(|row| Some((key_of(&row)?, row))).collect();
        // Who proved an address has it, whoever else was named by it.
        found.sort_by_key(|((is_proven, _), _)| *is_proven);
        let (keys, rows): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        Ok(keys.into_iter().map(|(_, key)| key).zip(self.members(rows).await?).collect())
    }

    /// Those of the users who have proven no address, and either can sign in by nothing or accepted an invitation to
    /// one of these.
    async fn users_named_by(
        &self,
        account: &AccountId,
        keys: &[String],
        ids: &[&str],
    ) -> Result<BTreeSet<String>, Error> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let unproven: Vec<String> = user::Entity::find()
            .filter(user::Column::Id.is_in(ids.iter().copied()))
            .filter(user::Column::EmailKey.is_null())
            .select_only()
            .column(user::Column::Id)
            .into_tuple()
            .all(&self.inner)
            .await?;
        let with_identity: Vec<String> = identity::Entity::find()
            .filter(identity::Column::UserId.is_in(ids.iter().copied()))
            .select_only()
            .column(identity::Column::UserId)
            .into_tuple()
            .all(&self.inner)
            .await?;
        let accepted: Vec<String> = invitation::Entity::find()
            .filter(invitation::Column::AccountId.eq(account.as_str()))
            .filter(invitation::Column::EmailKey.is_in(keys))
            .filter(invitation::Column::AcceptedUserId.is_in(ids.iter().copied()))
            .filter(invitation::Column::Username.is_null())
            .select_only()
            .column(invitation::Column::AcceptedUserId)
            .into_tuple()
            .all(&self.inner)
            .await?;
        let is_named = |id: &String| !with_identity.contains(id) || accepted.contains(id);
        Ok(unproven.into_iter().filter(is_named).collect())
    }
}
