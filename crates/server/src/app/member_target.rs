//! The member whom a change is about, and the invitations that go with a member who leaves or is
//! suspended.

use usher_domain::id::UserId;
use usher_domain::invitation::InvitationState;
use usher_domain::member::{Member, may_lose_role};
use usher_domain::refusal::Refusal;
use usher_policy::{Role, RoleIndex};
use usher_storage::MailKind;

use super::access::{rules, stored_role};
use super::change::{Happened, Scene, facts};
use crate::error::Error;

/// A member with the role that they have.
pub struct Target<'a> {
    pub member: Member,
    pub role: &'a Role,
    pub index: RoleIndex,
}

/// The member of the account with this id.
///
/// # Errors
/// `Missing(Member)`.
pub async fn target<'a>(scene: &Scene<'a>, user_id: &UserId) -> Result<Target<'a>, Error> {
    let member = scene.tx.member_fetch(&scene.account().id, user_id).await?;
    let member = member.ok_or_else(|| Error::no_member(user_id))?;
    let (index, role) = stored_role(scene.access.model()?, &member.role)?;
    Ok(Target { member, role, index })
}

impl Target<'_> {
    /// Whether the acting party may change this member's role, seat or state: not oneself, not one
    /// who is above, not one whom support alone may move.
    ///
    /// # Errors
    /// `RoleChangesBySupportOnly`, `Oneself`, `RoleAboveActor`, `RoleNotAssignable`.
    pub fn require_reach(&self, scene: &Scene<'_>) -> Result<(), Error> {
        if !self.role.changes_by_support_only && scene.access.is_oneself(&self.member.user_id) {
            return Err(Refusal::Oneself.into());
        }
        scene.access.require_reach(self.role, self.index)
    }

    /// Whether the account can do without this member in their role.
    ///
    /// # Errors
    /// `RoleChangesBySupportOnly`, `LastHolder`.
    pub async fn require_loss(&self, scene: &Scene<'_>) -> Result<(), Error> {
        let rules = rules(self.role);
        let holders =
            scene.tx.member_count_holders(&scene.account().id, &self.role.id, self.role.uses_seat).await?;
        Ok(may_lose_role(&self.role.id, rules, self.member.holds(rules), holders)?)
    }
}

/// Revokes the open invitations that a member sponsors, or makes the actor their sponsor; the ids
/// of those revoked.
///
/// # Errors
/// When the actor could not have made one that is to be kept.
pub async fn end_sponsorship(
    scene: &mut Scene<'_>,
    sponsor: &UserId,
    keep: bool,
) -> Result<Vec<String>, Error> {
    let now = scene.access.now;
    let mut revoked = Vec::new();
    for mut invitation in scene.tx.invitation_list_sponsored(&scene.account().id, sponsor).await? {
        // Whoever sends an expired one again becomes its sponsor.
        if !invitation.is_open(now) {
            continue;
        }
        let kind = if keep {
            let (index, role) = stored_role(scene.access.model()?, &invitation.role)?;
            scene.access.require_reach(role, index)?;
            invitation.invited_by = scene.access.actor().cloned();
            "invitation.updated"
        } else {
            invitation.stored_state = InvitationState::Revoked;
            invitation.revoke_time = Some(now);
            scene.tx.outbox_drop(MailKind::Invitation, invitation.id.as_str(), now).await?;
            revoked.push(invitation.id.to_string());
            "invitation.revoked"
        };
        scene.tx.invitation_update(&invitation).await?;
        let new_sponsor = invitation.invited_by.as_ref().map(UserId::as_str).unwrap_or_default();
        scene.happened(Happened {
            kind,
            subject_id: invitation.id.as_str(),
            before: facts([("sponsor_id", sponsor.as_str().into())]),
            after: facts([("sponsor_id", if keep { new_sponsor.into() } else { "".into() })]),
            ..Default::default()
        })?;
    }
    Ok(revoked)
}
