//! Whether the database is there. A pool waits for seconds for a server that may only be starting; once
//! it is known to be away, calls are told so at once instead.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, Connection as _};
use tokio::sync::watch;

use crate::error::Error;
use crate::postgres::is_standby;
use crate::store::{ConnectOptions, Engine, Store};

/// How long a look at the server may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a ping through the pool may take; with it nobody waits for a silent network for ever.
const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// What a call still waits when the database is known to be away: enough if it just came back.
const AWAY_PATIENCE: Duration = Duration::from_millis(100);

/// Shared by all clones of a store.
#[derive(Clone)]
pub(crate) struct Presence(watch::Sender<bool>);

impl Presence {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(true))
    }

    fn is_away(&self) -> bool {
        !*self.0.borrow()
    }

    /// Returns whether that was not known.
    fn set(&self, is_there: bool) -> bool {
        self.0.send_if_modified(|known| std::mem::replace(known, is_there) != is_there)
    }

    /// Waits for the work, but not long while the database is known to be away.
    ///
    /// # Errors
    /// Those of the work; [`Error::Unavailable`].
    pub(crate) async fn patiently<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut there = self.0.subscribe();
        let away = async {
            // Fails only when the sender is gone, and `self` holds it.
            let _ = there.wait_for(|is_there| !is_there).await;
            tokio::time::sleep(AWAY_PATIENCE).await;
        };
        tokio::select! {
            biased;
            done = work => done,
            () = away => Err(Error::Unavailable("it is known to be away".into())),
        }
    }
}

impl Store {
    /// Whether the database answers, through the pool.
    ///
    /// # Errors
    /// When it does not, or not in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let connection = self.connection();
        let ping = connection.ping();
        let late = |_| Error::Unavailable("a ping took too long".into());
        tokio::time::timeout(PING_TIMEOUT, ping).await.map_err(late)?.map_err(Error::from)
    }

    /// Looks whether the server is there, past the pool, and remembers it for all calls. A pool that
    /// is merely busy does not count.
    pub async fn probe(&self) -> bool {
        let is_there = match self.engine() {
            Engine::Sqlite => true,
            Engine::Postgres => look(self.options()).await == Sight::There,
        };
        if is_there {
            self.is_there().await;
        } else {
            self.presence().set(false);
        }
        is_there
    }

    /// Whether the database is known to be away. Somebody must go on looking: see [`Store::probe`].
    pub fn is_known_away(&self) -> bool {
        self.presence().is_away()
    }

    /// The database has just answered somebody.
    pub async fn is_there(&self) {
        if self.presence().set(true) {
            self.renew_pool().await;
        }
    }
}

/// What a look at the server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    There,
    Standby,
    Away,
}

/// Looks at the server on a connection of its own.
pub(crate) async fn look(options: &ConnectOptions) -> Sight {
    let looked = tokio::time::timeout(PROBE_TIMEOUT, answer(options)).await;
    match looked {
        Ok(Ok(sight)) => sight,
        // Too many connections, perhaps; but not that it starts, stops, or recovers.
        Ok(Err(sqlx::Error::Database(error)))
            if !matches!(error.code().as_deref(), Some("57P01" | "57P02" | "57P03")) =>
        {
            Sight::There
        }
        Ok(Err(_)) | Err(_) => Sight::Away,
    }
}

async fn answer(options: &ConnectOptions) -> Result<Sight, sqlx::Error> {
    // A pooler does not know all parameters.
    let connect = PgConnectOptions::from_str(&options.url)?;
    let connect = connect.application_name("usher probe").extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&connect).await?;
    // A pooler that is merely busy would let the question wait.
    let is_standby = !options.pooler && is_standby(&mut connection).await?;
    connection.close().await?;
    Ok(if is_standby { Sight::Standby } else { Sight::There })
}
