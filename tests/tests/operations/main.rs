//! What those who run Usher see of it: metrics, health, logs, traces, and how it stops.
//!
//! Apart from the other end-to-end tests, because some of these need the machine's attention.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod doctor;
mod health;
mod metrics;
mod page;
mod rollout;
mod stop;
mod telemetry;

use usher_tests::pb;

/// May this member of `acme` do that to a job?
fn check(user: &str, action: &str) -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: "acme".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(user.to_owned())) }),
        action: action.to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}
