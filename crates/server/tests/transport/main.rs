//! The transport and the callers' proofs, over real sockets.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed it")]

mod calls;
mod certificates;
mod configuration;
mod connections;
mod rotation;
mod support;
mod tokens;
