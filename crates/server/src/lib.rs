//! The Usher server: gRPC in front of the rules, the role models and the store.
//!
//! `rpc` is the only room that sees generated types, `app` holds one use case a file, `clock` is the
//! only reader of the system clock. See the repository's README for the map.

pub mod app;
pub mod authenticate;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod faults;
pub mod guard;
pub mod health;
pub mod lifecycle;
pub mod mail;
pub mod metrics;
pub mod password;
pub mod random;
pub mod rpc;
mod sync;
pub mod telemetry;
pub mod token;
pub mod transport;
pub mod worker;
