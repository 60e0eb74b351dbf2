//! Our own accept loop: bounded, patient with errors, impatient with silence.
//!
//! It gives streams for tonic's `serve_with_incoming_shutdown`: one, or one for each thread that
//! serves ([`super::serving`]), which get the connections of one listener in turn. Several listeners
//! may share one [`Door`] and with it the limits. A listener closes when the last of its streams is
//! dropped; connections that it gave out live on.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_util::task::AbortOnDropHandle;

use super::guarded::{Connection, Guarded};
use super::limits::Limits;
use super::tls::Tls;

/// Connections that wait for a thread, or for tonic, to take them.
const HANDOVER_MAX: usize = 64;
/// A listener that fails all the time says so this often.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where connections come from; a trait so that tests can have an accept that fails.
pub trait Listen: Send + 'static {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Listen for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// What happened at the door since the start; every number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DoorFigures {
    pub accepted: u64,
    pub accept_errors: u64,
    /// Turned away because their address had too many connections.
    pub refused_by_address: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
}

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    refused_by_address: AtomicU64,
    handshakes_failed: AtomicU64,
}

struct Shared {
    limits: Limits,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, u32>>,
    counts: Counts,
}

/// The limits on connections, shared by all listeners of a process.
#[derive(Clone)]
pub struct Door {
    shared: Arc<Shared>,
}

impl Door {
    pub fn new(limits: Limits, tls: Option<Arc<Tls>>) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections as usize));
        let (by_address, counts) = (Mutex::default(), Counts::default());
        Self { shared: Arc::new(Shared { limits, tls, places, by_address, counts }) }
    }

    /// Starts to accept and to admit, both on the current runtime.
    pub fn incoming(&self, listener: impl Listen) -> Incoming {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        let lane = Lane { sender, open: Arc::default() };
        let task = tokio::spawn(accept_all(Arc::clone(&self.shared), listener, vec![lane]));
        self.admit(Arrivals { receiver, _accepting: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Starts to accept, on the current runtime, for `lanes` (at least one) that admit elsewhere. Each
    /// connection goes to the lane that has the fewest.
    pub fn share(&self, listener: impl Listen, lanes: usize) -> Vec<Arrivals> {
        let channels: Vec<_> = (0..lanes.max(1)).map(|_| mpsc::channel(HANDOVER_MAX)).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        let lanes = senders.into_iter().map(|sender| Lane { sender, open: Arc::default() }).collect();
        let task = tokio::spawn(accept_all(Arc::clone(&self.shared), listener, lanes));
        let accepting = Arc::new(AbortOnDropHandle::new(task));
        let arrivals = |receiver| Arrivals { receiver, _accepting: Arc::clone(&accepting) };
        receivers.into_iter().map(arrivals).collect()
    }

    /// Admits what arrives, on the current runtime: there its connections stay.
    pub fn admit(&self, arrivals: Arrivals) -> Incoming {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        let task = tokio::spawn(admit_all(Arc::clone(&self.shared), arrivals, sender));
        Incoming { receiver, _task: AbortOnDropHandle::new(task) }
    }

    /// Connections open now, those in their handshake included.
    pub fn open(&self) -> usize {
        self.shared.counts.open.load(Ordering::Relaxed)
    }

    pub fn figures(&self) -> DoorFigures {
        let counts = &self.shared.counts;
        DoorFigures {
            accepted: counts.accepted.load(Ordering::Relaxed),
            accept_errors: counts.accept_errors.load(Ordering::Relaxed),
            refused_by_address: counts.refused_by_address.load(Ordering::Relaxed),
            handshakes_failed: counts.handshakes_failed.load(Ordering::Relaxed),
        }
    }
}

/// Where accepted connections go.
struct Lane {
    sender: mpsc::Sender<Arrival>,
    /// Connections that it has now.
    open: Arc<AtomicUsize>,
}

/// A connection on its way from the runtime that accepted it to the one that serves it.
struct Arrival {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
}

/// Accepted connections that nobody has spoken to yet.
pub struct Arrivals {
    receiver: mpsc::Receiver<Arrival>,
    _accepting: Arc<AbortOnDropHandle<()>>,
}

/// The stream of connections that made it through the door; never yields an error.
pub struct Incoming {
    receiver: mpsc::Receiver<Guarded<Socket>>,
    _task: AbortOnDropHandle<()>,
}

impl Stream for Incoming {
    type Item = io::Result<Guarded<Socket>>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|next| next.map(Ok))
    }
}

