//! Standings in memory, exact under change.
//!
//! What is cached is the standing, never a decision, so everything that a request says enters the
//! decision each time. A change raises its account's *floor*; a standing read below the floor is not
//! used. On several servers floors come from polls, under a *lease*: what is cached may be used only
//! if a poll that began within `staleness_max` ended well, for only then all floors older than that
//! are known. So the order of a look-up is lease, then floor, then entry, and a poll publishes its
//! floors before its start. A load that others joined is judged again after it ends. What does not
//! pass is read directly, and what is read directly is never kept.
//!
//! The argument in full, and the variants that look as good and are wrong, are in the model test
//! `tests/cache_model.rs` of this crate.

mod floors;
mod key;
mod lease;
mod loads;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::OptionsBuilder;
use quick_cache::sync::Cache;
use usher_domain::id::{AccountId, UserId};
use usher_policy::{Catalogue, Standing};
use usher_storage::{ChangedAccount, Store};

use crate::error::Error;
use floors::Floors;
use key::{Key, KeyRef, Packed};
pub use lease::{Lease, Moment};
use loads::Loads;

/// How long an entry may be used without being read again, whatever floors say.
const ENTRY_LIFE: Duration = Duration::from_secs(60);
/// How long a load may take; with [`ENTRY_LIFE`] it bounds how long a floor is needed.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What is in memory will do, within the bound on staleness.
    Latency,
    /// At this revision of the account, or a later one.
    AtLeast(i64),
    /// Read now.
    Full,
}

/// An account's standing, `None` when there is no such account.
pub type Known = Option<Standing>;

/// A standing to decide from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub known: Known,
    /// Older than the bound allows, because the database is away and the operator lets it be.
    pub stale: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    known: Known,
    /// When its load began.
    born: Moment,
}

fn revision_of(known: &Known) -> i64 {
    known.as_ref().map_or(0, Standing::revision)
}

/// Numbers that only grow.
#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    loads: AtomicU64,
    direct: AtomicU64,
}

/// How often which way was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub entries: usize,
    pub floors: usize,
    pub hits: u64,
    pub loads: u64,
    pub direct: u64,
}

pub struct Standings {
    entries: Cache<Packed, Entry, quick_cache::UnitWeighter, foldhash::fast::RandomState>,
    floors: Floors,
    lease: Lease,
    loads: Loads,
    counts: Counts,
}

