//! The instruments' other end.

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use crate::lifecycle::StartError;
use crate::telemetry::otlp::{self, Signal};

/// Makes instruments, and brings out what they hold.
#[derive(Clone)]
pub struct Meters {
    provider: SdkMeterProvider,
    registry: Option<Registry>,
    /// Whether a collector is told.
    is_sent: bool,
}

impl Meters {
    /// `page` is whether Prometheus may ask; a collector is told where `OTEL_*` variables name one.
    ///
    /// # Errors
    /// When the variables cannot be followed.
    pub fn start(page: bool) -> Result<Self, StartError> {
        let mut provider = SdkMeterProvider::builder().with_resource(otlp::resource());
        let mut registry = None;
        let failed = |e: &dyn std::fmt::Display| StartError(format!("metrics cannot be served: {e}"));
        if page {
            let known = Registry::new();
            let exporter = opentelemetry_prometheus::exporter()
                .with_registry(known.clone())
                .scope_info_enabled(false)
                .build()
                .map_err(|e| failed(&e))?;
            provider = provider.with_reader(exporter);
            registry = Some(known);
        }
        let is_sent = otlp::is_wanted(Signal::Metrics)?;
        if is_sent {
            let exporter = opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .build()
                .map_err(|e| otlp::failed(Signal::Metrics, &e))?;
            provider = provider.with_reader(PeriodicReader::builder(exporter).build());
        }
        Ok(Self { provider: provider.build(), registry, is_sent })
    }

    /// Whether anybody reads what the instruments hold.
    pub fn are_read(&self) -> bool {
        self.is_sent || self.registry.is_some()
    }

    pub fn meter(&self) -> Meter {
        self.provider.meter("usher")
    }

    /// All that is known now, as Prometheus' text; empty if it may not ask.
    pub fn text(&self) -> String {
        let families = self.registry.as_ref().map(Registry::gather).unwrap_or_default();
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be written");
            String::new()
        })
    }

    /// Tells the collector what it was not told yet. Blocks, so it runs apart from the async threads.
    pub async fn flush(self) {
        let done = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
        if !matches!(done, Ok(Ok(()))) {
            tracing::warn!("the last metrics may not have arrived");
        }
    }
}
