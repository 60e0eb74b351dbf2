//! The audit log: appended in the transaction of the change, chained within its stream.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect};
use usher_domain::event::{Event, Facts, Personal, Stream};
use usher_domain::time::Time;

use crate::bulk::insert_all;
use crate::convert::{from_json, json, time};
use crate::entity::event;
use crate::error::Error;
use crate::store::Tx;

/// An event with the part that can be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub event: Event,
    pub personal: Option<Personal>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub event: Event,
    /// `None` when there never was any, or the person was erased.
    pub personal: Option<Personal>,
    pub hash: String,
}

/// Which events a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Not before.
    pub start_time: Option<Time>,
    /// Before.
    pub end_time: Option<Time>,
    pub actor_id: Option<String>,
    /// A whole kind, or its part before the dot.
    pub kinds: Vec<String>,
    pub subject_id: Option<String>,
    /// The newest first.
    pub descending: bool,
}

impl Tx {
    /// Appends the events of one change after the hash `previous`, and returns the newest hash.
    ///
    /// # Errors
    /// [`Error::Exists`] when the stream already has the revision, which the account's lock rules
    /// out.
    pub async fn event_append(&self, previous: &str, events: &[NewEvent]) -> Result<String, Error> {
        let (rows, hash) = rows(previous, events)?;
        insert_all(self, rows).await?;
        Ok(hash)
    }

    /// Begins many streams with one event each, and returns their hashes in the same order.
    ///
    /// # Errors
    /// [`Error::Exists`] when a stream has begun already.
    pub async fn event_begin(&self, events: &[NewEvent]) -> Result<Vec<String>, Error> {
        let hashes: Vec<String> = events.iter().map(|new| new.event.hash("")).collect();
        let rows = events.iter().zip(&hashes).map(|(new, hash)| to_row(new, hash.clone()));
        insert_all(self, rows.collect::<Result<_, _>>()?).await?;
        Ok(hashes)
    }

    /// A page of a stream in its order, after the given (revision, index).
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn event_list(
        &self,
        stream: &Stream,
        filter: &EventFilter,
        after: Option<(i64, u32)>,
        limit: u32,
    ) -> Result<Vec<EventRow>, Error> {
        use sea_orm::sea_query::{Condition, ExprTrait as _};
        let (kind, id) = stream_key(stream);
        let mut query = event::Entity::find()
            .filter(event::Column::StreamKind.eq(kind))
            .filter(event::Column::StreamId.eq(id));
        if let Some(start) = filter.start_time {
            query = query.filter(event::Column::Time.gte(start.micros()));
        }
        if let Some(end) = filter.end_time {
            query = query.filter(event::Column::Time.lt(end.micros()));
        }
        if let Some(actor) = &filter.actor_id {
            query = query.filter(event::Column::ActorId.eq(actor));
        }
        if let Some(subject) = &filter.subject_id {
            query = query.filter(event::Column::SubjectId.eq(subject));
        }
        if !filter.kinds.is_empty() {
            query = query.filter(filter.kinds.iter().fold(Condition::any(), |any, kind| {
                let whole = event::Column::Kind.eq(kind);
                if kind.contains('.') {
                    any.add(whole)
                } else {
                    any.add(event::Column::Kind.starts_with(format!("{kind}.")))
                }
            }));
        }
        if let Some((revision, index)) = after {
            use event::Column::{Idx, Revision};
            // The bound says again what follows from the rest, in a form in which the index begins there: a follower
            // looks every other second, and must not walk the whole log each time.
            let (bound, later, same) = if filter.descending {
                (Revision.lte(revision), Revision.lt(revision), Revision.eq(revision).and(Idx.lt(index)))
            } else {
                (Revision.gte(revision), Revision.gt(revision), Revision.eq(revision).and(Idx.gt(index)))
            };
            query = query.filter(bound).filter(Condition::any().add(later).add(same));
        }
        let order = if filter.descending { Order::Desc } else { Order::Asc };
        query
            .order_by(event::Column::Revision, order.clone())
            .order_by(event::Column::Idx, order)
            .limit(u64::from(limit))
            .all(&self.inner)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

/// The rows of events that follow the hash `previous`, and the newest hash.
pub(crate) fn rows(previous: &str, events: &[NewEvent]) -> Result<(Vec<event::ActiveModel>, String), Error> {
    let mut hash = previous.to_owned();
    let mut rows = Vec::with_capacity(events.len());
    for new in events {
        hash = new.event.hash(&hash);
        rows.push(to_row(new, hash.clone())?);
    }
    Ok((rows, hash))
}

fn to_row(NewEvent { event, personal }: &NewEvent, hash: String) -> Result<event::ActiveModel, Error> {
    let (stream_kind, stream_id) = stream_key(&event.stream);
    Ok(event::ActiveModel {
        stream_kind: Set(stream_kind),
        stream_id: Set(stream_id.to_owned()),
        revision: Set(event.revision),
        idx: Set(i64::from(event.index)),
        time: Set(event.time.micros()),
        kind: Set(event.kind.clone()),
        caller: Set(event.caller.clone()),
        actor_id: Set(event.actor_id.clone()),
        subject_id: Set(event.subject_id.clone()),
        request_id: Set(event.request_id.clone()),
        note: Set(event.note.clone()),
        before_facts: Set(json(&event.before)?),
        after_facts: Set(json(&event.after)?),
        personal: Set(personal.as_ref().map(json).transpose()?),
        personal_commitment: Set(event.personal_commitment.clone()),
        hash: Set(hash),
    })
}

pub(crate) fn stream_key(stream: &Stream) -> (i16, &str) {
    match stream {
        Stream::Account(id) => (0, id),
        Stream::User(id) => (1, id),
    }
}

pub(crate) fn from_row(row: event::Model) -> Result<EventRow, Error> {
    let stream = match row.stream_kind {
        0 => Stream::Account(row.stream_id),
        1 => Stream::User(row.stream_id),
        other => return Err(Error::corrupt("stream kind", other)),
    };
    let before: Facts = from_json("event", &row.before_facts)?;
    let after: Facts = from_json("event", &row.after_facts)?;
    Ok(EventRow {
        event: Event {
            stream,
            revision: row.revision,
            index: crate::convert::count(row.idx)?,
            time: time(row.time),
            kind: row.kind,
            caller: row.caller,
            actor_id: row.actor_id,
            subject_id: row.subject_id,
            request_id: row.request_id,
            note: row.note,
            before,
            after,
            personal_commitment: row.personal_commitment,
        },
        personal: row.personal.as_deref().map(|text| from_json("event", text)).transpose()?,
        hash: row.hash,
    })
}
