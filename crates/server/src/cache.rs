//! Standings in memory: a read-through cache labelled with the account's revision.
//!
//! A change raises its account's floor after the commit; a standing read below the floor is not
//! used. What is cached is the standing, never a decision, so everything that a request says enters
//! the decision each time.

use std::collections::HashMap;

use parking_lot::RwLock;
use quick_cache::sync::Cache;
use usher_domain::id::{AccountId, UserId};
use usher_policy::{Catalogue, Standing};
use usher_storage::Store;

use crate::error::Error;

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What is in memory will do.
    Latency,
    /// At this revision of the account, or a later one.
    AtLeast(i64),
    /// Read now.
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    account: AccountId,
    /// `None` is automation.
    subject: Option<UserId>,
}

/// An account's standing, `None` when there is no such account.
pub type Known = Option<Standing>;

pub struct Standings {
    entries: Cache<Key, Known>,
    /// The lowest revision of an account that may still be used. Not evictable: a floor that is
    /// lost while an older read is under way would let that read in.
    floors: RwLock<HashMap<AccountId, i64>>,
}

impl Standings {
    /// Holds at most `entries_max` standings; the least used go.
    pub fn new(entries_max: usize) -> Self {
        Self { entries: Cache::new(entries_max), floors: RwLock::default() }
    }

    /// A committed change took the account to this revision.
    pub fn raise_floor(&self, account: &AccountId, revision: i64) {
        let mut floors = self.floors.write();
        let floor = floors.entry(account.clone()).or_insert(revision);
        *floor = (*floor).max(revision);
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
    ) -> Result<Known, Error> {
        let key = Key { account: account.clone(), subject: subject.cloned() };
        if freshness != Freshness::Full
            && let Some(known) = self.entries.get(&key)
            && self.is_fresh(account, known.as_ref(), freshness)
        {
            return Ok(known);
        }
        let read = store.standing(account, subject).await?;
        let known = read.map(|facts| roles.standing(&facts.record));
        if let Freshness::AtLeast(revision) = freshness
            && known.is_none_or(|standing| standing.revision() < revision)
        {
            let reached = known.map_or(0, |standing| standing.revision());
            return Err(Error::RevisionInFuture.with("revision", reached));
        }
        // A change may have committed while this was read: then the read answers this request,
        // which began before, but must not stay.
        if self.is_fresh(account, known.as_ref(), Freshness::Latency) {
            self.entries.insert(key, known);
        }
        Ok(known)
    }

    fn is_fresh(&self, account: &AccountId, known: Option<&Standing>, freshness: Freshness) -> bool {
        let floor = self.floors.read().get(account).copied().unwrap_or(0);
        let wanted = match freshness {
            Freshness::AtLeast(revision) => revision.max(floor),
            Freshness::Latency | Freshness::Full => floor,
        };
        known.map_or(0, Standing::revision) >= wanted
    }
}
