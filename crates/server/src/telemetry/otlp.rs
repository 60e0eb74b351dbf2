//! What `OTEL_*` variables say, as far as the SDK does not read them itself.

use std::env;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::lifecycle::StartError;

/// What can be sent to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// Whether the signal is sent: if an endpoint is named, or the exporter `otlp`, and nothing says no.
///
/// # Errors
/// When a variable asks for what Usher does not have.
pub fn is_wanted(signal: Signal) -> Result<bool, StartError> {
    is_wanted_by(signal, |name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn is_wanted_by(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> Result<bool, StartError> {
    let word = signal.word();
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let exporter = format!("OTEL_{word}_EXPORTER");
    let named = match variable(&exporter).as_deref() {
        Some("none") => return Ok(false),
        Some("otlp") => true,
        Some(other) => {
            return Err(StartError(format!("`{exporter}` is `{other}`; usher has `otlp` and `none`")));
        }
        None => false,
    };
    let of_signal = |name: &str| {
        variable(&format!("OTEL_EXPORTER_OTLP_{word}_{name}"))
            .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    if !named && of_signal("ENDPOINT").is_none() {
        return Ok(false);
    }
    match of_signal("PROTOCOL").as_deref() {
        None | Some("grpc") => Ok(true),
        Some(other) => {
            Err(StartError(format!("`OTEL_EXPORTER_OTLP_PROTOCOL` is `{other}`; usher speaks `grpc`")))
        }
    }
}

pub(crate) fn failed(signal: Signal, error: &dyn std::fmt::Display) -> StartError {
    let what = signal.word().to_lowercase();
    StartError(format!("{what} cannot be sent: {error}; see `OTEL_EXPORTER_OTLP_ENDPOINT`"))
}

/// Who sends; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say more.
pub fn resource() -> Resource {
    let name = env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| "usher".to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(signal: Signal, variables: &[(&str, &str)]) -> Result<bool, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        is_wanted_by(signal, |name| find(name).map(|(_, value)| (*value).to_owned())).map_err(|e| e.0)
    }

    #[test]
    fn the_variables_say_what_is_sent() {
        use Signal::{Metrics, Traces};
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert_eq!(wanted(Traces, &[]), Ok(false));
        assert_eq!(wanted(Traces, &[endpoint]), Ok(true));
        assert_eq!(wanted(Metrics, &[endpoint]), Ok(true));
        assert_eq!(wanted(Metrics, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1")]), Ok(false));
        assert_eq!(wanted(Traces, &[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(wanted(Metrics, &[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), Ok(false));
        assert_eq!(wanted(Traces, &[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        let error = wanted(Traces, &[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(error.contains("zipkin") && error.contains("otlp"), "{error}");
        let error = wanted(Traces, &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).unwrap_err();
        assert!(error.contains("http/json") && error.contains("grpc"), "{error}");
    }
}
