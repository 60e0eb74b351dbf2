//! The part of the cache that never waits: entries, floors and the lease, and the order in which they
//! are looked at. `tests/interleavings` runs this very file under shuttle.

use std::time::Duration;

use quick_cache::OptionsBuilder;
use quick_cache::sync::Cache;
use usher_domain::id::AccountId;

use super::floors::Floors;
use super::key::{Hashed, Key, KeyRef, Keys, Packed};
use super::lease::{Lease, Moment};
use crate::faults::{self, Fault};
use crate::sync::{AtomicU64, Ordering};

/// How long an entry may be used without being read again, whatever floors say. Nothing rests on it but what
/// comes into the database unseen, by hand or by `load-demo` beside servers that run: floors that are dropped take
/// older entries with them. A shorter
/// life costs reads: with a million members in memory, one minute would be 16,000 a second.
pub(super) const ENTRY_LIFE: Duration = Duration::from_secs(600);
/// How long a floor is kept: a little longer than what it is for.
const FLOOR_LIFE: Duration = Duration::from_secs(602);

/// Something read from the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<V> {
    pub(super) value: V,
    /// The account's when it was read.
    pub(super) revision: i64,
    /// When its load began.
    pub(super) born: Moment,
}

/// An account's revision and nonce as a poll found them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raised<'a> {
    pub(super) account: &'a AccountId,
    pub(super) revision: i64,
    pub(super) nonce: i64,
}

pub(super) struct Memory<V> {
    keys: Keys,
    entries: Cache<Packed, Entry<V>, quick_cache::UnitWeighter, Hashed>,
    floors: Floors,
    lease: Lease,
    /// What was read before this moment is no longer used. Floors that are dropped were raised before
    /// it, and so was read whatever they kept out; a load that hung while they went is caught too.
    oldest: AtomicU64,
}

impl<V: Copy> Memory<V> {
    /// Holds at most `entries_max` entries; the least used go.
    pub(super) fn new(entries_max: usize, lease: Lease) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries_max)
            .weight_capacity(entries_max as u64)
            .build();
        let (weighter, hasher) = (quick_cache::UnitWeighter, Hashed::default());
        let entries = match options {
            Ok(options) => Cache::with_options(options, weighter, hasher, Default::default()),
            Err(_) => Cache::with(entries_max, entries_max as u64, weighter, hasher, Default::default()),
        };
        let (keys, floors) = (Keys::default(), Floors::default());
        Self { keys, entries, floors, lease, oldest: AtomicU64::new(0) }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(super) fn entries_len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn floors_len(&self) -> usize {
        self.floors.len()
    }

    /// The value in memory, if it may be used: lease first, then the floor, then the entry.
    pub(super) fn hit(&self, account: &str, subject: Option<&str>, wanted: i64) -> Option<V> {
        let key = self.keys.key(account, subject);
        let early = faults::is(Fault::FloorFirst).then(|| self.floor(key));
        let now = Moment::now();
        if !self.lease.holds(now) {
            return None;
        }
        let floor = early.unwrap_or_else(|| self.floor(key)).max(wanted);
        let entry = self.entries.get(&key)?;
        let usable =
            entry.revision >= floor && now.since(entry.born) < ENTRY_LIFE && self.is_recent(entry.born);
        usable.then_some(entry.value)
    }

    fn floor(&self, key: KeyRef<'_>) -> i64 {
        self.floors.of(key.account, key.account_hash)
    }

    /// Judges what a load read as an entry is judged, because both lease and floor may have moved
    /// while it was under way; what passes is kept and may be answered.
    pub(super) fn admit(&self, key: &Key, read: Entry<V>, wanted: i64) -> bool {
        let key = self.keys.key(key.account.as_str(), key.subject());
        let passes = faults::is(Fault::FillUnchecked)
            || self.lease.holds(Moment::now())
                && read.revision >= self.floor(key).max(wanted)
                && self.is_recent(read.born);
        if passes {
            self.put(key, read);
        }
        passes
    }

    /// Keeps an entry unless a newer one is there.
    fn put(&self, key: KeyRef<'_>, entry: Entry<V>) {
        let newer = self
            .entries
            .peek(&key)
            .is_some_and(|kept| (kept.revision, kept.born) > (entry.revision, entry.born));
        if !newer {
            self.entries.insert(key.pack(), entry);
        }
    }

    /// The value in memory that may be used while the database is away.
    pub(super) fn outlive(&self, account: &str, subject: Option<&str>) -> Option<V> {
        if !self.lease.holds_in_outage(Moment::now()) {
            return None;
        }
        let key = self.keys.key(account, subject);
        let floor = self.floor(key);
        let entry = self.entries.get(&key)?;
        (entry.revision >= floor && self.is_recent(entry.born)).then_some(entry.value)
    }

    fn is_recent(&self, born: Moment) -> bool {
        born.nanos() >= self.oldest.load(Ordering::Acquire)
    }

    /// A change committed here took the account to this revision.
    pub(super) fn raise_floor(&self, account: &AccountId, revision: i64) {
        self.floors.raise(&self.keys, account, revision, None, Moment::now());
    }

    /// What a poll found that began at `start`. False when an account has the same revision with
    /// another history: then everything is forgotten.
    pub(super) fn polled<'a>(&self, found: impl Iterator<Item = Raised<'a>>, start: Moment) -> bool {
        if faults::is(Fault::LeaseFirst) {
            self.lease.renew(start);
        }
        let now = Moment::now();
        let mut consistent = true;
        for raised in found {
            consistent &=
                self.floors.raise(&self.keys, raised.account, raised.revision, Some(raised.nonce), now);
        }
        if !consistent {
            self.clear();
            return false;
        }
        // Only now: whoever sees the lease sees the floors.
        self.lease.renew(start);
        true
    }

    /// Forgets everything: the database is another one than before. What was being read from that one
    /// is not kept either.
    pub(super) fn clear(&self) {
        self.lease.revoke();
        self.refuse_before(Moment::now());
        self.entries.clear();
        self.floors.clear();
    }

    /// Drops floors that are old, and with them the use of anything that was read before; looks at all floors.
    /// Not while the lease has run out: what memory holds may be all that there is then.
    pub(super) fn prune(&self) {
        let now = Moment::now();
        if self.lease.holds(now)
            && let Some(before) = now.minus(FLOOR_LIFE)
            && self.floors.any_before(before)
        {
            self.refuse_before(before);
            self.floors.drop_before(before);
        }
    }

    /// First this, then floors may go: who finds no floor finds this.
    fn refuse_before(&self, moment: Moment) {
        self.oldest.fetch_max(moment.nanos(), Ordering::AcqRel);
    }
}
