//! What entries are found by: the typed pair (account, subject), which a look-up borrows and an entry
//! keeps in one piece.

use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;
use usher_domain::id::{AccountId, UserId};

/// Whose standing, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) account: AccountId,
    /// `None` is automation.
    pub(super) subject: Option<UserId>,
}

/// A key to look up by, without an allocation.
#[derive(Clone, Copy)]
pub(super) struct KeyRef<'a> {
    pub(super) account: &'a str,
    pub(super) subject: Option<&'a str>,
}

/// A key as an entry keeps it: a million of them are most of the cache, and two ids of their own would
/// be twice as large. No id holds a space and none is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packed(Box<str>);

impl Key {
    pub(super) fn borrow(&self) -> KeyRef<'_> {
        KeyRef { account: self.account.as_str(), subject: self.subject.as_ref().map(UserId::as_str) }
    }
}

impl KeyRef<'_> {
    pub(super) fn pack(self) -> Packed {
        Packed([self.account, " ", self.subject.unwrap_or_default()].concat().into())
    }
}

impl Packed {
    fn parts(&self) -> (&str, &str) {
        self.0.split_once(' ').unwrap_or((&self.0, ""))
    }
}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (account, subject) = self.parts();
        hash(account, subject, state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.account, self.subject.unwrap_or_default(), state);
    }
}

fn hash<H: Hasher>(account: &str, subject: &str, state: &mut H) {
    state.write(account.as_bytes());
    state.write(subject.as_bytes());
}

impl Equivalent<Packed> for KeyRef<'_> {
    fn equivalent(&self, key: &Packed) -> bool {
        let subject = self.subject.unwrap_or_default();
        let rest = key.0.strip_prefix(self.account).and_then(|rest| rest.strip_prefix(' '));
        rest == Some(subject)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_packed_key_is_found_by_its_own_pair_alone() {
        let hasher = foldhash::fast::RandomState::default();
        let pairs = [("a", Some("bc")), ("ab", Some("c")), ("a", None), ("a", Some("b")), ("abc", None)];
        for (at, (account, subject)) in pairs.into_iter().enumerate() {
            let packed = KeyRef { account, subject }.pack();
            for (other, (account, subject)) in pairs.into_iter().enumerate() {
                let key = KeyRef { account, subject };
                assert_eq!(key.equivalent(&packed), at == other, "{packed:?} {account} {subject:?}");
                if at == other {
                    assert_eq!(hasher.hash_one(key), hasher.hash_one(&packed));
                }
            }
        }
    }
}
