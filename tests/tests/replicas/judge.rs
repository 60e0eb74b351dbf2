//! Reads a history and says what in it breaks a promise. It knows nothing of how servers work: a revision
//! is a state of an account, changes lead from one to the next, and a check names the one it was decided
//! at.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::history::{Answer, At, Check, History, Mode, Who};

/// A promise that an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// An allow longer after an acknowledged revocation than the bound.
    AllowedAfterRevocation,
    /// From before a change that was acknowledged longer ago than the bound.
    Late,
    /// From before the token that came with the request.
    BelowToken,
    /// Fully consistent, and from before a change that was acknowledged before the request.
    BelowFull,
    /// Not what the account was at the revision that it names.
    Untrue,
    /// At a revision that nothing had made yet.
    Future,
    /// Says `stale` though nobody allowed that.
    Stale,
    /// Refused for a reason that no fault excuses.
    Refused,
}

/// One answer that breaks a promise.
pub(crate) struct Violation<'a> {
    pub(crate) broken: Broken,
    pub(crate) check: &'a Check,
}

impl fmt::Debug for Violation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.broken, self.check)
    }
}

/// All that breaks a promise, in the order of the checks.
pub(crate) fn judge(history: &History) -> Vec<Violation<'_>> {
    let known = Known::of(history);
    let mut violations = Vec::new();
    for check in &history.checks {
        violations.extend(known.broken(check).into_iter().map(|broken| Violation { broken, check }));
    }
    violations
}

/// How often each promise is broken.
pub(crate) fn tally(violations: &[Violation<'_>]) -> BTreeMap<Broken, usize> {
    let mut tally = BTreeMap::new();
    for violation in violations {
        *tally.entry(violation.broken).or_default() += 1;
    }
    tally
}

/// What the changes say about each moment.
struct Known {
    staleness_max: At,
    /// Of each member: the revisions that changed the right, and whether it was there from then on.
    rights: HashMap<Who, BTreeMap<i64, bool>>,
    /// Members of whom a change was never acknowledged, with the last revision that is certain.
    doubtful: HashMap<Who, i64>,
    /// Of each account: the highest revision that was acknowledged by each moment.
    acknowledged: HashMap<usize, BTreeMap<At, i64>>,
    /// Of each account: when the change to each revision began, and whether some change is unaccounted for.
    begun: HashMap<usize, BTreeMap<i64, At>>,
    has_unknown: HashMap<usize, bool>,
    first: HashMap<usize, i64>,
}

impl Known {
    fn of(history: &History) -> Self {
        let mut known = Self {
            staleness_max: history.staleness_max,
            rights: HashMap::new(),
            doubtful: HashMap::new(),
            acknowledged: HashMap::new(),
            begun: HashMap::new(),
            has_unknown: HashMap::new(),
            first: history.first.clone(),
        };
        let mut ordered: Vec<(At, usize, i64)> = Vec::new();
        for change in &history.changes {
            let account = change.who.account;
            match change.acknowledged {
                Some((at, revision)) => {
                    known.rights.entry(change.who).or_default().insert(revision, change.grants);
                    known.begun.entry(account).or_default().insert(revision, change.start);
                    ordered.push((at, account, revision));
                }
                None => {
                    known.has_unknown.insert(account, true);
                }
            }
        }
        for change in history.changes.iter().filter(|change| change.acknowledged.is_none()) {
            let rights = known.rights.get(&change.who);
            let certain = rights.and_then(|rights| rights.keys().next_back().copied()).unwrap_or(0);
            known.doubtful.insert(change.who, certain);
        }
        ordered.sort_unstable();
        for (at, account, revision) in ordered {
            let acknowledged = known.acknowledged.entry(account).or_default();
            let highest = acknowledged.values().next_back().copied().unwrap_or(0).max(revision);
            acknowledged.insert(at, highest);
        }
        known
    }

    /// The highest revision acknowledged before the moment.
    fn acknowledged_before(&self, account: usize, moment: At) -> i64 {
        let of = self.acknowledged.get(&account);
        let before = of.and_then(|of| of.range(..moment).next_back().map(|(_, revision)| *revision));
        before.or_else(|| self.first.get(&account).copied()).unwrap_or(0)
    }

    /// Whether the right was there at the revision; `None` when nobody can say.
    fn right(&self, who: Who, revision: i64) -> Option<bool> {
        if self.doubtful.get(&who).is_some_and(|certain| revision > *certain) {
            return None;
        }
        let of = self.rights.get(&who);
        Some(of.and_then(|of| of.range(..=revision).next_back().map(|(_, grants)| *grants)).unwrap_or(true))
    }

    fn broken(&self, check: &Check) -> Vec<Broken> {
        let (allow, revision, stale) = match &check.answer {
            Answer::Told { allow, revision, stale } => (*allow, *revision, *stale),
            Answer::None => return Vec::new(),
            Answer::Refused(_) => return vec![Broken::Refused],
        };
        let mut broken = Vec::new();
        let account = check.who.account;
        let due = self.acknowledged_before(account, check.start.saturating_sub(self.staleness_max));
        if revision < due {
            broken.push(Broken::Late);
            if allow && self.right(check.who, due) == Some(false) {
                broken.push(Broken::AllowedAfterRevocation);
            }
        }
        match check.mode {
            Mode::AtLeast(wanted) if revision < wanted => broken.push(Broken::BelowToken),
            Mode::Full if revision < self.acknowledged_before(account, check.start) => {
                broken.push(Broken::BelowFull);
            }
            Mode::Latency | Mode::AtLeast(_) | Mode::Full => {}
        }
        if self.right(check.who, revision).is_some_and(|right| right != allow) {
            broken.push(Broken::Untrue);
        }
        if self.is_future(account, revision, check.end) {
            broken.push(Broken::Future);
        }
        if stale {
            broken.push(Broken::Stale);
        }
        broken
    }

    fn is_future(&self, account: usize, revision: i64, end: At) -> bool {
        if revision <= self.first.get(&account).copied().unwrap_or(0)
            || self.has_unknown.contains_key(&account)
        {
            return false;
        }
        let begun = self.begun.get(&account).and_then(|begun| begun.get(&revision));
        begun.is_none_or(|begun| *begun > end)
    }
}

/// How soon changes were seen on every server, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// From the acknowledgement of a change to the first answer of a server that knows it, sorted.
    pub(crate) seen: Vec<At>,
    /// The longest time after an acknowledgement at which a request began that was answered from before it.
    pub(crate) stalest: At,
}

