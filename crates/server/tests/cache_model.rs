//! The cache's algorithm as a model, searched to the end, and wrong variants of it that the search
//! must catch.
//!
//! One account, whose revision writers raise, here and on other servers; one server with an entry, a floor,
//! a lease and a mark up to which polls have seen; a poller that may fail at any step; two requests that may
//! share a load; evictions; a clock in ticks. The promise, with a bound of `BOUND` ticks: a request that
//! starts more than that after a write was acknowledged is not answered from before the write.
//!
//! Why the real one keeps it: an answer from memory saw a lease whose poll *began* after the write;
//! that poll's floors were raised before its start was published, and the floor was read after the
//! lease; so the floor is at least the write's revision, and so is the entry. A load is judged in the
//! same way after it ended, and a direct read began after the request. A floor may go when nothing read
//! before it is used any more. Loads begin under a lease, so after the first poll, which finds nothing and
//! only sets the mark.

#![expect(clippy::print_stdout, reason = "how many states were searched is worth seeing")]

use std::collections::{HashSet, VecDeque};

const BOUND: u8 = 1;
/// Enough for a write, the bound after it and one more.
const TICKS: u8 = 2;
const WRITES_MAX: usize = 2;
/// Instead of the tick of an acknowledgement that has not come.
const NEVER: u8 = u8::MAX;

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
    /// Floors are evicted like entries, also while a load runs.
    FloorEvicted,
    /// Floors are dropped while one who joined a load has not judged it yet.
    FloorDroppedUnderWaiter,
    /// Old floors are dropped, and what was read before them may still be used.
    FloorDroppedAlone,
    /// A late word sets the floor, though it is higher by now.
    FloorAssigned,
    /// Who joined a load takes its result without a second look.
    JoinUnchecked,
    /// A poll publishes when it ended, not when it began.
    LeaseFromEnd,
    /// A load reads the content, then the revision, from two snapshots.
    ContentThenRevision,
    /// The other order: old revisions on new content, which is safe.
    RevisionThenContent,
    /// Memory is used without a lease.
    NoLease,
    /// What is read directly is kept, also before the first poll.
    DirectKept,
    /// A poll that failed after it began renews the lease all the same.
    FailedPollRenews,
    /// A poll that failed after it read moves the mark all the same.
    FailedPollMarks,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Size {
    writes: u8,
    /// Whether this server writes, and so raises its floor itself, and not others. Then there is only one
    /// request, and whoever else asks fills the entry in one step.
    writes_here: bool,
    /// Whether old floors are dropped.
    drops: bool,
    /// Whether a poll finds only what changed since the one before; otherwise it finds everything.
    marks: bool,
}

const ELSEWHERE: Size = Size { writes: 1, writes_here: false, drops: false, marks: false };
const HERE: Size = Size { writes: 2, writes_here: true, ..ELSEWHERE };
const DROPS: Size = Size { drops: true, ..ELSEWHERE };
const MARKS: Size = Size { marks: true, ..ELSEWHERE };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Poll {
    Idle,
    Began {
        at: u8,
    },
    /// `found` is whether the account is among the changed ones.
    Read {
        at: u8,
        seen: u8,
        found: bool,
    },
    /// One of the two last steps is done.
    Half {
        at: u8,
        seen: u8,
        found: bool,
    },
}

/// Something read: what it is from, what it says that it is from, and when its load began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Read {
    content: u8,
    label: u8,
    born: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Load {
    None,
    Began {
        born: u8,
    },
    /// The first of two snapshots is read.
    Half {
        born: u8,
        first: u8,
    },
    Ended(Read),
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
        read: Read,
    },
    LoadedFirst {
        at: u8,
        read: Read,
        floor: u8,
    },
    Direct {
        at: u8,
    },
    DirectRead {
        at: u8,
        read: Read,
    },
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    now: u8,
    /// The revision in the database, and when each write was acknowledged.
    revision: u8,
    acknowledged: [u8; WRITES_MAX],
    /// Committed here; the floor is not raised yet.
    unannounced: [bool; WRITES_MAX],
    entry: Option<Read>,
    floor: u8,
    /// When the floor was raised last.
    raised: u8,
    /// What was read before is not used.
    oldest: u8,
    /// When the last good poll began.
    lease: Option<u8>,
    /// The revision up to which polls have seen.
    mark: Option<u8>,
    poll: Poll,
    load: Load,
    requests: [Request; 2],
}

