//! The one layer around all services, outermost: request id, outcome, load shedding, deadline,
//! panics.
//!
//! It is one layer and not five because they share one thing, the end of the call: whatever
//! happens to a call (answered, refused, late, panicked, abandoned by its caller) is reported
//! exactly once, by the drop of one value.
//!
//! Cost of a unary call that is answered without waiting: one look-up of the path, two clock reads,
//! two atomic additions, one `Arc` clone; the request id is one response header, and one short string
//! if the caller sent none. Nothing is boxed, and the
//! deadline's timer is made only when the handler first waits. Streams cost one box per call.
//!
//! The rate of a caller is limited where the caller is known, by `authenticate`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::limits::Limits;
use super::panics::{Caught, catch};
use super::refusal;
use super::request_id::{REQUEST_ID_HEADER, RequestId, RequestIds};
use super::streamed::Streamed;

/// What unknown methods are reported as, so that a caller cannot make up names for our metrics.
pub const OTHER: &str = "_OTHER";

/// Who is told how calls end. Called on the path of every call: it must not block.
pub trait Observer: Send + Sync + 'static {
    /// A call ended; [`Code::Cancelled`] when the caller gave it up. `place` is the method's among those
    /// that the layer was given; [`OTHER`] stands behind the last.
    fn call(&self, place: usize, method: &'static str, code: Code, duration: Duration);
    /// A handler panicked; the call is reported as well.
    fn panic(&self, method: &'static str);
}

/// A method that this server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// `usher.v1.AuthorizationService/CheckPermission`, without a slash in front.
    pub name: &'static str,
    /// Whether it answers with a stream; streams have no deadline.
    pub streaming: bool,
    /// Whether the handler is told the request id: a box for each call, in vain where nothing is logged.
    pub logged: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    method: Method,
    place: usize,
    deadline: Option<Duration>,
}

pub(super) struct Shared<O> {
    pub(super) observer: O,
    methods: HashMap<&'static str, Known, foldhash::fast::RandomState>,
    other: Known,
    ids: RequestIds,
    calls: AtomicUsize,
    calls_max: usize,
    streams: AtomicUsize,
    streams_max: usize,
}

/// See the module. Clones share their limits.
pub struct OutcomeLayer<O> {
    shared: Arc<Shared<O>>,
}

impl<O: Observer> OutcomeLayer<O> {
    /// `methods` are all that are served; any other is reported as [`OTHER`].
    pub fn new(limits: &Limits, methods: impl IntoIterator<Item = Method>, observer: O) -> Self {
        let known = |place: usize, method: Method| {
            let ms = limits.deadlines_ms.get(method.name).copied().unwrap_or(limits.deadline_ms);
            Known { method, place, deadline: (!method.streaming).then(|| Duration::from_millis(ms)) }
        };
        let methods: HashMap<_, _, _> = methods
            .into_iter()
            .enumerate()
            .map(|(place, method)| (method.name, known(place, method)))
            .collect();
        let shared = Shared {
            observer,
            other: known(methods.len(), Method { name: OTHER, streaming: false, logged: false }),
            methods,
            ids: RequestIds::new(),
            calls: AtomicUsize::new(0),
            calls_max: limits.concurrent_calls,
            streams: AtomicUsize::new(0),
            streams_max: limits.concurrent_streams,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Methods that `limits` gives a deadline and that are not served as unary calls.
    pub fn deadlines_unused<'a>(&self, limits: &'a Limits) -> Vec<&'a str> {
        let unary = |name: &str| self.shared.methods.get(name).is_some_and(|known| known.deadline.is_some());
        limits.deadlines_ms.keys().map(String::as_str).filter(|name| !unary(name)).collect()
    }
}

impl<O> Clone for OutcomeLayer<O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S, O> Layer<S> for OutcomeLayer<O> {
    type Service = OutcomeService<S, O>;
    fn layer(&self, inner: S) -> Self::Service {
        OutcomeService { inner, shared: Arc::clone(&self.shared) }
    }
}

pub struct OutcomeService<S, O> {
    inner: S,
    shared: Arc<Shared<O>>,
}

impl<S: Clone, O> Clone for OutcomeService<S, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// One call, from its headers to its end. Its drop is the report.
pub(super) struct Call<O: Observer> {
    pub(super) shared: Arc<Shared<O>>,
    pub(super) method: Method,
    place: usize,
    pub(super) request_id: RequestId,
    pub(super) code: Code,
    started: Instant,
    holds_slot: bool,
}

impl<O: Observer> Call<O> {
    fn counter(&self) -> (&AtomicUsize, usize) {
        if self.method.streaming {
            (&self.shared.streams, self.shared.streams_max)
        } else {
            (&self.shared.calls, self.shared.calls_max)
        }
    }

    fn take_slot(&mut self) -> bool {
        let (in_use, max) = self.counter();
        self.holds_slot = in_use.fetch_add(1, Ordering::Relaxed) < max;
        if !self.holds_slot {
            self.counter().0.fetch_sub(1, Ordering::Relaxed);
        }
        self.holds_slot
    }

    /// The answer to a panic, which is logged here and nowhere else.
    pub(super) fn panicked(&self, caught: &Caught) -> Status {
        let (id, method) = (self.request_id.as_str(), self.method.name);
        tracing::error!(request_id = id, method, place = caught.place, "a handler panicked");
        self.shared.observer.panic(method);
        refusal::internal(id)
    }
}

