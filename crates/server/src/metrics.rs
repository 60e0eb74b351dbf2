//! What is counted, and how it gets out: as Prometheus' text on a port of its own and, where `OTEL_*`
//! variables name a collector, over OTLP. Both read the same instruments.
//!
//! On the path of a check stand a few atomic additions ([`Counters`]) and one bound histogram
//! ([`calls`]); nothing there looks up attributes or allocates. Everything else is read when somebody
//! asks ([`figures`]). No attribute has values that a caller can choose: no account, no user, no
//! unknown method.

pub mod calls;
pub mod export;
pub mod figures;
pub mod page;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use usher_policy::Reason;
use usher_storage::MailResult;

/// More than there are reasons in the contract.
const REASONS_MAX: usize = 128;

/// Numbers that only grow, raised where things happen.
pub struct Counters {
    decisions: [AtomicU64; Reason::ALL.len()],
    /// By the number of the contract's reason.
    refused: [AtomicU64; REASONS_MAX],
    mails: [AtomicU64; MAILS.len()],
    polls: AtomicU64,
    polls_failed: AtomicU64,
    poll_micros: AtomicU64,
    panics: AtomicU64,
}

/// What becomes of mails.
const MAILS: [&str; 4] = ["sent", "retried", "failed", "dropped"];

impl Default for Counters {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            decisions: zeros(),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            mails: std::array::from_fn(|_| AtomicU64::new(0)),
            polls: AtomicU64::new(0),
            polls_failed: AtomicU64::new(0),
            poll_micros: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}

fn raise(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// A check was answered.
    pub fn decided(&self, reason: Reason) {
        raise(&self.decisions[reason as usize]);
    }

    /// A call was refused, for the contract's reason of this number.
    pub fn refused(&self, reason: i32) {
        if let Some(counter) = usize::try_from(reason).ok().and_then(|number| self.refused.get(number)) {
            raise(counter);
        }
    }

    /// An attempt to send a mail ended.
    pub fn mailed(&self, result: &MailResult) {
        let at = match result {
            MailResult::Sent => 0,
            MailResult::Later { .. } => 1,
            MailResult::Failed { .. } => 2,
            MailResult::Dropped => 3,
        };
        raise(&self.mails[at]);
    }

    /// A look for the changes of other servers ended.
    pub fn polled(&self, took: Duration, ok: bool) {
        raise(if ok { &self.polls } else { &self.polls_failed });
        self.poll_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// A handler panicked.
    pub fn panicked(&self) {
        raise(&self.panics);
    }
}

/// `RoleGrants` as the contract spells it, `ROLE_GRANTS`.
fn upper_snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.extend(letter.to_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
        let counters = Counters::default();
        counters.decided(Reason::AutomationLacksPermission);
        assert_eq!(counters.decisions[14].load(Ordering::Relaxed), 1);
        counters.refused(-1);
        counters.refused(1_000_000);
    }

    #[test]
    fn names_are_spelt_as_in_the_contract() {
        assert_eq!(upper_snake("RoleGrantsOwn"), "ROLE_GRANTS_OWN");
        assert_eq!(upper_snake("NotAMember"), "NOT_A_MEMBER");
    }
}
