//! Usher end to end: each test starts a server on a database of its own and talks to it over the wire.
//!
//! One binary, because each would link the whole server again.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod accept;
mod accounts;
mod affordances;
mod audit_verify;
mod bad_input;
mod bounds;
mod callers;
mod calls;
mod changes;
mod cli;
mod consistency;
mod coverage;
mod crash;
mod cut_short;
mod founders;
mod fuzz;
mod golden;
mod guards;
mod hijack;
mod invite;
mod isolation;
mod licenses;
mod matrix;
mod members_life;
mod model;
mod moving;
mod ownership_life;
mod paging;
mod people;
mod races;
mod readme;
mod reasons;
mod secrets;
mod sign_in;
mod stories;
mod watch;

use std::path::Path;

use usher_server::clock::Clock;
use usher_tests::{Engine, Model, Usher};

/// The role model of `fixtures/roles`, for what the shipped ones cannot show.
const WORKSHOP: Model =
    Model { id: "workshop", founder: "chief", roles: &["chief", "foreman", "maker", "guest"] };

/// A server that knows [`WORKSHOP`] too.
async fn workshop(engine: Engine) -> Usher {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/roles");
    Usher::start_with(engine, Clock::system(), |config| config.roles.directory = Some(directory)).await
}