impl<O: Observer> Drop for Call<O> {
    fn drop(&mut self) {
        if self.holds_slot {
            self.counter().0.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.observer.call(self.place, self.method.name, self.code, self.started.elapsed());
    }
}

impl<S, O> Service<Request<Body>> for OutcomeService<S, O>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    O: Observer,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = OutcomeFuture<S::Future, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let started = Instant::now();
        let name = request.uri().path().strip_prefix('/').unwrap_or_default();
        let known = *self.shared.methods.get(name).unwrap_or(&self.shared.other);
        let request_id = self.shared.ids.of(request.headers());
        if known.method.logged {
            request.extensions_mut().insert(request_id.clone());
        }
        let limit =
            known.deadline.map(|limit| wanted(request.headers()).map_or(limit, |less| less.min(limit)));
        let shared = Arc::clone(&self.shared);
        let mut call = Call {
            shared,
            method: known.method,
            place: known.place,
            request_id,
            code: Code::Cancelled,
            started,
            holds_slot: false,
        };
        let begun = if call.take_slot() {
            catch(|| self.inner.call(request)).map_err(|caught| call.panicked(&caught))
        } else {
            Err(refusal::overloaded())
        };
        let (inner, refused) = begun.map_or_else(|status| (None, Some(status)), |inner| (Some(inner), None));
        OutcomeFuture { inner, deadline: None, refused, limit, call: Some(call) }
    }
}

pin_project! {
    pub struct OutcomeFuture<F, O: Observer> {
        #[pin]
        inner: Option<F>,
        // Made when the handler first waits.
        #[pin]
        deadline: Option<Sleep>,
        refused: Option<Status>,
        limit: Option<Duration>,
        call: Option<Call<O>>,
    }
}

impl<F, E, O> Future for OutcomeFuture<F, O>
where
    F: Future<Output = Result<Response<Body>, E>>,
    O: Observer,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.inner.as_mut().as_pin_mut() {
            Some(inner) => catch(|| inner.poll(cx)),
            None => {
                let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
                return Poll::Ready(Ok(finish(this.call, status.into_http())));
            }
        };
        let response = match polled {
            Ok(Poll::Ready(result)) => result?,
            Ok(Poll::Pending) => {
                let (Some(limit), Some(call)) = (*this.limit, this.call.as_ref()) else {
                    return Poll::Pending;
                };
                let deadline = call.started + limit;
                if this.deadline.is_none() {
                    this.deadline.set(Some(tokio::time::sleep_until(deadline.into())));
                }
                if Instant::now() < deadline
                    && let Some(sleep) = this.deadline.as_mut().as_pin_mut()
                {
                    ready!(sleep.poll(cx));
                }
                refusal::deadline_exceeded(limit).into_http()
            }
            Err(caught) => match this.call.as_ref() {
                Some(call) => call.panicked(&caught).into_http(),
                None => Status::internal("internal error").into_http(),
            },
        };
        // A handler that is late or broken stops now, not when its answer is written.
        let _ = catch(|| this.inner.set(None));
        Poll::Ready(Ok(finish(this.call, response)))
    }
}

/// Ends the call, or hands it to the stream that still runs.
fn finish<O: Observer>(call: &mut Option<Call<O>>, mut response: Response<Body>) -> Response<Body> {
    let Some(mut call) = call.take() else { return response };
    if let Some(status) = unreadable(response.headers()) {
        response = status.into_http();
    }
    const ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
    response.headers_mut().insert(ID, call.request_id.header());
    match code_of(response.headers()) {
        Some(code) => call.code = code,
        None if !response.status().is_success() => call.code = Code::Unknown,
        None if call.method.streaming => return response.map(|body| Body::new(Streamed::new(body, call))),
        // A unary answer stands complete in memory; its trailers say OK.
        None => call.code = Code::Ok,
    }
    response
}

/// tonic answers INTERNAL or OUT_OF_RANGE to a request that it cannot read, and says no more. Our own answers
/// say why, so one that does not is tonic's, and the caller's fault.
fn unreadable(headers: &HeaderMap) -> Option<Status> {
    let is_tonics = !headers.contains_key("grpc-status-details-bin");
    match code_of(headers)? {
        Code::Internal | Code::OutOfRange if is_tonics => {
            Some(refusal::unreadable(Status::from_header_map(headers)?.message()))
        }
        _ => None,
    }
}

pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// What the caller's `grpc-timeout` leaves us. tonic keeps the same time outside of us and would
/// answer CANCELLED, so we are done a little earlier.
fn wanted(headers: &HeaderMap) -> Option<Duration> {
    let asked = grpc_timeout(headers.get("grpc-timeout")?.as_bytes())?;
    Some(asked - (asked / 2).min(Duration::from_millis(2)))
}

/// One to eight digits and a unit, as gRPC's protocol over HTTP/2 has it; anything else is ignored.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        assert_eq!(grpc_timeout(b"1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(grpc_timeout(b"99999999M"), Some(Duration::from_secs(99_999_999 * 60)));
        assert_eq!(grpc_timeout(b"20m"), Some(Duration::from_millis(20)));
        assert_eq!(grpc_timeout(b"7u"), Some(Duration::from_micros(7)));
        assert_eq!(grpc_timeout(b"0n"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", "1.5S", " 1S", "1 S"] {
            assert_eq!(grpc_timeout(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
