//! Remembered requests: the first result of a `request_id`, for whoever repeats it.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use usher_domain::time::Time;

use crate::entity::request;
use crate::error::Error;
use crate::store::Tx;

/// What a remembered result is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    pub caller: String,
    /// `Service/Method`.
    pub rpc: &'static str,
    /// Empty for requests about no account.
    pub account_id: String,
    pub request_id: String,
}

impl Tx {
    /// The digest and the outcome of the first request under this key, if not older than `since`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn request_find(
        &self,
        key: &RequestKey,
        since: Time,
    ) -> Result<Option<(String, String)>, Error> {
        let row = request::Entity::find_by_id(primary_key(key))
            .filter(request::Column::CreateTime.gt(since.micros()))
            .one(&self.inner)
            .await?;
        Ok(row.map(|row| (row.digest, row.outcome)))
    }

    /// # Errors
    /// [`Error::Exists`] when another request under the same key was first.
    pub async fn request_insert(
        &self,
        key: &RequestKey,
        digest: &str,
        outcome: &str,
        now: Time,
    ) -> Result<(), Error> {
        // One older than anybody remembers may stand in the way.
        request::Entity::delete_by_id(primary_key(key)).exec(&self.inner).await?;
        let row = request::ActiveModel {
            caller: Set(key.caller.clone()),
            rpc: Set(key.rpc.to_owned()),
            account_id: Set(key.account_id.clone()),
            request_id: Set(key.request_id.clone()),
            digest: Set(digest.to_owned()),
            outcome: Set(outcome.to_owned()),
            create_time: Set(now.micros()),
        };
        request::Entity::insert(row).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// Forgets requests older than `before`, and how many they were.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn request_delete_before(&self, before: Time) -> Result<u64, Error> {
        let done = request::Entity::delete_many()
            .filter(request::Column::CreateTime.lte(before.micros()))
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected)
    }
}

fn primary_key(key: &RequestKey) -> (String, String, String, String) {
    (key.caller.clone(), key.rpc.to_owned(), key.account_id.clone(), key.request_id.clone())
}
