//! Seats and subscriptions: what an account bought, what is in use, and how it may change.
//!
//! The invariant, after every change: `active + reserved <= purchased`, unless the account was
//! allowed to go over its limit; then nothing takes a seat until it is back under it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::time::Time;

/// The most seats that an account can buy by number.
pub const PURCHASED_SEATS_MAX: u32 = 1_000_000;
/// The most changes in one `ManageLicenses` call.
pub const LICENSE_CHANGES_MAX: usize = 100;
/// How long after its expire time a subscription still works, unless the platform says otherwise.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(14 * 24 * 3600);

/// The seat figures of an account at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    /// `None` is unlimited.
    pub purchased: Option<u32>,
    /// Held by members.
    pub active: u32,
    /// Held by open, unexpired invitations.
    pub reserved: u32,
}

impl Seats {
    pub fn in_use(&self) -> u32 {
        self.active.saturating_add(self.reserved)
    }

    /// Spare seats; `None` is unlimited.
    pub fn available(&self) -> Option<u32> {
        self.purchased.map(|purchased| purchased.saturating_sub(self.in_use()))
    }

    pub fn over_limit_by(&self) -> u32 {
        self.purchased.map_or(0, |purchased| self.in_use().saturating_sub(purchased))
    }

    /// Whether one more seat could be taken now.
    ///
    /// # Errors
    /// `OverLimit` while more seats are in use than bought, `NoSeatAvailable` when none is spare.
    pub fn require_spare(&self) -> Result<(), Refusal> {
        match (self.over_limit_by(), self.available()) {
            (0, None | Some(1..)) => Ok(()),
            (0, Some(0)) => Err(Refusal::NoSeatAvailable(*self)),
            _ => Err(Refusal::OverLimit(*self)),
        }
    }
}

/// Where a subscription stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    Active,
    /// Past its expire time: everything still works.
    InGrace,
    /// Past its grace end time: only what pays or frees seats still works.
    Lapsed,
}

/// What the account bought, apart from the number of seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub plan: String,
    /// `None` is open-ended.
    pub expire_time: Option<Time>,
    /// Never without an expire time, and never before it.
    pub grace_end_time: Option<Time>,
}

impl Subscription {
    /// `grace_end_time` defaults to [`GRACE_DEFAULT`] after `expire_time`.
    ///
    /// # Errors
    /// When grace would end before the subscription expires, or has no expire time to follow.
    pub fn new(
        plan: String,
        expire_time: Option<Time>,
        grace_end_time: Option<Time>,
    ) -> Result<Self, &'static str> {
        let grace_end_time = match (expire_time, grace_end_time) {
            (None, None) => None,
            (None, Some(_)) => return Err("needs an `expire_time` that it follows"),
            (Some(expire), None) => Some(expire + GRACE_DEFAULT),
            (Some(expire), Some(grace)) if grace < expire => return Err("lies before `expire_time`"),
            (Some(_), grace) => grace,
        };
        Ok(Self { plan, expire_time, grace_end_time })
    }

    pub fn state(&self, now: Time) -> SubscriptionState {
        let past = |time: Option<Time>| time.is_some_and(|time| now >= time);
        match (past(self.expire_time), past(self.grace_end_time)) {
            (_, true) => SubscriptionState::Lapsed,
            (true, false) => SubscriptionState::InGrace,
            (false, false) => SubscriptionState::Active,
        }
    }
}

/// The licence side of an account. What is counted (`active`, `reserved`) is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    pub purchased: Option<u32>,
    pub subscription: Subscription,
    /// Whether more seats are in use than are purchased, which only an own change may bring about.
    pub over_limit: bool,
    /// When being over the limit begins to deny. `None`: never, or not over the limit.
    pub over_limit_end_time: Option<Time>,
    /// The newest `as_of_time` applied to the number of seats.
    pub seats_as_of: Option<Time>,
    /// The newest `as_of_time` applied to the subscription.
    pub subscription_as_of: Option<Time>,
}