impl Standings {
    /// Holds at most `entries_max` standings; the least used go.
    pub fn new(entries_max: usize, lease: Lease) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries_max)
            .weight_capacity(entries_max as u64)
            .build();
        let hasher = foldhash::fast::RandomState::default();
        let entries = match options {
            Ok(options) => {
                Cache::with_options(options, quick_cache::UnitWeighter, hasher, Default::default())
            }
            Err(_) => Cache::with(
                entries_max,
                entries_max as u64,
                quick_cache::UnitWeighter,
                hasher,
                Default::default(),
            ),
        };
        Self { entries, floors: Floors::default(), lease, loads: Loads::default(), counts: Counts::default() }
    }

    /// A committed change took the account to this revision.
    pub fn raise_floor(&self, account: &AccountId, revision: i64) {
        self.floors.raise(account, revision, None, Moment::now());
    }

    /// What a poll found that began at `start`. False when an account has the same revision with
    /// another history: then everything must go.
    pub fn polled(&self, changed: &[ChangedAccount], start: Moment) -> bool {
        let now = Moment::now();
        let mut consistent = true;
        for account in changed {
            consistent &= self.floors.raise(&account.id, account.revision, Some(account.nonce), now);
        }
        self.floors.prune(now, ENTRY_LIFE + LOAD_TIMEOUT);
        // Only now: whoever sees the lease sees the floors.
        self.lease.renew(start);
        consistent
    }

    /// Forgets everything: the database is another one than before.
    pub fn clear(&self) {
        self.lease.revoke();
        self.entries.clear();
        self.floors.clear();
    }

    /// Drops floors that nothing can be below any more. Polls do it too.
    pub fn prune(&self) {
        self.floors.prune(Moment::now(), ENTRY_LIFE + LOAD_TIMEOUT);
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn figures(&self) -> Figures {
        Figures {
            entries: self.entries.len(),
            floors: self.floors.len(),
            hits: self.counts.hits.load(Ordering::Relaxed),
            loads: self.counts.loads.load(Ordering::Relaxed),
            direct: self.counts.direct.load(Ordering::Relaxed),
        }
    }

    /// The standing in memory, if it may be used: lease first, then the floor, then the entry.
    pub fn hit(&self, account: &str, subject: Option<&str>, freshness: Freshness) -> Option<Known> {
        let now = Moment::now();
        let wanted = match freshness {
            Freshness::Full => return None,
            Freshness::Latency => 0,
            Freshness::AtLeast(revision) => revision,
        };
        if !self.lease.holds(now) {
            return None;
        }
        let floor = self.floors.of(account).max(wanted);
        let entry = self.entries.get(&KeyRef { account, subject })?;
        let usable = revision_of(&entry.known) >= floor && now.since(entry.born) < ENTRY_LIFE;
        if usable {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
        }
        usable.then_some(entry.known)
    }

    /// The standing of a subject (`None` is automation) in an account.
    ///
    /// # Errors
    /// Those of the store; `RevisionInFuture` when the account has not reached the revision asked.
    pub async fn get(
        &self,
        store: &Store,
        roles: &Catalogue,
        account: &AccountId,
        subject: Option<&UserId>,
        freshness: Freshness,
    ) -> Result<Found, Error> {
        if let Some(known) = self.hit(account.as_str(), subject.map(UserId::as_str), freshness) {
            return Ok(Found { known, stale: false });
        }
        if let Some(known) = self.load(store, roles, account, subject, freshness).await {
            return Ok(Found { known, stale: false });
        }
        self.direct(store, roles, account, subject, freshness).await
    }

    /// Reads once for all who ask meanwhile, and keeps what passes the same test afterwards.
    async fn load(
        &self,
        store: &Store,
        roles: &Catalogue,
        account: &AccountId,
        subject: Option<&UserId>,
        freshness: Freshness,
    ) -> Option<Known> {
        if freshness == Freshness::Full || !self.lease.holds(Moment::now()) {
            return None;
        }
        self.counts.loads.fetch_add(1, Ordering::Relaxed);
        let key = Key { account: account.clone(), subject: subject.cloned() };
        let loaded = self.loads.join(&key, store).await?;
        let known = loaded.facts.as_ref().map(|facts| roles.standing(&facts.record));
        let wanted = match freshness {
            Freshness::AtLeast(revision) => revision,
            Freshness::Latency | Freshness::Full => 0,
        };
        // Again lease, then floor: both may have moved while this waited.
        if !self.lease.holds(Moment::now()) {
            return None;
        }
        let floor = self.floors.of(account.as_str());
        if revision_of(&known) < floor.max(wanted) {
            return None;
        }
        self.put(key.borrow(), Entry { known, born: loaded.began });
        Some(known)
    }

    /// Keeps an entry unless a newer one is there.
    fn put(&self, key: KeyRef<'_>, entry: Entry) {
        let newer = self.entries.peek(&key).is_some_and(|kept| {
            (revision_of(&kept.known), kept.born) > (revision_of(&entry.known), entry.born)
        });
        if !newer {
            self.entries.insert(key.pack(), entry);
        }
    }

    /// Reads for this request alone, after it came; never kept.
    async fn direct(
        &self,
        store: &Store,
        roles: &Catalogue,
        account: &AccountId,
        subject: Option<&UserId>,
        freshness: Freshness,
    ) -> Result<Found, Error> {
        self.counts.direct.fetch_add(1, Ordering::Relaxed);
        let read = tokio::time::timeout(LOAD_TIMEOUT, store.standing(account, subject)).await;
        let read =
            read.unwrap_or_else(|_| Err(usher_storage::Error::Unavailable("a read took too long".into())));
        let facts = match read {
            Ok(facts) => facts,
            Err(error) => return self.outlive(account, subject, freshness, error),
        };
        let known = facts.map(|facts| roles.standing(&facts.record));
        match freshness {
            Freshness::AtLeast(wanted) if revision_of(&known) < wanted => {
                Err(Error::RevisionInFuture.with("revision", revision_of(&known)))
            }
            _ => Ok(Found { known, stale: false }),
        }
    }

    /// While the database is away, what is in memory goes on for as long as the operator lets it.
    fn outlive(
        &self,
        account: &AccountId,
        subject: Option<&UserId>,
        freshness: Freshness,
        error: usher_storage::Error,
    ) -> Result<Found, Error> {
        let is_away = matches!(error, usher_storage::Error::Unavailable(_));
        if is_away && freshness == Freshness::Latency && self.lease.holds_in_outage(Moment::now()) {
            let subject = subject.map(UserId::as_str);
            let entry = self.entries.get(&KeyRef { account: account.as_str(), subject });
            let floor = self.floors.of(account.as_str());
            let entry = entry.filter(|entry| revision_of(&entry.known) >= floor);
            if let Some(entry) = entry {
                return Ok(Found { known: entry.known, stale: true });
            }
        }
        Err(error.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids that would run together if a key were a text.
    const ID: &str = "[a-b]([.:_-]?[a-b]){0,2}";

    fn key((account, subject): &(String, Option<String>)) -> KeyRef<'_> {
        KeyRef { account, subject: subject.as_deref() }
    }

    proptest! {
        /// What is kept for one subject of one account is found by no other, automation among them.
        #[test]
        fn every_subject_of_every_account_has_a_key_of_its_own(
            asked in proptest::collection::vec((ID, proptest::option::of(ID)), 2..40),
        ) {
            let kept = Cache::<Packed, usize>::new(1_000);
            let mut expected = std::collections::HashMap::new();
            for (at, pair) in asked.iter().enumerate() {
                kept.insert(key(pair).pack(), at);
                expected.insert(pair, at);
            }
            for pair in &asked {
                prop_assert_eq!(kept.get(&key(pair)), expected.get(pair).copied());
            }
            prop_assert_eq!(kept.len(), expected.len());
        }
    }
}
