//! From the two words of an action to its index, with one hash and no allocation.
//!
//! A small open-addressed table, a quarter full, because the standard map would want one key of two
//! words. The hash is not seeded: what is stored comes from a file that the operator chose, so a
//! hostile question can at worst walk one short run of slots.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::table::{Action, ActionIndex};

/// How many slots there are for an action.
const SLOTS_PER_ACTION: usize = 4;

/// Finds actions by resource type and verb.
#[derive(Clone)]
pub(crate) struct ActionTable {
    /// One more than the action's index; zero is empty. A power of two long.
    slots: Box<[u16]>,
}

impl ActionTable {
    pub(crate) fn new(actions: &[Action]) -> Self {
        let length = (actions.len().max(1) * SLOTS_PER_ACTION).next_power_of_two();
        let mut slots = vec![0u16; length].into_boxed_slice();
        for (number, action) in (1u16..).zip(actions) {
            let mut at = hash(action.resource_type(), action.verb()) & (length - 1);
            while slots[at] != 0 {
                at = (at + 1) & (length - 1);
            }
            slots[at] = number;
        }
        Self { slots }
    }

    /// `actions` are those that the table was made of.
    #[inline]
    pub(crate) fn find(&self, actions: &[Action], resource_type: &str, verb: &str) -> Option<ActionIndex> {
        let mask = self.slots.len() - 1;
        let mut at = hash(resource_type, verb) & mask;
        loop {
            let index = self.slots[at & mask].checked_sub(1)?;
            let action = actions.get(usize::from(index))?;
            // The length of the first word is compared first: it tells most strangers apart.
            if action.dot == resource_type.len()
                && action.verb() == verb
                && action.resource_type() == resource_type
            {
                return Some(ActionIndex(index));
            }
            at += 1;
        }
    }
}

#[inline]
fn hash(resource_type: &str, verb: &str) -> usize {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(resource_type.as_bytes());
    hasher.write(verb.as_bytes());
    // Only the low bits count, so it does not matter where this loses some.
    hasher.finish() as usize
}
