//! The spans of calls, and the context that comes in with a call and goes out with what it asks of
//! others.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::sampling::{Parent, Sampling};
use crate::metrics::calls::{code_text, is_error};

/// Set once, where traces are sent.
static SAMPLING: OnceLock<Sampling> = OnceLock::new();

pub(super) fn set(sampling: Sampling) {
    // A second start in one process keeps the first one's.
    let _ = SAMPLING.set(sampling);
}

/// A call as logs and traces know it.
pub struct CallSpan {
    pub span: Span,
    /// For the lines about the call; empty where nobody traces.
    pub trace_id: String,
}

/// The span of a call, below the caller's if it sent a context. `method` is the full name. Log lines
/// within it say the trace and the request, whether or not it is traced.
pub fn call_span(method: &'static str, headers: &HeaderMap, request_id: &str) -> CallSpan {
    let parent = Parent::of(headers);
    let is_traced = SAMPLING.get().is_some_and(|sampling| sampling.traces(parent));
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = if is_traced { "server" } else { "internal" },
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        error.type = Empty,
        request_id,
        trace_id = Empty,
    );
    if is_traced {
        follow(&span, headers);
    }
    let own = is_traced.then(|| span.context().span().span_context().trace_id().to_string());
    let trace_id = own.or_else(|| Some(parent?.trace_id.to_owned())).unwrap_or_default();
    if !trace_id.is_empty() {
        span.record("trace_id", &*trace_id);
    }
    CallSpan { span, trace_id }
}

/// The span of a check: none at all unless it is traced.
pub fn check_span(method: &'static str, headers: &HeaderMap) -> Span {
    match SAMPLING.get() {
        Some(sampling) if sampling.traces(Parent::of(headers)) => {}
        _ => return Span::none(),
    }
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        error.type = Empty,
    );
    follow(&span, headers);
    span
}

fn follow(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        // Without a layer that traces there is nobody to tell.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Incoming(headers)));
    }
}

/// Notes how a call ended.
pub fn call_ended(span: &Span, code: Code) {
    if span.is_none() {
        return;
    }
    span.record("rpc.response.status_code", code_text(code));
    if is_error(code) {
        span.record("error.type", code_text(code));
        span.record("otel.status_code", "ERROR");
    }
}

/// Puts the context of the span that we are in into a request to somebody else; nothing outside of
/// traced calls.
pub fn pass_on(headers: &mut HeaderMap) {
    let context = Span::current().context();
    if context.span().span_context().is_sampled() {
        TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
