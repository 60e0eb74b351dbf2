//! WatchEvents: going on from a revision, starting from a snapshot, and what ends a stream.

use std::time::Duration;

use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use usher_tests::cast::{self, inviting, joining};
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::watch_events_request::Start;
use usher_tests::pb::watch_events_response::Content;
use usher_tests::process::usher;
use usher_tests::{
    DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Process, Refused, Usher, acting, both_engines, pb, refused,
};

use crate::changes::figures;
use crate::invite::invite;

both_engines!(
    a_follower_goes_on_where_it_stopped,
    a_snapshot_and_what_follows_are_the_account,
    a_snapshot_in_parts_has_every_member_once,
    a_revision_of_any_size_comes_whole,
    what_cannot_be_followed_is_said_at_once,
    a_follower_far_behind_is_sent_to_a_snapshot,
    readers_that_take_nothing_are_cut_and_cost_little,
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

/// Reads changes until a revision; each, from however many messages, with the kinds of its events.
async fn changes_to(
    stream: &mut Streaming<pb::WatchEventsResponse>,
    revision: i64,
) -> Vec<(i64, Vec<String>)> {
    let (mut seen, mut begun) = (Vec::new(), Vec::new());
    while seen.last().is_none_or(|(last, _)| *last < revision) {
        let (complete, Content::Changes(changes)) = next(stream).await else { panic!("no changes") };
        let revision = changes.events[0].revision;
        for event in changes.events {
            assert_eq!((event.revision, event.index as usize), (revision, begun.len()));
            begun.push(event.kind);
        }
        if complete == revision {
            seen.push((revision, std::mem::take(&mut begun)));
        } else {
            assert_eq!(complete, revision - 1, "it is not complete before its last message");
        }
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

/// More members than wait for a reader, so that some parts are read only after addresses have changed places.
const MANY: u32 = 12_000;

async fn a_snapshot_in_parts_has_every_member_once(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    for arguments in [&["migrate"][..], &["load-demo", "--accounts", "1", "--members", &MANY.to_string()]] {
        let output = usher(&[arguments, &["--database-url", &database.url]].concat());
        assert!(output.status.success(), "{output:?}");
    }
    let server = Process::serve(&database.url, directory.path());
    let start = Some(Start::Snapshot(true));
    let request = pb::WatchEventsRequest { account_id: "demo-1".to_owned(), start };
    let reader = narrow(&server.url).await;
    let mut stream = AuditServiceClient::new(reader).watch_events(request).await.unwrap().into_inner();
    let (at, Content::Snapshot(mut part)) = next(&mut stream).await else { panic!("no snapshot") };
    let mut seen: Vec<String> = part.members.iter().map(|member| member.user_id.clone()).collect();
    // The first of the first part goes to the end, and one of the last part to the beginning.
    let last = format!("demo-1-u{}", MANY - 1);
    assert!(!part.last && !seen.contains(&last));
    let mut members = MemberServiceClient::new(channel(&server.url).await);
    for (user, email) in [(&seen[0], "zzz@people.example"), (&last, "aaa@people.example")] {
        let request = pb::UpdateMemberRequest {
            account_id: "demo-1".to_owned(),
            acting: Some(pb::update_member_request::Acting::Platform(pb::Platform {})),
            user_id: user.clone(),
            email: Some(email.to_owned()),
            ..Default::default()
        };
        members.update_member(request).await.unwrap();
    }
    while !part.last {
        let (revision, Content::Snapshot(more)) = next(&mut stream).await else { panic!("no snapshot") };
        assert_eq!(revision, at);
        seen.extend(more.members.iter().map(|member| member.user_id.clone()));
        part = more;
    }
    let mut expected: Vec<String> = (1..=MANY).map(|number| format!("demo-1-u{number}")).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert!(seen == expected, "{} members in all parts", seen.len());
    assert_eq!(changes_to(&mut stream, at + 2).await.len(), 2);
}

/// More events than one look takes, and more than one message may: closing an account ends all of its invitations
/// in one revision, each with the note.
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
    let note = "𝄞".repeat(500);
    let request = pb::CloseAccountRequest { account_id: "acme".to_owned(), note, ..Default::default() };
    usher.accounts().close_account(request).await.unwrap();
    let seen = changes_to(&mut stream, at + 1).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1.len(), invitations + 1);
    // Nobody follows a closed account; this one only served to make a large revision.
    usher.database.execute("UPDATE account SET state = 'active' WHERE id = 'acme'");
    // Who is cut off within it goes on after what they were complete for, and gets it whole again.
    let mut cut = watch(&usher, "acme", Some(Start::AfterRevision(at))).await;
    let (complete, _) = next(&mut cut).await;
    assert_eq!(complete, at);
    let mut again = watch(&usher, "acme", Some(Start::AfterRevision(complete))).await;
    assert_eq!(changes_to(&mut again, at + 1).await, seen);
    // A page of the log takes no more than an answer may either, and says that there is more.
    let mut page = pb::ListEventsRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        page_size: 500,
        ..Default::default()
    };
    let (mut listed, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let told = usher.audit().list_events(page.clone()).await.unwrap().into_inner();
        sizes.push(told.events.len());
        listed.extend(told.events.into_iter().map(|event| (event.revision, event.index)));
        page.page_token = told.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert!(sizes[0] < 500 && listed.is_sorted_by(|later, earlier| later > earlier), "{sizes:?}");
    assert_eq!(listed.iter().filter(|(revision, _)| *revision > at).count(), invitations + 1);
    drop((stream, cut, again));
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

async fn a_follower_far_behind_is_sent_to_a_snapshot(engine: Engine) {
    const BEHIND_MAX: i64 = 100_000;
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, at) = figures(&usher, "acme").await;
    usher
        .database
        .execute(&format!("UPDATE account SET revision = revision + {BEHIND_MAX} WHERE id = 'acme'"));
    let request =
        pb::WatchEventsRequest { account_id: "acme".to_owned(), start: Some(Start::AfterRevision(at - 1)) };
    let told = refused(usher.audit().watch_events(request).await, Code::OutOfRange, "CURSOR_TOO_OLD");
    assert_eq!(told.meta("oldest_revision"), at.to_string());
    // From there it can be followed, and a snapshot is the account as it is.
    drop(watch(&usher, "acme", Some(Start::AfterRevision(at))).await);
    let mut stream = watch(&usher, "acme", Some(Start::Snapshot(true))).await;
    let (revision, Content::Snapshot(_)) = next(&mut stream).await else { panic!("no snapshot") };
    assert_eq!(revision, at + BEHIND_MAX);
    drop(stream);
    usher.stop().await;
}

/// Followers of an account's whole log who take nothing of it.
const SLOW_READERS: usize = 40;
/// Changes in that log, and the size of each.
const LONG_LOG: i64 = 8_000;
const LONG_NOTE: usize = 600;
/// What a slow reader may cost: the messages that wait, a page of events, and the transport's buffer.
const SLOW_READER_BYTES_MAX: u64 = 2 << 20;

#[expect(clippy::print_stdout, reason = "the figure of a measurement")]
async fn readers_that_take_nothing_are_cut_and_cost_little(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let mails = format!("mail.directory={}", directory.path().display());
    let server = Process::serve_with(&database.url, &[&mails, "limits.slow_reader_seconds=2"], &[]);
    cast::fill(&channel(&server.url).await, "acme", INTEGRATE_IO, 20).await;
    lengthen_log(&database);
    let before = server.resident_bytes();
    let (began, mut readers) = (tokio::time::Instant::now(), Vec::new());
    for _ in 0..SLOW_READERS {
        readers.push(watch_on(&narrow(&server.url).await, 0).await);
    }
    let (mut most, mut cut) = (before, 0);
    while cut < SLOW_READERS {
        most = most.max(server.resident_bytes());
        cut += server.logged().iter().filter(|line| line.contains("a follower is cut off")).count();
        assert!(began.elapsed() < MESSAGE_MAX, "only {cut} are cut");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let each = most.saturating_sub(before) / SLOW_READERS as u64;
    println!("{engine:?}: a reader that takes nothing costs {} KiB", each >> 10);
    assert!(each < SLOW_READER_BYTES_MAX, "a slow reader costs {each} bytes");
    let mut last = 0;
    for reader in readers {
        let (revision, status) = read_to_the_end(reader).await;
        let told = Refused::of(&status);
        assert_eq!((told.code, told.reason.as_str()), (Code::Aborted, "SLOW_READER"), "{status:?}");
        assert!(revision < LONG_LOG / 2, "{revision} changes were kept for it");
        last = revision;
    }
    // Who goes on after what they have got misses nothing.
    let mut stream = watch_on(&channel(&server.url).await, last).await;
    let seen = changes_to(&mut stream, LONG_LOG).await;
    assert!(seen.iter().map(|(revision, _)| *revision).eq(last + 1..=LONG_LOG));
}

/// As after many changes: copies of the first one, each with a long note.
fn lengthen_log(database: &Database) {
    let columns = [
        "time",
        "kind",
        "caller",
        "actor_id",
        "subject_id",
        "request_id",
        "before_facts",
        "after_facts",
        "personal",
        "personal_commitment",
        "hash",
    ]
    .join(", ");
    database.execute(&format!(
        "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {LONG_LOG}) \
         INSERT INTO event (stream_kind, stream_id, revision, idx, note, {columns}) \
         SELECT stream_kind, stream_id, n, idx, '{}', {columns} FROM event, number \
         WHERE stream_id = 'acme' AND revision = 1 AND idx = 0 \
         AND n > (SELECT revision FROM account WHERE id = 'acme')",
        "x".repeat(LONG_NOTE)
    ));
    database.execute(&format!("UPDATE account SET revision = {LONG_LOG} WHERE id = 'acme'"));
}

/// A connection that takes little before it is read from.
async fn narrow(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    let windows = Some((1 << 16) - 1);
    let endpoint = endpoint.initial_stream_window_size(windows).initial_connection_window_size(windows);
    endpoint.connect().await.unwrap()
}

async fn watch_on(channel: &Channel, after: i64) -> Streaming<pb::WatchEventsResponse> {
    let start = Some(Start::AfterRevision(after));
    let request = pb::WatchEventsRequest { account_id: "acme".to_owned(), start };
    AuditServiceClient::new(channel.clone()).watch_events(request).await.unwrap().into_inner()
}

/// The last revision that came, each after the one before, and why no more did.
async fn read_to_the_end(mut stream: Streaming<pb::WatchEventsResponse>) -> (i64, Status) {
    let mut last = 0;
    loop {
        match tokio::time::timeout(MESSAGE_MAX, stream.next()).await.expect("a message") {
            Some(Ok(message)) => {
                assert_eq!(message.revision, last + 1);
                last = message.revision;
            }
            Some(Err(status)) => return (last, status),
            None => panic!("it ended without a reason after {last}"),
        }
    }
}
