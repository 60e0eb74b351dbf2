//! Several real servers on one PostgreSQL: what they promise, while everything fails that can.
//!
//! `history` is what clients saw, `judge` reads it and knows no more than that; servers with mistakes
//! ([`usher_tests::process::faulty_binary`]) show that it would see them.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]
#![expect(clippy::print_stdout, reason = "figures are worth seeing")]

mod clients;
mod followers;
mod history;
mod judge;
mod outage;
mod pgbouncer;
mod restore;
mod scene;
mod seats;
mod size;
mod starting;
mod storm;

/// Whether these tests can run. Says so aloud where they cannot.
fn ready() -> bool {
    usher_tests::engine::postgres_is_there()
}

fn is_long() -> bool {
    std::env::var_os("USHER_TEST_LONG").is_some()
}
