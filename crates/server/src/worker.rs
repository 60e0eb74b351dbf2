//! What runs beside the calls.

pub mod housekeeping;
mod letter;
pub mod outbox;
