//! What threads share, from one place: `tests/interleavings` puts shuttle's twins here and runs the
//! cache's own files on them.

use rustix::time::{ClockId, clock_gettime};

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use parking_lot::RwLock;

/// How many locks share the floors: cores do not wait for each other's look-ups.
pub(crate) const SHARDS: usize = 64;

/// Nanoseconds since the boot, by a clock that counts through suspension.
pub(crate) fn boottime() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(1)
}