impl Lag {
    /// Of checks for the least latency that began in the given time, and changes acknowledged in it.
    pub(crate) fn of(history: &History, within: std::ops::Range<At>) -> Self {
        // By account and replica: when each was asked and answered, and the revision.
        type Asked = Vec<(At, At, i64)>;
        let mut asked: HashMap<(usize, usize), Asked> = HashMap::new();
        for check in &history.checks {
            if let (Mode::Latency, Answer::Told { revision, .. }) = (check.mode, &check.answer) {
                let of = asked.entry((check.who.account, check.replica)).or_default();
                of.push((check.start, check.end, *revision));
            }
        }
        asked.values_mut().for_each(|of| of.sort_unstable());
        let mut lag = Self::default();
        for change in &history.changes {
            let Some((at, revision)) = change.acknowledged.filter(|(at, _)| within.contains(at)) else {
                continue;
            };
            for (_, checks) in asked.iter().filter(|((account, _), _)| *account == change.who.account) {
                let from = checks.partition_point(|(start, _, _)| *start < change.start);
                let later = &checks[from..];
                lag.seen.extend(
                    later
                        .iter()
                        .find(|(_, _, seen)| *seen >= revision)
                        .map(|(_, end, _)| end.saturating_sub(at)),
                );
                let stale = later.iter().filter(|(_, _, seen)| *seen < revision).map(|(start, _, _)| *start);
                lag.stalest = stale.max().map_or(0, |start| start.saturating_sub(at)).max(lag.stalest);
            }
        }
        lag.seen.sort_unstable();
        lag
    }

