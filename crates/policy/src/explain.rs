//! The derivation of an answer: every part, and whether it holds.
//!
//! A decision names the first part that fails; a person who asks why wants to see all of them, lest
//! they repair one and be denied for the next. An answer allows exactly if all its parts hold.

use usher_domain::standing::AccountState;
use usher_domain::time::Time;

use crate::catalogue::Catalogue;
use crate::check::{Ask, Reason, Subject, usable};
use crate::hint::{UnknownAction, quoted};
use crate::standing::{Member, Standing};
use crate::table::{ActionIndex, Grant, OwnerFact, Permission, RoleModel};

/// What an answer is made of, in the order of the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    Account,
    Member,
    Subscription,
    OverLimit,
    Seat,
    Role,
    Owner,
    Automation,
}

/// One part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub part: PartKind,
    pub holds: bool,
    /// For a person: lower case, no full stop.
    pub detail: String,
    /// The reason with which this part alone would deny; `None` if it holds.
    pub reason: Option<Reason>,
}

/// All parts of the answer to `ask`, whether they fail or hold.
///
/// # Errors
/// As [`crate::decide`].
pub fn explain(
    catalogue: &Catalogue,
    standing: Option<&Standing>,
    now: Time,
    ask: &Ask<'_>,
) -> Result<Vec<Part>, UnknownAction> {
    let Some(standing) = standing.filter(|standing| standing.account_state() != AccountState::Closed) else {
        let unknown = part(PartKind::Account, false, "there is no such account, or it is closed");
        return Ok(vec![Part { reason: Some(Reason::AccountUnknown), ..unknown }]);
    };
    let model = catalogue.model_of(standing);
    let action = match model.map(|model| model.action(ask.resource_type, ask.action)) {
        Some(Ok(action)) => Some(action),
        // An account that is suspended is answered whatever the action.
        Some(Err(unknown)) if usable(Some(standing), ask.who()).is_ok() => return Err(unknown),
        Some(Err(_)) | None => None,
    };
    let view = View { standing, now, ask, model, action };
    let mut parts = vec![view.account()];
    match ask.subject {
        Subject::Automation => {
            parts.extend([view.subscription(), view.over_limit(), view.automation()]);
        }
        Subject::User(user) => {
            parts.extend([view.member(user), view.subscription(), view.over_limit()]);
            parts.extend([view.seat(), view.role(), view.owner(user)]);
        }
    }
    for part in parts.iter_mut().filter(|part| !part.holds) {
        part.reason = Some(view.reason(part.part));
    }
    Ok(parts)
}

fn part(part: PartKind, holds: bool, detail: impl Into<String>) -> Part {
    Part { part, holds, detail: detail.into(), reason: None }
}

/// What the parts are judged from.
struct View<'a> {
    standing: &'a Standing,
    now: Time,
    ask: &'a Ask<'a>,
    /// `None` when this server lacks the account's model.
    model: Option<&'a RoleModel>,
    /// `None` when the model lacks the action.
    action: Option<ActionIndex>,
}

