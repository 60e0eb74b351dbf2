//! Databases that come back as they were at an earlier time, or on another server.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use usher_storage::{ConnectOptions, Poller};
use usher_tests::cluster::Cluster;
use usher_tests::harness::channel;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::consistency::Requirement;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::watch_events_request::Start;
use usher_tests::process::usher;
use usher_tests::{INTEGRATE_IO, Platform, Process, Refused, acting, cast, pb};

use crate::ready;

/// Longer than a change takes to be seen, on a busy machine.
const SEEN_MAX: Duration = Duration::from_secs(30);

async fn check(
    channel: &Channel,
    user: &str,
    token: Option<&str>,
) -> Result<pb::CheckPermissionResponse, Status> {
    let requirement = token.map(|token| Requirement::AtLeastAsFresh(token.to_owned()));
    let request = pb::CheckPermissionRequest {
        account_id: "acme".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(format!("acme-{user}"))) }),
        action: "view".to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
        consistency: requirement.map(|requirement| pb::Consistency { requirement: Some(requirement) }),
        ..Default::default()
    };
    let told = AuthorizationServiceClient::new(channel.clone()).check_permission(request).await;
    told.map(tonic::Response::into_inner)
}

async fn suspend(channel: &Channel, user: &str) -> pb::SuspendMemberResponse {
    let request = pb::SuspendMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        user_id: format!("acme-{user}"),
        ..Default::default()
    };
    MemberServiceClient::new(channel.clone()).suspend_member(request).await.unwrap().into_inner()
}

