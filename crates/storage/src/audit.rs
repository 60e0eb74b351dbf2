//! The log as whoever verifies it reads it: every row in order, also those that no longer parse, and
//! what accounts and users say is their newest.

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use usher_domain::event::Stream;

use crate::entity::{account, event, user};
use crate::error::Error;
use crate::event::{EventRow, from_row, stream_key};
use crate::store::Tx;

/// Where an event stands in the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPlace {
    pub stream: Stream,
    pub revision: i64,
    pub index: i64,
}

/// A row of the log, and the event if it can be read.
#[derive(Debug)]
pub struct AuditRow {
    pub place: EventPlace,
    pub kind: String,
    pub event: Result<EventRow, Error>,
}

/// What an account or a user says of its newest event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    pub stream: Stream,
    pub revision: i64,
    pub hash: String,
}

impl Tx {
    /// A page of the log after a place, stream by stream: of all, or of one stream.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn audit_rows(
        &self,
        only: Option<&Stream>,
        after: Option<&EventPlace>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, Error> {
        use event::Column::{Idx, Revision, StreamId, StreamKind};
        let mut query = event::Entity::find();
        if let Some(stream) = only {
            let (kind, id) = stream_key(stream);
            query = query.filter(StreamKind.eq(kind)).filter(StreamId.eq(id));
        }
        if let Some(after) = after {
            let (kind, id) = stream_key(&after.stream);
            let columns = Expr::tuple([StreamKind, StreamId, Revision, Idx].map(Expr::col));
            let place = [Expr::val(kind), Expr::val(id), Expr::val(after.revision), Expr::val(after.index)];
            query = query.filter(columns.gt(Expr::tuple(place)));
        }
        let rows = query
            .order_by_asc(StreamKind)
            .order_by_asc(StreamId)
            .order_by_asc(Revision)
            .order_by_asc(Idx)
            .limit(u64::from(limit))
            .all(&self.inner)
            .await?;
        Ok(rows.into_iter().map(audit_row).collect())
    }

    /// The newest events of all accounts and users, by their own word.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, Error> {
        let accounts: Vec<(String, i64, String)> = account::Entity::find()
            .select_only()
            .columns([account::Column::Id, account::Column::Revision, account::Column::EventHash])
            .into_tuple()
            .all(&self.inner)
            .await?;
        let users: Vec<(String, i64, String)> = user::Entity::find()
            .select_only()
            .columns([user::Column::Id, user::Column::Revision, user::Column::EventHash])
            .into_tuple()
            .all(&self.inner)
            .await?;
        let head = |stream, revision, hash| AuditHead { stream, revision, hash };
        let accounts =
            accounts.into_iter().map(|(id, revision, hash)| head(Stream::Account(id), revision, hash));
        let users = users.into_iter().map(|(id, revision, hash)| head(Stream::User(id), revision, hash));
        Ok(accounts.chain(users).collect())
    }
}

fn audit_row(row: event::Model) -> AuditRow {
    let stream = match row.stream_kind {
        0 => Stream::Account(row.stream_id.clone()),
        _ => Stream::User(row.stream_id.clone()),
    };
    let place = EventPlace { stream, revision: row.revision, index: row.idx };
    AuditRow { place, kind: row.kind.clone(), event: from_row(row) }
}
