//! The harness of the end-to-end tests: real servers on real databases, talked to over the wire.
//!
//! Each test is written once, as `async fn case(engine: Engine)`, and [`both_engines!`] makes it two.
//! Deliberately absent: retries, and sleeps where a condition can be awaited.

pub mod acting;
pub mod any_call;
pub mod callers;
pub mod cast;
pub mod cluster;
pub mod engine;
pub mod harness;
pub mod lookup;
pub mod mailbox;
pub mod person;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod refused;
pub mod samples;
pub mod smtp;

pub use acting::By::{self, Actor, Nobody, Platform};
pub use acting::acting;
pub use cast::{Cast, DATAIMPORTER, INTEGRATE_IO, Model};
pub use engine::Engine;
pub use harness::Usher;
pub use postgres::OwnPostgres;
pub use process::Process;
pub use refused::{Refused, refused};
pub use smtp::{Certificates, SmtpServer};
pub use usher_contract::v1 as pb;