/// Waits until a server answers as expected.
async fn comes_to(channel: &Channel, user: &str, expected: pb::Decision) {
    let started = Instant::now();
    loop {
        let told = check(channel, user, None).await;
        if told.as_ref().is_ok_and(|told| told.decision() == expected) {
            return;
        }
        assert!(started.elapsed() < SEEN_MAX, "never {expected:?} but {told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bump(url: &str) {
    let output = usher(&["epoch", "bump", "--database-url", url]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("a new epoch has begun"), "{output:?}");
}

/// How many accounts a poll finds changed, and how many of them carry numbers of another server.
async fn polled(cluster: &Cluster) -> (usize, usize) {
    let mut poller = Poller::connect(&ConnectOptions::new(cluster.url())).await.unwrap();
    poller.poll().await.unwrap();
    let polled = poller.poll().await.unwrap();
    (polled.changed.len(), polled.foreign)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_goes_on_in_a_new_cluster_after_the_epoch_is_bumped() {
    if !ready() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let dump = directory.path().join("usher.dump");
    let former = Cluster::start(&[]);
    let server = Process::serve(&former.url(), directory.path());
    let connection = channel(&server.url).await;
    cast::fill(&connection, "acme", INTEGRATE_IO, 20).await;
    cast::fill(&connection, "globex", INTEGRATE_IO, 20).await;
    let token = check(&connection, "reader", None).await.unwrap().consistency_token;
    server.kill();
    // As if the former server had made many more transactions than the new one.
    former.sql("UPDATE account SET chg_xid = 4000000000");
    former.dump(&dump);
    let cluster = Cluster::start(&[]);
    cluster.restore(&dump);

    assert_eq!(polled(&cluster).await, (2, 2), "every poll finds them all");
    let warned = Process::serve(&cluster.url(), directory.path());
    comes_to(&channel(&warned.url).await, "reader", pb::Decision::Allow).await;
    let started = Instant::now();
    // The first poll may come before the server serves.
    let mut said = warned.said_before().concat();
    while !said.contains("run `usher epoch bump`") {
        assert!(started.elapsed() < SEEN_MAX, "the server does not say what to do: {said}");
        said.extend(warned.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    warned.kill();

    bump(&cluster.url());
    assert_eq!(polled(&cluster).await, (0, 0), "nothing is left of the former server");
    let one = Process::serve(&cluster.url(), directory.path());
    let other = Process::serve(&cluster.url(), directory.path());
    let (one, other) = ((channel(&one.url).await, one), (channel(&other.url).await, other));
    for (channel, _) in [&one, &other] {
        let told = check(channel, "reader", None).await.unwrap();
        assert_eq!(told.decision(), pb::Decision::Allow);
        let refused = Refused::of(&check(channel, "reader", Some(&token)).await.unwrap_err());
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (Code::InvalidArgument, "CONSISTENCY_TOKEN_INVALID")
        );
    }
    let changed = suspend(&one.0, "reader").await;
    comes_to(&other.0, "reader", pb::Decision::Deny).await;
    let told = check(&other.0, "reader", Some(&changed.consistency_token)).await.unwrap();
    assert_eq!((told.decision(), told.revision), (pb::Decision::Deny, changed.revision));
}

/// The files of an earlier time are put under a server that runs, as when a volume is set back. What it holds
/// in memory has revisions that the database will give to other changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_drops_its_memory_when_the_database_is_set_back() {
    if !ready() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let kept = directory.path().join("kept");
    let cluster = Cluster::start(&[]);
    let server = Process::serve(&cluster.url(), directory.path());
    let connection = channel(&server.url).await;
    cast::fill(&connection, "acme", INTEGRATE_IO, 20).await;
    comes_to(&connection, "reader", pb::Decision::Allow).await;
    cluster.stop();
    cluster.copy_files(&cluster.data(), &kept);
    cluster.resume();
    comes_to(&connection, "reader", pb::Decision::Allow).await;
    let lost = suspend(&connection, "reader").await;
    comes_to(&connection, "reader", pb::Decision::Deny).await;
    let _ = server.logged();

    cluster.stop();
    cluster.copy_files(&kept, &cluster.data());
    cluster.resume();
    // The suspension never was, and the next change gets its revision.
    comes_to(&connection, "reader", pb::Decision::Allow).await;
    let changed = suspend(&connection, "editor").await;
    assert_eq!(changed.revision, lost.revision);
    let told = check(&connection, "reader", None).await.unwrap();
    assert_eq!((told.decision(), told.revision), (pb::Decision::Allow, changed.revision));
    comes_to(&connection, "editor", pb::Decision::Deny).await;
    // The last poll before the stop may have been too early to know that anything went back; that the database
    // was restarted is reason enough then. All answers so far may have come before the first poll after it.
    let reasons = ["was restored or failed over", "was restarted"];
    let (asked, mut said) = (Instant::now(), String::new());
    while !reasons.iter().any(|reason| said.contains(reason)) {
        assert!(asked.elapsed() < SEEN_MAX, "{said}");
        said.extend(server.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Without stopping anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_follows_a_new_epoch() {
    if !ready() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let database = usher_tests::engine::Database::fresh(usher_tests::Engine::Postgres, directory.path());
    let server = Process::serve(&database.url, directory.path());
    let connection = channel(&server.url).await;
    cast::fill(&connection, "acme", INTEGRATE_IO, 20).await;
    let token = check(&connection, "reader", None).await.unwrap().consistency_token;
    check(&connection, "reader", Some(&token)).await.unwrap();
    let mut followers = Vec::new();
    for start in [None, Some(Start::AfterRevision(0)), Some(Start::Snapshot(true))] {
        followers.push(follow(&connection, start).await);
    }
    bump(&database.url);
    let started = Instant::now();
    while check(&connection, "reader", Some(&token)).await.is_ok() {
        assert!(started.elapsed() < SEEN_MAX, "a token of the former epoch is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let renewed = check(&connection, "reader", None).await.unwrap();
    check(&connection, "reader", Some(&renewed.consistency_token)).await.unwrap();
    for follower in followers {
        let refused = Refused::of(&cut(follower).await);
        assert_eq!((refused.code, refused.reason.as_str()), (Code::OutOfRange, "CURSOR_TOO_OLD"));
    }
    // From a snapshot it goes on.
    let mut follower = follow(&connection, Some(Start::Snapshot(true))).await;
    let message = follower.next().await.unwrap().unwrap();
    assert_eq!(message.revision, renewed.revision);
}

async fn follow(channel: &Channel, start: Option<Start>) -> Streaming<pb::WatchEventsResponse> {
    let request = pb::WatchEventsRequest { account_id: "acme".to_owned(), start };
    AuditServiceClient::new(channel.clone()).watch_events(request).await.unwrap().into_inner()
}

/// Why a stream ends.
async fn cut(mut follower: Streaming<pb::WatchEventsResponse>) -> Status {
    let read_on = async {
        loop {
            match follower.next().await.expect("a reason") {
                Ok(_) => {}
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(SEEN_MAX, read_on).await.expect("the follower is cut")
}

#[test]
fn on_sqlite_the_server_must_be_stopped_first() {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("usher.db").display());
    let server = Process::serve(&url, directory.path());
    let refused = usher(&["epoch", "bump", "--database-url", &url]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("another usher process"), "{said}");
    server.kill();
    bump(&url);
}