fn holds(state: &State, variant: Variant) -> bool {
    variant == Variant::NoLease || state.lease.is_some_and(|start| state.now - start <= BOUND)
}

/// Whether an answer breaks the promise.
fn is_broken(state: &State, started: u8, content: u8) -> bool {
    let overdue = |acknowledged: u8| acknowledged != NEVER && started > acknowledged + BOUND;
    (content..state.revision).any(|write| overdue(state.acknowledged[usize::from(write)]))
}

struct Search {
    variant: Variant,
    size: Size,
    broken: bool,
    next: Vec<State>,
}

impl Search {
    fn push(&mut self, state: &State, change: impl FnOnce(&mut State)) {
        let mut next = state.clone();
        change(&mut next);
        if !self.size.drops {
            // Nobody asks when it was, and states that differ in nothing else are one.
            next.raised = 0;
        }
        self.next.push(next);
    }

    fn answer(&mut self, state: &State, who: usize, started: u8, content: u8) {
        self.broken |= is_broken(state, started, content);
        self.push(state, |s| s.requests[who] = Request::Done);
    }

    fn steps(&mut self, state: &State) {
        if state.now < TICKS {
            self.push(state, |s| s.now += 1);
        }
        self.write(state);
        if self.size.writes_here && holds(state, self.variant) {
            let read = Read { content: state.revision, label: state.revision, born: 0 };
            self.push(state, |s| s.entry = Some(read));
        } else if state.entry.is_some() {
            self.push(state, |s| s.entry = None);
        }
        self.drop_floor(state);
        self.poll(state);
        self.load(state);
        for who in 0..state.requests.len() {
            self.request(state, who);
        }
    }

    fn write(&mut self, state: &State) {
        let variant = self.variant;
        let write = usize::from(state.revision);
        if state.revision < self.size.writes {
            let here = self.size.writes_here;
            self.push(state, |s| {
                s.revision += 1;
                if here {
                    s.unannounced[write] = true;
                } else {
                    s.acknowledged[write] = s.now;
                }
            });
        }
        for write in (0..WRITES_MAX).filter(|write| state.unannounced[*write]) {
            self.push(state, |s| {
                raise(s, u8::try_from(write).unwrap_or(0) + 1, variant);
                s.unannounced[write] = false;
                s.acknowledged[write] = s.now;
            });
        }
    }

