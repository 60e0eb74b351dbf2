//! The lowest revision of each changed account that may still be used. Never evicted by size: a
//! floor that is lost while an older read is under way would let that read in.

use hashbrown::HashTable;
use usher_domain::id::AccountId;

use super::key::Keys;
use super::lease::Moment;
use crate::faults::{self, Fault};
use crate::sync::{RwLock, SHARDS};

struct Floor {
    account: AccountId,
    revision: i64,
    /// Drawn by the change; unknown for this process's own.
    nonce: Option<i64>,
    raised: Moment,
}

/// Floors by the hash of their account, which a look-up brings with it.
pub(super) struct Floors {
    shards: Vec<RwLock<HashTable<Floor>>>,
}

impl Default for Floors {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect() }
    }
}

impl Floors {
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Floor>> {
        // Tables take the lowest and the highest bits.
        &self.shards[(hash >> 40) as usize % self.shards.len()]
    }

    /// 0 when nothing is known.
    pub(super) fn of(&self, account: &str, hash: u64) -> i64 {
        if faults::is(Fault::NoFloor) {
            return 0;
        }
        let shard = self.shard(hash).read();
        shard.find(hash, |floor| floor.account.as_str() == account).map_or(0, |floor| floor.revision)
    }

    /// Raises the account's floor, never lowers it. False when the same revision has another history.
    pub(super) fn raise(
        &self,
        keys: &Keys,
        account: &AccountId,
        revision: i64,
        nonce: Option<i64>,
        now: Moment,
    ) -> bool {
        let hash = keys.account(account.as_str());
        let mut shard = self.shard(hash).write();
        let Some(floor) = shard.find_mut(hash, |floor| floor.account == *account) else {
            let floor = Floor { account: account.clone(), revision, nonce, raised: now };
            shard.insert_unique(hash, floor, |floor| keys.account(floor.account.as_str()));
            return true;
        };
        if revision > floor.revision {
            (floor.revision, floor.nonce, floor.raised) = (revision, nonce, now);
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

    /// Whether any was last raised before the moment.
    pub(super) fn any_before(&self, moment: Moment) -> bool {
        self.shards.iter().any(|shard| shard.read().iter().any(|floor| floor.raised < moment))
    }

    /// Drops floors last raised before the moment; nothing read before it may be used from then on.
    pub(super) fn drop_before(&self, moment: Moment) {
        for shard in &self.shards {
            let has_old = shard.read().iter().any(|floor| floor.raised < moment);
            if has_old {
                shard.write().retain(|floor| floor.raised >= moment);
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
