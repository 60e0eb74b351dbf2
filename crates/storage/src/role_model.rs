//! The role models that this database was last served with, so that a changed file shows.

use sea_orm::{ActiveValue::Set, EntityTrait, QueryOrder, sea_query::OnConflict};

use crate::entity::{meta, role_model};
use crate::error::Error;
use crate::store::Tx;

/// What all servers of one database must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKey {
    /// Revisions of different epochs do not compare: it changes when a backup is restored.
    Epoch,
    /// What page tokens are authenticated with.
    PageTokenKey,
}

impl SharedKey {
    fn word(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::PageTokenKey => "page_token_key",
        }
    }
}

impl Tx {
    /// Each known model's id, digest and matrix.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn role_model_list(&self) -> Result<Vec<(String, String, String)>, Error> {
        let rows = role_model::Entity::find().order_by_asc(role_model::Column::Id).all(&self.inner).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.digest, row.matrix)).collect())
    }

    /// # Errors
    /// Those of the database.
    pub async fn role_model_save(&self, id: &str, digest: &str, matrix: &str) -> Result<(), Error> {
        let row = role_model::ActiveModel {
            id: Set(id.to_owned()),
            digest: Set(digest.to_owned()),
            matrix: Set(matrix.to_owned()),
        };
        let on_conflict = OnConflict::column(role_model::Column::Id)
            .update_columns([role_model::Column::Digest, role_model::Column::Matrix])
            .to_owned();
        role_model::Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// A value that all servers of this database share: the first that any of them offered.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shared_value(&self, key: SharedKey, offer: &str) -> Result<String, Error> {
        let row = meta::ActiveModel { key: Set(key.word().to_owned()), value: Set(offer.to_owned()) };
        let on_conflict = OnConflict::column(meta::Column::Key).do_nothing().to_owned();
        meta::Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.inner).await?;
        let row = meta::Entity::find_by_id(key.word()).one(&self.inner).await?;
        row.map(|row| row.value).ok_or_else(|| Error::corrupt("shared value", key.word()))
    }

    /// Sets a shared value anew.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shared_value_save(&self, key: SharedKey, value: &str) -> Result<(), Error> {
        let row = meta::ActiveModel { key: Set(key.word().to_owned()), value: Set(value.to_owned()) };
        let on_conflict = OnConflict::column(meta::Column::Key).update_column(meta::Column::Value).to_owned();
        meta::Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.inner).await?;
        Ok(())
    }
}
