//! HTTP/2 abuse in raw frames, from 127.0.0.2, while a normal client from 127.0.0.1 goes on.
//!
//! Without arguments a server is started in this process. To attack a running one:
//! `USHER_ABUSE_ADDRESS=127.0.0.1:50051 USHER_ABUSE_PID=$(pidof usher) cargo test -p usher-server
//! --release --test abuse -- --nocapture`. Every attack is bounded in count and time.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed it")]

mod attacks;
mod frames;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use usher_server::transport::accept::Door;
use usher_server::transport::limits::Limits;
use usher_server::transport::outcome::{Method, Observer, OutcomeLayer};

/// What the server's memory may grow by, all attacks together.
const GROWTH_MAX_BYTES: i64 = 10 << 20;

struct Silent;

impl Observer for Silent {
    fn call(&self, _: usize, _: &'static str, _: Code, _: Duration) {}
    fn panic(&self, _: &'static str) {}
}

/// On a runtime of its own, so that attackers and server do not take turns.
fn start_server(limits: Limits) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (reporter, health) = tonic_health::server::health_reporter();
            reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
            let methods = [Method { name: "grpc.health.v1.Health/Check", streaming: false }];
            let layer = OutcomeLayer::new(&limits, methods, Silent);
            let mut server = limits.apply(Server::builder()).layer(layer);
            let incoming = Door::new(limits, None).incoming(listener);
            server.add_service(health).serve_with_incoming(incoming).await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn memory_bytes(pid: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() << 10
}

/// The client that must not notice anything.
#[derive(Default)]
struct Neighbour {
    answered: AtomicU64,
    failed: AtomicU64,
    slowest_us: AtomicU64,
    stop: AtomicBool,
}

impl Neighbour {
    async fn run(self: Arc<Self>, mut client: HealthClient<Channel>) {
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let asked = client.check(HealthCheckRequest::default());
            let answered = match tokio::time::timeout(Duration::from_secs(5), asked).await {
                Ok(Ok(_)) => true,
                // Any answer of the server will do; a broken connection is none.
                Ok(Err(status)) => matches!(status.code(), Code::Unimplemented | Code::Unauthenticated),
                Err(_) => false,
            };
            let counter = if answered { &self.answered } else { &self.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            self.slowest_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
async fn nothing_that_is_sent_hurts_a_neighbour() {
    // Short times, so that what ends by a time limit does so within the test.
    let limits = Limits { keepalive_interval_seconds: 2, keepalive_timeout_seconds: 1, ..Limits::default() };
    let (address, pid) = match std::env::var("USHER_ABUSE_ADDRESS") {
        Ok(address) => (address.parse().unwrap(), std::env::var("USHER_ABUSE_PID").ok()),
        Err(_) => (start_server(limits), Some("self".to_owned())),
    };
    let in_process = pid.as_deref() == Some("self");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let neighbour = Arc::new(Neighbour::default());
    let client = HealthClient::new(endpoint.connect().await.unwrap());
    let running = tokio::spawn(Arc::clone(&neighbour).run(client));
    tokio::time::sleep(Duration::from_millis(300)).await;

    let before = pid.as_deref().map(memory_bytes);
    println!("{:<22} {:>9} {:>9} {:>10} {:>10}", "attack", "offered", "seconds", "ended", "RSS");
    let mut standing = Vec::new();
    for attack in attacks::ALL {
        let begun = Instant::now();
        let result = attack.run(address).await;
        let growth = pid.as_deref().map_or(0, |pid| memory_bytes(pid) - before.unwrap_or_default());
        println!(
            "{:<22} {:>9} {:>9.2} {:>10} {:>7} KiB",
            attack.name(),
            result.offered,
            begun.elapsed().as_secs_f64(),
            if result.ended { "yes" } else { "no" },
            growth >> 10
        );
        if attack.must_end() && !result.ended {
            standing.push(attack.name());
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    neighbour.stop.store(true, Ordering::Relaxed);
    running.await.unwrap();
    let growth = pid.as_deref().map_or(0, |pid| memory_bytes(pid) - before.unwrap_or_default());
    let (answered, failed) =
        (neighbour.answered.load(Ordering::Relaxed), neighbour.failed.load(Ordering::Relaxed));
    let slowest = neighbour.slowest_us.load(Ordering::Relaxed);
    println!(
        "neighbour: {answered} answered, {failed} failed, slowest {slowest} us; RSS at the end +{} KiB",
        growth >> 10
    );
    assert_eq!(failed, 0);
    assert!(answered > 100);
    assert!(growth < GROWTH_MAX_BYTES, "{growth} bytes");
    assert!(!in_process || standing.is_empty(), "still standing: {standing:?}");
}
