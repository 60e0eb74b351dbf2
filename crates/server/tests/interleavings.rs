//! The cache's own files under shuttle, which runs their threads in every order that it can think of: the
//! lease is looked at before the floor, the floor before the entry, floors are raised before the lease is
//! renewed, and what a load read is judged again. Each of these done otherwise must be caught.
//!
//! The promise is that of `cache_model.rs`: a request that begins more than the bound after a change was
//! acknowledged is not answered from before it.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]
#![expect(clippy::print_stdout, reason = "how many orders were tried is worth seeing")]
#![expect(dead_code, unreachable_pub, reason = "only a part of the files is needed here")]

#[path = "../src/cache/floors.rs"]
mod floors;
#[path = "../src/cache/key.rs"]
mod key;
#[path = "../src/cache/lease.rs"]
mod lease;
#[path = "../src/cache/memory.rs"]
mod memory;

/// What `crate::sync` is in the server.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};

    shuttle::lazy_static! {
        pub(crate) static ref CLOCK: AtomicU64 = AtomicU64::new(1);
    }

    /// One lock is enough for one account.
    pub(crate) const SHARDS: usize = 1;

    pub(crate) fn boottime() -> u64 {
        CLOCK.load(Ordering::SeqCst)
    }

    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }
}

/// What `crate::faults` is in the server; here a test chooses.
mod faults {
    use std::cell::Cell;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        NoLease,
        NoFloor,
        FloorFirst,
        FillUnchecked,
        LeaseFirst,
    }

    thread_local! {
        // Shuttle runs all threads of a test on one of the system's.
        pub(crate) static CHOSEN: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn is(fault: Fault) -> bool {
        CHOSEN.get() == Some(fault)
    }
}

use std::cell::Cell;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicI64, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use usher_domain::id::{AccountId, UserId};

use faults::Fault;
use key::Key;
use lease::{Lease, Moment};
use memory::{Entry, Memory, Raised};
use sync::CLOCK;

/// In ticks of the clock.
const BOUND: u64 = 1;
const TICKS: u64 = 4;
const POLLS: usize = 4;
const CHECKS: usize = 3;

thread_local! {
    static BROKEN: Cell<u32> = const { Cell::new(0) };
    static ORDERS: Cell<u32> = const { Cell::new(0) };
}

struct World {
    memory: Memory<i64>,
    /// The account's revision in the database.
    revision: AtomicI64,
    /// When revision 2 was acknowledged.
    acknowledged: Mutex<Option<u64>>,
    /// What the one load read, which everybody joins.
    load: Mutex<Option<Entry<i64>>>,
    loaded: Condvar,
    account: AccountId,
    subject: UserId,
}

impl World {
    fn new() -> Self {
        Self {
            memory: Memory::new(16, Lease::polled(Duration::from_nanos(BOUND), Duration::ZERO)),
            revision: AtomicI64::new(1),
            acknowledged: Mutex::new(None),
            load: Mutex::new(None),
            loaded: Condvar::new(),
            account: AccountId::parse("acme").unwrap(),
            subject: UserId::parse("rita").unwrap(),
        }
    }

    fn read(&self) -> i64 {
        self.revision.load(Ordering::SeqCst)
    }

    fn write(&self) {
        self.revision.store(2, Ordering::SeqCst);
        // Acknowledged by another server: nothing here hears of it but by polls.
        *self.acknowledged.lock().unwrap() = Some(CLOCK.load(Ordering::SeqCst));
    }

    fn poll(&self) {
        let start = Moment::now();
        let revision = self.read();
        let raised = Raised { account: &self.account, revision, nonce: revision };
        assert!(self.memory.polled(std::iter::once(raised), start));
    }

    fn load(&self) {
        let born = Moment::now();
        let revision = self.read();
        *self.load.lock().unwrap() = Some(Entry { value: revision, revision, born });
        self.loaded.notify_all();
    }

    fn joined(&self) -> Entry<i64> {
        let mut load = self.load.lock().unwrap();
        loop {
            match *load {
                Some(read) => return read,
                None => load = self.loaded.wait(load).unwrap(),
            }
        }
    }

