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