impl View<'_> {
    /// The reason with which a part that fails denies.
    fn reason(&self, part: PartKind) -> Reason {
        match part {
            PartKind::Account => Reason::AccountSuspended,
            PartKind::Member if self.standing.member() == Member::None => Reason::NotAMember,
            PartKind::Member => Reason::MemberSuspended,
            PartKind::Subscription => Reason::SubscriptionLapsed,
            PartKind::OverLimit => Reason::OverLimitEnded,
            PartKind::Seat => Reason::NoSeat,
            PartKind::Role => Reason::RoleLacksPermission,
            PartKind::Owner if self.ask.owner.is_none() => Reason::OwnerRequired,
            PartKind::Owner => Reason::NotOwner,
            PartKind::Automation => Reason::AutomationLacksPermission,
        }
    }

    fn account(&self) -> Part {
        let is_active = self.standing.account_state() == AccountState::Active;
        part(
            PartKind::Account,
            is_active,
            if is_active { "the account is active" } else { "the account is suspended" },
        )
    }

    fn member(&self, user: &str) -> Part {
        let user = quoted(user);
        match self.standing.member() {
            Member::None => part(PartKind::Member, false, format!("{user} is not a member")),
            Member::Suspended { .. } => {
                part(PartKind::Member, false, format!("{user} is a suspended member"))
            }
            Member::Active { .. } => part(PartKind::Member, true, format!("{user} is an active member")),
        }
    }

    fn subscription(&self) -> Part {
        let lapse = self.standing.lapse_time();
        let (is_lapsed, detail) = match lapse {
            None => (false, "the subscription has no end".to_owned()),
            Some(time) if self.standing.is_lapsed(self.now) => {
                (true, format!("the subscription has lapsed since {}", utc(time)))
            }
            Some(time) => (false, format!("the subscription lapses at {}", utc(time))),
        };
        self.unless_it_survives(PartKind::Subscription, is_lapsed, detail)
    }

    fn over_limit(&self) -> Part {
        let end = self.standing.over_limit_end_time();
        let (has_ended, detail) = match end {
            None => (false, "being over the limit denies nothing".to_owned()),
            Some(time) if self.standing.is_over_limit_ended(self.now) => {
                (true, format!("the account is over its limit, which was allowed until {}", utc(time)))
            }
            Some(time) if self.now < time => {
                (false, format!("the account may be over its limit until {}", utc(time)))
            }
            Some(_) => (false, "the account is no longer over its limit".to_owned()),
        };
        self.unless_it_survives(PartKind::OverLimit, has_ended, detail)
    }

    fn unless_it_survives(&self, kind: PartKind, fails: bool, detail: String) -> Part {
        let is_user = matches!(self.ask.subject, Subject::User(_));
        let survives =
            is_user && self.known().is_some_and(|(model, action)| model.available_after_lapse(action));
        match (fails, survives) {
            (true, true) => part(kind, true, format!("{detail}, but {} stays available", self.action_name())),
            _ => part(kind, !fails, detail),
        }
    }

    fn seat(&self) -> Part {
        let role = self.standing.member().role().and_then(|role| self.model?.role_at(role));
        match (self.standing.member(), role) {
            (Member::None, _) => part(PartKind::Seat, false, "there is no member to hold a seat"),
            (member, _) if member.has_seat() => part(PartKind::Seat, true, "a seat is held"),
            (_, Some(role)) if role.uses_seat => {
                part(PartKind::Seat, false, format!("role `{}` needs a seat, and none is held", role.id))
            }
            (_, Some(role)) => part(PartKind::Seat, true, format!("role `{}` needs no seat", role.id)),
            (_, None) => part(PartKind::Seat, true, "whether the role needs a seat is not known"),
        }
    }

    fn role(&self) -> Part {
        let action = self.action_name();
        let Some(model) = self.model else {
            return part(PartKind::Role, false, "the account's role model is unknown to this server");
        };
        let Some(index) = self.standing.member().role() else {
            let is_member = self.standing.member() != Member::None;
            let detail = if is_member {
                "the member's role is unknown to this server"
            } else {
                "there is no member to have a role"
            };
            return part(PartKind::Role, false, detail);
        };
        let role = model.role_at(index).map_or("", |role| &*role.id);
        let title = |permission| model.permission_at(permission).map_or("", |p: &Permission| &*p.title);
        match self.action.map(|action| model.grant(index, action)) {
            None => part(PartKind::Role, false, format!("the role model has no action {action}")),
            Some(Grant::Never) => {
                part(PartKind::Role, false, format!("role `{role}` does not grant {action}"))
            }
            Some(Grant::Always(permission)) => {
                let detail = format!("role `{role}` grants {action} by permission {}", title(permission));
                part(PartKind::Role, true, detail)
            }
            Some(Grant::WhenOwn(permission)) => {
                let title = title(permission);
                let detail = format!("role `{role}` grants {action} on what one owns, by permission {title}");
                part(PartKind::Role, true, detail)
            }
        }
    }

    fn owner(&self, user: &str) -> Part {
        let grant = self.known().zip(self.standing.member().role());
        let grant = grant.map_or(Grant::Never, |((model, action), role)| model.grant(role, action));
        let Grant::WhenOwn(_) = grant else {
            return part(PartKind::Owner, true, "the answer does not depend on the owner");
        };
        let user = quoted(user);
        match self.ask.owner {
            None => part(PartKind::Owner, false, "the answer depends on the owner, and none was named"),
            Some(owner) => {
                let holds = grant.allows(if Subject::User(owner) == self.ask.subject {
                    OwnerFact::Subject
                } else {
                    OwnerFact::Another
                });
                let is = if holds { "is" } else { "is not" };
                part(PartKind::Owner, holds, format!("owner {} {is} the subject {user}", quoted(owner)))
            }
        }
    }

    fn automation(&self) -> Part {
        let action = self.action_name();
        let (holds, detail) = match self.known() {
            None => (false, format!("the role model has no action {action}")),
            Some((model, index)) if model.automation_may(index) => (true, format!("automation may {action}")),
            Some(_) => (false, format!("the role model does not let automation do {action}")),
        };
        part(PartKind::Automation, holds, detail)
    }

    fn known(&self) -> Option<(&RoleModel, ActionIndex)> {
        self.model.zip(self.action)
    }

    fn action_name(&self) -> String {
        quoted(&format!("{}.{}", self.ask.resource_type, self.ask.action))
    }
}

/// A moment as `2026-11-02T10:30:00Z`. The days are counted as in Howard Hinnant's
/// "chrono-compatible low-level date algorithms", `civil_from_days`.
fn utc(time: Time) -> String {
    let seconds = time.seconds();
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March, so that the leap day comes last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, in_next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + in_next_year;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_793_615_400, "2026-11-02T10:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(utc(Time::from_seconds(seconds)), text);
        }
        assert_eq!(utc(Time::MAX), "9999-12-31T23:59:59Z");
    }
}
