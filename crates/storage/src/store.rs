//! The pool, and transactions as closures: `Ok` commits, `Err` rolls back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use sea_orm::{
    Database, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, sqlx,
};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::presence::{Presence, Sight, look};
use crate::{migration, postgres};

const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the transactions that are in hand in a pool which was replaced may take to end.
const FORMER_POOL_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Where the data is and how many connections may go there.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `sqlite:PATH` (the file is made if it is not there), `sqlite::memory:`, or
    /// `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub url: String,
    pub connections_max: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// Whether PostgreSQL is behind a pooler that gives each transaction any of its connections.
    pub pooler: bool,
}

impl ConnectOptions {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connections_max: 10, acquire_timeout: Duration::from_secs(4), pooler: false }
    }
}

/// A pool of connections to the one database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Another one after an outage; see [`Store::renew_pool`].
    pool: Arc<RwLock<DatabaseConnection>>,
    engine: Engine,
    options: Arc<ConnectOptions>,
    presence: Presence,
    transaction_max: Arc<OnceLock<Duration>>,
    /// SQLite has one writer at a time; waiting here is fair, waiting in SQLite is not.
    write_turn: Option<Arc<Semaphore>>,
    /// Held as long as the store lives: no second process may use the SQLite file, because caches
    /// are kept right from inside this one.
    _file_lock: Option<Arc<File>>,
}

impl Store {
    /// Connects, without looking at the schema; see [`Store::migrate`] and [`Store::require_current`].
    ///
    /// # Errors
    /// When the URL is of no known kind, the file is locked by another process or cannot be
    /// written, or the server cannot be reached.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let url = options.url.as_str();
        if url.starts_with("sqlite:") {
            sqlite(options).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            postgres(options).await
        } else {
            Err(Error::Schema(
                "the database url must start with `sqlite:` or `postgres://`; set `database.url`".into(),
            ))
        }
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Brings the schema up to date, one process at a time.
    ///
    /// # Errors
    /// When a migration fails, or the database was migrated by a newer program.
    pub async fn migrate(&self) -> Result<(), Error> {
        let tx = self.begin(true).await?;
        migration::up(&tx).await?;
        tx.inner.commit().await.map_err(Error::from)
    }

    /// The names of migrations that are not applied yet.
    ///
    /// # Errors
    /// When the database was migrated by a newer program that this one does not fit, or holds no
    /// readable schema.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, Error> {
        migration::pending(&self.begin(false).await?).await
    }

    /// The names of migrations that a newer program has made and that this one fits all the same.
    ///
    /// # Errors
    /// As [`Store::pending_migrations`].
    pub async fn newer_migrations(&self) -> Result<Vec<String>, Error> {
        migration::newer(&self.begin(false).await?).await
    }

    /// Does the work in one transaction: `Ok` commits, `Err` rolls back, and so does dropping the
    /// future. Lock the account first; a lost race is [`Error::Contention`] and is not retried here.
    ///
    /// # Errors
    /// Those of the work, and the store's own. [`Error::CommitUnknown`] when the connection broke
    /// while committing.
    pub async fn write<T: Send, E: From<Error> + Send>(
        &self,
        work: impl AsyncFnOnce(&Tx) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let _turn = match &self.write_turn {
            Some(turn) => {
                Some(turn.clone().acquire_owned().await.map_err(|e| Error::Internal(e.to_string()))?)
            }
            None => None,
        };
        let tx = self.begin(true).await?;
        let result = self.in_time(work(&tx)).await?;
        let commit = async { tx.inner.commit().await.map_err(|e| Error::CommitUnknown(e.to_string())) };
        match self.transaction_max.get() {
            // SQLite has no network that goes silent, and who stopped waiting for a slow disk would not learn that the
            // change was made after all: nobody else tells.
            None => commit.await?,
            Some(_) if self.engine == Engine::Sqlite => commit.await?,
            Some(limit) => {
                let late = |_| Error::CommitUnknown("it took too long".into());
                tokio::time::timeout(*limit, commit).await.map_err(late)??;
            }
        }
        Ok(result)
    }

    /// From now on no transaction of this store may take longer, but for commits of SQLite: when the network
    /// goes silent the server's own time limits are of no help, and a connection that waits would be lost to
    /// the pool.
    pub fn limit_transactions(&self, limit: Duration) {
        // The first one to say so is the only one.
        let _ = self.transaction_max.set(limit);
    }

    async fn in_time<T, E: From<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match self.transaction_max.get() {
            None => work.await,
            Some(limit) => {
                let late = |_| Error::Unavailable("a transaction took too long".into());
                tokio::time::timeout(*limit, work).await.map_err(late)?
            }
        }
    }

    /// Reads from one snapshot.
    ///
    /// # Errors
    /// Those of the work, and the store's own.
    pub async fn read<T: Send, E: From<Error> + Send>(
        &self,
        work: impl AsyncFnOnce(&Tx) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let tx = self.begin(false).await?;
        let result = self.in_time(work(&tx)).await?;
        self.in_time(async { tx.inner.commit().await.map_err(Error::from) }).await?;
        Ok(result)
    }

    async fn begin(&self, write: bool) -> Result<Tx, Error> {
        let connection = self.connection();
        let begin = async {
            match self.engine {
                Engine::Postgres => postgres::begin(&connection, write, self.options.pooler).await,
                Engine::Sqlite => {
                    let sqlite_transaction_mode = write.then_some(SqliteTransactionMode::Immediate);
                    let options = TransactionOptions { sqlite_transaction_mode, ..Default::default() };
                    Ok(connection.begin_with_options(options).await?)
                }
            }
        };
        let inner = self.presence.patiently(self.in_time(begin)).await?;
        Ok(Tx { inner, engine: self.engine })
    }

    pub(crate) fn connection(&self) -> DatabaseConnection {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.connection().get_database_backend()
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Goes on with a new pool, after an outage: the one that went through it may have lost connections for
    /// good. sqlx tests each that comes back, without a time limit and after the test that
    /// [`postgres::pool_options`] adds, so one that falls silent between the two keeps its permit.
    pub(crate) async fn renew_pool(&self) {
        let mut options = postgres::pool_options(&self.options);
        options.connect_lazy(true);
        let Ok(renewed) = Database::connect(options).await else { return };
        let former = {
            let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *pool, renewed)
        };
        tokio::spawn(tokio::time::timeout(FORMER_POOL_MAX, former.close()));
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    pub async fn close(self) {
        // Nothing can be done about a connection that does not close; the process is ending.
        let _ = self.connection().close().await;
    }
}

