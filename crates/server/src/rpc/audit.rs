//! AuditService.

use std::pin::Pin;
use std::task::{Context, Poll};

use prost_types::value::Kind;
use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::event::{Facts, Stream};
use usher_storage::EventRow;

use super::convert::{account, licenses, member, subscription, timestamp};
use super::parse::{Parse, Parser, party};
use super::{Answer, Api, token_of};
use crate::app::App;
use crate::app::events::{Events, ListEvents, list_events};
use crate::app::watch_events::{self, Content, Start, WatchEvents, Watching, watch_events};
use crate::guard;

/// The most kinds of one filter.
const KINDS_MAX: usize = 50;

#[tonic::async_trait]
impl pb::audit_service_server::AuditService for Api {
    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        self.serve(&guard::LIST_EVENTS, request, list_events).await
    }

    type WatchEventsStream = Told;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Result<Response<Told>, Status> {
        self.serve(&guard::WATCH_EVENTS, request, watch_events).await
    }
}

/// What a follower is told, message by message.
pub struct Told {
    app: App,
    account: String,
    watching: Watching,
}

impl tokio_stream::Stream for Told {
    type Item = Result<pb::WatchEventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let told = std::task::ready!(self.watching.poll_recv(cx));
        Poll::Ready(told.map(|told| match told {
            Ok(told) => Ok(response(&self.app, &self.account, told)),
            Err(error) => Err(super::status::status(&error, &self.account)),
        }))
    }
}

impl Answer<Watching> for Told {
    fn answer(app: &App, account: &str, watching: Watching) -> Self {
        Self { app: app.clone(), account: account.to_owned(), watching }
    }
}

fn response(app: &App, account: &str, told: watch_events::Told) -> pb::WatchEventsResponse {
    use pb::watch_events_response::Content as Wire;
    let content = match told.content {
        Content::Heartbeat => Wire::Heartbeat(pb::Heartbeat {}),
        Content::Changes(events) => {
            Wire::Changes(pb::Changes { events: events.into_iter().map(event).collect() })
        }
        Content::Snapshot(part) => Wire::Snapshot(snapshot(*part)),
    };
    pb::WatchEventsResponse {
        revision: told.revision,
        consistency_token: token_of(app, account, told.revision),
        content: Some(content),
    }
}

fn snapshot(part: watch_events::Snapshot) -> pb::Snapshot {
    let mut told = pb::Snapshot {
        members: part.members.into_iter().map(member).collect(),
        last: part.last,
        ..Default::default()
    };
    if let Some((view, seats, bought)) = part.account {
        told.account = Some(account(view));
        told.licenses = Some(licenses(seats));
        told.subscription = Some(subscription(bought));
    }
    told
}

impl Parse for pb::WatchEventsRequest {
    type Command = WatchEvents;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<WatchEvents> {
        use pb::watch_events_request::Start as Wire;
        let account_id = parser.account(&self.account_id);
        let start = match self.start {
            None => Some(Start::Now),
            Some(Wire::AfterRevision(revision)) if revision < 0 => {
                parser.fail("after_revision", "is negative; 0 begins with the account's first event")
            }
            Some(Wire::AfterRevision(revision)) => Some(Start::After(revision)),
            Some(Wire::Snapshot(true)) => Some(Start::Snapshot),
            Some(Wire::Snapshot(false)) => parser.fail("snapshot", "can only be true; leave it out instead"),
        };
        Some(WatchEvents { account_id: account_id?, start: start? })
    }
}

impl Parse for pb::ListEventsRequest {
    type Command = ListEvents;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListEvents> {
        let read = parser.read(&self.account_id, party!(self.acting, list_events_request));
        let page = parser.page(self.page_size, &self.page_token);
        let start_time = parser.time("start_time", self.start_time);
        let end_time = parser.time("end_time", self.end_time);
        let by_actor_id = parser.user_opt("by_actor_id", &self.by_actor_id);
        let subject_id = parser.user_opt("subject_id", &self.subject_id);
        if self.kinds.len() > KINDS_MAX {
            return parser.fail("kinds", format!("holds more than {KINDS_MAX} kinds"));
        }
        let kinds = self.kinds.iter().enumerate();
        let kinds: Vec<_> =
            kinds.map(|(index, kind)| parser.word(&format!("kinds[{index}]"), kind)).collect();
        Some(ListEvents {
            read: read?,
            page: page?,
            start_time: start_time?,
            end_time: end_time?,
            by_actor_id: by_actor_id?.map(Into::into),
            kinds: kinds.into_iter().collect::<Option<_>>()?,
            subject_id: subject_id?.map(Into::into),
            oldest_first: self.oldest_first,
        })
    }
}

