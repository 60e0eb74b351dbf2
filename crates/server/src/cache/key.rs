//! What entries are found by: the typed pair (account, subject), which a look-up borrows and an entry
//! keeps in one piece.

use std::hash::{BuildHasher, Hash, Hasher};

use quick_cache::Equivalent;
use usher_domain::id::{AccountId, UserId};

/// Whose standing, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) account: AccountId,
    /// `None` is automation.
    pub(super) subject: Option<UserId>,
}

impl Key {
    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_ref().map(UserId::as_str)
    }
}

/// Makes keys to look up by. Its seed is drawn at the start: nobody outside can choose ids that collide.
#[derive(Default)]
pub(super) struct Keys(foldhash::fast::RandomState);

impl Keys {
    pub(super) fn account(&self, account: &str) -> u64 {
        self.0.hash_one(Bytes(account))
    }

    /// The account is hashed once, for its floor and, with the subject after it, for the entry.
    pub(super) fn key<'a>(&self, account: &'a str, subject: Option<&'a str>) -> KeyRef<'a> {
        let subject = subject.unwrap_or_default();
        let mut hasher = self.0.build_hasher();
        Bytes(account).hash(&mut hasher);
        let account_hash = hasher.finish();
        Bytes(subject).hash(&mut hasher);
        KeyRef { account, subject, account_hash, hash: hasher.finish() }
    }
}

/// A text without the byte that ends a `str` among others: what is hashed is one pair.
struct Bytes<'a>(&'a str);

impl Hash for Bytes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

/// A key to look up by, without an allocation.
#[derive(Clone, Copy)]
pub(super) struct KeyRef<'a> {
    pub(super) account: &'a str,
    /// Empty is automation, as no id is.
    subject: &'a str,
    pub(super) account_hash: u64,
    hash: u64,
}

/// A key as an entry keeps it: beside its value, so that finding one reads no other memory.
#[derive(Debug)]
pub(super) struct Packed {
    hash: u64,
    text: Text,
}

/// Room for two ids of 38 characters; Usher's own have 36.
const SHORT_MAX: usize = 77;

/// Account and subject, one after the other; the first number is where the subject begins.
#[derive(Debug)]
enum Text {
    Short(u8, u8, [u8; SHORT_MAX]),
    Long(u8, Box<[u8]>),
}

// A cache holds a million of these.
const _: () = assert!(size_of::<Packed>() == 88);

impl KeyRef<'_> {
    pub(super) fn pack(self) -> Packed {
        // An id has at most 128 characters.
        let split = self.account.len() as u8;
        let length = self.account.len() + self.subject.len();
        let text = if length <= SHORT_MAX {
            let mut bytes = [0; SHORT_MAX];
            bytes[..self.account.len()].copy_from_slice(self.account.as_bytes());
            bytes[self.account.len()..length].copy_from_slice(self.subject.as_bytes());
            Text::Short(split, length as u8, bytes)
        } else {
            Text::Long(split, [self.account, self.subject].concat().into_bytes().into())
        };
        Packed { hash: self.hash, text }
    }
}

impl Packed {
    fn parts(&self) -> (&[u8], &[u8]) {
        match &self.text {
            Text::Short(split, length, bytes) => bytes[..usize::from(*length)].split_at(usize::from(*split)),
            Text::Long(split, bytes) => bytes.split_at(usize::from(*split)),
        }
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Packed {}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Packed> for KeyRef<'_> {
    fn equivalent(&self, key: &Packed) -> bool {
        key.parts() == (self.account.as_bytes(), self.subject.as_bytes())
    }
}

/// Passes on the one hash that keys bring with them.
#[derive(Clone, Default)]
pub(super) struct Hashed(u64);

impl BuildHasher for Hashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys write a hash and nothing else");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_key_is_found_by_its_own_pair_alone() {
        let keys = Keys::default();
        let long = "x".repeat(128);
        let pairs = [
            ("a", Some("bc")),
            ("ab", Some("c")),
            ("a", None),
            ("a", Some("b")),
            ("abc", None),
            (&long, Some(long.as_str())),
            (&long, Some(&long[..127])),
            (&long[..38], Some(&long[..39])),
            (&long[..39], Some(&long[..38])),
            (&long[..39], Some(&long[..39])),
        ];
        for (at, (account, subject)) in pairs.into_iter().enumerate() {
            let packed = keys.key(account, subject).pack();
            for (other, (account, subject)) in pairs.into_iter().enumerate() {
                let key = keys.key(account, subject);
                assert_eq!(key.equivalent(&packed), at == other, "{packed:?} {account} {subject:?}");
                assert_eq!(key.pack() == packed, at == other);
                assert_eq!(key.account_hash, keys.account(account));
                if at == other {
                    assert_eq!(Hashed(0).hash_one(key), Hashed(0).hash_one(&packed));
                }
            }
        }
    }
}
