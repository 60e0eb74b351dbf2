//! Writing many rows of one kind at once.

use sea_orm::{ActiveModelTrait, EntityTrait};

use crate::error::Error;
use crate::store::Tx;

/// How many rows one statement writes: with the widest table, half of what engines take as parameters.
const ROWS_AT_ONCE: usize = 500;

/// # Errors
/// [`Error::Exists`] when a key is taken.
pub(crate) async fn insert_all<A: ActiveModelTrait + Send>(tx: &Tx, rows: Vec<A>) -> Result<(), Error> {
    let mut rows = rows.into_iter();
    loop {
        let some: Vec<A> = rows.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        A::Entity::insert_many(some).exec_without_returning(&tx.inner).await?;
    }
}
