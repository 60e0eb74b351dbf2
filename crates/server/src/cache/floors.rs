//! The lowest revision of each changed account that may still be used. Never evicted by size: a
//! floor that is lost while an older read is under way would let that read in.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use usher_domain::id::AccountId;

use super::lease::Moment;
use crate::faults::{self, Fault};
use crate::sync::{RwLock, SHARDS};

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
        &self.shards[(hash >> 58) as usize % self.shards.len()]
    }

    /// 0 when nothing is known.
    pub(super) fn of(&self, account: &str) -> i64 {
        if faults::is(Fault::NoFloor) {
            return 0;
        }
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

    /// Whether any was last raised before the moment.
    pub(super) fn any_before(&self, moment: Moment) -> bool {
        self.shards.iter().any(|shard| shard.read().values().any(|floor| floor.raised < moment))
    }

    /// Drops floors last raised before the moment; nothing read before it may be used from then on.
    pub(super) fn drop_before(&self, moment: Moment) {
        for shard in &self.shards {
            let has_old = shard.read().values().any(|floor| floor.raised < moment);
            if has_old {
                shard.write().retain(|_, floor| floor.raised >= moment);
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