/// One transaction. Queries are in the files of their nouns.
pub struct Tx {
    pub(crate) inner: DatabaseTransaction,
    pub(crate) engine: Engine,
}

async fn sqlite(options: &ConnectOptions) -> Result<Store, Error> {
    let memory = options.url.contains(":memory:");
    let file_lock = if memory { None } else { Some(Arc::new(lock_file(&path_of(&options.url))?)) };
    let mut connect = sea_orm::ConnectOptions::new(&options.url);
    // An in-memory database lives in its one connection.
    connect.max_connections(if memory { 1 } else { options.connections_max.min(4) });
    connect.acquire_timeout(options.acquire_timeout.max(SQLITE_BUSY_TIMEOUT));
    connect.idle_timeout(None).max_lifetime(None).sqlx_logging(false);
    connect.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            // FULL: an acknowledged change survives the loss of power, not only of the process.
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
    });
    let connection = Database::connect(connect).await.map_err(|e| {
        Error::Unavailable(format!("cannot open `{}`: {e}; is it a writable SQLite database?", options.url))
    })?;
    Ok(Store {
        pool: Arc::new(RwLock::new(connection)),
        engine: Engine::Sqlite,
        options: Arc::new(options.clone()),
        presence: Presence::new(),
        transaction_max: Arc::default(),
        write_turn: Some(Arc::new(Semaphore::new(1))),
        _file_lock: file_lock,
    })
}

fn path_of(url: &str) -> PathBuf {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    PathBuf::from(path.split('?').next().unwrap_or(path))
}

fn lock_file(database: &Path) -> Result<File, Error> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let file =
        File::options().create(true).write(true).truncate(false).open(&path).map_err(|e| {
            Error::Unavailable(format!("cannot write `{}`: {e}", PathBuf::from(&path).display()))
        })?;
    file.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => Error::InUse(database.display().to_string()),
        std::fs::TryLockError::Error(e) => {
            Error::Unavailable(format!("cannot lock `{}`: {e}", PathBuf::from(&path).display()))
        }
    })?;
    Ok(file)
}

async fn postgres(options: &ConnectOptions) -> Result<Store, Error> {
    let connection = match Database::connect(postgres::pool_options(options)).await {
        Ok(connection) => connection,
        Err(e) => {
            let hint = match e.to_string().contains("unsupported startup parameter") {
                true => "it is a pooler: set `database.pooler`",
                false if look(options).await == Sight::Standby => {
                    "it is a standby: name the primary in `database.url`"
                }
                false => "check `database.url`",
            };
            return Err(Error::Unavailable(format!("cannot connect to PostgreSQL: {e}; {hint}")));
        }
    };
    Ok(Store {
        pool: Arc::new(RwLock::new(connection)),
        engine: Engine::Postgres,
        options: Arc::new(options.clone()),
        presence: Presence::new(),
        transaction_max: Arc::default(),
        write_turn: None,
        _file_lock: None,
    })
}