    fn drop_floor(&mut self, state: &State) {
        if state.floor == 0 {
            return;
        }
        let is_old = self.size.drops && state.raised < state.now;
        let has_waiter = state.requests.iter().any(|request| matches!(request, Request::Loaded { .. }));
        match self.variant {
            Variant::FloorEvicted => self.push(state, |s| s.floor = 0),
            Variant::FloorDroppedUnderWaiter if has_waiter => self.push(state, |s| s.floor = 0),
            Variant::FloorDroppedAlone if is_old => self.push(state, |s| s.floor = 0),
            _ if is_old => self.push(state, |s| {
                s.oldest = s.now;
                s.floor = 0;
            }),
            _ => {}
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
                let found = !self.size.marks || state.mark.is_some_and(|mark| state.revision > mark);
                self.push(state, |s| s.poll = Poll::Read { at, seen: s.revision, found });
            }
            Poll::Read { at, seen, found } => {
                self.push(state, |s| {
                    s.poll = Poll::Idle;
                    if variant == Variant::FailedPollMarks {
                        s.mark = Some(seen);
                    }
                });
                let marks = self.size.marks;
                self.push(state, |s| {
                    if marks {
                        s.mark = Some(seen);
                    }
                    if variant == Variant::LeaseBeforeFloor {
                        s.lease = Some(at);
                    } else if found {
                        raise(s, seen, variant);
                    }
                    s.poll = Poll::Half { at, seen, found };
                });
            }
            Poll::Half { at, seen, found } => self.push(state, |s| {
                match variant {
                    Variant::LeaseBeforeFloor if found => raise(s, seen, variant),
                    Variant::LeaseBeforeFloor => {}
                    Variant::LeaseFromEnd => s.lease = Some(s.now),
                    _ => s.lease = Some(at),
                }
                s.poll = Poll::Idle;
            }),
        }
    }

    fn load(&mut self, state: &State) {
        let two_snapshots =
            [Variant::ContentThenRevision, Variant::RevisionThenContent].contains(&self.variant);
        let variant = self.variant;
        match state.load {
            Load::None => {}
            Load::Began { born } if two_snapshots => {
                self.push(state, |s| s.load = Load::Half { born, first: s.revision });
            }
            Load::Began { born } => self.push(state, |s| {
                s.load = Load::Ended(Read { content: s.revision, label: s.revision, born });
            }),
            Load::Half { born, first } => self.push(state, |s| {
                let second = s.revision;
                let (content, label) =
                    if variant == Variant::ContentThenRevision { (first, second) } else { (second, first) };
                s.load = Load::Ended(Read { content, label, born });
            }),
            Load::Ended(read) => self.push(state, |s| {
                s.load = Load::None;
                for request in &mut s.requests {
                    if let Request::Joined { at } = *request {
                        *request = Request::Loaded { at, read };
                    }
                }
            }),
        }
    }

    fn passes(&self, state: &State, read: Read, floor: u8) -> bool {
        (read.label >= floor || self.variant == Variant::NoFloor) && read.born >= state.oldest
    }

    fn request(&mut self, state: &State, who: usize) {
        let variant = self.variant;
        let floor_first = variant == Variant::FloorReadFirst;
        let to = |next: Request| move |s: &mut State| s.requests[who] = next;
        // As above.
        let born = if self.size.drops { state.now } else { 0 };
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
                Some(entry) if self.passes(state, entry, floor) => self.answer(state, who, at, entry.content),
                _ => self.push(state, |s| {
                    s.requests[who] = Request::Joined { at };
                    if s.load == Load::None {
                        s.load = Load::Began { born };
                    }
                }),
            },
            Request::Joined { .. } | Request::Done => {}
            Request::Loaded { at, read } if variant == Variant::JoinUnchecked => {
                self.keep(state, who, at, read)
            }
            Request::Loaded { at, read } => {
                let next = if holds(state, variant) {
                    Request::LoadedFirst { at, read, floor: state.floor }
                } else {
                    Request::Direct { at }
                };
                self.push(state, to(next));
            }
            Request::LoadedFirst { at, read, floor } if self.passes(state, read, floor) => {
                self.keep(state, who, at, read);
            }
            Request::LoadedFirst { at, .. } => self.push(state, to(Request::Direct { at })),
            Request::Direct { at } => {
                let read = Read { content: state.revision, label: state.revision, born };
                if variant == Variant::DirectKept {
                    self.push(state, to(Request::DirectRead { at, read }));
                } else {
                    self.answer(state, who, at, read.content);
                }
            }
            Request::DirectRead { at, read } => self.keep(state, who, at, read),
        }
    }

    /// Answers from a load and keeps what it read, unless something newer is there.
    fn keep(&mut self, state: &State, who: usize, at: u8, read: Read) {
        self.broken |= is_broken(state, at, read.content);
        self.push(state, |s| {
            if s.entry.is_none_or(|kept| (kept.label, kept.born) <= (read.label, read.born)) {
                s.entry = Some(read);
            }
            s.requests[who] = Request::Done;
        });
    }
}