    /// The value that this many of a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> At {
        let last = self.seen.len().saturating_sub(1);
        self.seen.get(last * percent / 100).copied().unwrap_or(0)
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: At| format!("{:.1} ms", micros as f64 / 1000.0);
        write!(
            f,
            "{} sightings: p50 {}, p99 {}, max {}; longest from before a change: {}",
            self.seen.len(),
            ms(self.percentile(50)),
            ms(self.percentile(99)),
            ms(self.percentile(100)),
            ms(self.stalest)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Change;

    const WHO: Who = Who { account: 0, user: 0 };
    const OTHER: Who = Who { account: 0, user: 1 };

    /// The right is taken at revision 6, acknowledged at 200, and given back at revision 8, at 900.
    fn history(checks: Vec<Check>) -> History {
        let change = |who, grants, start, at, revision| Change {
            who,
            grants,
            start,
            acknowledged: Some((at, revision)),
        };
        History {
            staleness_max: 100,
            first: HashMap::from([(0, 5)]),
            changes: vec![
                change(WHO, false, 100, 200, 6),
                change(OTHER, false, 400, 500, 7),
                change(WHO, true, 800, 900, 8),
            ],
            checks,
        }
    }

    fn check(mode: Mode, start: At, allow: bool, revision: i64) -> Check {
        let answer = Answer::Told { allow, revision, stale: false };
        Check { replica: 0, who: WHO, mode, start, end: start + 10, answer }
    }

    fn broken(check: Check) -> Vec<Broken> {
        judge(&history(vec![check])).into_iter().map(|violation| violation.broken).collect()
    }

    #[test]
    fn what_keeps_every_promise_is_right() {
        for (mode, start, allow, revision) in [
            (Mode::Latency, 50, true, 5),
            // Under way: either is true.
            (Mode::Latency, 150, true, 5),
            (Mode::Latency, 150, false, 6),
            (Mode::Full, 150, true, 5),
            // Acknowledged, within the bound, and at the bound.
            (Mode::Latency, 290, true, 5),
            (Mode::Latency, 300, true, 5),
            (Mode::AtLeast(5), 290, true, 5),
            (Mode::AtLeast(6), 201, false, 6),
            (Mode::Full, 201, false, 6),
            (Mode::Latency, 650, false, 7),
            (Mode::AtLeast(7), 950, true, 8),
        ] {
            assert_eq!(
                broken(check(mode, start, allow, revision)),
                [],
                "{mode:?} at {start}: {allow} {revision}"
            );
        }
    }

    #[test]
    fn an_allow_after_the_bound_is_seen() {
        assert_eq!(
            broken(check(Mode::Latency, 302, true, 5)),
            [Broken::Late, Broken::AllowedAfterRevocation]
        );
        // From before another's change: late, though nothing is allowed by it.
        assert_eq!(broken(check(Mode::Latency, 602, false, 6)), [Broken::Late]);
        // A grant that is not seen is late too.
        assert_eq!(broken(check(Mode::Latency, 1002, false, 7)), [Broken::Late]);
    }

    #[test]
    fn a_token_binds_at_once() {
        assert_eq!(broken(check(Mode::AtLeast(6), 201, true, 5)), [Broken::BelowToken]);
    }

    #[test]
    fn fully_consistent_binds_at_once() {
        assert_eq!(broken(check(Mode::Full, 201, true, 5)), [Broken::BelowFull]);
    }

    #[test]
    fn an_answer_that_mixes_two_revisions_is_untrue() {
        assert_eq!(broken(check(Mode::Latency, 210, true, 6)), [Broken::Untrue]);
        assert_eq!(broken(check(Mode::Latency, 910, false, 8)), [Broken::Untrue]);
        assert_eq!(broken(check(Mode::Latency, 50, false, 5)), [Broken::Untrue]);
    }

    #[test]
    fn a_revision_before_its_change_is_from_the_future() {
        assert_eq!(broken(check(Mode::Latency, 210, false, 7)), [Broken::Future]);
        assert_eq!(broken(check(Mode::Latency, 950, true, 9)), [Broken::Future]);
    }

    #[test]
    fn staleness_and_wrong_refusals_are_seen_and_silence_is_not() {
        let mut stale = check(Mode::Latency, 50, true, 5);
        stale.answer = Answer::Told { allow: true, revision: 5, stale: true };
        assert_eq!(broken(stale), [Broken::Stale]);
        let mut refused = check(Mode::Latency, 50, true, 5);
        refused.answer = Answer::Refused("INTERNAL".to_owned());
        assert_eq!(broken(refused), [Broken::Refused]);
        let mut silent = check(Mode::Full, 950, true, 5);
        silent.answer = Answer::None;
        assert_eq!(broken(silent), []);
    }

    #[test]
    fn what_was_never_acknowledged_leaves_a_doubt_and_no_more() {
        let mut told =
            history(vec![check(Mode::Latency, 2000, false, 9), check(Mode::Latency, 2000, true, 9)]);
        told.changes.push(Change { who: WHO, grants: false, start: 1500, acknowledged: None });
        assert!(judge(&told).is_empty());
        told.checks = vec![check(Mode::Latency, 2000, false, 8)];
        assert_eq!(tally(&judge(&told)), BTreeMap::from([(Broken::Untrue, 1)]));
    }

    #[test]
    fn the_lag_is_that_of_the_first_answer_that_knows() {
        let told = history(vec![
            check(Mode::Latency, 150, true, 5),
            check(Mode::Latency, 230, true, 5),
            check(Mode::Latency, 260, false, 6),
            check(Mode::Full, 205, false, 6),
        ]);
        let lag = Lag::of(&told, 0..300);
        assert_eq!((lag.seen.as_slice(), lag.stalest), ([70].as_slice(), 30));
        assert_eq!((lag.percentile(50), lag.percentile(100)), (70, 70));
    }
}
