//! What runs beside the calls.

pub mod changes;
pub mod outbox;
