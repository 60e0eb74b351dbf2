//! What is shown of members, invitations and licences: rows with what the role model adds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use usher_domain::account::Account;
use usher_domain::id::UserId;
use usher_domain::invitation::Invitation;
use usher_domain::license::{Seats, Subscription, SubscriptionState};
use usher_domain::member::{Member, MemberState, may_lose_role};
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;
use usher_policy::{Role, RoleModel};
use usher_storage::Tx;

use super::access::{Access, rules, stored_role};
use crate::error::Error;

#[derive(Debug, Serialize, Deserialize)]
pub struct MemberView {
    pub member: Member,
    pub role_title: String,
    pub uses_seat: bool,
    /// Only where an actor asked to see the member.
    #[serde(skip)]
    pub actor_may: Option<MemberAffordances>,
}

/// Whether the actor's call would change something, which it would not if all is so already; or why it would fail.
pub type Affordance = Result<bool, Error>;

#[derive(Debug)]
pub struct MemberAffordances {
    pub change_role: Affordance,
    pub assignable_roles: Vec<String>,
    pub suspend: Affordance,
    pub reactivate: Affordance,
    pub remove: Affordance,
    pub assign_seat: Affordance,
    pub release_seat: Affordance,
    pub update: Affordance,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct InvitationView {
    pub invitation: Invitation,
    pub role_title: String,
    pub invited_by_name: String,
    /// When its state and seat were judged.
    pub as_of: Time,
    #[serde(skip)]
    pub actor_may: Option<InvitationAffordances>,
}

#[derive(Debug)]
pub struct InvitationAffordances {
    pub resend: Affordance,
    pub revoke: Affordance,
    pub update: Affordance,
}

/// The figures of the billing page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LicensesView {
    pub seats: Seats,
    pub over_limit_end_time: Option<Time>,
}

/// A subscription and where it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubscriptionView {
    pub subscription: Subscription,
    pub as_of: Time,
}

impl SubscriptionView {
    pub fn state(&self) -> SubscriptionState {
        self.subscription.state(self.as_of)
    }
}

pub fn member_view(model: &RoleModel, member: Member) -> MemberView {
    let role = model.role(&member.role).and_then(|index| model.role_at(index));
    MemberView {
        role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
        uses_seat: role.is_some_and(|role| role.uses_seat),
        member,
        actor_may: None,
    }
}

pub fn licenses_view(account: &Account, seats: Seats) -> LicensesView {
    let end = account.license.over_limit_end_time.filter(|_| seats.over_limit_by() > 0);
    LicensesView { seats, over_limit_end_time: end }
}

/// The seat figures of the account now, for an answer.
///
/// # Errors
/// Those of the store.
pub async fn licenses(tx: &Tx, access: &Access<'_>) -> Result<LicensesView, Error> {
    Ok(licenses_view(&access.account, tx.seats(&access.account, access.now).await?))
}

/// An invitation with its role's title and its inviter's name.
///
/// # Errors
/// Those of the store.
pub async fn invitation_view(
    tx: &Tx,
    access: &Access<'_>,
    invitation: Invitation,
) -> Result<InvitationView, Error> {
    let mut views = invitation_views(tx, access, vec![invitation]).await?;
    views.pop().ok_or_else(|| Error::Internal("an invitation has no view".into()))
}

/// As [`invitation_view`], of a page of them in one statement.
///
/// # Errors
/// Those of the store.
pub async fn invitation_views(
    tx: &Tx,
    access: &Access<'_>,
    invitations: Vec<Invitation>,
) -> Result<Vec<InvitationView>, Error> {
    let inviters: BTreeSet<&UserId> = invitations.iter().filter_map(|one| one.invited_by.as_ref()).collect();
    let names = tx.member_names(&access.account.id, inviters).await?;
    let model = access.model()?;
    let view = |invitation: Invitation| {
        let role = model.role(&invitation.role).and_then(|index| model.role_at(index));
        let name = invitation.invited_by.as_ref().and_then(|id| names.get(id.as_str()));
        InvitationView {
            role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
            invited_by_name: name.cloned().unwrap_or_default(),
            invitation,
            as_of: access.now,
            actor_may: None,
        }
    };
    Ok(invitations.into_iter().map(view).collect())
}

/// Why an invitation to a role with a seat would be refused now, if it would.
pub fn invitations_blocked(account: &Account, seats: Seats, now: Time) -> Option<Refusal> {
    account.require_open(now, seats).and_then(|()| seats.require_spare()).err()
}

/// What the actor may do with a member, of whose role there are `holders`: each call's own rules,
/// asked without changing anything.
///
/// # Errors
/// When the account's model lacks the member's role.
pub fn member_affordances(
    access: &Access<'_>,
    member: &Member,
    seats: Seats,
    holders: u32,
) -> Result<MemberAffordances, Error> {
    let model = access.model()?;
    let (index, role) = stored_role(model, &member.role)?;
    let lose = || -> Affordance {
        may_lose_role(&role.id, rules(role), member.holds(rules(role)), holders)?;
        Ok(true)
    };
    let touch = |action: &'static str| -> Result<(), Error> {
        access.require(action)?;
        if role.changes_by_support_only {
            return access.require_reach(role, index);
        }
        if access.is_oneself(&member.user_id) {
            return Err(Refusal::Oneself.into());
        }
        access.require_reach(role, index)
    };
    let active = member.state == MemberState::Active;
    let is_suspended = || Error::from(Refusal::MemberSuspended { user_id: member.user_id.clone() });
    let others = |candidate: &&Role| candidate.id != role.id;
    let reachable = |candidate: &&Role| {
        model.role(&candidate.id).is_some_and(|index| access.require_reach(candidate, index).is_ok())
    };
    let may_change = touch("member.change_role")
        .and_then(|()| if active { Ok(()) } else { Err(is_suspended()) })
        .and_then(|()| lose());
    let assignable = match &may_change {
        Ok(_) => {
            model.roles().iter().filter(others).filter(reachable).map(|role| role.id.to_string()).collect()
        }
        Err(_) => Vec::new(),
    };
    Ok(MemberAffordances {
        assignable_roles: assignable,
        change_role: may_change,
        suspend: touch("member.suspend").and_then(|()| if active { lose() } else { Ok(false) }),
        reactivate: touch("member.reactivate").and_then(|()| match active {
            true => Ok(false),
            false if role.uses_seat => spare(seats),
            false => Ok(true),
        }),
        remove: if access.is_oneself(&member.user_id) {
            lose()
        } else {
            touch("member.remove").and_then(|()| lose())
        },
        assign_seat: access.require("license.assign").and_then(|()| {
            if member.seat {
                return Ok(false);
            }
            if !role.uses_seat {
                return Err(Refusal::RoleUsesNoSeat { role: role.id.to_string() }.into());
            }
            if active { spare(seats) } else { Err(is_suspended()) }
        }),
        release_seat: access.require("license.release").and_then(|()| {
            if role.changes_by_support_only {
                access.require_reach(role, index)?;
            }
            if member.seat { lose() } else { Ok(false) }
        }),
        update: access.require("member.update").and_then(|()| {
            if access.is_oneself(&member.user_id) {
                return Err(Refusal::Oneself.into());
            }
            access.require_covers(role, index).map(|()| true)
        }),
    })
}

fn spare(seats: Seats) -> Affordance {
    seats.require_spare()?;
    Ok(true)
}
