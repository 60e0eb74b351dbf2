//! The schema's history, and bringing a database up to it.
//!
//! New steps are added below [`Migrator`]; a step that was ever released is never changed. Expand
//! first (add a nullable column or a table), contract one release later, so that two versions can
//! run beside each other; see [`LEAST`].

mod m0001_initial;

use sea_orm::{ConnectionTrait as _, Statement};
use sea_orm_migration::prelude::*;

use crate::error::Error;
use crate::store::{Engine, Tx};

/// The oldest step that a program must know to run on the schema that the newest step leaves. A step
/// that only adds lets it be: programs from before it go on, and may start again, so an upgrade can be
/// taken back. A step that takes something away raises it to the step since which no program uses that.
const LEAST: &str = "m0001_initial";
const LEAST_KEY: &str = "schema_least";
const SAVE_LEAST: &str = "INSERT INTO meta (key, value) VALUES";
const OVERWRITE: &str = "ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Any number that nobody else uses: the key of the lock that migrators hold.
const ADVISORY_LOCK: i64 = 0x5553_4845_524d_4947;

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_initial::Migration)]
    }
}

/// sea-orm does not keep a second migrator out, so on PostgreSQL an advisory lock does, held by the transaction
/// (a session's would not pass a pooler); SQLite has one process.
pub(crate) async fn up(tx: &Tx) -> Result<(), Error> {
    if tx.engine == Engine::Postgres {
        for sql in [
            "SET LOCAL lock_timeout = '120s'",
            "SET LOCAL statement_timeout = '130s'",
            "SET LOCAL idle_in_transaction_session_timeout = '300s'",
        ] {
            tx.inner.execute_unprepared(sql).await?;
        }
        let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
        tx.inner.execute_unprepared(&lock).await?;
    }
    let Steps { pending, newer } = steps(tx).await?;
    if !pending.is_empty() {
        Migrator::up(&tx.inner, None).await.map_err(|e| Error::Schema(format!("cannot migrate: {e}")))?;
    }
    if newer.is_empty() {
        tx.inner.execute_unprepared(&format!("{SAVE_LEAST} ('{LEAST_KEY}', '{LEAST}') {OVERWRITE}")).await?;
    }
    Ok(())
}

/// The steps not applied yet, by name.
pub(crate) async fn pending(tx: &Tx) -> Result<Vec<String>, Error> {
    Ok(steps(tx).await?.pending)
}

/// The applied steps that this program does not know and fits all the same.
pub(crate) async fn newer(tx: &Tx) -> Result<Vec<String>, Error> {
    Ok(steps(tx).await?.newer)
}

struct Steps {
    pending: Vec<String>,
    newer: Vec<String>,
}

async fn steps(tx: &Tx) -> Result<Steps, Error> {
    let known: Vec<String> = Migrator::migrations().iter().map(|m| m.name().to_owned()).collect();
    let applied = applied(tx).await?;
    let (ours, newer): (Vec<String>, Vec<String>) =
        applied.into_iter().partition(|name| known.contains(name));
    let pending: Vec<String> = known.iter().filter(|name| !ours.contains(name)).cloned().collect();
    if let Some(first) = newer.first() {
        // What lies between must be known too: the newer steps stand on it.
        let fits = pending.is_empty() && least(tx).await?.is_some_and(|least| known.contains(&least));
        if !fits {
            return Err(Error::Schema(format!(
                "the database was migrated by a newer usher (it has `{first}`); run that version, or restore a backup"
            )));
        }
    }
    Ok(Steps { pending, newer })
}

/// The oldest step that a program must know to run on this schema, as the newest program has said it.
async fn least(tx: &Tx) -> Result<Option<String>, Error> {
    let sql = format!("SELECT value FROM meta WHERE key = '{LEAST_KEY}'");
    let row = tx.inner.query_one_raw(Statement::from_string(tx.inner.get_database_backend(), sql)).await?;
    row.map(|row| row.try_get("", "value").map_err(Error::from)).transpose()
}

async fn applied(tx: &Tx) -> Result<Vec<String>, Error> {
    let backend = tx.inner.get_database_backend();
    let exists = match backend {
        sea_orm::DbBackend::Sqlite => "SELECT 1 AS one FROM sqlite_master WHERE name = 'seaql_migrations'",
        _ => {
            "SELECT 1 AS one FROM pg_tables WHERE tablename = 'seaql_migrations' AND schemaname = current_schema()"
        }
    };
    let statement = |sql: &str| Statement::from_string(backend, sql.to_owned());
    let unreadable = |e: DbErr| match Error::from(e) {
        Error::Internal(message) => Error::Schema(format!(
            "the database cannot be read: {message}; is it a usher database, and whole? restore a backup"
        )),
        other => other,
    };
    if tx.inner.query_one_raw(statement(exists)).await.map_err(unreadable)?.is_none() {
        return Ok(Vec::new());
    }
    let rows = tx
        .inner
        .query_all_raw(statement("SELECT version FROM seaql_migrations ORDER BY version"))
        .await
        .map_err(unreadable)?;
    rows.iter().map(|row| row.try_get("", "version").map_err(Error::from)).collect()
}