impl License {
    /// As first bought, within its limit. `purchased` is `None` for unlimited seats.
    pub fn new(purchased: Option<u32>, subscription: Subscription) -> Self {
        Self {
            purchased,
            subscription,
            over_limit: false,
            over_limit_end_time: None,
            seats_as_of: None,
            subscription_as_of: None,
        }
    }
}

/// A new number of purchased seats, as `ManageLicenses` asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPurchasedSeats {
    /// `None` is unlimited.
    pub purchased: Option<u32>,
    /// Compare and set: the number that must be purchased now.
    pub expected_seats: Option<u32>,
    pub allow_over_limit: bool,
    pub over_limit_end_time: Option<Time>,
    /// The time of the source (a payment system) that this number is of.
    pub as_of_time: Option<Time>,
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeOutcome {
    Applied,
    /// It says what already holds. A newer `as_of_time` counts all the same.
    Unchanged,
    /// Its `as_of_time` is older than that of the last change applied.
    OlderThanLast,
}

impl License {
    pub fn seats(&self, active: u32, reserved: u32) -> Seats {
        Seats { purchased: self.purchased, active, reserved }
    }

    /// Sets the number of seats bought. Lowering it below use is refused unless the change allows
    /// the account to go over its limit; nobody loses a seat either way. An account that is over its limit may buy
    /// more seats, also too few; when that begins to deny stays as it was allowed.
    ///
    /// # Errors
    /// `ExpectedSeatsDiffer`, `SeatsInUse`.
    pub fn set_purchased(
        &mut self,
        change: &SetPurchasedSeats,
        seats: Seats,
    ) -> Result<ChangeOutcome, Refusal> {
        if older(change.as_of_time, self.seats_as_of) {
            return Ok(ChangeOutcome::OlderThanLast);
        }
        if change.expected_seats.is_some_and(|expected| self.purchased != Some(expected)) {
            return Err(Refusal::ExpectedSeatsDiffer { purchased: self.purchased });
        }
        let after = Seats { purchased: change.purchased, ..seats };
        let unlimited = |purchased: Option<u32>| purchased.unwrap_or(u32::MAX);
        let lowers = unlimited(change.purchased) < unlimited(self.purchased);
        if after.over_limit_by() > 0 && lowers && !change.allow_over_limit {
            return Err(Refusal::SeatsInUse(seats));
        }
        let before = (self.purchased, self.over_limit_end_time);
        self.purchased = change.purchased;
        self.over_limit = after.over_limit_by() > 0;
        let end = if change.allow_over_limit { change.over_limit_end_time } else { self.over_limit_end_time };
        self.over_limit_end_time = end.filter(|_| self.over_limit);
        self.seats_as_of = newer(change.as_of_time, self.seats_as_of);
        Ok(outcome(before != (self.purchased, self.over_limit_end_time)))
    }

    /// Replaces the subscription whole.
    pub fn update_subscription(
        &mut self,
        subscription: &Subscription,
        as_of_time: Option<Time>,
    ) -> ChangeOutcome {
        if older(as_of_time, self.subscription_as_of) {
            return ChangeOutcome::OlderThanLast;
        }
        let changed = self.subscription != *subscription;
        self.subscription = subscription.clone();
        self.subscription_as_of = newer(as_of_time, self.subscription_as_of);
        outcome(changed)
    }
}

fn outcome(changed: bool) -> ChangeOutcome {
    if changed { ChangeOutcome::Applied } else { ChangeOutcome::Unchanged }
}

fn older(this: Option<Time>, last: Option<Time>) -> bool {
    matches!((this, last), (Some(this), Some(last)) if this < last)
}

fn newer(this: Option<Time>, last: Option<Time>) -> Option<Time> {
    this.max(last)
}

/// When an account that is over its limit stops being so by itself, because open invitations
/// expire: the expiry that brings use down to what is purchased. `None` when expiries alone do not.
pub fn over_limit_clear_time(seats: Seats, reservations_expire: &[Time]) -> Option<Time> {
    let over = usize::try_from(seats.over_limit_by()).ok()?;
    let mut expiries = reservations_expire.to_vec();
    expiries.sort_unstable();
    over.checked_sub(1).and_then(|last| expiries.get(last)).copied()
}

#[cfg(test)]
#[path = "license_tests.rs"]
mod tests;
