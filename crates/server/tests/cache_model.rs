//! The cache's algorithm as a model, searched to the end, and wrong variants of it that the search
//! must catch.
//!
//! One account, whose revision a writer raises; one server with an entry, a floor and a lease; a
//! poller that may fail at any step; two requests that may share a load; evictions; a clock in ticks.
//! The promise, with a bound of `BOUND` ticks: a request that starts more than that after a write was
//! acknowledged is not answered from before the write.
//!
//! Why the real one keeps it: an answer from memory saw a lease whose poll *began* after the write;
//! that poll's floors were raised before its start was published, and the floor was read after the
//! lease; so the floor is at least the write's revision, and so is the entry. A load is judged in the
//! same way after it ended, and a direct read began after the request.

#![expect(clippy::print_stdout, reason = "how many states were searched is worth seeing")]

use std::collections::{HashSet, VecDeque};

const BOUND: u8 = 1;
const TICKS: u8 = 3;
const WRITES: u8 = 1;

/// What is done otherwise than in the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Right,
    /// Floors are not looked at; a poll throws the entry away instead.
    NoFloor,
    /// A poll publishes its start before it raises the floor.
    LeaseBeforeFloor,
    /// A look-up reads the floor before the lease.
    FloorReadFirst,
    /// Floors are evicted like entries.
    FloorEvicted,
    /// Who joined a load takes its result without a second look.
    JoinUnchecked,
    /// A poll publishes when it ended, not when it began.
    LeaseFromEnd,
    /// Memory is used without a lease.
    NoLease,
    /// A poll that failed after it began renews the lease all the same.
    FailedPollRenews,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Poll {
    Idle,
    Began {
        at: u8,
    },
    Read {
        at: u8,
        seen: u8,
    },
    /// One of the two last steps is done.
    Half {
        at: u8,
        seen: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Load {
    None,
    Began,
    Read { seen: u8 },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Request {
    Waiting,
    /// Started at this tick; nothing is read yet.
    Started {
        at: u8,
    },
    /// The first of lease and floor is read; `floor` is meaningful only where that was it.
    First {
        at: u8,
        floor: u8,
    },
    /// Both are read.
    Judged {
        at: u8,
        floor: u8,
    },
    Joined {
        at: u8,
    },
    /// The load ended with this; to be judged again.
    Loaded {
        at: u8,
        seen: u8,
    },
    LoadedFirst {
        at: u8,
        seen: u8,
        floor: u8,
    },
    Direct {
        at: u8,
    },
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    now: u8,
    /// The revision in the database, and when each write was acknowledged.
    revision: u8,
    acknowledged: [u8; WRITES as usize],
    entry: Option<u8>,
    floor: u8,
    /// When the last good poll began.
    lease: Option<u8>,
    poll: Poll,
    load: Load,
    requests: [Request; 2],
}

fn holds(state: &State, variant: Variant) -> bool {
    variant == Variant::NoLease || state.lease.is_some_and(|start| state.now - start <= BOUND)
}

/// Whether an answer breaks the promise.
fn is_broken(state: &State, started: u8, answer: u8) -> bool {
    (0..state.revision)
        .any(|write| answer < write + 1 && started > state.acknowledged[write as usize] + BOUND)
}

struct Search {
    variant: Variant,
    broken: bool,
    next: Vec<State>,
}

impl Search {
    fn push(&mut self, state: &State, change: impl FnOnce(&mut State)) {
        let mut next = state.clone();
        change(&mut next);
        self.next.push(next);
    }

    fn answer(&mut self, state: &State, who: usize, started: u8, answer: u8) {
        self.broken |= is_broken(state, started, answer);
        self.push(state, |s| s.requests[who] = Request::Done);
    }

    fn steps(&mut self, state: &State) {
        if state.now < TICKS {
            self.push(state, |s| s.now += 1);
        }
        if state.revision < WRITES {
            self.push(state, |s| {
                s.acknowledged[s.revision as usize] = s.now;
                s.revision += 1;
            });
        }
        if state.entry.is_some() {
            self.push(state, |s| s.entry = None);
        }
        if state.floor > 0 && self.variant == Variant::FloorEvicted {
            self.push(state, |s| s.floor = 0);
        }
        self.poll(state);
        match state.load {
            Load::Began => self.push(state, |s| s.load = Load::Read { seen: s.revision }),
            Load::Read { seen } => self.push(state, |s| {
                s.load = Load::None;
                for request in &mut s.requests {
                    if let Request::Joined { at } = *request {
                        *request = Request::Loaded { at, seen };
                    }
                }
            }),
            Load::None => {}
        }
        for who in 0..state.requests.len() {
            self.request(state, who);
        }
    }

    fn poll(&mut self, state: &State) {
        let variant = self.variant;
        match state.poll {
            Poll::Idle => self.push(state, |s| s.poll = Poll::Began { at: s.now }),
            Poll::Began { at } => {
                self.push(state, |s| {
                    s.poll = Poll::Idle;
                    if variant == Variant::FailedPollRenews {
                        s.lease = Some(at);
                    }
                });
                self.push(state, |s| s.poll = Poll::Read { at, seen: s.revision });
            }
            Poll::Read { at, seen } => {
                self.push(state, |s| s.poll = Poll::Idle);
                self.push(state, |s| {
                    if variant == Variant::LeaseBeforeFloor {
                        s.lease = Some(at);
                    } else {
                        raise(s, seen, variant);
                    }
                    s.poll = Poll::Half { at, seen };
                });
            }
            Poll::Half { at, seen } => self.push(state, |s| {
                match variant {
                    Variant::LeaseBeforeFloor => raise(s, seen, variant),
                    Variant::LeaseFromEnd => s.lease = Some(s.now),
                    _ => s.lease = Some(at),
                }
                s.poll = Poll::Idle;
            }),
        }
    }

    fn request(&mut self, state: &State, who: usize) {
        let variant = self.variant;
        let floor_first = variant == Variant::FloorReadFirst;
        let to = |next: Request| move |s: &mut State| s.requests[who] = next;
        match state.requests[who] {
            Request::Waiting => self.push(state, to(Request::Started { at: state.now })),
            Request::Started { at } if floor_first => {
                self.push(state, to(Request::First { at, floor: state.floor }));
            }
            Request::Started { at } if holds(state, variant) => {
                self.push(state, to(Request::First { at, floor: 0 }))
            }
            Request::Started { at } => self.push(state, to(Request::Direct { at })),
            Request::First { at, floor } if floor_first => {
                let next = if holds(state, variant) {
                    Request::Judged { at, floor }
                } else {
                    Request::Direct { at }
                };
                self.push(state, to(next));
            }
            Request::First { at, .. } => self.push(state, to(Request::Judged { at, floor: state.floor })),
            Request::Judged { at, floor } => match state.entry {
                Some(entry) if entry >= floor || variant == Variant::NoFloor => {
                    self.answer(state, who, at, entry)
                }
                _ => self.push(state, |s| {
                    s.requests[who] = Request::Joined { at };
                    if s.load == Load::None {
                        s.load = Load::Began;
                    }
                }),
            },
            Request::Joined { .. } | Request::Done => {}
            Request::Loaded { at, seen } if variant == Variant::JoinUnchecked => {
                self.keep(state, who, at, seen)
            }
            Request::Loaded { at, seen } => {
                let next = if holds(state, variant) {
                    Request::LoadedFirst { at, seen, floor: state.floor }
                } else {
                    Request::Direct { at }
                };
                self.push(state, to(next));
            }
            Request::LoadedFirst { at, seen, floor } if seen >= floor || variant == Variant::NoFloor => {
                self.keep(state, who, at, seen);
            }
            Request::LoadedFirst { at, .. } => self.push(state, to(Request::Direct { at })),
            Request::Direct { at } => {
                let seen = state.revision;
                self.answer(state, who, at, seen);
            }
        }
    }

    /// Answers from a load and keeps what it read, unless something newer is there.
    fn keep(&mut self, state: &State, who: usize, at: u8, seen: u8) {
        self.broken |= is_broken(state, at, seen);
        self.push(state, |s| {
            s.entry = s.entry.max(Some(seen));
            s.requests[who] = Request::Done;
        });
    }
}

fn raise(state: &mut State, seen: u8, variant: Variant) {
    if variant == Variant::NoFloor {
        state.entry = state.entry.filter(|entry| *entry >= seen);
    }
    state.floor = state.floor.max(seen);
}

/// Whether any way of things breaks the promise, and how many states there are.
fn search(variant: Variant) -> (bool, usize) {
    let start = State {
        now: 0,
        revision: 0,
        acknowledged: [0; WRITES as usize],
        entry: None,
        floor: 0,
        lease: None,
        poll: Poll::Idle,
        load: Load::None,
        requests: [Request::Waiting; 2],
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    let mut search = Search { variant, broken: false, next: Vec::new() };
    while let Some(state) = queue.pop_front() {
        search.steps(&state);
        if search.broken {
            return (true, seen.len());
        }
        for next in search.next.drain(..) {
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    (false, seen.len())
}

#[test]
fn the_algorithm_keeps_its_promise_in_every_state() {
    let (broken, states) = search(Variant::Right);
    println!("{states} states, none breaks the promise");
    assert!(!broken);
    assert!(states > 100_000, "the search must be large enough to mean something: {states}");
}

macro_rules! caught {
    ($($name:ident: $variant:ident;)*) => {$(
        #[test]
        fn $name() {
            let (broken, states) = search(Variant::$variant);
            println!("caught after {states} states");
            assert!(broken, "the search must find what is wrong with {:?}", Variant::$variant);
        }
    )*};
}

caught! {
    without_floors_a_late_load_brings_the_old_back: NoFloor;
    a_lease_published_before_its_floors_is_believed_too_early: LeaseBeforeFloor;
    a_floor_read_before_the_lease_may_be_of_before: FloorReadFirst;
    a_floor_that_is_evicted_lets_a_running_load_in: FloorEvicted;
    a_joined_load_may_have_begun_long_before: JoinUnchecked;
    a_lease_counted_from_the_end_of_a_poll_lasts_too_long: LeaseFromEnd;
    without_a_lease_a_server_that_hears_nothing_goes_on: NoLease;
    a_poll_that_failed_is_no_poll: FailedPollRenews;
}
