//! Connections to PostgreSQL: time limits, connections that fall silent, and poolers.
//!
//! Behind a pooler in transaction mode (PgBouncer) each transaction may be on another connection, which others
//! have used before. So nothing may be kept on a connection: time limits are set in each transaction, statements
//! are prepared anew in each, and none is executed outside of one, because it is prepared and executed in two
//! steps between which the connection may change.
//!
//! A standby answers reads of a moment ago, and nobody would notice: it is refused, at each connection, and behind a
//! pooler, which may be pointed to another server while connections to it live on, in each transaction.

use std::time::Duration;

use sea_orm::sqlx::{self, Connection as _, Row as _};
use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, IsolationLevel,
    TransactionOptions, TransactionTrait as _,
};

use crate::error::Error;
use crate::store::ConnectOptions;

/// What the server itself gives up after so many milliseconds. The first is how long a change waits for the
/// account's row before it is told to try again.
const TIMEOUTS_MS: [(&str, &str); 3] = [
    ("lock_timeout", "2000"),
    ("statement_timeout", "3000"),
    ("idle_in_transaction_session_timeout", "5000"),
];
/// How long a connection may take to prove that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A pool that gives up what is lost, on the server and here.
pub(crate) fn pool_options(options: &ConnectOptions) -> sea_orm::ConnectOptions {
    let mut connect = sea_orm::ConnectOptions::new(&options.url);
    connect
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .connect_timeout(options.acquire_timeout)
        // The max-lifetime path closes gracefully and without a time limit.
        .max_lifetime(None)
        .sqlx_logging(false)
        .set_application_name("usher");
    let pooler = options.pooler;
    connect.map_sqlx_postgres_opts(move |postgres| match pooler {
        false => postgres.options(TIMEOUTS_MS),
        // A pooler refuses parameters that it does not know.
        true => postgres.extra_float_digits(None).statement_cache_capacity(0),
    });
    // sqlx 0.9 returns a connection by a ping without a time limit and keeps the pool's permit
    // meanwhile; a silent network would leak every permit for good (transact-rs/sqlx#4349). An
    // error here closes the connection hard.
    connect.map_sqlx_postgres_pool_opts(move |pool| {
        pool.after_connect(move |connection, _| Box::pin(require_primary(connection, pooler)))
            .after_release(|connection, _| Box::pin(lives(connection)))
            // The same before use, even a moment later: a database that was restarted in between would fail the
            // call that comes first. sqlx's own test would wait for a dead one as long as a call may wait.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(lives(connection)))
    });
    connect.test_before_acquire(false);
    connect
}

/// A server that was a primary when a connection was made is one as long as the connection lives.
async fn require_primary(connection: &mut sqlx::PgConnection, pooler: bool) -> Result<(), sqlx::Error> {
    if !pooler && is_standby(connection).await? {
        return Err(sqlx::Error::Configuration("the server is a standby; name the primary".into()));
    }
    Ok(())
}

/// Whether the server repeats what another one does. Prepares nothing.
pub(crate) async fn is_standby(connection: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(connection).await?.try_get(0)
}

/// Whether the connection answers, soon.
async fn lives(connection: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Begins a transaction; one that does not write reads from one snapshot.
pub(crate) async fn begin(
    connection: &DatabaseConnection,
    write: bool,
    pooler: bool,
) -> Result<DatabaseTransaction, Error> {
    if pooler {
        let tx = connection.begin().await?;
        tx.execute_unprepared(&pooled_preamble(write)).await?;
        return Ok(tx);
    }
    let options = match write {
        true => TransactionOptions::default(),
        false => TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..Default::default()
        },
    };
    Ok(connection.begin_with_options(options).await?)
}

/// The first statements of a transaction behind a pooler, in one message that prepares none. Last, because it
/// counts as a query: statements that others have left behind go, for they have the names that ours will have.
fn pooled_preamble(write: bool) -> String {
    let mut sql = String::new();
    if !write {
        // A standby refuses the first; with it reads fail there as changes do.
        sql.push_str("SET TRANSACTION READ WRITE; ");
        sql.push_str("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; ");
    }
    for (name, limit) in TIMEOUTS_MS {
        sql.push_str(&format!("SET LOCAL {name} = {limit}; "));
    }
    sql + "DEALLOCATE ALL"
}
