//! Logs, and traces over OTLP.
//!
//! Traces leave only where `OTEL_*` variables name a collector; endpoint, headers, time limits and
//! batching are the SDK's own variables, the sampler is read by [`sampling`]. A line is logged for every
//! change and every refused call, none for a check.

pub mod otlp;
mod sampling;
mod spans;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogConfig, LogFormat};
use crate::lifecycle::StartError;
use otlp::Signal;
use sampling::{Decided, Sampling};
pub use spans::{CallSpan, call_ended, call_span, check_span, pass_on};

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

/// Begins to log, to stderr, and to trace where a collector is named.
///
/// # Errors
/// When the filter or the variables cannot be followed.
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
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("usher"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(EnvFilter::new(TRACED))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|e| StartError(format!("logs cannot begin: {e}")))?;
    Ok(Telemetry { traces })
}

fn traces() -> Result<Option<SdkTracerProvider>, StartError> {
    if !otlp::is_wanted(Signal::Traces)? {
        return Ok(None);
    }
    spans::set(Sampling::from_environment()?);
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|e| otlp::failed(Signal::Traces, &e))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(otlp::resource())
        .with_sampler(Decided)
        .with_batch_exporter(exporter);
    Ok(Some(provider.build()))
}
