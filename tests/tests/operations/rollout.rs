//! Three replicas on one PostgreSQL are replaced one after the other, under load: no call fails for a client
//! that tries again elsewhere, as gRPC clients do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use tonic_health::pb::health_client::HealthClient;
use usher_tests::cast::{fill, joining};
use usher_tests::engine::{Database, postgres_is_there};
use usher_tests::harness::channel;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::{Engine, INTEGRATE_IO, Platform, Process, pb};

use crate::metrics::free_address;

const REPLICAS: usize = 3;
const CHECKERS: usize = 6;
/// As a client's service configuration has them.
const TRIES_MAX: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

struct Load {
    endpoints: Vec<Channel>,
    stop: AtomicBool,
    calls: AtomicUsize,
    retries: AtomicUsize,
}

impl Load {
    /// Makes a call, elsewhere if the server is not there; panics when that does not help.
    async fn call<T, F: Future<Output = Result<T, tonic::Status>>>(
        &self,
        first: usize,
        what: &'static str,
        make: impl Fn(Channel) -> F,
    ) -> T {
        for attempt in 0..TRIES_MAX {
            match make(self.endpoints[(first + attempt) % REPLICAS].clone()).await {
                Ok(answer) => {
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    self.retries.fetch_add(attempt, Ordering::Relaxed);
                    return answer;
                }
                // A connection that breaks is UNAVAILABLE; tonic's client also says UNKNOWN, CANCELLED and
                // INTERNAL, and names the connection's error as the source.
                Err(status) if is_worth_a_try(&status) => tokio::time::sleep(PAUSE).await,
                Err(status) => panic!("{what}: {status:?}"),
            }
        }
        panic!("{what}: {TRIES_MAX} tries failed");
    }

    async fn check(&self, number: usize) {
        let mut turn = number;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let answer = self.call(turn, "a check", |channel| async move {
                let request = pb::CheckPermissionRequest {
                    account_id: "acme".to_owned(),
                    subject: Some(pb::Subject {
                        kind: Some(pb::subject::Kind::UserId("acme-editor".to_owned())),
                    }),
                    action: "run".to_owned(),
                    resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
                    ..Default::default()
                };
                AuthorizationServiceClient::new(channel).check_permission(request).await
            });
            assert_eq!(answer.await.into_inner().decision(), pb::Decision::Allow);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Changes carry a request id, so a repetition is the same change.
    async fn invite(&self) -> usize {
        let mut made = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let user = format!("member-{made}");
            self.call(made, "an invitation", |channel| {
                let request = pb::InviteUserRequest {
                    request_id: user.clone(),
                    ..joining("acme", Platform, &user, "reader")
                };
                async move { MemberServiceClient::new(channel).invite_user(request).await }
            })
            .await;
            made += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        made
    }
}

fn is_worth_a_try(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable)
        || (matches!(status.code(), Code::Unknown | Code::Cancelled | Code::Internal)
            && std::error::Error::source(status).is_some())
}

fn replica(database: &str, address: &str) -> Process {
    let listen = format!("server.listen={address}");
    Process::serve_with(
        database,
        &[&listen, "server.drain_lead_seconds=1", "database.connections_max=5"],
        &[],
    )
}

async fn is_ready(address: &str) {
    let mut health = HealthClient::new(channel(&format!("http://{address}")).await);
    let request = || HealthCheckRequest { service: "readiness".to_owned() };
    while !health.check(request()).await.is_ok_and(|answer| answer.get_ref().status() == Serving) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[expect(clippy::print_stderr, reason = "the figures of a measurement")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    if !postgres_is_there() {
        return;
    }
    let rounds = if std::env::var_os("USHER_TEST_LONG").is_some() { 5 } else { 1 };
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Postgres, directory.path());
    let addresses: Vec<String> = (0..REPLICAS).map(|_| free_address()).collect();
    let mut replicas = Vec::new();
    for address in &addresses {
        replicas.push(replica(&database.url, address));
        is_ready(address).await;
    }
    fill(&channel(&replicas[0].url).await, "acme", INTEGRATE_IO, 100_000).await;
    let endpoints = addresses.iter().map(|address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        endpoint.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(30)).connect_lazy()
    });
    let (calls, retries) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let load =
        Arc::new(Load { endpoints: endpoints.collect(), stop: AtomicBool::new(false), calls, retries });
    let checkers: Vec<_> = (0..CHECKERS)
        .map(|number| {
            let load = load.clone();
            tokio::spawn(async move { load.check(number).await })
        })
        .collect();
    let inviter = {
        let load = load.clone();
        tokio::spawn(async move { load.invite().await })
    };
    let began = Instant::now();
    for round in 0..rounds * REPLICAS {
        let at = round % REPLICAS;
        let old = replicas.remove(at);
        old.signal("TERM");
        let code = tokio::task::spawn_blocking(move || old.wait()).await.unwrap();
        assert_eq!(code, Some(0), "a replica ends well");
        replicas.insert(at, replica(&database.url, &addresses[at]));
        is_ready(&addresses[at]).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    for checker in checkers {
        checker.await.expect("no check fails");
    }
    let made = inviter.await.expect("no invitation fails");
    let (calls, retries) = (load.calls.load(Ordering::Relaxed), load.retries.load(Ordering::Relaxed));
    eprintln!(
        "rolling restart of {REPLICAS} replicas, {rounds} times, in {:.1} s: {calls} calls, of them {made} \
         invitations; {retries} tried again elsewhere, 0 failed",
        began.elapsed().as_secs_f64()
    );
    assert!(calls > 100 && made > 5, "there was no load");
    // Each invitation once, whatever was repeated.
    let mut members = MemberServiceClient::new(channel(&replicas[0].url).await);
    let last = pb::GetMemberRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Platform),
        user_id: format!("member-{}", made - 1),
    };
    members.get_member(last).await.unwrap();
}
