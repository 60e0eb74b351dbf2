//! A connection with an end: the HTTP/2 preface in time, no long silence, and a last moment.
//!
//! hyper waits for ever for the preface, and its keepalive starts only behind it. [`Guarded`] wraps
//! the TLS stream and not the socket, or the 24 bytes would be met by the ClientHello.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use super::limits::Limits;
use crate::authenticate::Identity;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`; whether the bytes are right is h2's business.
const PREFACE_BYTES: usize = 24;

/// A time that is never reached; far enough, and without overflow.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// What is known of a connection. Among the extensions of every request that came over it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<ConnectionInner>);

#[derive(Debug)]
struct ConnectionInner {
    peer: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    identity: OnceLock<Option<Arc<Identity>>>,
}

impl Connection {
    /// `certificates` is the peer's verified chain, its own certificate first; empty without one.
    pub fn new(peer: SocketAddr, certificates: Vec<CertificateDer<'static>>) -> Self {
        Self(Arc::new(ConnectionInner { peer, certificates, identity: OnceLock::new() }))
    }

    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }

    /// Who the certificates prove; asked once per connection.
    pub(crate) fn identity(
        &self,
        prove: impl FnOnce(&[CertificateDer<'static>]) -> Option<Arc<Identity>>,
    ) -> Option<&Arc<Identity>> {
        self.0.identity.get_or_init(|| prove(&self.0.certificates)).as_ref()
    }
}

/// A connection that ends by itself; see the module.
pub struct Guarded<S> {
    io: S,
    connection: Connection,
    preface_left: usize,
    timer: Pin<Box<Sleep>>,
    /// When it is cut, whatever it does.
    last_moment: Option<Instant>,
    idle: Option<Duration>,
    /// Whether a byte came since the timer was set.
    heard: bool,
    over: bool,
    /// Given back when the connection is gone.
    _place: Box<dyn Send + Sync>,
}

impl<S> Guarded<S> {
    /// `place` is what the connection occupies and gives back by being dropped.
    pub fn new(io: S, connection: Connection, limits: &Limits, place: impl Send + Sync + 'static) -> Self {
        let now = Instant::now();
        Self {
            io,
            connection,
            preface_left: PREFACE_BYTES,
            timer: Box::pin(tokio::time::sleep_until(now + Duration::from_millis(limits.preface_ms))),
            last_moment: limits.connection_life().map(|life| now + life),
            idle: limits.idle(),
            heard: false,
            over: false,
            _place: Box::new(place),
        }
    }

    /// Sets the timer to whatever comes first.
    fn rearm(&mut self) {
        let now = Instant::now();
        let silence = now + self.idle.unwrap_or(NEVER);
        self.heard = false;
        self.timer.as_mut().reset(self.last_moment.map_or(silence, |last| last.min(silence)));
    }

    /// Called whenever the peer keeps us waiting, also in writing: a peer that reads nothing keeps
    /// hyper from ever reading again.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.over {
            // `is_elapsed` too, because a flooded task has no budget left to poll a timer with.
            if !self.timer.is_elapsed() && self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let at_the_end = self.last_moment.is_some_and(|last| last <= Instant::now());
            self.over = self.preface_left > 0 || at_the_end || (self.idle.is_some() && !self.heard);
            if !self.over {
                self.rearm();
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn or_check<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.check(cx).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending),
            ready => ready,
        }
    }
}

impl<S> Connected for Guarded<S> {
    type ConnectInfo = Connection;
    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > 0 {
            self.heard = true;
            if self.preface_left > 0 {
                self.preface_left = self.preface_left.saturating_sub(read);
                if self.preface_left == 0 {
                    self.rearm();
                }
            }
        }
        self.or_check(polled, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.or_check(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.or_check(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.or_check(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.or_check(polled, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair(limits: &Limits) -> (Guarded<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        let connection = Connection::new(([127, 0, 0, 1], 1).into(), Vec::new());
        (Guarded::new(ours, connection, limits, ()), theirs)
    }

    fn limits() -> Limits {
        Limits { preface_ms: 50, idle_seconds: 0, connection_age_seconds: 0, ..Limits::default() }
    }

    async fn read_all(guarded: Guarded<DuplexStream>) -> (usize, io::ErrorKind) {
        tokio::time::timeout(Duration::from_secs(3), read_on(guarded)).await.unwrap()
    }

    async fn read_on(mut guarded: Guarded<DuplexStream>) -> (usize, io::ErrorKind) {
        let (mut buf, mut total) = ([0; 64], 0);
        loop {
            match guarded.read(&mut buf).await {
                Ok(0) => return (total, io::ErrorKind::UnexpectedEof),
                Ok(read) => total += read,
                Err(error) => return (total, error.kind()),
            }
        }
    }

    #[tokio::test]
    async fn a_preface_one_byte_short_is_cut() {
        let (guarded, mut theirs) = pair(&limits());
        theirs.write_all(&[b'x'; PREFACE_BYTES - 1]).await.unwrap();
        assert_eq!(read_all(guarded).await, (PREFACE_BYTES - 1, io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn after_the_preface_silence_is_allowed_if_there_is_no_idle_limit() {
        let (guarded, mut theirs) = pair(&limits());
        theirs.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        let reading = tokio::spawn(read_all(guarded));
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(theirs);
        assert_eq!(reading.await.unwrap(), (PREFACE_BYTES, io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn silence_and_old_age_end_it() {
        let idle = Limits { idle_seconds: 1, ..limits() };
        let (mut guarded, mut theirs) = pair(&idle);
        guarded.idle = Some(Duration::from_millis(60));
        theirs.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        let begun = Instant::now();
        assert_eq!(read_all(guarded).await, (PREFACE_BYTES, io::ErrorKind::TimedOut));
        assert!(begun.elapsed() < Duration::from_millis(500));

        let (mut guarded, mut theirs) = pair(&limits());
        guarded.last_moment = Some(Instant::now() + Duration::from_millis(100));
        let writing = tokio::spawn(async move { while theirs.write_all(&[b'x'; 32]).await.is_ok() {} });
        assert_eq!(read_all(guarded).await.1, io::ErrorKind::TimedOut);
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_while_we_write() {
        let (mut guarded, mut theirs) = pair(&limits());
        theirs.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        guarded.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        guarded.last_moment = Some(Instant::now() + Duration::from_millis(50));
        guarded.rearm();
        let writing = tokio::time::timeout(Duration::from_secs(3), guarded.write_all(&[0; 1_000])).await;
        assert_eq!(writing.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
