//! How long calls take and how they end, in the words of OpenTelemetry's conventions for RPC.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use tonic::Code;

use crate::app::App;
use crate::transport::outcome::{Method, OTHER, Observer};

/// gRPC has so many status codes.
const CODES: usize = 17;
/// In seconds. The convention begins at 5 ms, where a check from memory ends.
const BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Hears how calls end.
pub struct Calls {
    app: App,
    duration: Histogram<f64>,
    /// By the method's place; unknown methods share the last row.
    rows: Vec<Row>,
}

struct Row {
    method: &'static str,
    /// Made when a method first ends with a code, so that what never happens is not shown.
    by_code: [OnceLock<BoundHistogram<f64>>; CODES],
}

impl Calls {
    /// `methods` in the order in which the transport numbers them.
    pub fn new(app: App, meter: &Meter, methods: impl IntoIterator<Item = Method>) -> Self {
        let duration = meter
            .f64_histogram("rpc.server.call.duration")
            .with_unit("s")
            .with_description("How long calls took")
            .with_boundaries(BUCKETS.to_vec())
            .build();
        let names = methods.into_iter().map(|method| method.name).chain([OTHER]);
        let row = |method| Row { method, by_code: std::array::from_fn(|_| OnceLock::new()) };
        Self { app, duration, rows: names.map(row).collect() }
    }
}

impl Observer for Calls {
    fn call(&self, place: usize, _method: &'static str, code: Code, duration: Duration) {
        let Some(row) = self.rows.get(place) else { return };
        let Some(cell) = row.by_code.get(code as usize) else { return };
        let bound = cell.get_or_init(|| self.duration.bind(&attributes(row.method, code)));
        bound.record(duration.as_secs_f64());
    }

    fn panic(&self, _method: &'static str) {
        self.app.counters.panicked();
    }
}

fn attributes(method: &'static str, code: Code) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method),
        KeyValue::new("rpc.response.status_code", code_text(code)),
    ];
    if is_error(code) {
        attributes.push(KeyValue::new("error.type", code_text(code)));
    }
    attributes
}

/// Whether a call that ended so is the server's failure; the others are answers, though not the
/// wanted ones.
pub(crate) fn is_error(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

/// `OK`, `NOT_FOUND`: as gRPC spells it.
pub(crate) fn code_text(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_cell_and_a_name() {
        for number in 0..CODES {
            let code = Code::from_i32(i32::try_from(number).unwrap());
            assert_eq!(code as usize, number);
            assert_eq!(super::super::upper_snake(&format!("{code:?}")), code_text(code));
        }
    }
}
