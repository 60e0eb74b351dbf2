//! What stands between the network and a handler: who may connect, how long, how much, and what
//! every call has in common.
//!
//! tonic's own accept loop has no time limit before the HTTP/2 preface, spins when file descriptors
//! run out, and switches two of hyper's limits off; its deadline answers CANCELLED, and a panic
//! resets the stream. So the loop ([`accept`]), the threads ([`serving`]), the connection ([`guarded`]), TLS ([`tls`]), the
//! limits ([`limits`]) and the outermost layer ([`outcome`]) are ours.
//!
//! Deliberately absent: who a caller is (`authenticate`), metrics (they plug in as an
//! [`outcome::Observer`]), spans.

use std::sync::Arc;

pub mod accept;
pub mod guarded;
pub mod limits;
pub mod listen;
pub mod outcome;
pub mod panics;
pub mod rate;
pub mod refusal;
pub mod request_id;
pub mod serving;
mod streamed;
pub mod tls;

/// The wall clock in seconds since 1970, handed in so that tests can set it.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;
