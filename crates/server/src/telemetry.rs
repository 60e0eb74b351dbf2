//! Logs, and traces over OTLP.
//!
//! Traces leave only if `OTEL_EXPORTER_OTLP_ENDPOINT` (or the one for traces) is set; endpoint, headers,
//! sampler and batching are the SDK's own `OTEL_*` variables. A call's span follows the caller's W3C
//! context.

use std::io::IsTerminal;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogConfig, LogFormat};
use crate::lifecycle::StartError;

/// What is traced: our own calls and the database's statements, never the exporter's own traffic.
const TRACED: &str = "off,usher_server=info,sea_orm=info";

/// Ends with everything sent; dropping it sends nothing more.
#[must_use]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what is left. Blocks, so it runs apart from the async threads.
    pub async fn flush(self) {
        if let Some(traces) = self.traces {
            let done = tokio::task::spawn_blocking(move || traces.shutdown()).await;
            if !matches!(done, Ok(Ok(()))) {
                tracing::warn!("the last traces may not have arrived");
            }
        }
    }
}

/// Begins to log, to stderr, and to trace where an endpoint is set.
///
/// # Errors
/// When the filter or the endpoint cannot be read.
pub fn start(config: &LogConfig) -> Result<Telemetry, StartError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|e| StartError(format!("`log.filter` cannot be read: {e}")))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let traces = traces()?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer().with_tracer(traces.tracer("usher")).with_filter(EnvFilter::new(TRACED))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|e| StartError(format!("logs cannot begin: {e}")))?;
    Ok(Telemetry { traces })
}

fn traces() -> Result<Option<SdkTracerProvider>, StartError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|e| StartError(format!("traces cannot be sent: {e}; see OTEL_EXPORTER_OTLP_ENDPOINT")))?;
    let service = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "usher".to_owned());
    let resource = Resource::builder().with_service_name(service).build();
    Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The span of a call, below the caller's if it sent a W3C context. `method` is the full name.
pub fn call_span(method: &'static str, headers: &MetadataMap) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
    );
    if headers.contains_key("traceparent") {
        // Without a layer that traces there is nobody to tell.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
    span
}

/// As [`call_span`] for a call whose caller samples it; none otherwise, which costs one look-up.
pub fn sampled_span(method: &'static str, headers: &MetadataMap) -> Span {
    match headers.get("traceparent") {
        Some(parent) if is_sampled(parent.as_encoded_bytes()) => call_span(method, headers),
        _ => Span::none(),
    }
}

/// Whether a `traceparent` of the W3C has the last bit of its flags set: `00-…-…-01`.
fn is_sampled(parent: &[u8]) -> bool {
    let flags = parent.get(54).and_then(|last| char::from(*last).to_digit(16));
    flags.is_some_and(|flags| flags & 1 == 1)
}

/// Notes how a call ended, in the words of the semantic conventions: `OK`, `NOT_FOUND`.
pub fn call_ended(span: &Span, code: tonic::Code) {
    if span.is_none() {
        return;
    }
    let text: String = format!("{code:?}").chars().enumerate().fold(String::new(), |mut text, (at, c)| {
        if c.is_uppercase() && at > 0 && code != tonic::Code::Ok {
            text.push('_');
        }
        text.extend(c.to_uppercase());
        text
    });
    span.record("rpc.response.status_code", text);
}

#[cfg(test)]
mod tests {
    use super::is_sampled;

    #[test]
    fn the_flags_of_a_traceparent_say_whether_it_is_sampled() {
        let parent = |flags: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        for flags in ["01", "03", "ff"] {
            assert!(is_sampled(parent(flags).as_bytes()), "{flags}");
        }
        for flags in ["00", "02", "0", "", "0x"] {
            assert!(!is_sampled(parent(flags).as_bytes()), "{flags}");
        }
        assert!(!is_sampled(b"") && !is_sampled(&[0xff; 60]));
    }
}
