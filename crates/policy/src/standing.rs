//! What a check needs of a subject in an account, in a few bytes.
//!
//! A cache holds many of these, so names have become indices and absent times a value of their own.
//! It is made by [`crate::Catalogue::standing`] and holds for that catalogue alone.

use usher_domain::standing::{AccountState, MemberRecord, MemberState, StandingRecord};
use usher_domain::time::Time;

use crate::table::{ModelIndex, RoleIndex, RoleModel};

/// One subject in one account, at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    revision: i64,
    /// Microseconds; [`NEVER`] when absent, like the three below.
    expire: i64,
    lapse: i64,
    over_limit_end: i64,
    over_limit_clear: i64,
    /// [`NO_MODEL`] when absent: an `Option` would take two bytes more, and then eight.
    model: u16,
    account_state: AccountState,
    over_limit: bool,
    member: Member,
}

/// Later than any [`Time`].
const NEVER: i64 = i64::MAX;
/// More models than a catalogue holds.
const NO_MODEL: u16 = u16::MAX;

/// The member's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// A stranger, or automation.
    None,
    /// `role` is `None` when the model has no role of the member's name; such a member is denied.
    /// `seat` says whether one is held, not whether the role needs one.
    Suspended { role: Option<RoleIndex>, seat: bool },
    /// As above.
    Active { role: Option<RoleIndex>, seat: bool },
}

impl Member {
    pub fn role(self) -> Option<RoleIndex> {
        match self {
            Self::None => None,
            Self::Suspended { role, .. } | Self::Active { role, .. } => role,
        }
    }

    pub fn has_seat(self) -> bool {
        matches!(self, Self::Suspended { seat: true, .. } | Self::Active { seat: true, .. })
    }
}

/// Which clock-driven denial holds of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    InOrder,
    Lapsed,
    OverLimitEnded,
}

impl Standing {
    pub(crate) fn new(record: &StandingRecord, model: Option<(ModelIndex, &RoleModel)>) -> Self {
        let micros = |time: Option<Time>| time.map_or(NEVER, Time::micros);
        Self {
            revision: record.revision,
            expire: micros(record.expire_time),
            lapse: micros(record.lapse_time),
            over_limit_end: micros(record.over_limit_end_time),
            over_limit_clear: micros(record.over_limit_clear_time),
            model: model.map_or(NO_MODEL, |(index, _)| index.0),
            over_limit: record.over_limit,
            account_state: record.account_state,
            member: record.member.as_ref().map_or(Member::None, |member| member_part(member, model)),
        }
    }

    /// The account's revision that this was read at.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn account_state(&self) -> AccountState {
        self.account_state
    }

    /// `None` when the catalogue lacks the account's model.
    pub fn model(&self) -> Option<ModelIndex> {
        (self.model != NO_MODEL).then_some(ModelIndex(self.model))
    }

    pub fn member(&self) -> Member {
        self.member
    }

    /// When the subscription lapses; `None` is never.
    pub fn lapse_time(&self) -> Option<Time> {
        time(self.lapse)
    }

    /// When being over the limit begins to deny; `None` is never.
    pub fn over_limit_end_time(&self) -> Option<Time> {
        time(self.over_limit_end)
    }

    /// When the account stops being over the limit by itself; `None` is never.
    pub fn over_limit_clear_time(&self) -> Option<Time> {
        time(self.over_limit_clear)
    }

    pub fn is_lapsed(&self, now: Time) -> bool {
        now.micros() >= self.lapse
    }

    /// When grace ends, if the account is in grace.
    pub fn grace_end_time(&self, now: Time) -> Option<Time> {
        let in_grace = now.micros() >= self.expire && now.micros() < self.lapse;
        self.lapse_time().filter(|_| in_grace)
    }

    /// Whether more seats are in use than are purchased.
    pub fn is_over_limit(&self, now: Time) -> bool {
        self.over_limit && now.micros() < self.over_limit_clear
    }

    pub fn is_over_limit_ended(&self, now: Time) -> bool {
        now.micros() >= self.over_limit_end && now.micros() < self.over_limit_clear
    }

    pub(crate) fn phase(&self, now: Time) -> Phase {
        if self.is_lapsed(now) {
            Phase::Lapsed
        } else if self.is_over_limit_ended(now) {
            Phase::OverLimitEnded
        } else {
            Phase::InOrder
        }
    }

    /// The first moment after `now` at which `view` of the phase changes by the clock alone.
    pub(crate) fn next_change<T: PartialEq>(&self, now: Time, view: impl Fn(Phase) -> T) -> Option<Time> {
        let today = view(self.phase(now));
        let mut next = NEVER;
        for moment in [self.lapse, self.over_limit_end, self.over_limit_clear] {
            if moment > now.micros() && moment < next && view(self.phase(Time::from_micros(moment))) != today
            {
                next = moment;
            }
        }
        time(next)
    }
}

fn time(micros: i64) -> Option<Time> {
    (micros != NEVER).then(|| Time::from_micros(micros))
}

fn member_part(member: &MemberRecord, model: Option<(ModelIndex, &RoleModel)>) -> Member {
    let role = model.and_then(|(_, model)| model.role(&member.role));
    match member.state {
        MemberState::Suspended => Member::Suspended { role, seat: member.seat },
        MemberState::Active => Member::Active { role, seat: member.seat },
    }
}

// A cache holds a million of these.
const _: () = assert!(size_of::<Standing>() <= 48);
