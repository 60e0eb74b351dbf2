//! The door: silence, too many, and an accept that fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher_server::transport::accept::{Door, Listen};
use usher_server::transport::limits::Limits;

use crate::support::{Setup, ask, eventually, serve};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn is_cut_within(socket: &mut TcpStream, limit: Duration) -> bool {
    let mut buf = [0; 1_024];
    let reading = async { while matches!(socket.read(&mut buf).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(limit, reading).await.is_ok()
}

#[tokio::test]
async fn two_hundred_silent_connections_are_gone_while_others_are_served() {
    let limits = Limits { preface_ms: 500, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        // Some say nothing, some almost enough.
        socket.write_all(&PREFACE[..n % 24]).await.unwrap();
        silent.push(socket);
    }
    eventually(|| server.door.open() == 200).await;
    let mut client = server.plain().await;
    client.check(ask("")).await.unwrap();
    let begun = Instant::now();
    for socket in &mut silent {
        assert!(is_cut_within(socket, Duration::from_secs(2)).await);
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    eventually(|| server.door.open() == 1).await;
    client.check(ask("")).await.unwrap();
}

#[tokio::test]
async fn one_address_gets_so_many_and_gets_them_back() {
    let limits = Limits { connections_per_address: 3, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(PREFACE).await.unwrap();
        socket.write_all(&SETTINGS).await.unwrap();
        held.push(socket);
    }
    eventually(|| server.door.open() == 3).await;
    let mut fourth = TcpStream::connect(server.address).await.unwrap();
    assert!(is_cut_within(&mut fourth, Duration::from_secs(1)).await);
    assert_eq!(server.door.figures().refused_by_address, 1);
    drop(held.pop());
    eventually(|| server.door.open() == 2).await;
    server.plain().await.check(ask("")).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_not_lost() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let first = TcpStream::connect(server.address).await.unwrap();
    let second = TcpStream::connect(server.address).await.unwrap();
    eventually(|| server.door.figures().accepted == 2).await;
    let waiting = tokio::spawn({
        let address = server.address;
        async move {
            let mut third = TcpStream::connect(address).await.unwrap();
            third.write_all(PREFACE).await.unwrap();
            third.write_all(&SETTINGS).await.unwrap();
            third.read(&mut [0; 9]).await.unwrap()
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.door.figures().accepted, 2);
    drop((first, second));
    assert!(waiting.await.unwrap() > 0);
}

#[tokio::test]
async fn silence_after_the_preface_and_old_age_end_a_connection() {
    let limits = Limits { idle_seconds: 1, keepalive_interval_seconds: 30, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(PREFACE).await.unwrap();
    idle.write_all(&SETTINGS).await.unwrap();
    let begun = Instant::now();
    assert!(is_cut_within(&mut idle, Duration::from_secs(4)).await);
    assert!(begun.elapsed() > Duration::from_millis(900));

    let limits = Limits { connection_age_seconds: 1, connection_grace_seconds: 1, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let mut client = server.plain().await;
    let begun = Instant::now();
    let status = client.check(ask("wait 4000")).await.unwrap_err();
    let lived = begun.elapsed();
    assert!(
        lived > Duration::from_millis(1_900) && lived < Duration::from_millis(3_000),
        "{lived:?} {status}"
    );
}

#[tokio::test]
async fn a_connection_that_is_asked_to_end_finishes_its_calls() {
    let limits = Limits { connection_age_seconds: 1, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let mut client = server.plain().await;
    client.check(ask("wait 1800")).await.unwrap();
    eventually(|| server.door.open() == 0).await;
    client.check(ask("")).await.unwrap();
    assert_eq!(server.door.figures().accepted, 2, "the client has come back by itself");
}

#[tokio::test]
async fn the_end_closes_the_listener_and_finishes_calls() {
    let mut server = serve(Setup::default()).await;
    let mut client = server.plain().await;
    let running = tokio::spawn(async move { client.check(ask("wait 300")).await });
    eventually(|| server.door.open() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(server.address).await.is_err());
    running.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
}

/// Fails as a process without file descriptors does, until it is `mended`.
struct Exhausted {
    real: TcpListener,
    tries: Arc<AtomicUsize>,
    mended_at: usize,
}

impl Listen for Exhausted {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        const EMFILE: i32 = 24;
        if self.tries.fetch_add(1, Ordering::SeqCst) + 1 < self.mended_at {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        self.real.accept().await
    }
}

#[tokio::test]
async fn an_accept_that_fails_does_not_spin_and_recovers() {
    let real = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = real.local_addr().unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let door = Door::new(Limits { accept_pause_ms: 50, ..Limits::default() }, None);
    let _incoming = door.incoming(Exhausted { real, tries: Arc::clone(&tries), mended_at: 8 });
    tokio::time::sleep(Duration::from_millis(225)).await;
    let tried = tries.load(Ordering::SeqCst);
    assert!((2..=6).contains(&tried), "{tried} tries in 225 ms");
    let _client = TcpStream::connect(address).await.unwrap();
    eventually(|| door.figures().accepted == 1).await;
    assert_eq!(door.figures().accept_errors, 7);
}
