//! What runs beside the calls.

pub mod changes;
pub mod housekeeping;
mod letter;
pub mod outbox;
