//! The lowest revision of each changed account that may still be used. Never evicted by size: a
//! floor that is lost while an older read is under way would let that read in.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use usher_domain::id::AccountId;

use super::lease::Moment;

/// Cores do not wait for each other's look-ups.
const SHARDS: usize = 64;

#[derive(Clone, Copy)]
struct Floor {
    revision: i64,
    /// Drawn by the change; unknown for this process's own.
    nonce: Option<i64>,
    raised: Moment,
}

pub(super) struct Floors {
    hasher: RandomState,
    shards: Vec<RwLock<HashMap<AccountId, Floor, RandomState>>>,
}

impl Default for Floors {
    fn default() -> Self {
        let hasher = RandomState::default();
        let shards = (0..SHARDS).map(|_| RwLock::new(HashMap::with_hasher(hasher.clone()))).collect();
        Self { hasher, shards }
    }
}

impl Floors {
    fn shard(&self, account: &str) -> &RwLock<HashMap<AccountId, Floor, RandomState>> {
        let hash = self.hasher.hash_one(account);
        &self.shards[(hash >> 58) as usize % SHARDS]
    }

    /// 0 when nothing is known.
    pub(super) fn of(&self, account: &str) -> i64 {
        self.shard(account).read().get(account).map_or(0, |floor| floor.revision)
    }

    /// Raises the account's floor, never lowers it. False when the same revision has another history.
    pub(super) fn raise(&self, account: &AccountId, revision: i64, nonce: Option<i64>, now: Moment) -> bool {
        let mut shard = self.shard(account.as_str()).write();
        let Some(floor) = shard.get_mut(account) else {
            shard.insert(account.clone(), Floor { revision, nonce, raised: now });
            return true;
        };
        if revision > floor.revision {
            *floor = Floor { revision, nonce, raised: now };
            return true;
        }
        if revision == floor.revision {
            let differs = matches!((floor.nonce, nonce), (Some(known), Some(new)) if known != new);
            floor.nonce = floor.nonce.or(nonce);
            return !differs;
        }
        // Lower than what was committed before: a database that lost its newest changes. A poll and
        // an own commit may cross, so only a poll's word counts, and only against a poll's word.
        nonce.is_none() || floor.nonce.is_none()
    }

    /// Drops floors so old that no entry or load from before them can be left.
    pub(super) fn prune(&self, now: Moment, life: Duration) {
        for shard in &self.shards {
            let has_old = shard.read().values().any(|floor| now.since(floor.raised) > life);
            if has_old {
                shard.write().retain(|_, floor| now.since(floor.raised) <= life);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.write().clear());
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str) -> AccountId {
        AccountId::parse(id).unwrap()
    }

    #[test]
    fn floors_rise_and_never_fall() {
        let floors = Floors::default();
        let now = Moment::now();
        assert!(floors.raise(&account("a"), 5, Some(1), now));
        // A late poll of a moment before: nothing is wrong as long as the nonces were not both polled.
        assert!(floors.raise(&account("a"), 6, None, now));
        assert!(floors.raise(&account("a"), 5, Some(1), now));
        assert_eq!((floors.of("a"), floors.of("b")), (6, 0));
    }

    #[test]
    fn the_same_revision_with_another_history_is_seen() {
        let floors = Floors::default();
        let now = Moment::now();
        assert!(floors.raise(&account("a"), 5, Some(1), now));
        assert!(floors.raise(&account("a"), 5, Some(1), now));
        assert!(!floors.raise(&account("a"), 5, Some(2), now));
        assert!(!floors.raise(&account("a"), 4, Some(3), now));
    }

    #[test]
    fn only_old_floors_are_dropped() {
        let floors = Floors::default();
        floors.raise(&account("a"), 5, None, Moment::now());
        floors.prune(Moment::now(), Duration::from_secs(60));
        assert_eq!(floors.len(), 1);
        std::thread::sleep(Duration::from_millis(5));
        floors.prune(Moment::now(), Duration::from_millis(1));
        assert_eq!(floors.len(), 0);
    }
}
