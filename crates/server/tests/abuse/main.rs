//! HTTP/2 abuse in raw frames against the real binary, from 127.0.0.2, while a normal client from 127.0.0.1
//! goes on asking. Every attack is bounded in count and time; the figures are printed in any case.
//!
//! To attack a release build: `cargo test --release -p usher-server --test abuse`.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed it")]

mod attacks;
mod frames;
mod server;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;

use server::Server;

/// What the server's memory may grow by, all attacks together.
const GROWTH_MAX_BYTES: i64 = 10 << 20;
/// Longer than a busy machine takes for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The client that must not notice anything.
#[derive(Default)]
struct Neighbour {
    answered: AtomicU64,
    failed: AtomicU64,
    slowest_us: AtomicU64,
    stop: AtomicBool,
}

impl Neighbour {
    async fn run(self: Arc<Self>, mut client: AuthorizationServiceClient<Channel>) {
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = tokio::time::timeout(ANSWER_MAX, client.check_permission(question())).await;
            let counter = if matches!(answer, Ok(Ok(_))) { &self.answered } else { &self.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            self.slowest_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// What any server answers: that it knows no such account.
fn question() -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: "acme".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId("nobody".to_owned())) }),
        action: "run".to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

async fn connect(address: SocketAddr) -> AuthorizationServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    AuthorizationServiceClient::new(endpoint.connect().await.unwrap())
}

/// Past the capturing of tests: the figures are wanted of those that pass.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_sent_hurts_a_neighbour() {
    let server = Server::start();
    let neighbour = Arc::new(Neighbour::default());
    let running = tokio::spawn(Arc::clone(&neighbour).run(connect(server.address).await));
    // Warm, so that what grows from here on is due to the attacks.
    while neighbour.answered.load(Ordering::Relaxed) < 300 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let before = server.memory_bytes();
    say(&format!("{:<22} {:>9} {:>9} {:>7} {:>11}", "attack", "offered", "seconds", "ended", "RSS"));
    let mut standing = Vec::new();
    for attack in attacks::ALL {
        let begun = Instant::now();
        let result = attack.run(server.address).await;
        let (seconds, growth) = (begun.elapsed().as_secs_f64(), server.memory_bytes() - before);
        let ended = if result.ended { "yes" } else { "no" };
        let offered = result.offered;
        say(&format!(
            "{:<22} {offered:>9} {seconds:>9.2} {ended:>7} {:>+7} KiB",
            attack.name(),
            growth >> 10
        ));
        if attack.must_end() && !result.ended {
            standing.push(attack.name());
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    neighbour.stop.store(true, Ordering::Relaxed);
    running.await.unwrap();
    let growth = server.memory_bytes() - before;
    let figure = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answered, failed) = (figure(&neighbour.answered), figure(&neighbour.failed));
    say(&format!(
        "neighbour: {answered} answered, {failed} failed, slowest {} us; RSS from {} KiB by {:+} KiB",
        figure(&neighbour.slowest_us),
        before >> 10,
        growth >> 10
    ));
    assert_eq!(failed, 0);
    assert!(answered > 400, "{answered}");
    assert!(growth < GROWTH_MAX_BYTES, "{growth} bytes");
    assert!(standing.is_empty(), "still standing: {standing:?}");
    // A newcomer is let in as ever.
    connect(server.address).await.check_permission(question()).await.unwrap();
}
