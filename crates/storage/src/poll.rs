//! Watching which accounts change, for caches on several servers of one PostgreSQL.
//!
//! Each account's row carries the transaction that changed it last. A poll asks for the rows whose
//! transaction is not older than the oldest one that was still running at the poll before: a change
//! committed late, with an earlier number, is found all the same, which a sequence would miss.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, FromQueryResult, Statement};
use usher_domain::id::AccountId;

use crate::convert::account_id;
use crate::error::Error;
use crate::postgres;
use crate::store::{ConnectOptions, Store};

/// The channel on which writers wake pollers. What it carries is never trusted.
const CHANNEL: &str = "usher_changes";
/// How long connecting for polls may take, and for wakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a poll may take.
const POLL_TIMEOUT: Duration = Duration::from_millis(800);
/// How often in a row the changed rows may not come in that time.
const LATE_MAX: u32 = 3;
/// After so long without a wake the connection may be one that went silent, and is made anew.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a writer tries to wake the others.
const WAKE_TIMEOUT: Duration = Duration::from_millis(50);

/// The table's own number changes when a dump is restored over it.
const SNAPSHOT: &str = "\
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, \
pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax, \
(SELECT value FROM meta WHERE key = 'epoch') AS epoch, \
left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' ' || 'account'::regclass::oid AS history, \
pg_postmaster_start_time()::text AS start";

const CHANGED: &str = "SELECT id, revision, nonce, chg_xid FROM account WHERE chg_xid >= $1";

#[derive(FromQueryResult)]
struct SnapshotRow {
    xmin: i64,
    xmax: i64,
    epoch: Option<String>,
    history: String,
    start: String,
}

#[derive(FromQueryResult)]
struct ChangedRow {
    id: String,
    revision: i64,
    nonce: i64,
    chg_xid: i64,
}

/// An account that changed since the poll before, or not long before that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChangedAccount {
    pub id: AccountId,
    pub revision: i64,
    /// Drawn anew with each change: the same revision with another one is another history.
    pub nonce: i64,
}

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// The shared epoch; another one means that a backup was restored.
    pub epoch: String,
    /// The server's timeline and the tables themselves; others mean a failover or a restored dump.
    pub history: String,
    /// When the server started. Files may have been changed while it did not run.
    pub start: String,
    /// Its transactions count from lower than they did: the files are of an earlier time.
    pub went_back: bool,
    /// How many accounts carry numbers of transactions that are yet to come: a dump of another server,
    /// restored without a new epoch. They are found in every poll.
    pub foreign: usize,
    pub changed: Vec<ChangedAccount>,
}

/// Polls one PostgreSQL, on a connection of its own.
pub struct Poller {
    options: ConnectOptions,
    /// None after a poll that failed, whose connection may have fallen silent.
    connection: Option<DatabaseConnection>,
    /// Every transaction before this was over at the last successful poll.
    xmin: Option<i64>,
    /// How often, since then, the rows after that mark did not come in time.
    late: u32,
}

impl Poller {
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let options =
            ConnectOptions { connections_max: 1, acquire_timeout: CONNECT_TIMEOUT, ..options.clone() };
        let connection = Some(connect(&options).await?);
        Ok(Self { options, connection, xmin: None, late: 0 })
    }

    /// The changes since the last successful poll; the first one finds none and only sets the mark.
    ///
    /// # Errors
    /// When the server does not answer in time; then the mark stays where it was.
    pub async fn poll(&mut self) -> Result<Polled, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.options).await?,
        };
        let timed_out = |_| Error::Unavailable("a poll took too long".into());
        let polled =
            tokio::time::timeout(POLL_TIMEOUT, self.read(&connection)).await.map_err(timed_out)??;
        self.connection = Some(connection);
        Ok(polled)
    }

    /// Whether there is more after the mark than can be read in time. It only grows, so polls will not end well any
    /// more: a new poller, without a mark, must begin anew.
    pub fn cannot_catch_up(&self) -> bool {
        self.late >= LATE_MAX
    }

    async fn read(&mut self, connection: &DatabaseConnection) -> Result<Polled, Error> {
        let tx = postgres::begin(connection, false, self.options.pooler).await?;
        let snapshot = Statement::from_string(DbBackend::Postgres, SNAPSHOT);
        let snapshot = SnapshotRow::find_by_statement(snapshot).one(&tx).await?;
        let snapshot = snapshot.ok_or_else(|| Error::corrupt("snapshot", "none"))?;
        let changed = match self.xmin {
            Some(xmin) => {
                // Taken back below; a poll that takes too long does not come there.
                self.late += 1;
                let changed = Statement::from_sql_and_values(DbBackend::Postgres, CHANGED, [xmin.into()]);
                ChangedRow::find_by_statement(changed).all(&tx).await?
            }
            None => Vec::new(),
        };
        tx.commit().await?;
        let foreign = changed.iter().filter(|row| row.chg_xid >= snapshot.xmax).count();
        let changed: Result<_, Error> = changed
            .into_iter()
            .map(|row| {
                Ok(ChangedAccount { id: account_id(&row.id)?, revision: row.revision, nonce: row.nonce })
            })
            .collect();
        let changed = changed?;
        self.late = 0;
        let former = self.xmin.replace(snapshot.xmin);
        Ok(Polled {
            epoch: snapshot.epoch.unwrap_or_default(),
            history: snapshot.history,
            start: snapshot.start,
            went_back: former.is_some_and(|former| snapshot.xmin < former),
            foreign,
            changed,
        })
    }
}

async fn connect(options: &ConnectOptions) -> Result<DatabaseConnection, Error> {
    let mut options = postgres::pool_options(options);
    options.set_application_name("usher poller");
    Ok(Database::connect(options).await?)
}

/// Hears that somebody committed a change.
pub struct Wakes {
    listener: PgListener,
}

impl Wakes {
    /// # Errors
    /// When the server cannot be reached, or not in time.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let listen = async {
            let mut listener = PgListener::connect(&options.url).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sea_orm::sqlx::Error>(listener)
        };
        let late = |_| Error::Unavailable("connecting for wakes took too long".into());
        let listener = tokio::time::timeout(CONNECT_TIMEOUT, listen).await.map_err(late)?;
        Ok(Self { listener: listener.map_err(|e| Error::Unavailable(e.to_string()))? })
    }

    /// Waits for the next wake. Lost connections come as either of two results, and both only mean
    /// that wakes may have been missed.
    ///
    /// # Errors
    /// When the connection is lost, or was silent for long.
    pub async fn next(&mut self) -> Result<(), Error> {
        match tokio::time::timeout(SILENCE_MAX, self.listener.try_recv()).await {
            Ok(Ok(Some(_))) => Ok(()),
            Ok(Ok(None)) => Err(Error::Unavailable("the connection for wakes was lost".into())),
            Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
            Err(_) => Err(Error::Unavailable("the connection for wakes was silent".into())),
        }
    }
}

impl Store {
    /// Wakes the pollers of other servers, after a commit and apart from it: inside the transaction
    /// it would cost several times the throughput of writing. Best effort; polls find the change.
    pub async fn wake_others(&self) {
        let notify = format!("SELECT pg_notify('{CHANNEL}', '')");
        let connection = self.connection();
        let sent = connection.execute_unprepared(&notify);
        if !matches!(tokio::time::timeout(WAKE_TIMEOUT, sent).await, Ok(Ok(_))) {
            tracing::debug!("the others were not woken; they will poll");
        }
    }
}
