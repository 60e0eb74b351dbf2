//! Figures over all accounts, for those who operate the server.

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, Statement,
};
use usher_domain::time::Time;

use crate::entity::{account, invitation, member};
use crate::error::Error;
use crate::store::{Engine, Store, Tx};

/// The connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    pub used: u32,
    pub idle: u32,
    pub max: u32,
}

/// Seats of all accounts that are not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeatTotals {
    /// Without those of accounts that may have any number.
    pub purchased: u64,
    pub active: u64,
    pub reserved: u64,
}

impl Store {
    /// What time the database has.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn time(&self) -> Result<Time, Error> {
        let sql = match self.engine() {
            Engine::Postgres => {
                "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now"
            }
            Engine::Sqlite => "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now",
        };
        let statement = Statement::from_string(self.backend(), sql);
        let read = async |tx: &Tx| Ok::<_, Error>(tx.inner.query_one_raw(statement).await?);
        let row = self.read(read).await?.ok_or_else(|| Error::corrupt("time", "none"))?;
        Ok(Time::from_micros(row.try_get("", "now").map_err(Error::from)?))
    }

    pub fn pool_figures(&self) -> PoolFigures {
        let connection = self.connection();
        let (size, idle, max) = match self.engine() {
            Engine::Postgres => {
                let pool = connection.get_postgres_connection_pool();
                (pool.size(), pool.num_idle(), pool.options().get_max_connections())
            }
            Engine::Sqlite => {
                let pool = connection.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle(), pool.options().get_max_connections())
            }
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        PoolFigures { used: size - idle, idle, max }
    }
}

impl Tx {
    /// Reads every member: not for every second.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn seat_totals(&self, now: Time) -> Result<SeatTotals, Error> {
        let open = || {
            Query::select()
                .column(account::Column::Id)
                .from(account::Entity)
                .and_where(account::Column::State.ne("closed"))
                .to_owned()
        };
        let purchased: Option<Option<i64>> = account::Entity::find()
            .filter(account::Column::State.ne("closed"))
            .select_only()
            // PostgreSQL adds up to another type.
            .column_as(Expr::cust("CAST(SUM(purchased) AS BIGINT)"), "purchased")
            .into_tuple()
            .one(&self.inner)
            .await?;
        let active = member::Entity::find()
            .filter(member::Column::Seat.eq(true))
            .filter(member::Column::AccountId.in_subquery(open()))
            .count(&self.inner)
            .await?;
        let reserved = invitation::Entity::find()
            .filter(invitation::Column::State.eq("pending"))
            .filter(invitation::Column::UsesSeat.eq(true))
            .filter(invitation::Column::ExpireTime.gt(now.micros()))
            .filter(invitation::Column::AccountId.in_subquery(open()))
            .count(&self.inner)
            .await?;
        let purchased = u64::try_from(purchased.flatten().unwrap_or(0)).unwrap_or(0);
        Ok(SeatTotals { purchased, active, reserved })
    }
}
