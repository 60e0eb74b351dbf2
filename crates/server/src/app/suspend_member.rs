//! Suspending a member, who keeps the membership and loses the seat; and taking them back.

use usher_domain::caller::Caller;
use usher_domain::id::UserId;
use usher_domain::member::MemberState;

use super::App;
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::change_role::{MemberOutcome, outcome};
use super::member_target::{end_sponsorship, target};
use crate::error::Error;
use crate::guard;

#[derive(Debug, Clone)]
pub struct SuspendMember {
    pub change: Change,
    pub user_id: UserId,
    /// Make the actor the sponsor of the member's open invitations instead of revoking them.
    pub keep_invitations: bool,
}

/// # Errors
/// See the contract's `SuspendMember`.
pub async fn suspend_member(
    app: App,
    caller: Caller,
    command: SuspendMember,
) -> Result<Changed<MemberOutcome>, Error> {
    change(&app, &caller, &guard::SUSPEND_MEMBER, &command.change, async |scene| {
        suspend(scene, &command).await
    })
    .await
}

async fn suspend(scene: &mut Scene<'_>, command: &SuspendMember) -> Result<MemberOutcome, Error> {
    let mut target = target(scene, &command.user_id).await?;
    target.require_reach(scene)?;
    if target.member.state == MemberState::Suspended {
        return outcome(scene, target.member).await;
    }
    target.require_loss(scene).await?;
    let had_seat = std::mem::replace(&mut target.member.seat, false);
    target.member.state = MemberState::Suspended;
    target.member.suspend_time = Some(scene.access.now);
    scene.tx.member_update(&target.member, Some(scene.stamp("member.suspended"))).await?;
    scene.happened(Happened {
        kind: "member.suspended",
        subject_id: command.user_id.as_str(),
        before: facts([("seat", had_seat.into())]),
        after: facts([("seat", false.into())]),
        ..Default::default()
    })?;
    let revoked = end_sponsorship(scene, &command.user_id, command.keep_invitations).await?;
    Ok(MemberOutcome { revoked_invitation_ids: revoked, ..outcome(scene, target.member).await? })
}

#[derive(Debug, Clone)]
pub struct ReactivateMember {
    pub change: Change,
    pub user_id: UserId,
}

/// # Errors
/// See the contract's `ReactivateMember`.
pub async fn reactivate_member(
    app: App,
    caller: Caller,
    command: ReactivateMember,
) -> Result<Changed<MemberOutcome>, Error> {
    let guard = &guard::REACTIVATE_MEMBER;
    change(&app, &caller, guard, &command.change, async |scene| reactivate(scene, &command.user_id).await)
        .await
}

async fn reactivate(scene: &mut Scene<'_>, user_id: &UserId) -> Result<MemberOutcome, Error> {
    let mut target = target(scene, user_id).await?;
    target.require_reach(scene)?;
    if target.member.state == MemberState::Active {
        return outcome(scene, target.member).await;
    }
    let seats = scene.require_open().await?;
    if target.role.uses_seat {
        seats.require_spare()?;
    }
    target.member.seat = target.role.uses_seat;
    target.member.state = MemberState::Active;
    target.member.suspend_time = None;
    scene.tx.member_update(&target.member, Some(scene.stamp("member.reactivated"))).await?;
    scene.happened(Happened {
        kind: "member.reactivated",
        subject_id: user_id.as_str(),
        before: facts([("seat", false.into())]),
        after: facts([("seat", target.member.seat.into())]),
        ..Default::default()
    })?;
    outcome(scene, target.member).await
}
