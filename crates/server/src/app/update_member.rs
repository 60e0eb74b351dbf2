//! Changing a member's name or contact address, never the login.

use serde::{Deserialize, Serialize};
use usher_domain::caller::Caller;
use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::refusal::Refusal;

use super::App;
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::member_target::target;
use super::view::{MemberView, member_view};
use crate::error::Error;
use crate::guard;

#[derive(Debug, Clone)]
pub struct UpdateMember {
    pub change: Change,
    pub user_id: UserId,
    pub display_name: Option<String>,
    pub email: Option<EmailAddress>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UpdateMemberOutcome {
    pub member: MemberView,
}

/// # Errors
/// See the contract's `UpdateMember`.
pub async fn update_member(
    app: App,
    caller: Caller,
    command: UpdateMember,
) -> Result<Changed<UpdateMemberOutcome>, Error> {
    change(&app, &caller, &guard::UPDATE_MEMBER, &command.change, async |scene| decide(scene, &command).await)
        .await
}

async fn decide(scene: &mut Scene<'_>, command: &UpdateMember) -> Result<UpdateMemberOutcome, Error> {
    let target = target(scene, &command.user_id).await?;
    if scene.access.is_oneself(&command.user_id) {
        return Err(Refusal::Oneself.into());
    }
    scene.access.require_covers(target.role, target.index)?;
    let before = target.member;
    let mut after = before.clone();
    if let Some(name) = &command.display_name {
        after.display_name.clone_from(name);
    }
    if let Some(email) = &command.email {
        email.as_str().clone_into(&mut after.email);
    }
    if before != after {
        scene.tx.member_update(&after, Some(scene.stamp("member.updated"))).await?;
        scene.happened(Happened {
            kind: "member.updated",
            subject_id: command.user_id.as_str(),
            personal: facts([
                ("email", after.email.clone().into()),
                ("display_name", after.display_name.clone().into()),
                ("former_email", before.email.into()),
                ("former_display_name", before.display_name.into()),
            ]),
            ..Default::default()
        })?;
    }
    let shown = scene.tx.member_fetch(&scene.account().id, &command.user_id).await?.unwrap_or(after);
    Ok(UpdateMemberOutcome { member: member_view(scene.access.model()?, shown) })
}
