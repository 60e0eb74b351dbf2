//! A token bucket in one atomic number (the generic cell rate algorithm of ITU-T I.371): no lock,
//! no background task, nothing to sweep.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many per second, of which one second's worth may come at once.
#[derive(Debug)]
pub struct Rate {
    born: Instant,
    /// Nanoseconds between two of them.
    spacing: u64,
    /// Nanoseconds after `born` at which the bucket is full again.
    full_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// `per_second` of 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let spacing = SECOND / u64::from(per_second.clamp(1, 1_000_000_000));
        Self { born: Instant::now(), spacing, full_at: AtomicU64::new(0) }
    }

    pub fn per_second(&self) -> u64 {
        SECOND / self.spacing
    }

    /// Takes one, or says when to come back.
    pub fn take(&self) -> Result<(), Duration> {
        self.take_at(u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now: u64) -> Result<(), Duration> {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now) + self.spacing;
            let ahead = next - now;
            if ahead > SECOND.max(self.spacing) {
                return Err(Duration::from_nanos(ahead - SECOND.max(self.spacing)));
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => full_at = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_may_come_at_once_and_then_one_per_spacing() {
        let rate = Rate::new(10);
        assert_eq!((0..20).filter(|_| rate.take_at(5).is_ok()).count(), 10);
        assert_eq!(rate.take_at(5), Err(Duration::from_millis(100)));
        assert_eq!(rate.take_at(5 + SECOND / 10), Ok(()));
        assert!(rate.take_at(5 + SECOND / 10).is_err());
        assert_eq!(
            (0..20).filter(|_| rate.take_at(10 * SECOND).is_ok()).count(),
            10,
            "it fills up, not over"
        );
    }

    #[test]
    fn threads_together_get_no_more() {
        let rate = Rate::new(1_000);
        let taken = |_| (0..1_000).filter(|_| rate.take_at(0).is_ok()).count();
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || taken(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 1_000);
    }
}
