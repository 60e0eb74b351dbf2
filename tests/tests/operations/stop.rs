//! How the server stops: it says so, goes on for a while, lets calls finish, and ends in time.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use usher_tests::cast::{fill, inviting};
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::{Engine, INTEGRATE_IO, Platform, Process, both_engines, pb};

both_engines!(those_who_follow_do_not_hold_up_the_end, calls_are_taken_until_clients_have_heard);

/// Much longer than anything here takes, so that a hang fails and a busy machine does not.
const END_MAX: Duration = Duration::from_secs(60);

fn serve(database: &str, lead_seconds: u32, drain_seconds: u32) -> Process {
    let lead = format!("server.drain_lead_seconds={lead_seconds}");
    let drain = format!("server.drain_seconds={drain_seconds}");
    Process::serve_with(database, &[&lead, &drain], &[])
}

/// The exit code, and its last lines.
async fn ended(server: Process) -> (Option<i32>, Vec<String>) {
    let ending = tokio::task::spawn_blocking(move || server.wait_and_log());
    timeout(END_MAX, ending).await.expect("it ends in time").unwrap()
}

fn watching() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

async fn those_who_follow_do_not_hold_up_the_end(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    // Longer than this test may take: a stream that held up the end would show.
    let server = serve(&database.url, 0, 600);
    let connection = channel(&server.url).await;
    fill(&connection, "acme", INTEGRATE_IO, 20).await;
    let mut health = HealthClient::new(connection.clone()).watch(watching()).await.unwrap().into_inner();
    let request = pb::WatchEventsRequest { account_id: "acme".to_owned(), start: None };
    let mut events =
        AuditServiceClient::new(connection.clone()).watch_events(request).await.unwrap().into_inner();
    // A change in hand when the signal comes.
    let mut members = MemberServiceClient::new(connection.clone());
    members.invite_user(inviting("acme", Platform, "ivy@x.example", "editor")).await.unwrap();
    assert!(events.message().await.unwrap().is_some());
    server.signal("TERM");
    while health.message().await.unwrap().is_some() {}
    while events.message().await.unwrap().is_some() {}
    let (code, log) = ended(server).await;
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("are cut")), "{log:#?}");
}

async fn calls_are_taken_until_clients_have_heard(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let server = serve(&database.url, 5, 600);
    let connection = channel(&server.url).await;
    let mut health = HealthClient::new(connection.clone()).watch(watching()).await.unwrap().into_inner();
    while health.message().await.unwrap().unwrap().status() != Serving {}
    server.signal("TERM");
    assert_eq!(health.message().await.unwrap().unwrap().status(), NotServing);
    // A client that has not heard yet, on a new connection.
    let late = channel(&server.url).await;
    fill(&late, "acme", INTEGRATE_IO, 20).await;
    assert!(health.message().await.unwrap().is_none(), "the stream ends when calls are no longer taken");
    assert_eq!(ended(server).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_is_cut() {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Sqlite, directory.path());
    let server = serve(&database.url, 0, 1);
    // A stream that its client alone can end.
    let mut reflection = ServerReflectionClient::new(channel(&server.url).await);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let asking = tokio_stream::StreamExt::chain(tokio_stream::once(list), tokio_stream::pending());
    let mut stream = reflection.server_reflection_info(asking).await.unwrap().into_inner();
    stream.message().await.unwrap();
    server.signal("TERM");
    let (code, log) = ended(server).await;
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("are cut")), "{log:#?}");
    assert!(log.last().unwrap().contains("stopped"), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Sqlite, directory.path());
    let server = serve(&database.url, 600, 600);
    server.signal("TERM");
    server.line("a second signal");
    server.signal("TERM");
    assert_eq!(ended(server).await.0, Some(130));
}
