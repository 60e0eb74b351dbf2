//! Everything that a subject may do, for a user interface's buttons and lists.

use usher_domain::time::Time;

use crate::check::{Reason, Who, blocked_member, blocked_phase, role_of, usable};
use crate::standing::{Member, Standing};
use crate::table::{ActionIndex, Grant, OwnerFact, PermissionIndex, RoleIndex, RoleModel};

/// Whether an action is granted, as an interface needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GrantKind {
    Always,
    /// On what the subject owns.
    WhenOwn,
    Never,
}

/// One action of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub action: ActionIndex,
    /// With what blocks the whole taken into account.
    pub grant: GrantKind,
    /// The permission that grants; none for automation.
    pub permission: Option<PermissionIndex>,
}

/// Every action of a model for one subject, in the model's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What denies the whole, but for what a lapse leaves.
    pub blocked: Option<Reason>,
    pub role: Option<RoleIndex>,
    pub entries: Vec<Entry>,
    /// When the clock alone changes this next.
    pub valid_until: Option<Time>,
}

/// All that the subject may do; `model` is that of the standing's account, and automation is asked
/// about when `automation` is set.
pub fn permissions(model: &RoleModel, standing: Option<&Standing>, now: Time, automation: bool) -> Listing {
    let who = if automation { Who::Automation } else { Who::Member(OwnerFact::NotNamed) };
    let standing = match usable(standing, who) {
        Ok(standing) => standing,
        Err(decision) => return nothing(model, decision.reason, decision.role),
    };
    let role = role_of(standing, who);
    if let Some(reason) = blocked_member(standing, who) {
        return nothing(model, reason, role);
    }
    let by_clock = blocked_phase(standing.phase(now));
    let by_seat = no_seat(model, standing).filter(|_| !automation);
    let entries = model
        .action_indices()
        .map(|action| {
            let survives = by_clock.is_none() || (model.available_after_lapse(action) && !automation);
            entry(model, action, role.filter(|_| by_seat.is_none() && survives), automation && survives)
        })
        .collect();
    let valid_until = standing.next_change(now, |phase| phase);
    Listing { blocked: by_clock.or(by_seat), role, entries, valid_until }
}

fn entry(model: &RoleModel, action: ActionIndex, role: Option<RoleIndex>, automation: bool) -> Entry {
    if automation {
        let grant = if model.automation_may(action) { GrantKind::Always } else { GrantKind::Never };
        return Entry { action, grant, permission: None };
    }
    let grant = role.map_or(Grant::Never, |role| model.grant(role, action));
    let kind = match grant {
        Grant::Always(_) => GrantKind::Always,
        Grant::WhenOwn(_) => GrantKind::WhenOwn,
        Grant::Never => GrantKind::Never,
    };
    Entry { action, grant: kind, permission: grant.permission() }
}

fn no_seat(model: &RoleModel, standing: &Standing) -> Option<Reason> {
    match standing.member() {
        Member::Active { role: Some(role), seat: false } => {
            model.role_at(role).filter(|role| role.uses_seat).map(|_| Reason::NoSeat)
        }
        _ => None,
    }
}

fn nothing(model: &RoleModel, reason: Reason, role: Option<RoleIndex>) -> Listing {
    let entries = model.action_indices().map(|action| entry(model, action, None, false)).collect();
    Listing { blocked: Some(reason), role, entries, valid_until: None }
}
