//! The decision: may this subject do this, now.
//!
//! The order of the reasons is part of the contract: account, member, subscription, over limit,
//! seat, role, owner. The first that fails is the reason; [`crate::explain()`] lists them all. Deciding
//! reads no clock and allocates nothing.

use usher_domain::standing::AccountState;
use usher_domain::time::Time;

use crate::catalogue::Catalogue;
use crate::hint::UnknownAction;
use crate::standing::{Member, Phase, Standing};
use crate::table::{ActionIndex, Grant, OwnerFact, PermissionIndex, RoleIndex, RoleModel};

/// Why a check is answered as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The role grants the action, whoever owns the resource.
    RoleGrants,
    /// The role grants the action on what one owns, and the subject owns it.
    RoleGrantsOwn,
    /// As one of the above, though the subscription has lapsed or being over the limit has ended.
    AvailableAfterLapse,
    /// The model lets automation do it.
    Automation,
    /// There is no such account, or it is closed.
    AccountUnknown,
    AccountSuspended,
    NotAMember,
    MemberSuspended,
    SubscriptionLapsed,
    OverLimitEnded,
    NoSeat,
    RoleLacksPermission,
    /// The role grants the action on what one owns, and the owner was not named.
    OwnerRequired,
    NotOwner,
    AutomationLacksPermission,
}

impl Reason {
    pub const ALL: [Self; 15] = [
        Self::RoleGrants,
        Self::RoleGrantsOwn,
        Self::AvailableAfterLapse,
        Self::Automation,
        Self::AccountUnknown,
        Self::AccountSuspended,
        Self::NotAMember,
        Self::MemberSuspended,
        Self::SubscriptionLapsed,
        Self::OverLimitEnded,
        Self::NoSeat,
        Self::RoleLacksPermission,
        Self::OwnerRequired,
        Self::NotOwner,
        Self::AutomationLacksPermission,
    ];

    /// Whether the answer is yes.
    pub fn allows(self) -> bool {
        matches!(self, Self::RoleGrants | Self::RoleGrantsOwn | Self::AvailableAfterLapse | Self::Automation)
    }
}

/// Whom a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A user, by id.
    User(&'a str),
    /// A schedule that nobody owns.
    Automation,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    pub subject: Subject<'a>,
    pub resource_type: &'a str,
    /// The verb alone, `run`.
    pub action: &'a str,
    /// The id of the user who owns the resource, if the caller knows.
    pub owner: Option<&'a str>,
}

impl Ask<'_> {
    /// Whom this is about, with what is known of the owner.
    pub fn who(&self) -> Who {
        match (self.subject, self.owner) {
            (Subject::Automation, _) => Who::Automation,
            (Subject::User(_), None) => Who::Member(OwnerFact::NotNamed),
            (Subject::User(user), Some(owner)) if user == owner => Who::Member(OwnerFact::Subject),
            (Subject::User(_), Some(_)) => Who::Member(OwnerFact::Another),
        }
    }
}

/// Whom a resolved question is about: a user with what is known of the resource's owner, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Member(OwnerFact),
    Automation,
}

/// The answer to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub reason: Reason,
    /// The subject's role, whatever the answer; strangers and automation have none.
    pub role: Option<RoleIndex>,
    /// The permission that grants; none on a denial.
    pub permission: Option<PermissionIndex>,
    /// Whether another owner could have given another answer.
    pub depends_on_owner: bool,
    /// When the clock alone changes this answer next.
    pub valid_until: Option<Time>,
}

impl Decision {
    /// Whether the answer is yes.
    pub fn allows(&self) -> bool {
        self.reason.allows()
    }

    fn deny(reason: Reason, role: Option<RoleIndex>) -> Self {
        Self { reason, role, permission: None, depends_on_owner: false, valid_until: None }
    }
}

/// Answers `ask`; `standing` is that of its subject, `None` when there is no such account.
///
/// # Errors
/// When the account's model has no such action. An account that is unknown, closed or suspended, or
/// whose model is not in the catalogue, is answered without looking at the action.
pub fn decide(
    catalogue: &Catalogue,
    standing: Option<&Standing>,
    now: Time,
    ask: &Ask<'_>,
) -> Result<Decision, UnknownAction> {
    let standing = match usable(standing, ask.who()) {
        Ok(standing) => standing,
        Err(decision) => return Ok(decision),
    };
    let Some(model) = catalogue.model_of(standing) else {
        return Ok(without_model(standing, now, ask.who()));
    };
    let action = model.action(ask.resource_type, ask.action)?;
    Ok(decide_in_order(model, standing, now, ask.who(), action))
}

/// The same for a question whose names are found already; `model` is that of the standing's account.
pub fn decide_resolved(
    model: &RoleModel,
    standing: Option<&Standing>,
    now: Time,
    who: Who,
    action: ActionIndex,
) -> Decision {
    match usable(standing, who) {
        Ok(standing) => decide_in_order(model, standing, now, who, action),
        Err(decision) => decision,
    }
}

