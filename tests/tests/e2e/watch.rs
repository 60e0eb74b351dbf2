//! WatchEvents: going on from a revision, starting from a snapshot, and what ends a stream.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};
use usher_tests::cast::{inviting, joining};
use usher_tests::pb::watch_events_request::Start;
use usher_tests::pb::watch_events_response::Content;
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, pb, refused};

use crate::changes::figures;
use crate::invite::invite;

both_engines!(
    a_follower_goes_on_where_it_stopped,
    a_snapshot_and_what_follows_are_the_account,
    a_revision_of_any_size_comes_whole,
    what_cannot_be_followed_is_said_at_once,
);

/// A change comes at once, or with the next look.
const MESSAGE_MAX: Duration = Duration::from_secs(30);

async fn watch(usher: &Usher, account: &str, start: Option<Start>) -> Streaming<pb::WatchEventsResponse> {
    let request = pb::WatchEventsRequest { account_id: account.to_owned(), start };
    usher.audit().watch_events(request).await.unwrap().into_inner()
}

/// The next message that is no heartbeat.
async fn next(stream: &mut Streaming<pb::WatchEventsResponse>) -> (i64, Content) {
    loop {
        let message = tokio::time::timeout(MESSAGE_MAX, stream.next()).await.expect("a message");
        let message = message.expect("the stream goes on").expect("no error");
        match message.content.expect("content") {
            Content::Heartbeat(_) => {}
            content => return (message.revision, content),
        }
    }
}

/// Reads changes until a revision; each with the kinds of its events.
async fn changes_to(
    stream: &mut Streaming<pb::WatchEventsResponse>,
    revision: i64,
) -> Vec<(i64, Vec<String>)> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(last, _)| *last < revision) {
        let (revision, Content::Changes(changes)) = next(stream).await else { panic!("no changes") };
        assert!(changes.events.iter().all(|event| event.revision == revision), "{changes:?}");
        seen.push((revision, changes.events.into_iter().map(|event| event.kind).collect()));
    }
    seen
}

async fn a_follower_goes_on_where_it_stopped(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (_, at) = figures(&usher, "acme").await;
    let mut stream = watch(&usher, "acme", Some(Start::AfterRevision(at))).await;
    invite(&usher, inviting("acme", Platform, "ivy@people.example", "reader")).await;
    usher.suspend_member("acme", &cast.member("reader")).await;
    let seen = changes_to(&mut stream, at + 2).await;
    let expected =
        [(at + 1, vec!["invitation.created".to_owned()]), (at + 2, vec!["member.suspended".to_owned()])];
    assert_eq!(seen, expected);
    drop(stream);
    // What happened while nobody followed comes first, once and in order.
    for user in ["uma", "ugo", "una"] {
        invite(&usher, joining("acme", Platform, user, "editor")).await;
    }
    let mut stream = watch(&usher, "acme", Some(Start::AfterRevision(at + 2))).await;
    let seen = changes_to(&mut stream, at + 5).await;
    assert_eq!(seen.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [at + 3, at + 4, at + 5]);
    // From the beginning it is the whole log.
    let mut stream = watch(&usher, "acme", Some(Start::AfterRevision(0))).await;
    let all = changes_to(&mut stream, at + 5).await;
    assert_eq!(
        all.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(),
        (1..=at + 5).collect::<Vec<_>>()
    );
    assert_eq!(all[0].1, ["account.created", "member.joined"]);
    drop(stream);
    usher.stop().await;
}

async fn a_snapshot_and_what_follows_are_the_account(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, at) = figures(&usher, "acme").await;
    let mut stream = watch(&usher, "acme", Some(Start::Snapshot(true))).await;
    let (revision, Content::Snapshot(snapshot)) = next(&mut stream).await else { panic!("no snapshot") };
    assert_eq!((revision, snapshot.last, snapshot.members.len()), (at, true, 5));
    assert_eq!(snapshot.account.unwrap().account_id, "acme");
    assert_eq!(snapshot.licenses.unwrap().active, 5);
    invite(&usher, joining("acme", Platform, "uma", "editor")).await;
    assert_eq!(changes_to(&mut stream, at + 1).await, [(at + 1, vec!["member.joined".to_owned()])]);
    drop(stream);
    usher.stop().await;
}

/// More events than one look takes: closing an account ends all of its invitations in one revision.
async fn a_revision_of_any_size_comes_whole(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", DATAIMPORTER, 1000).await;
    let invitations = 620;
    let calls = futures::stream::iter(0..invitations).map(|number| {
        let mut members = usher.members();
        let request = inviting("acme", Platform, &format!("p{number}@people.example"), "user");
        async move { members.invite_user(request).await.unwrap() }
    });
    futures::StreamExt::buffer_unordered(calls, 4).collect::<Vec<_>>().await;
    let (_, at) = figures(&usher, "acme").await;
    let mut stream = watch(&usher, "acme", Some(Start::AfterRevision(at))).await;
    usher.close_account("acme").await;
    let seen = changes_to(&mut stream, at + 1).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1.len(), invitations + 1);
    drop(stream);
    usher.stop().await;
}

async fn what_cannot_be_followed_is_said_at_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, at) = figures(&usher, "acme").await;
    let refuse = async |account: &str, start: Start, code: Code, reason: &str| {
        let request = pb::WatchEventsRequest { account_id: account.to_owned(), start: Some(start) };
        refused(usher.audit().watch_events(request).await, code, reason)
    };
    let ahead = Start::AfterRevision(at + 1);
    refuse("acme", ahead, Code::FailedPrecondition, "REVISION_IN_FUTURE").await;
    refuse("nowhere", Start::Snapshot(true), Code::NotFound, "ACCOUNT_UNKNOWN").await;
    refuse("acme", Start::AfterRevision(-1), Code::InvalidArgument, "INVALID_FIELD").await;
    refuse("acme", Start::Snapshot(false), Code::InvalidArgument, "INVALID_FIELD").await;
    // Without a start it follows from now on.
    let mut stream = watch(&usher, "acme", None).await;
    invite(&usher, joining("acme", Platform, "uma", "editor")).await;
    assert_eq!(changes_to(&mut stream, at + 1).await.len(), 1);
    drop(stream);
    usher.stop().await;
}
