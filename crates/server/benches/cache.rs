//! What a look-up in memory costs with 1,000,000 standings there: it must stay below 150 ns, or, on a machine
//! that is busy or slow, near the reference that is measured beside it.
//!
//! `cargo bench -p usher-server --bench cache`
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends where it stands")]
#![expect(dead_code, unreachable_pub, reason = "only a part of the files is needed here")]
#![allow(unused_imports, reason = "the files' own tests are left out where this is built as one")]
#![expect(clippy::print_stdout, reason = "the figure on several cores is printed")]

#[path = "../src/faults.rs"]
mod faults;
#[path = "../src/cache/floors.rs"]
mod floors;
#[path = "../src/cache/key.rs"]
mod key;
#[path = "../src/cache/lease.rs"]
mod lease;
#[path = "../src/cache/memory.rs"]
mod memory;
#[path = "../src/sync.rs"]
mod sync;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use usher_domain::id::{AccountId, UserId};
use usher_domain::standing::{AccountState, MemberRecord, MemberState, StandingRecord};
use usher_policy::{Catalogue, Standing};

use key::Key;
use lease::{Lease, Moment};
use memory::{Entry, Memory, Raised};

const ACCOUNTS: usize = 10_000;
const MEMBERS: usize = 100;

/// How many bytes each id here has, as those that Usher makes.
const ID: usize = 36;

/// Pairs of ids one after the other, as requests bring them: what is not in the processor's cache is Usher's.
struct Questions(String);

impl Questions {
    fn each(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.0.len() / (2 * ID)).map(|at| &self.0[at * 2 * ID..][..2 * ID])
    }
}

/// What nothing that keeps standings by name can beat by much: a map with the same hash, without locks, bounds,
/// floors or a lease.
type Reference = HashMap<Box<str>, Standing, foldhash::fast::RandomState>;

fn standing() -> Standing {
    let record = StandingRecord {
        revision: 7,
        account_state: AccountState::Active,
        model: "integrate-io".to_owned(),
        expire_time: None,
        lapse_time: None,
        over_limit: false,
        over_limit_end_time: None,
        over_limit_clear_time: None,
        member: Some(MemberRecord { state: MemberState::Active, role: "editor".to_owned(), seat: true }),
    };
    Catalogue::shipped().standing(&record)
}

fn filled() -> (Memory<Option<Standing>>, Reference, Questions) {
    let memory =
        Memory::new(2 * ACCOUNTS * MEMBERS, Lease::polled(Duration::from_secs(3600), Duration::ZERO));
    let standing = standing();
    let mut reference = Reference::default();
    assert!(memory.polled(std::iter::empty(), Moment::now()));
    let mut keys = Vec::with_capacity(ACCOUNTS * MEMBERS);
    for account in 0..ACCOUNTS {
        let account = AccountId::parse(&format!("acc_{account:032}")).unwrap();
        for member in 0..MEMBERS {
            let subject = UserId::parse(&format!("usr_{member:032}")).unwrap();
            let key = Key { account: account.clone(), subject: Some(subject.clone()) };
            let entry = Entry { value: Some(standing), revision: 7, born: Moment::now() };
            assert!(memory.admit(&key, entry, 0));
            reference.insert([account.as_str(), subject.as_str()].concat().into(), standing);
            keys.push((account.clone(), subject));
        }
    }
    // A tenth of the accounts changed of late.
    let raised = keys.iter().step_by(MEMBERS * 10);
    assert!(
        memory.polled(raised.map(|(account, _)| Raised { account, revision: 7, nonce: 1 }), Moment::now())
    );
    // In no order that a processor could guess.
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
    for index in (1..keys.len()).rev() {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        keys.swap(index, (dice % (index as u64 + 1)) as usize);
    }
    let questions = keys.iter().flat_map(|(account, subject)| [account.as_str(), subject.as_str()]).collect();
    (memory, reference, Questions(questions))
}

fn look_up(memory: &Memory<Option<Standing>>, question: &str) {
    let (account, subject) = black_box(question).split_at(ID);
    assert!(black_box(memory.hit(account, Some(subject), 0)).is_some());
}

fn bench(criterion: &mut Criterion) {
    let (memory, reference, questions) = filled();
    for (asked, whose) in [(1, "one"), (1_000, "1,000 in turn"), (ACCOUNTS * MEMBERS, "anybody")] {
        let mut next = questions.each().take(asked).cycle();
        criterion.bench_function(&format!("look-up among 1,000,000 standings, {whose}"), |bencher| {
            bencher.iter(|| look_up(&memory, next.next().unwrap()));
        });
        let mut next = questions.each().take(asked).cycle();
        criterion.bench_function(&format!("reference: in a HashMap, {whose}"), |bencher| {
            bencher.iter(|| {
                assert!(black_box(reference.get(black_box(next.next().unwrap())).copied()).is_some())
            });
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        println!(
            "{threads} threads: {:.1} million look-ups a second",
            together(&memory, &questions, threads)
        );
    }
}

/// Millions of look-ups a second of several threads together.
fn together(memory: &Memory<Option<Standing>>, questions: &Questions, threads: usize) -> f64 {
    let each = ACCOUNTS * MEMBERS / threads;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let part = questions.each().skip(thread * each).take(each);
            scope.spawn(move || part.for_each(|question| look_up(memory, question)));
        }
    });
    (each * threads) as f64 / started.elapsed().as_secs_f64() / 1e6
}

criterion_group!(benches, bench);
criterion_main!(benches);