/// Whether an actor may do `action` (`member.invite`), which guards one of Usher's own calls. A model
/// without the action grants it to nobody.
pub fn actor_may(catalogue: &Catalogue, standing: Option<&Standing>, now: Time, action: &str) -> Decision {
    let who = Who::Member(OwnerFact::NotNamed);
    let standing = match usable(standing, who) {
        Ok(standing) => standing,
        Err(decision) => return decision,
    };
    match catalogue.model_of(standing).map(|model| (model, model.action_index(action))) {
        Some((model, Some(action))) => decide_in_order(model, standing, now, who, action),
        Some((_, None)) | None => without_model(standing, now, who),
    }
}

/// The standing of an account that may be used, or why it may not.
pub(crate) fn usable(standing: Option<&Standing>, who: Who) -> Result<&Standing, Decision> {
    let Some(standing) = standing else { return Err(Decision::deny(Reason::AccountUnknown, None)) };
    match standing.account_state() {
        AccountState::Active => Ok(standing),
        // Whoever asks about a closed account learns nothing of it, not even a role.
        AccountState::Closed => Err(Decision::deny(Reason::AccountUnknown, None)),
        AccountState::Suspended => Err(Decision::deny(Reason::AccountSuspended, role_of(standing, who))),
    }
}

/// All reasons that do not depend on the action being known: a model that is not here grants nothing.
fn without_model(standing: &Standing, now: Time, who: Who) -> Decision {
    let last = match who {
        Who::Automation => Reason::AutomationLacksPermission,
        Who::Member(_) => Reason::RoleLacksPermission,
    };
    let reason = blocked_member(standing, who).or_else(|| blocked_phase(standing.phase(now))).unwrap_or(last);
    let mut decision = Decision::deny(reason, role_of(standing, who));
    if blocked_member(standing, who).is_none() {
        decision.valid_until = standing.next_change(now, |phase| phase);
    }
    decision
}

pub(crate) fn role_of(standing: &Standing, who: Who) -> Option<RoleIndex> {
    match who {
        Who::Member(_) => standing.member().role(),
        Who::Automation => None,
    }
}

pub(crate) fn blocked_member(standing: &Standing, who: Who) -> Option<Reason> {
    match (who, standing.member()) {
        (Who::Automation, _) | (_, Member::Active { .. }) => None,
        (_, Member::None) => Some(Reason::NotAMember),
        (_, Member::Suspended { .. }) => Some(Reason::MemberSuspended),
    }
}

pub(crate) fn blocked_phase(phase: Phase) -> Option<Reason> {
    match phase {
        Phase::InOrder => None,
        Phase::Lapsed => Some(Reason::SubscriptionLapsed),
        Phase::OverLimitEnded => Some(Reason::OverLimitEnded),
    }
}

fn decide_in_order(
    model: &RoleModel,
    standing: &Standing,
    now: Time,
    who: Who,
    action: ActionIndex,
) -> Decision {
    let role = role_of(standing, who);
    if let Some(reason) = blocked_member(standing, who) {
        return Decision::deny(reason, role);
    }
    let phase = standing.phase(now);
    // Automation has no role to be answered by, so nothing of it survives a lapse.
    let survives = model.available_after_lapse(action) && who != Who::Automation;
    if let Some(reason) = blocked_phase(phase).filter(|_| !survives) {
        let valid_until = standing.next_change(now, |phase| phase);
        return Decision { valid_until, ..Decision::deny(reason, role) };
    }
    let mut decision = match who {
        Who::Automation => by_automation(model, action),
        Who::Member(fact) => by_role(model, standing.member(), fact, action),
    };
    if decision.allows() && phase != Phase::InOrder {
        decision.reason = Reason::AvailableAfterLapse;
    }
    decision.valid_until = match (survives, decision.allows()) {
        (true, true) => standing.next_change(now, |phase| phase == Phase::InOrder),
        // What survives a lapse and is denied for another reason stays denied.
        (true, false) => None,
        (false, _) => standing.next_change(now, |phase| phase),
    };
    decision
}

fn by_automation(model: &RoleModel, action: ActionIndex) -> Decision {
    let may = model.automation_may(action);
    Decision::deny(if may { Reason::Automation } else { Reason::AutomationLacksPermission }, None)
}

fn by_role(model: &RoleModel, member: Member, fact: OwnerFact, action: ActionIndex) -> Decision {
    let role = member.role();
    // A role that the model lacks uses no seat and grants nothing.
    let Some((index, attributes)) = role.and_then(|role| Some((role, model.role_at(role)?))) else {
        return Decision::deny(Reason::RoleLacksPermission, role);
    };
    if attributes.uses_seat && !member.has_seat() {
        return Decision::deny(Reason::NoSeat, role);
    }
    let grant = model.grant(index, action);
    let reason = match (grant, fact) {
        (Grant::Never, _) => Reason::RoleLacksPermission,
        (Grant::Always(_), _) => Reason::RoleGrants,
        (Grant::WhenOwn(_), OwnerFact::Subject) => Reason::RoleGrantsOwn,
        (Grant::WhenOwn(_), OwnerFact::NotNamed) => Reason::OwnerRequired,
        (Grant::WhenOwn(_), OwnerFact::Another) => Reason::NotOwner,
    };
    Decision {
        reason,
        role,
        permission: grant.permission().filter(|_| reason.allows()),
        depends_on_owner: matches!(grant, Grant::WhenOwn(_)),
        valid_until: None,
    }
}
