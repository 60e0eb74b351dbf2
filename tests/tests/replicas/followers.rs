//! Those who follow an account, while something else keeps the database busy.

use std::time::Duration;

use tempfile::TempDir;
use usher_tests::cluster::Cluster;
use usher_tests::harness::channel;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::{INTEGRATE_IO, Platform, Process, cast, pb};

use crate::ready;

const FOLLOWERS: usize = 10;
/// How long they are watched, and how often each may look at its account meanwhile: every 2 s, and once for each of
/// the ways in which the change came.
const WATCHED: Duration = Duration::from_secs(4);
const LOOKS_MAX: usize = 5;

/// As long as any transaction is open, each poll finds all changes since it began. That is no reason to read them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_open_makes_no_follower_read_again_and_again() {
    if !ready() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let cluster = Cluster::start(&["log_statement=all"]);
    let server = Process::serve(&cluster.url(), directory.path());
    let channel = channel(&server.url).await;
    cast::fill(&channel, "acme", INTEGRATE_IO, 20).await;
    let mut streams = Vec::new();
    for _ in 0..FOLLOWERS {
        let request = pb::WatchEventsRequest { account_id: "acme".to_owned(), start: None };
        streams.push(AuditServiceClient::new(channel.clone()).watch_events(request).await.unwrap());
    }
    let mut open = cluster.sql_meanwhile("BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(600); COMMIT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let joining = cast::joining("acme", Platform, "uma", "reader");
    MemberServiceClient::new(channel.clone()).invite_user(joining).await.unwrap();
    let looks = || cluster.log().lines().filter(|line| is_look(line)).count();
    let before = looks();
    tokio::time::sleep(WATCHED).await;
    let each = (looks() - before) / FOLLOWERS;
    assert!((1..=LOOKS_MAX).contains(&each), "each follower looked {each} times");
    open.kill().unwrap();
    open.wait().unwrap();
}

fn is_look(line: &str) -> bool {
    line.contains("execute") && line.contains("FROM \"event\"")
}