impl Answer<Events> for pb::ListEventsResponse {
    fn answer(app: &App, account: &str, read: Events) -> Self {
        Self {
            events: read.events.into_iter().map(event).collect(),
            next_page_token: read.next_page_token,
            revision: read.revision,
            consistency_token: token_of(app, account, read.revision),
        }
    }
}

/// An event with its personal facts, while they are there, beside the others.
fn event(row: EventRow) -> pb::Event {
    let EventRow { event, personal, hash } = row;
    let (Stream::Account(id) | Stream::User(id)) = event.stream;
    let operator = event.after.get("operator_id").and_then(|value| value.as_str()).map(str::to_owned);
    let acting = match (event.actor_id, operator) {
        (Some(actor), _) => pb::event::Acting::ActorId(actor),
        (None, Some(operator)) => pb::event::Acting::OperatorId(operator),
        (None, None) => pb::event::Acting::Platform(pb::Platform {}),
    };
    let mut after = event.after;
    after.extend(personal.map(|personal| personal.facts).unwrap_or_default());
    pb::Event {
        account_id: id,
        revision: event.revision,
        index: event.index,
        create_time: Some(timestamp(event.time)),
        kind: event.kind,
        caller: event.caller,
        acting: Some(acting),
        subject_id: event.subject_id,
        before: Some(fields(event.before)),
        after: Some(fields(after)),
        request_id: event.request_id,
        note: event.note,
        hash,
    }
}

fn fields(facts: Facts) -> prost_types::Struct {
    let field = |(name, value)| (name, prost_types::Value { kind: Some(kind(value)) });
    prost_types::Struct { fields: facts.into_iter().map(field).collect() }
}

/// Times stay whole: a number of a `Struct` is a double, which cannot hold every microsecond.
fn kind(value: serde_json::Value) -> Kind {
    match value {
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Number(value) => match value.as_f64() {
            Some(double) if double.abs() < 9e15 => Kind::NumberValue(double),
            _ => Kind::StringValue(value.to_string()),
        },
        other => Kind::StringValue(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use usher_domain::event::{Event, Personal};
    use usher_domain::time::Time;

    use super::*;
    use crate::app::events::wire_bytes;

    const TEXT: &str = "\\PC{0,300}";

    fn some_facts() -> impl Strategy<Value = Facts> {
        let value = prop_oneof![
            TEXT.prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            proptest::collection::vec(TEXT, 0..3).prop_map(serde_json::Value::from),
        ];
        proptest::collection::btree_map(prop_oneof![TEXT, Just("operator_id".to_owned())], value, 0..4)
    }

    prop_compose! {
        fn some_row()(
            texts in proptest::collection::vec(TEXT, 6),
            revision in any::<i64>(),
            index in any::<u32>(),
            actor_id in proptest::option::of(TEXT),
            before in some_facts(),
            after in some_facts(),
            personal in proptest::option::of(some_facts()),
        ) -> EventRow {
            let text = |at: usize| texts[at].clone();
            EventRow {
                event: Event {
                    stream: Stream::Account(text(0)),
                    revision,
                    index,
                    time: Time::MAX,
                    kind: text(1),
                    caller: text(2),
                    actor_id,
                    subject_id: text(3),
                    request_id: text(4),
                    note: text(5),
                    before,
                    after,
                    personal_commitment: String::new(),
                },
                personal: personal.map(|facts| Personal { salt: String::new(), facts }),
                hash: "0".repeat(64),
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_takes_no_more_than_it_is_counted_for(row in some_row()) {
            let counted = wire_bytes(&row);
            prop_assert!(event(row).encoded_len() <= counted);
        }
    }
}
