//! A network between two programs that can go wrong: slow, silent without a word, deaf in one direction,
//! or cut at a chosen moment.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Whom a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    All,
    /// Connections whose client has said this in its first kilobyte.
    Saying(&'static str),
}

/// A listener on 127.0.0.1 that passes bytes on to another address.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How long each answer is held up.
    delay: Duration,
    silent: Option<Whom>,
    deaf: Option<Whom>,
    trap: Option<Trap>,
    lines: Vec<Arc<Line>>,
}

struct Trap {
    said: &'static str,
    sprung: oneshot::Sender<()>,
}

/// One connection.
#[derive(Default)]
struct Line {
    /// What its client said first.
    opening: Mutex<Vec<u8>>,
    /// Nothing passes any more in either direction, and nobody is told.
    is_silent: AtomicBool,
    /// Nothing passes to the client any more.
    is_deaf: AtomicBool,
    is_trapped: AtomicBool,
    /// To be closed.
    is_cut: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Whom {
    fn is(self, line: &Line) -> bool {
        match self {
            Self::All => true,
            Self::Saying(text) => holds(&lock(&line.opening), text),
        }
    }
}

impl Proxy {
    /// # Panics
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { target, state: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Holds up each answer for so long.
    pub fn delay(&self, delay: Duration) {
        lock(&self.shared.state).delay = delay;
    }

    /// Connections fall silent, those that are there and those to come, until [`Proxy::heal`]; those that
    /// fell silent stay so for ever, as behind a router that forgot them.
    pub fn silence(&self, whom: Whom) {
        let mut state = lock(&self.shared.state);
        state.silent = Some(whom);
        state
            .lines
            .iter()
            .filter(|line| whom.is(line))
            .for_each(|line| line.is_silent.store(true, Ordering::SeqCst));
    }

    /// As [`Proxy::silence`], for answers alone: what the client says arrives.
    pub fn deafen(&self, whom: Whom) {
        let mut state = lock(&self.shared.state);
        state.deaf = Some(whom);
        state
            .lines
            .iter()
            .filter(|line| whom.is(line))
            .for_each(|line| line.is_deaf.store(true, Ordering::SeqCst));
    }

    /// New connections work again.
    pub fn heal(&self) {
        let mut state = lock(&self.shared.state);
        state.silent = None;
        state.deaf = None;
    }

    /// Closes every connection.
    pub fn cut(&self) {
        let mut state = lock(&self.shared.state);
        state.lines.drain(..).for_each(|line| line.is_cut.store(true, Ordering::SeqCst));
    }

    /// PostgreSQL: the connection whose client says this next falls silent when the server says that it
    /// has committed, and then this is told.
    pub fn trap_commit(&self, said: &'static str) -> oneshot::Receiver<()> {
        let (sprung, told) = oneshot::channel();
        lock(&self.shared.state).trap = Some(Trap { said, sprung });
        told
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(shared.target).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let line = Arc::new(Line::default());
            {
                let mut state = lock(&shared.state);
                line.is_silent.store(state.silent == Some(Whom::All), Ordering::SeqCst);
                line.is_deaf.store(state.deaf == Some(Whom::All), Ordering::SeqCst);
                state.lines.push(line.clone());
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = tokio::spawn(pass(shared.clone(), line.clone(), from_client, to_server, true));
            pass(shared, line.clone(), from_server, to_client, false).await;
            line.is_cut.store(true, Ordering::SeqCst);
            let _ = there.await;
        });
    }
}

/// How often a connection on which nothing passes looks whether it was cut.
const LOOK_EVERY: Duration = Duration::from_millis(50);

async fn pass(
    shared: Arc<Shared>,
    line: Arc<Line>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    from_client: bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            () = tokio::time::sleep(LOOK_EVERY) => {
                if line.is_cut.load(Ordering::SeqCst) { return; }
                continue;
            }
        };
        let is_silent = || line.is_silent.load(Ordering::SeqCst);
        let count = match read {
            // The end is not told either.
            Ok(0) | Err(_) if is_silent() => {
                while !line.is_cut.load(Ordering::SeqCst) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                return;
            }
            Ok(0) | Err(_) => {
                line.is_cut.store(true, Ordering::SeqCst);
                return;
            }
            Ok(count) => count,
        };
        let passed = &bytes[..count];
        let delay = if from_client {
            hear_client(&shared, &line, passed)
        } else {
            hear_server(&shared, &line, passed)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let is_lost = is_silent() || !from_client && line.is_deaf.load(Ordering::SeqCst);
        if !is_lost && to.write_all(passed).await.is_err() {
            line.is_cut.store(true, Ordering::SeqCst);
            return;
        }
    }
}

fn hear_client(shared: &Shared, line: &Line, said: &[u8]) -> Duration {
    {
        let mut opening = lock(&line.opening);
        if opening.len() < 1024 {
            opening.extend_from_slice(said);
        }
    }
    let state = lock(&shared.state);
    if state.silent.is_some_and(|whom| whom.is(line)) {
        line.is_silent.store(true, Ordering::SeqCst);
    }
    if state.deaf.is_some_and(|whom| whom.is(line)) {
        line.is_deaf.store(true, Ordering::SeqCst);
    }
    if state.trap.as_ref().is_some_and(|trap| holds(said, trap.said)) {
        line.is_trapped.store(true, Ordering::SeqCst);
    }
    Duration::ZERO
}

fn hear_server(shared: &Shared, line: &Line, said: &[u8]) -> Duration {
    let mut state = lock(&shared.state);
    if line.is_trapped.load(Ordering::SeqCst) && holds(said, "COMMIT\0") {
        line.is_silent.store(true, Ordering::SeqCst);
        line.is_trapped.store(false, Ordering::SeqCst);
        if let Some(trap) = state.trap.take() {
            let _ = trap.sprung.send(());
        }
    }
    state.delay
}
