//! Standings in memory, exact under change.
//!
//! What is cached is the standing, never a decision, so everything that a request says enters the
//! decision each time. A change raises its account's *floor*; a standing read below the floor is not
//! used. On several servers floors come from polls, under a *lease*: what is cached may be used only
//! if a poll that began within `staleness_max` ended well, for only then all floors older than that
//! are known. So the order of a look-up is lease, then floor, then entry, and a poll publishes its
//! floors before its start. A load that others joined is judged again after it ends. What does not
//! pass is read directly, and what is read directly is never kept. Floors older than ten minutes go, and
//! first is told that nothing read before them may be used.
//!
//! The argument in full, and the variants that look as good and are wrong, are in the model test
//! `tests/cache_model.rs` of this crate.

mod floors;
mod key;
mod lease;
mod loads;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use usher_domain::id::{AccountId, UserId};
use usher_policy::{Catalogue, Standing};
use usher_storage::{ChangedAccount, Store};

use crate::error::Error;
use key::Key;
pub use lease::{Lease, Moment};
use loads::Loads;
use memory::{Entry, Memory, Raised};

/// How long a load may take.
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

impl Freshness {
    /// The revision that memory must have; `None` when memory will not do.
    fn wanted(self) -> Option<i64> {
        match self {
            Self::Latency => Some(0),
            Self::AtLeast(revision) => Some(revision),
            Self::Full => None,
        }
    }
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
    memory: Memory<Known>,
    loads: Loads,
    counts: Counts,
}

impl Standings {
    /// Holds at most `entries_max` standings; the least used go.
    pub fn new(entries_max: usize, lease: Lease) -> Self {
        Self { memory: Memory::new(entries_max, lease), loads: Loads::default(), counts: Counts::default() }
    }

    /// A committed change took the account to this revision.
    pub fn raise_floor(&self, account: &AccountId, revision: i64) {
        self.memory.raise_floor(account, revision);
    }

    /// What a poll found that began at `start`. False when an account has the same revision with
    /// another history: then everything is forgotten.
    pub fn polled(&self, changed: &[ChangedAccount], start: Moment) -> bool {
        let raised = changed.iter().map(|changed| Raised {
            account: &changed.id,
            revision: changed.revision,
            nonce: changed.nonce,
        });
        self.memory.polled(raised, start)
    }

    /// Forgets everything: the database is another one than before.
    pub fn clear(&self) {
        self.memory.clear();
    }

    /// Drops floors that nothing can be below any more. Looks at all of them: once a second is enough.
    pub fn prune(&self) {
        self.memory.prune();
    }

    pub fn lease(&self) -> &Lease {
        self.memory.lease()
    }

    pub fn figures(&self) -> Figures {
        Figures {
            entries: self.memory.entries_len(),
            floors: self.memory.floors_len(),
            hits: self.counts.hits.load(Ordering::Relaxed),
            loads: self.counts.loads.load(Ordering::Relaxed),
            direct: self.counts.direct.load(Ordering::Relaxed),
        }
    }

    /// The standing in memory, if it may be used.
    pub fn hit(&self, account: &str, subject: Option<&str>, freshness: Freshness) -> Option<Known> {
        let known = self.memory.hit(account, subject, freshness.wanted()?)?;
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some(known)
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
        let wanted = freshness.wanted()?;
        if !self.lease().is_held() {
            return None;
        }
        self.counts.loads.fetch_add(1, Ordering::Relaxed);
        let key = Key { account: account.clone(), subject: subject.cloned() };
        let loaded = self.loads.join(&key, store).await?;
        let known = loaded.facts.as_ref().map(|facts| roles.standing(&facts.record));
        let read = Entry { value: known, revision: revision_of(&known), born: loaded.began };
        self.memory.admit(&key, read, wanted).then_some(known)
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
        if store.is_known_away() {
            // At once: whoever waited for a connection would hold a place among the calls in hand, and few would be
            // answered. The poller goes on looking.
            let away = usher_storage::Error::Unavailable("it is known to be away".into());
            return self.outlive(account, subject, freshness, away);
        }
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
        if is_away
            && freshness == Freshness::Latency
            && let Some(known) = self.memory.outlive(account.as_str(), subject.map(UserId::as_str))
        {
            return Ok(Found { known, stale: true });
        }
        Err(error.into())
    }
}
