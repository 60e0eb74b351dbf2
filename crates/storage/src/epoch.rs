//! The epoch: revisions of different ones do not compare.

use sea_orm::ConnectionTrait as _;

use crate::error::Error;
use crate::role_model::SharedKey;
use crate::store::{Engine, Tx};

impl Tx {
    /// Begins a new epoch, after a backup was restored. On PostgreSQL the accounts' transaction numbers
    /// go with it: those of another server would be taken for changes yet to come and be found by every
    /// poll. Writes every account once, so it may take as long as that does.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn epoch_bump(&self, epoch: &str) -> Result<u64, Error> {
        let mut accounts = 0;
        if self.engine == Engine::Postgres {
            self.inner.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
            self.inner.execute_unprepared("SET LOCAL lock_timeout = '60s'").await?;
            let clear = "UPDATE account SET chg_xid = 0 WHERE chg_xid <> 0";
            accounts = self.inner.execute_unprepared(clear).await?.rows_affected();
        }
        self.shared_value_save(SharedKey::Epoch, epoch).await?;
        Ok(accounts)
    }
}
