//! What can go wrong in the store, as its users need to tell it apart.

use sea_orm::sqlx;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or did not answer in time. Nothing was written.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The SQLite file belongs to another process, which must be the only one.
    #[error("another usher process uses `{0}`; stop it, or use PostgreSQL to run several")]
    InUse(String),
    /// Somebody else held what this needed. Nothing was written; trying again helps.
    #[error("another change was in the way: {0}")]
    Contention(String),
    /// The connection broke while committing: it may or may not have happened.
    #[error("the connection broke while committing: {0}")]
    CommitUnknown(String),
    /// A unique key is taken.
    #[error("it exists already: {0}")]
    Exists(String),
    /// A row holds what this version cannot read.
    #[error("a stored value cannot be read: {0}")]
    Corrupt(String),
    /// The database does not fit this program.
    #[error("{0}")]
    Schema(String),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn corrupt(what: &str, value: impl std::fmt::Display) -> Self {
        Self::Corrupt(format!("{what} `{value}`"))
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return Self::Unavailable(error.to_string()),
            DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => {
                if let Some(known) = from_sqlx(e) {
                    return known;
                }
            }
            _ => {}
        }
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(message)) => Self::Exists(message),
            _ => Self::Internal(error.to_string()),
        }
    }
}

fn from_sqlx(error: &sqlx::Error) -> Option<Error> {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Some(Error::Unavailable(error.to_string())),
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // serialization failure, deadlock, lock not available (lock_timeout)
            Some("40001" | "40P01" | "55P03") => Some(Error::Contention(database.to_string())),
            // query cancelled by statement_timeout, admin shutdown, crash shutdown, cannot connect now, idle
            // session, idle in transaction
            Some("57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03") => {
                Some(Error::Unavailable(database.to_string()))
            }
            // The classes of lost connections, of lacking resources and of the system: so a pooler speaks that does not
            // reach its server.
            Some(code)
                if code.len() == 5 && ["08", "53", "58"].iter().any(|class| code.starts_with(class)) =>
            {
                Some(Error::Unavailable(database.to_string()))
            }
            // read-only transaction; what a standby does not support, as nothing else here is unsupported
            Some("25006" | "0A000") => {
                Some(Error::Unavailable(format!("it is a standby, or read-only: {database}")))
            }
            // SQLite: busy and locked, with their extended codes
            Some(code) if code.parse::<u32>().is_ok_and(|n| n < 10_000 && matches!(n & 0xff, 5 | 6)) => {
                Some(Error::Contention(database.to_string()))
            }
            _ => None,
        },
        _ => None,
    }
}
