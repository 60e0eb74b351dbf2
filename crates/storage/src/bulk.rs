//! Many rows at once: of one kind by statements of many rows, and whole accounts, for filling a database, on
//! PostgreSQL by `COPY`. The rows are those that single inserts would write.

use std::fmt::Write as _;

use sea_orm::sqlx::{self, PgConnection};
use sea_orm::{
    ActiveModelTrait, ActiveValue, DbErr, EntityName, EntityTrait, Iden, Iterable, RuntimeErr, Value,
};
use usher_domain::account::Account;
use usher_domain::member::Member;

use crate::error::Error;
use crate::event::NewEvent;
use crate::member::Stamp;
use crate::store::{Engine, Store, Tx};
use crate::user::User;
use crate::{account, event, member, user};

/// SQLite takes 32,766 values in a statement and PostgreSQL twice as many; no table here has 60 columns.
const ROWS_PER_STATEMENT: usize = 500;

/// A new account with everybody in it.
#[derive(Debug, Clone)]
pub struct WholeAccount {
    /// At its last revision; the hash of its events is filled in here.
    pub account: Account,
    pub nonce: i64,
    /// The kind of the last event about the account itself.
    pub event_kind: &'static str,
    /// Each a new person. Logins at providers are not written.
    pub members: Vec<(User, Member, Stamp<'static>)>,
    /// All of its events, from revision 1.
    pub events: Vec<NewEvent>,
}

/// The rows of some accounts, table by table, in an order that keys can follow.
#[derive(Default)]
struct Rows {
    users: Vec<crate::entity::user::ActiveModel>,
    accounts: Vec<crate::entity::account::ActiveModel>,
    members: Vec<crate::entity::member::ActiveModel>,
    events: Vec<crate::entity::event::ActiveModel>,
}

impl Store {
    /// Writes new accounts, all or none, and however long it takes.
    ///
    /// # Errors
    /// [`Error::Exists`] when one of them or of their users is there already; those of the database.
    pub async fn account_bulk_insert(&self, accounts: &[WholeAccount]) -> Result<(), Error> {
        let mut rows = Rows::default();
        for whole in accounts {
            let (events, hash) = event::rows("", &whole.events)?;
            let account = Account { event_hash: hash, ..whole.account.clone() };
            rows.accounts.push(account::new_row(&account, whole.nonce, whole.event_kind));
            rows.events.extend(events);
            for (user, member, stamp) in &whole.members {
                rows.users.push(user::new_row(user));
                rows.members.push(member::new_row(member, *stamp));
            }
        }
        match self.engine() {
            Engine::Postgres => self.copy(rows).await,
            Engine::Sqlite => self.write(async |tx: &Tx| insert_rows(tx, rows).await).await,
        }
    }

    async fn copy(&self, rows: Rows) -> Result<(), Error> {
        let connection = self.connection();
        let pool = connection.get_postgres_connection_pool();
        let mut tx = pool.begin().await.map_err(from_sqlx)?;
        // Nothing is prepared in here, which would not pass a pooler.
        sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *tx).await.map_err(from_sqlx)?;
        copy(&mut tx, &rows.users).await?;
        copy(&mut tx, &rows.accounts).await?;
        copy(&mut tx, &rows.members).await?;
        copy(&mut tx, &rows.events).await?;
        tx.commit().await.map_err(|e| Error::CommitUnknown(e.to_string()))
    }
}

fn from_sqlx(error: sqlx::Error) -> Error {
    DbErr::Query(RuntimeErr::SqlxError(error.into())).into()
}

async fn insert_rows(tx: &Tx, rows: Rows) -> Result<(), Error> {
    insert_all(tx, rows.users).await?;
    insert_all(tx, rows.accounts).await?;
    insert_all(tx, rows.members).await?;
    insert_all(tx, rows.events).await
}

/// Writes rows of one kind, many with a statement.
///
/// # Errors
/// [`Error::Exists`] when a key is taken.
pub(crate) async fn insert_all<A: ActiveModelTrait + Send>(tx: &Tx, rows: Vec<A>) -> Result<(), Error> {
    let mut rows = rows.into_iter();
    loop {
        let some: Vec<A> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
        if some.is_empty() {
            return Ok(());
        }
        A::Entity::insert_many(some).exec_without_returning(&tx.inner).await?;
    }
}

async fn copy<A: ActiveModelTrait>(connection: &mut PgConnection, rows: &[A]) -> Result<(), Error> {
    let columns: Vec<<A::Entity as EntityTrait>::Column> =
        <A::Entity as EntityTrait>::Column::iter().collect();
    let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.unquoted())).collect();
    let mut text = String::new();
    for row in rows {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push('\t');
            }
            match row.get(*column) {
                ActiveValue::Set(value) | ActiveValue::Unchanged(value) => write_value(&mut text, &value)?,
                ActiveValue::NotSet => text.push_str("\\N"),
            }
        }
        text.push('\n');
    }
    let table = A::Entity::default();
    let copy = format!("COPY \"{}\" ({}) FROM STDIN", table.table_name(), names.join(", "));
    let mut copying = connection.copy_in_raw(&copy).await.map_err(from_sqlx)?;
    copying.send(text.into_bytes()).await.map_err(from_sqlx)?;
    copying.finish().await.map_err(from_sqlx)?;
    Ok(())
}

/// A value as `COPY` reads it.
fn write_value(text: &mut String, value: &Value) -> Result<(), Error> {
    let written = match value {
        Value::Bool(Some(value)) => write!(text, "{value}"),
        Value::SmallInt(Some(value)) => write!(text, "{value}"),
        Value::BigInt(Some(value)) => write!(text, "{value}"),
        Value::String(Some(value)) => {
            value.chars().for_each(|c| match c {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                c => text.push(c),
            });
            Ok(())
        }
        Value::Bool(None) | Value::SmallInt(None) | Value::BigInt(None) | Value::String(None) => {
            text.push_str("\\N");
            Ok(())
        }
        other => return Err(Error::Internal(format!("no table has a column for {other:?}"))),
    };
    written.map_err(|e| Error::Internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copy_would_take_for_its_own_is_escaped() {
        let mut text = String::new();
        write_value(&mut text, &Value::from("a\tb\\N\nc\r")).unwrap();
        write_value(&mut text, &Value::String(None)).unwrap();
        write_value(&mut text, &Value::from(-5i64)).unwrap();
        assert_eq!(text, "a\\tb\\\\N\\nc\\r\\N-5");
    }
}