fn raise(state: &mut State, seen: u8, variant: Variant) {
    if variant == Variant::NoFloor {
        state.entry = state.entry.filter(|entry| entry.label >= seen);
    }
    if seen > state.floor || variant == Variant::FloorAssigned {
        state.floor = seen;
        state.raised = state.now;
    }
}

/// Whether any way of things breaks the promise, and how many states there are.
fn search(variant: Variant, size: Size) -> (bool, usize) {
    let start = State {
        now: 0,
        revision: 0,
        acknowledged: [NEVER; WRITES_MAX],
        unannounced: [false; WRITES_MAX],
        entry: None,
        floor: 0,
        raised: 0,
        oldest: 0,
        lease: None,
        mark: None,
        poll: Poll::Idle,
        load: Load::None,
        requests: [Request::Waiting, if size.writes_here { Request::Done } else { Request::Waiting }],
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    let mut search = Search { variant, size, broken: false, next: Vec::new() };
    while let Some(state) = queue.pop_front() {
        search.steps(&state);
        if search.broken {
            return (true, seen.len());
        }
        for next in search.next.drain(..) {
            if !seen.contains(&next) {
                seen.insert(next.clone());
                queue.push_back(next);
            }
        }
    }
    (false, seen.len())
}

/// As [`search`], and says what it came to.
fn searched(variant: Variant, size: Size) -> (bool, usize) {
    let (broken, states) = search(variant, size);
    println!("{variant:?}: {states} states, {}", if broken { "caught" } else { "none breaks the promise" });
    (broken, states)
}

macro_rules! keeps {
    ($($name:ident: $variant:ident in $size:ident;)*) => {$(
        #[test]
        fn $name() {
            let (broken, states) = searched(Variant::$variant, $size);
            assert!(!broken);
            assert!(states > 50_000, "the search must be large enough to mean something: {states}");
        }
    )*};
}

keeps! {
    the_algorithm_keeps_its_promise_in_every_state: Right in ELSEWHERE;
    it_keeps_its_promise_when_polls_find_only_what_changed: Right in MARKS;
    it_keeps_its_promise_when_it_writes_itself: Right in HERE;
    it_keeps_its_promise_when_old_floors_are_dropped: Right in DROPS;
    old_revisions_on_new_content_are_safe: RevisionThenContent in ELSEWHERE;
}

macro_rules! caught {
    ($($name:ident: $variant:ident in $size:ident;)*) => {$(
        #[test]
        fn $name() {
            let (broken, _) = searched(Variant::$variant, $size);
            assert!(broken, "the search must find what is wrong with {:?}", Variant::$variant);
        }
    )*};
}

caught! {
    without_floors_a_late_load_brings_the_old_back: NoFloor in ELSEWHERE;
    a_lease_published_before_its_floors_is_believed_too_early: LeaseBeforeFloor in ELSEWHERE;
    a_floor_read_before_the_lease_may_be_of_before: FloorReadFirst in ELSEWHERE;
    a_floor_that_is_evicted_lets_a_running_load_in: FloorEvicted in ELSEWHERE;
    a_floor_dropped_under_a_waiter_lets_its_load_in: FloorDroppedUnderWaiter in ELSEWHERE;
    a_floor_dropped_alone_lets_old_entries_in: FloorDroppedAlone in DROPS;
    a_floor_that_is_set_may_fall: FloorAssigned in HERE;
    a_joined_load_may_have_begun_long_before: JoinUnchecked in ELSEWHERE;
    a_lease_counted_from_the_end_of_a_poll_lasts_too_long: LeaseFromEnd in ELSEWHERE;
    content_read_before_its_revision_is_called_newer_than_it_is: ContentThenRevision in ELSEWHERE;
    without_a_lease_a_server_that_hears_nothing_goes_on: NoLease in ELSEWHERE;
    what_is_read_before_the_first_poll_has_no_floor: DirectKept in MARKS;
    a_poll_that_failed_is_no_poll: FailedPollRenews in ELSEWHERE;
    a_poll_that_failed_has_seen_nothing: FailedPollMarks in MARKS;
}
