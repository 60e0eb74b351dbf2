//! How long what is in memory may be believed.

use std::time::Duration;

use crate::faults::{self, Fault};
use crate::sync::{AtomicU64, Ordering, boottime};

/// A moment of this machine's own clock that counts through suspension: a server that slept must
/// not believe that no time went by. Nanoseconds since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Self {
        // 0 is "never", see `Lease`.
        Self(boottime().max(1))
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `None` when the machine was not running then.
    pub(super) fn minus(self, span: Duration) -> Option<Self> {
        let nanos = u64::try_from(span.as_nanos()).ok()?;
        self.0.checked_sub(nanos).map(Self)
    }

    pub(super) fn nanos(self) -> u64 {
        self.0
    }
}

/// Leave to use what is in memory.
pub struct Lease {
    kind: Kind,
}

enum Kind {
    /// This process makes all changes itself, so it knows them all.
    Alone,
    Polled {
        /// When the last successful poll began; 0 is never.
        start: AtomicU64,
        staleness_max: Duration,
        /// How much longer memory is used when the database is away.
        outage_grace: Duration,
    },
}

impl Lease {
    pub fn alone() -> Self {
        Self { kind: Kind::Alone }
    }

    pub fn polled(staleness_max: Duration, outage_grace: Duration) -> Self {
        Self { kind: Kind::Polled { start: AtomicU64::new(0), staleness_max, outage_grace } }
    }

    /// Whether every change that was acknowledged `staleness_max` ago has raised its floor.
    pub(super) fn holds(&self, now: Moment) -> bool {
        if faults::is(Fault::NoLease) {
            return true;
        }
        match &self.kind {
            Kind::Alone => true,
            Kind::Polled { staleness_max, .. } => self.age(now).is_some_and(|age| age <= *staleness_max),
        }
    }

    pub(super) fn holds_in_outage(&self, now: Moment) -> bool {
        match &self.kind {
            Kind::Alone => true,
            Kind::Polled { staleness_max, outage_grace, .. } => {
                !outage_grace.is_zero()
                    && self.age(now).is_some_and(|age| age <= *staleness_max + *outage_grace)
            }
        }
    }

    /// Whether memory answers even if the database is away, because the operator lets it.
    pub fn outlives_outage(&self) -> bool {
        matches!(self.kind, Kind::Polled { .. }) && self.holds_in_outage(Moment::now())
    }

    /// How long ago the last successful poll began; `None` before the first, and when there are none.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        match &self.kind {
            Kind::Alone => None,
            Kind::Polled { start, .. } => match start.load(Ordering::Acquire) {
                0 => None,
                start => Some(now.since(Moment(start))),
            },
        }
    }

    /// Whether answers come from memory now.
    pub fn is_held(&self) -> bool {
        self.holds(Moment::now())
    }

    pub(super) fn renew(&self, poll_start: Moment) {
        if let Kind::Polled { start, .. } = &self.kind {
            start.store(poll_start.0, Ordering::Release);
        }
    }

    pub(super) fn revoke(&self) {
        if let Kind::Polled { start, .. } = &self.kind {
            start.store(0, Ordering::Release);
        }
    }
}
