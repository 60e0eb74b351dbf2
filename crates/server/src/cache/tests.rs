use std::time::Duration;

use proptest::prelude::*;
use quick_cache::sync::Cache;
use usher_domain::id::{AccountId, UserId};

use super::floors::Floors;
use super::key::{Hashed, Key, KeyRef, Keys, Packed};
use super::lease::{Lease, Moment};
use super::memory::{Entry, Memory, Raised};

fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

#[test]
fn floors_rise_and_never_fall() {
    let (floors, keys) = (Floors::default(), Keys::default());
    let now = Moment::now();
    assert!(floors.raise(&keys, &account("a"), 5, Some(1), now));
    // A late poll of a moment before: nothing is wrong as long as the nonces were not both polled.
    assert!(floors.raise(&keys, &account("a"), 6, None, now));
    assert!(floors.raise(&keys, &account("a"), 5, Some(1), now));
    assert_eq!((floors.of("a", keys.account("a")), floors.of("b", keys.account("b"))), (6, 0));
}

#[test]
fn the_same_revision_with_another_history_is_seen() {
    let (floors, keys) = (Floors::default(), Keys::default());
    let now = Moment::now();
    assert!(floors.raise(&keys, &account("a"), 5, Some(1), now));
    assert!(floors.raise(&keys, &account("a"), 5, Some(1), now));
    assert!(!floors.raise(&keys, &account("a"), 5, Some(2), now));
    assert!(!floors.raise(&keys, &account("a"), 4, Some(3), now));
}

#[test]
fn only_old_floors_are_dropped() {
    let (floors, keys) = (Floors::default(), Keys::default());
    let before = Moment::now();
    floors.raise(&keys, &account("a"), 5, None, Moment::now());
    assert!(!floors.any_before(before));
    floors.drop_before(before);
    assert_eq!(floors.len(), 1);
    std::thread::sleep(Duration::from_millis(2));
    floors.drop_before(Moment::now());
    assert_eq!(floors.len(), 0);
}

/// A memory that has been polled, with an entry at revision 5.
fn memory() -> (Memory<i64>, AccountId, UserId) {
    let memory = Memory::new(100, Lease::polled(Duration::from_secs(60), Duration::ZERO));
    let (account, user) = (account("a"), UserId::parse("u").unwrap());
    assert!(memory.polled(std::iter::empty(), Moment::now()));
    assert!(memory.admit(&key(&account, &user), entry(5), 0));
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 0), Some(5));
    (memory, account, user)
}

fn key(account: &AccountId, user: &UserId) -> Key {
    Key { account: account.clone(), subject: Some(user.clone()) }
}

fn entry(revision: i64) -> Entry<i64> {
    Entry { value: revision, revision, born: Moment::now() }
}

#[test]
fn a_change_of_the_account_ends_the_use_of_what_is_older() {
    let (memory, account, user) = memory();
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 6), None, "a token asks for more");
    memory.raise_floor(&account, 6);
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 0), None);
    assert!(!memory.admit(&key(&account, &user), entry(5), 0), "an old load is not kept");
    assert!(memory.admit(&key(&account, &user), entry(6), 0));
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 6), Some(6));
}

/// The load of the database before comes in after everything was forgotten.
#[test]
fn what_was_read_before_everything_was_forgotten_is_not_kept() {
    let (memory, account, user) = memory();
    let late = entry(9);
    std::thread::sleep(Duration::from_millis(1));
    memory.clear();
    assert!(!memory.lease().is_held());
    assert!(memory.polled(std::iter::empty(), Moment::now()));
    assert!(!memory.admit(&key(&account, &user), late, 0));
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 0), None);
    assert!(memory.admit(&key(&account, &user), entry(4), 0), "what is read now is");
}

/// As when a commit's outcome is unknown.
#[test]
fn who_is_alone_forgets_everything_and_goes_on() {
    let memory = Memory::new(100, Lease::alone());
    let (account, user) = (account("a"), UserId::parse("u").unwrap());
    let hit = || memory.hit(account.as_str(), Some(user.as_str()), 0);
    let late = entry(5);
    assert!(memory.admit(&key(&account, &user), late, 0));
    assert_eq!(hit(), Some(5));
    std::thread::sleep(Duration::from_millis(1));
    memory.clear();
    assert_eq!(hit(), None);
    assert!(!memory.admit(&key(&account, &user), late, 0), "a load that was under way is not kept");
    assert!(memory.admit(&key(&account, &user), entry(6), 0));
    assert_eq!(hit(), Some(6));
}

#[test]
fn another_history_of_a_revision_forgets_everything_and_renews_nothing() {
    let (memory, account, user) = memory();
    let raised = |nonce| std::iter::once(Raised { account: &account, revision: 5, nonce });
    assert!(memory.polled(raised(1), Moment::now()));
    assert!(!memory.polled(raised(2), Moment::now()));
    assert!(!memory.lease().is_held());
    assert_eq!(memory.hit(account.as_str(), Some(user.as_str()), 0), None);
}

/// Ids that would run together if a key were a text.
const ID: &str = "[a-b]([.:_-]?[a-b]){0,2}";

fn key_of<'a>(keys: &Keys, (account, subject): &'a (String, Option<String>)) -> KeyRef<'a> {
    keys.key(account, subject.as_deref())
}

proptest! {
    /// What is kept for one subject of one account is found by no other, automation among them.
    #[test]
    fn every_subject_of_every_account_has_a_key_of_its_own(
        asked in proptest::collection::vec((ID, proptest::option::of(ID)), 2..40),
    ) {
        let keys = Keys::default();
        let unit = quick_cache::UnitWeighter;
        let kept = Cache::<Packed, usize, _, Hashed>::with(1_000, 1_000, unit, Hashed::default(), Default::default());
        let mut expected = std::collections::HashMap::new();
        for (at, pair) in asked.iter().enumerate() {
            kept.insert(key_of(&keys, pair).pack(), at);
            expected.insert(pair, at);
        }
        for pair in &asked {
            prop_assert_eq!(kept.get(&key_of(&keys, pair)), expected.get(pair).copied());
        }
        prop_assert_eq!(kept.len(), expected.len());
    }
}