async fn accept_all(shared: Arc<Shared>, mut listener: impl Listen, lanes: Vec<Lane>) {
    let mut logged: Option<Instant> = None;
    // The place is taken before the connection, so that what we cannot hold stays in the kernel.
    while let Ok(permit) = Arc::clone(&shared.places).acquire_owned().await {
        // Out of one runtime's hands, so that another can take it up.
        let accepted = listener.accept().await;
        let accepted = accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer)));
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
                if !is_the_peers_fault(&error) {
                    if logged.is_none_or(|at| at.elapsed() >= ERROR_LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        tracing::error!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(Duration::from_millis(shared.limits.accept_pause_ms)).await;
                }
                continue;
            }
        };
        let Some(slot) = AddressSlot::take(&shared, peer.ip()) else {
            shared.counts.refused_by_address.fetch_add(1, Ordering::Relaxed);
            // A reset leaves nothing behind on our side, not even a TIME_WAIT.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            continue;
        };
        shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
        set_options(&socket, &shared.limits);
        let Some(lane) = lanes.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed)) else { return };
        let place = Place { _permit: permit, _slot: slot, _in_lane: InLane::enter(&lane.open) };
        // A lane that ended is a server that stops.
        if lane.sender.send(Arrival { socket, peer, place }).await.is_err() {
            return;
        }
    }
}

async fn admit_all(shared: Arc<Shared>, mut arrivals: Arrivals, sender: mpsc::Sender<Guarded<Socket>>) {
    while let Some(Arrival { socket, peer, place }) = arrivals.receiver.recv().await {
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                shared.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "cannot take up a connection");
                continue;
            }
        };
        if shared.tls.is_some() {
            tokio::spawn(shake_hands(Arc::clone(&shared), socket, peer, place, sender.clone()));
        } else {
            let connection = Connection::new(peer, Vec::new());
            let guarded = Guarded::new(Socket::Plain(socket), connection, &shared.limits, place);
            if sender.send(guarded).await.is_err() {
                return;
            }
        }
    }
}

/// Errors of one connection that went away between its arrival and our accept.
fn is_the_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn shake_hands(
    shared: Arc<Shared>,
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
    sender: mpsc::Sender<Guarded<Socket>>,
) {
    let Some(tls) = &shared.tls else { return };
    let acceptor = TlsAcceptor::from(tls.current());
    let limit = Duration::from_millis(shared.limits.handshake_ms);
    let failure = match tokio::time::timeout(limit, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let connection =
                Connection::new(peer, chain.iter().map(|der| der.clone().into_owned()).collect());
            let socket = Socket::Tls(Box::new(stream));
            // The receiver is gone when the server stops; then so is this connection.
            let _ = sender.send(Guarded::new(socket, connection, &shared.limits, place)).await;
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done after {} ms", limit.as_millis()),
    };
    shared.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(%peer, failure, "TLS handshake failed");
}

/// Best effort: a peer that is gone already makes these fail, and the next read will tell.
fn set_options(socket: &std::net::TcpStream, limits: &Limits) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(limits.tcp_keepalive_idle_seconds))
        .with_interval(Duration::from_secs(limits.tcp_keepalive_interval_seconds))
        .with_retries(limits.tcp_keepalive_probes);
    let options = SockRef::from(socket);
    if let Err(error) = options.set_tcp_nodelay(true).and_then(|()| options.set_tcp_keepalive(&keepalive)) {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}

/// What a connection occupies.
struct Place {
    _permit: OwnedSemaphorePermit,
    _slot: AddressSlot,
    _in_lane: InLane,
}

/// One of the connections of a lane.
struct InLane(Arc<AtomicUsize>);

impl InLane {
    fn enter(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for InLane {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the connections that an address may have.
struct AddressSlot {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl AddressSlot {
    fn take(shared: &Arc<Shared>, ip: IpAddr) -> Option<Self> {
        let address = household(ip);
        let mut by_address = shared.by_address.lock();
        let open = by_address.entry(address).or_default();
        if *open >= shared.limits.connections_per_address {
            return None;
        }
        *open += 1;
        shared.counts.open.fetch_add(1, Ordering::Relaxed);
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        self.shared.counts.open.fetch_sub(1, Ordering::Relaxed);
        let mut by_address = self.shared.by_address.lock();
        if let Some(open) = by_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A host has a whole IPv6 /64 to itself.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// The bytes of a connection, with TLS or without.
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Plain($io) => $call,
            Socket::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
