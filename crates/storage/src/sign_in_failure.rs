//! Tries to sign in, counted by address before they are verified, whether or not anybody has the
//! address.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement, Value};
use usher_domain::time::Time;

use crate::convert::time;
use crate::entity::sign_in_failure;
use crate::error::Error;
use crate::store::Tx;

/// Counts a try in one statement, so that parallel ones cannot all slip through: the first four are
/// free, then each waits twice as long as the one before, from one second to fifteen minutes. An
/// hour without tries forgets them. Placeholders: key, now; times in microseconds.
const COUNT: &str = "\
INSERT INTO sign_in_failure (email_key, failures, last_time, next_time) VALUES ($1, 1, $2, 0) \
ON CONFLICT (email_key) DO UPDATE SET \
failures = CASE WHEN sign_in_failure.last_time < $2 - 3600000000 THEN 1 ELSE sign_in_failure.failures + 1 END, \
last_time = $2, \
next_time = CASE \
WHEN sign_in_failure.last_time < $2 - 3600000000 OR sign_in_failure.failures < 4 THEN 0 \
WHEN sign_in_failure.failures > 13 THEN $2 + 900000000 \
ELSE $2 + (1000000 << CAST(sign_in_failure.failures - 4 AS INTEGER)) END \
WHERE sign_in_failure.next_time <= $2";

impl Tx {
    /// Counts a try for an address; when the next one is allowed, if this one is not.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sign_in_count(&self, email_key: &str, now: Time) -> Result<Option<Time>, Error> {
        let backend = self.inner.get_database_backend();
        let values = [Value::from(email_key), Value::from(now.micros())];
        let done = self.inner.execute_raw(Statement::from_sql_and_values(backend, COUNT, values)).await?;
        if done.rows_affected() == 1 {
            return Ok(None);
        }
        let row = sign_in_failure::Entity::find_by_id(email_key).one(&self.inner).await?;
        Ok(Some(row.map_or(now, |row| time(row.next_time))))
    }

    /// Forgets the tries for an address: somebody proved that it is theirs.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sign_in_forget(&self, email_key: &str) -> Result<(), Error> {
        sign_in_failure::Entity::delete_many()
            .filter(sign_in_failure::Column::EmailKey.eq(email_key))
            .exec(&self.inner)
            .await?;
        Ok(())
    }
}
