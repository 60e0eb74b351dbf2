//! The answers that the transport gives by itself, each with exactly one `ErrorInfo`.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "usher.v1";

/// How long a caller should wait when the process has too much to do.
const OVERLOAD_DELAY: Duration = Duration::from_millis(500);

/// Too many calls at once in this process; another replica may have room.
pub fn overloaded() -> Status {
    later("OVERLOADED", "too many calls at once", OVERLOAD_DELAY)
}

/// The caller asks more often than configured.
pub fn rate_limited(delay: Duration) -> Status {
    later("RATE_LIMITED", "the caller's rate limit is reached", delay)
}

/// One answer for every way of not being known: which part failed stands in the log only.
pub fn unauthenticated() -> Status {
    plain(Code::Unauthenticated, "CALLER_UNAUTHENTICATED", "the caller is not authenticated", HashMap::new())
}

pub(super) fn deadline_exceeded(limit: Duration) -> Status {
    let message = format!("deadline of {} ms exceeded", limit.as_millis());
    plain(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", &message, HashMap::new())
}

/// Bytes that are no message, or too many.
pub(super) fn unreadable(why: &str) -> Status {
    let message = format!("the request cannot be read: {why}");
    plain(Code::InvalidArgument, "INVALID_FIELD", &message, HashMap::new())
}

pub(super) fn internal(request_id: &str) -> Status {
    let message = format!("internal error, request id `{request_id}`");
    let metadata = HashMap::from([("id".to_owned(), request_id.to_owned())]);
    plain(Code::Internal, "INTERNAL", &message, metadata)
}

fn later(reason: &str, message: &str, delay: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(delay));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn plain(code: Code, reason: &str, message: &str, metadata: HashMap<String, String>) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}