    fn check(&self) {
        let due = self.acknowledged.lock().unwrap().map(|at| at + BOUND);
        let start = CLOCK.load(Ordering::SeqCst);
        let answer =
            self.memory.hit(self.account.as_str(), Some(self.subject.as_str()), 0).unwrap_or_else(|| {
                let read = self.joined();
                let key = Key { account: self.account.clone(), subject: Some(self.subject.clone()) };
                if self.memory.admit(&key, read, 0) { read.value } else { self.read() }
            });
        if due.is_some_and(|due| start > due) && answer < 2 {
            BROKEN.set(BROKEN.get() + 1);
        }
    }
}

/// A change that was acknowledged long ago, of which this server has not heard: what it read before is in
/// memory, and in a load that is about to end. Its next poll and a check meet.
fn overdue() {
    let world = Arc::new(World::new());
    world.poll();
    world.load();
    let key = Key { account: world.account.clone(), subject: Some(world.subject.clone()) };
    assert!(world.memory.admit(&key, world.joined(), 0));
    world.write();
    CLOCK.fetch_add(BOUND + 1, Ordering::SeqCst);
    let polling = {
        let world = world.clone();
        thread::spawn(move || world.poll())
    };
    world.check();
    polling.join().unwrap();
}

/// Everything at once.
fn turmoil() {
    let world = Arc::new(World::new());
    let spawn = |work: fn(&World)| {
        let world = world.clone();
        thread::spawn(move || work(&world))
    };
    let threads = [
        spawn(World::write),
        spawn(World::load),
        spawn(|world| (0..POLLS).for_each(|_| world.poll())),
        spawn(|world| (0..CHECKS).for_each(|_| world.check())),
        spawn(|world| (0..CHECKS).for_each(|_| world.check())),
        spawn(|_| {
            for _ in 0..TICKS {
                CLOCK.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        }),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
}

fn is_long() -> bool {
    std::env::var_os("USHER_TEST_LONG").is_some()
}

/// An order of `overdue`, counted.
fn counted() {
    ORDERS.set(ORDERS.get() + 1);
    overdue();
}

#[test]
fn an_overdue_change_is_known_in_every_order() {
    BROKEN.set(0);
    if is_long() {
        // There are tens of thousands, and then all of them are tried.
        shuttle::check_dfs(counted, None);
    } else {
        shuttle::check_random(counted, 1500);
    }
    println!("{} orders of a poll and a check", ORDERS.get());
    assert_eq!(BROKEN.get(), 0);
}

#[test]
fn what_is_done_otherwise_is_caught() {
    use Fault::{FillUnchecked, FloorFirst, LeaseFirst, NoFloor, NoLease};
    for fault in [NoLease, NoFloor, FloorFirst, FillUnchecked, LeaseFirst] {
        faults::CHOSEN.set(Some(fault));
        ORDERS.set(0);
        BROKEN.set(0);
        while BROKEN.get() == 0 && ORDERS.get() < 20_000 {
            shuttle::check_random(counted, 50);
        }
        println!("{fault:?}: caught {} times in {} orders", BROKEN.get(), ORDERS.get());
        assert!(BROKEN.get() > 0, "`{fault:?}` is not caught");
    }
}

#[test]
fn the_promise_is_kept_in_turmoil() {
    let orders = if is_long() { 100_000 } else { 500 };
    BROKEN.set(0);
    shuttle::check_random(turmoil, orders);
    println!("{orders} orders by chance");
    assert_eq!(BROKEN.get(), 0);
}

/// An operator may let memory answer for longer than floors are kept.
#[test]
fn an_outage_longer_than_the_life_of_floors_takes_nothing_from_memory() {
    shuttle::check_random(
        || {
            let memory = Memory::new(16, Lease::polled(Duration::from_secs(2), Duration::from_secs(3600)));
            let World { account, subject, .. } = World::new();
            let raised = Raised { account: &account, revision: 1, nonce: 1 };
            assert!(memory.polled(std::iter::once(raised), Moment::now()));
            let key = Key { account: account.clone(), subject: Some(subject.clone()) };
            assert!(memory.admit(&key, Entry { value: 1, revision: 1, born: Moment::now() }, 0));
            let outlive = || memory.outlive(account.as_str(), Some(subject.as_str()));

            CLOCK.fetch_add(700 * 1_000_000_000, Ordering::SeqCst);
            memory.prune();
            assert_eq!((outlive(), memory.floors_len()), (Some(1), 1));

            // Once polls end well again, old floors go, and what was read before goes with them.
            assert!(memory.polled(std::iter::empty(), Moment::now()));
            memory.prune();
            assert_eq!((outlive(), memory.floors_len()), (None, 0));
        },
        1,
    );
}
