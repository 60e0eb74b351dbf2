//! Ending a membership: somebody is removed, or leaves.

use serde::{Deserialize, Serialize};
use usher_domain::caller::Caller;
use usher_domain::id::UserId;
use usher_domain::member::MemberState;
use usher_domain::refusal::Refusal;

use super::App;
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::member_target::{end_sponsorship, target};
use super::view::{LicensesView, licenses};
use crate::error::Error;
use crate::guard::{self, Guard};

#[derive(Debug, Clone)]
pub struct RemoveMember {
    pub change: Change,
    pub user_id: UserId,
    /// Who is to own what the person owned; recorded for the services that store it.
    pub successor_id: Option<UserId>,
    pub keep_invitations: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RemoveMemberOutcome {
    pub revoked_invitation_ids: Vec<String>,
    pub licenses: LicensesView,
}

/// # Errors
/// See the contract's `RemoveMember`.
pub async fn remove_member(
    app: App,
    caller: Caller,
    command: RemoveMember,
) -> Result<Changed<RemoveMemberOutcome>, Error> {
    // Who leaves needs no right to remove others.
    let leaves = command.change.acting.member() == Some(&command.user_id);
    let guard = Guard { action: guard::REMOVE_MEMBER.action.filter(|_| !leaves), ..guard::REMOVE_MEMBER };
    change(&app, &caller, &guard, &command.change, async |scene| decide(scene, &command, leaves).await).await
}

async fn decide(
    scene: &mut Scene<'_>,
    command: &RemoveMember,
    leaves: bool,
) -> Result<RemoveMemberOutcome, Error> {
    let target = target(scene, &command.user_id).await?;
    if !leaves {
        target.require_reach(scene)?;
    } else if command.keep_invitations {
        return Err(Error::invalid(
            "keep_invitations",
            "has no meaning for a member who leaves: nobody else is there to sponsor the invitations",
        ));
    }
    target.require_loss(scene).await?;
    if let Some(successor) = &command.successor_id {
        require_successor(scene, &command.user_id, successor).await?;
    }
    let revoked = end_sponsorship(scene, &command.user_id, command.keep_invitations).await?;
    scene.tx.member_delete(&scene.account().id, &command.user_id).await?;
    let successor = command.successor_id.as_ref().map(UserId::as_str).unwrap_or_default();
    scene.happened(Happened {
        kind: "member.removed",
        subject_id: command.user_id.as_str(),
        before: facts([("role", target.member.role.into()), ("seat", target.member.seat.into())]),
        after: facts([("successor_id", successor.into())]),
        ..Default::default()
    })?;
    Ok(RemoveMemberOutcome {
        revoked_invitation_ids: revoked,
        licenses: licenses(scene.tx, &scene.access).await?,
    })
}

async fn require_successor(scene: &Scene<'_>, leaver: &UserId, successor: &UserId) -> Result<(), Error> {
    if leaver == successor {
        return Err(Error::invalid("successor_id", "is the member who goes"));
    }
    let member = scene.tx.member_fetch(&scene.account().id, successor).await?;
    match member.ok_or_else(|| Error::no_member(successor))?.state {
        MemberState::Active => Ok(()),
        MemberState::Suspended => Err(Refusal::MemberSuspended { user_id: successor.clone() }.into()),
    }
}
