//! The one place that reads the system clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use usher_domain::time::Time;

use crate::transport::WallClock;

/// Says what time it is: the system's, or what a test set.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    set: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self { set: None }
    }

    /// A clock that stands still until it is moved with [`Clock::set`].
    pub fn manual(start: Time) -> Self {
        Self { set: Some(Arc::new(AtomicI64::new(start.micros()))) }
    }

    /// Moves a manual clock; a system clock cannot be moved.
    pub fn set(&self, time: Time) {
        if let Some(set) = &self.set {
            set.store(time.micros(), Ordering::SeqCst);
        }
    }

    /// The clock in whole seconds, as certificates and tokens count them.
    pub fn wall(&self) -> WallClock {
        let clock = self.clone();
        Arc::new(move || u64::try_from(clock.now().seconds()).unwrap_or(0))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else takes the time from"
    )]
    pub fn now(&self) -> Time {
        match &self.set {
            Some(set) => Time::from_micros(set.load(Ordering::SeqCst)),
            None => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
        }
    }
}
