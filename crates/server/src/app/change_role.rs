//! Giving a member another role.

use serde::{Deserialize, Serialize};
use usher_domain::caller::Caller;
use usher_domain::id::UserId;
use usher_domain::member::{MemberState, may_gain_role};
use usher_domain::refusal::Refusal;

use super::App;
use super::access::{role, rules};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::member_target::target;
use super::view::{LicensesView, MemberView, licenses, member_view};
use crate::error::Error;
use crate::guard;

#[derive(Debug, Clone)]
pub struct ChangeRole {
    pub change: Change,
    pub user_id: UserId,
    pub role: String,
}

/// A member and the seat figures after a change.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemberOutcome {
    pub member: MemberView,
    pub licenses: LicensesView,
    pub revoked_invitation_ids: Vec<String>,
}

/// # Errors
/// See the contract's `ChangeRole`.
pub async fn change_role(
    app: App,
    caller: Caller,
    command: ChangeRole,
) -> Result<Changed<MemberOutcome>, Error> {
    change(&app, &caller, &guard::CHANGE_ROLE, &command.change, async |scene| decide(scene, &command).await)
        .await
}

async fn decide(scene: &mut Scene<'_>, command: &ChangeRole) -> Result<MemberOutcome, Error> {
    let mut target = target(scene, &command.user_id).await?;
    target.require_reach(scene)?;
    let (index, new) = role(scene.access.model()?, &command.role, "role")?;
    scene.access.require_reach(new, index)?;
    if new.id == target.role.id {
        return outcome(scene, target.member).await;
    }
    if target.member.state == MemberState::Suspended {
        return Err(Refusal::MemberSuspended { user_id: command.user_id.clone() }.into());
    }
    target.require_loss(scene).await?;
    may_gain_role(&new.id, rules(new))?;
    let had_seat = target.member.seat;
    if new.uses_seat && !target.role.uses_seat {
        scene.require_open().await?.require_spare()?;
        target.member.seat = true;
    } else if !new.uses_seat {
        target.member.seat = false;
    }
    let before = std::mem::replace(&mut target.member.role, new.id.to_string());
    scene.tx.member_update(&target.member, Some(scene.stamp("member.role_changed"))).await?;
    scene.happened(Happened {
        kind: "member.role_changed",
        subject_id: command.user_id.as_str(),
        before: facts([("role", before.into()), ("seat", had_seat.into())]),
        after: facts([("role", target.member.role.clone().into()), ("seat", target.member.seat.into())]),
        ..Default::default()
    })?;
    outcome(scene, target.member).await
}

pub(super) async fn outcome(
    scene: &Scene<'_>,
    member: usher_domain::member::Member,
) -> Result<MemberOutcome, Error> {
    Ok(MemberOutcome {
        member: member_view(scene.access.model()?, member),
        licenses: licenses(scene.tx, &scene.access).await?,
        revoked_invitation_ids: Vec::new(),
    })
}
