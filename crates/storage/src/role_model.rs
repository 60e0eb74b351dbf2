//! The role models that this database was last served with, so that a changed file shows.

use sea_orm::{ActiveValue::Set, EntityTrait, QueryOrder, sea_query::OnConflict};

use crate::entity::{meta, role_model};
use crate::error::Error;
use crate::store::Tx;

/// The key under which the store's own epoch stands in `meta`.
const EPOCH: &str = "epoch";

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

    /// The epoch that consistency tokens carry: revisions of different epochs do not compare.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn epoch_fetch(&self) -> Result<Option<String>, Error> {
        Ok(meta::Entity::find_by_id(EPOCH).one(&self.inner).await?.map(|row| row.value))
    }

    /// # Errors
    /// Those of the database.
    pub async fn epoch_save(&self, epoch: &str) -> Result<(), Error> {
        let row = meta::ActiveModel { key: Set(EPOCH.to_owned()), value: Set(epoch.to_owned()) };
        let on_conflict = OnConflict::column(meta::Column::Key).update_column(meta::Column::Value).to_owned();
        meta::Entity::insert(row).on_conflict(on_conflict).exec_without_returning(&self.inner).await?;
        Ok(())
    }
}
