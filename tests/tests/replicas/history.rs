//! What happened, as the clients of a run saw it.

use std::collections::HashMap;

/// Microseconds since the run began, by the one clock of this process.
pub(crate) type At = u64;

/// A member of an account, both by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) account: usize,
    pub(crate) user: usize,
}

/// A change that grants or takes the one right that is asked about. It is repeated under its request id
/// until some server acknowledges it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) who: Who,
    /// Whether the right is there afterwards.
    pub(crate) grants: bool,
    /// When the first attempt was sent.
    pub(crate) start: At,
    /// When it was acknowledged, and with which revision; `None` if it never was.
    pub(crate) acknowledged: Option<(At, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Latency,
    /// With the token of this revision.
    AtLeast(i64),
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Told {
        allow: bool,
        revision: i64,
        stale: bool,
    },
    /// No answer: unavailable, late, or the connection broke.
    None,
    /// A refusal that no fault excuses.
    Refused(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) replica: usize,
    pub(crate) who: Who,
    pub(crate) mode: Mode,
    pub(crate) start: At,
    pub(crate) end: At,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// What the servers promise.
    pub(crate) staleness_max: At,
    /// Each account's revision before the first change.
    pub(crate) first: HashMap<usize, i64>,
    /// Everybody has the right at first.
    pub(crate) changes: Vec<Change>,
    pub(crate) checks: Vec<Check>,
}
