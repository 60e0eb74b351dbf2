//! What a look-up in memory costs with 1,000,000 standings there: it must stay below 150 ns.
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

type Keys = Vec<(AccountId, UserId)>;

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

fn filled() -> (Memory<Option<Standing>>, Keys) {
    let memory =
        Memory::new(2 * ACCOUNTS * MEMBERS, Lease::polled(Duration::from_secs(3600), Duration::ZERO));
    let standing = Some(standing());
    assert!(memory.polled(std::iter::empty(), Moment::now()));
    let mut keys = Vec::with_capacity(ACCOUNTS * MEMBERS);
    for account in 0..ACCOUNTS {
        let account = AccountId::parse(&format!("acc_{account:032}")).unwrap();
        for member in 0..MEMBERS {
            let subject = UserId::parse(&format!("usr_{member:032}")).unwrap();
            let key = Key { account: account.clone(), subject: Some(subject.clone()) };
            assert!(memory.admit(&key, Entry { value: standing, revision: 7, born: Moment::now() }, 0));
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
    (memory, keys)
}

fn look_up(memory: &Memory<Option<Standing>>, (account, subject): &(AccountId, UserId)) {
    let found = memory.hit(black_box(account.as_str()), black_box(Some(subject.as_str())), 0);
    assert!(black_box(found).is_some());
}

fn bench(criterion: &mut Criterion) {
    let (memory, keys) = filled();
    let mut next = keys.iter().cycle();
    criterion.bench_function("look-up of 1 in 1,000,000 standings", |bencher| {
        bencher.iter(|| look_up(&memory, next.next().unwrap()));
    });
    let few = &keys[..1000];
    let mut next = few.iter().cycle();
    criterion.bench_function("look-up of 1 in 1,000 that are asked for often", |bencher| {
        bencher.iter(|| look_up(&memory, next.next().unwrap()));
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        println!("{threads} threads: {:.1} million look-ups a second", together(&memory, &keys, threads));
    }
}

/// Millions of look-ups a second of several threads together.
fn together(memory: &Memory<Option<Standing>>, keys: &Keys, threads: usize) -> f64 {
    let each = keys.len() / threads;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in keys.chunks(each).take(threads) {
            scope.spawn(move || part.iter().for_each(|key| look_up(memory, key)));
        }
    });
    (each * threads) as f64 / started.elapsed().as_secs_f64() / 1e6
}

criterion_group!(benches, bench);
criterion_main!(benches);
