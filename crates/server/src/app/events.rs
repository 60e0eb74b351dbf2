//! Reading an account's audit log.

use usher_domain::caller::Caller;
use usher_domain::event::Stream;
use usher_domain::time::Time;
use usher_storage::{EventFilter, EventRow, Tx};

use super::App;
use super::access::Access;
use super::members::{Page, Read};
use crate::error::Error;

#[derive(Debug, Clone)]
pub struct ListEvents {
    pub read: Read,
    pub page: Page,
    pub start_time: Option<Time>,
    pub end_time: Option<Time>,
    pub by_actor_id: Option<String>,
    pub kinds: Vec<String>,
    pub subject_id: Option<String>,
    pub oldest_first: bool,
}

pub struct Events {
    pub events: Vec<EventRow>,
    pub next_page_token: String,
    pub revision: i64,
}

/// # Errors
/// See the contract's `ListEvents`.
pub async fn list_events(app: App, _caller: Caller, command: ListEvents) -> Result<Events, Error> {
    let filter = EventFilter {
        start_time: command.start_time,
        end_time: command.end_time,
        actor_id: command.by_actor_id.clone(),
        kinds: command.kinds.clone(),
        subject_id: command.subject_id.clone(),
        descending: !command.oldest_first,
    };
    let bound = format!("events {} {:?} {filter:?}", command.read.account_id, command.read.acting);
    let after = app.page_tokens.read::<2>(&bound, &command.page.token)?.map(place).transpose()?;
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.read.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.read.acting).await?;
            access.require("audit.view")?;
            let stream = Stream::Account(access.account.id.to_string());
            let size = command.page.size;
            let mut events = tx.event_list(&stream, &filter, after, size + 1).await?;
            let fitting = fitting(&events, app.choices.answer_bytes).min(size as usize);
            let more = events.len() > fitting;
            events.truncate(fitting);
            let next = events.last().filter(|_| more).map(|last| {
                let place = [last.event.revision.to_string(), last.event.index.to_string()];
                app.page_tokens.make(&bound, &place)
            });
            let next_page_token = next.unwrap_or_default();
            Ok(Events { events, next_page_token, revision: access.account.revision })
        })
        .await
}

/// How many of the events fit into one answer, beside the rest of it; at least one.
fn fitting(events: &[EventRow], answer_bytes: usize) -> usize {
    let sums = events.iter().scan(0, |sum, row| {
        *sum += wire_bytes(row);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= answer_bytes / 4 * 3).count().max(1)
}

/// No less than an event takes on the wire.
pub(crate) fn wire_bytes(EventRow { event, personal, hash }: &EventRow) -> usize {
    /// Numbers, times, and what tells fields apart.
    const EVENT: usize = 192;
    const FACT: usize = 40;
    let (Stream::Account(id) | Stream::User(id)) = &event.stream;
    let operator = event.after.get("operator_id").map(text_bytes);
    let actor = event.actor_id.as_ref().map(String::len).or(operator).unwrap_or_default();
    let texts = [id, &event.kind, &event.caller, &event.subject_id, &event.request_id, &event.note, hash];
    let facts = event.before.iter().chain(&event.after).chain(personal.iter().flat_map(|own| &own.facts));
    let facts = facts.map(|(name, value)| FACT + name.len() + text_bytes(value));
    EVENT + actor + texts.into_iter().map(String::len).sum::<usize>() + facts.sum::<usize>()
}

fn text_bytes(value: &serde_json::Value) -> usize {
    value.as_str().map_or_else(|| value.to_string().len(), str::len)
}

fn place([revision, index]: [String; 2]) -> Result<(i64, u32), Error> {
    revision.parse().ok().zip(index.parse().ok()).ok_or(Error::PageTokenInvalid)
}
