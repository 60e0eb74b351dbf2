//! What becomes of an open invitation before it is accepted: another role, sent again, revoked.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use usher_domain::caller::{Caller, Scope};
use usher_domain::email::EmailAddress;
use usher_domain::event::Facts;
use usher_domain::id::{InvitationId, UserId};
use usher_domain::invitation::{
    Delivery, DeliveryState, DeliveryStatus, Invitation, InvitationState, LIFETIME_DEFAULT,
};
use usher_domain::license::Seats;
use usher_domain::member::{Member, MemberState, may_gain_role};
use usher_domain::refusal::Refusal;
use usher_domain::secret::{Secret, token_hash};
use usher_storage::{MailKind, Tx};

use super::App;
use super::access::{Access, role, rules, stored_role};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::invite_user::{link, require_mail_rate};
use super::view::{InvitationView, LicensesView, invitation_view, licenses};
use crate::error::{Error, Missing};
use crate::{guard, random};

#[derive(Debug, Serialize, Deserialize)]
pub struct InvitationOutcome {
    pub invitation: InvitationView,
    /// In the first answer only, so it is not remembered.
    #[serde(skip)]
    pub accept_link: Option<Secret<String>>,
    pub wants_link: bool,
    pub licenses: LicensesView,
}

async fn fetch(scene: &Scene<'_>, id: &InvitationId) -> Result<Invitation, Error> {
    let invitation = scene.tx.invitation_fetch(&scene.account().id, id).await?;
    invitation.ok_or(Error::Missing(Missing::Invitation))
}

async fn outcome(scene: &Scene<'_>, invitation: Invitation) -> Result<InvitationOutcome, Error> {
    Ok(InvitationOutcome {
        invitation: invitation_view(scene.tx, &scene.access, invitation).await?,
        accept_link: None,
        wants_link: false,
        licenses: licenses(scene.tx, &scene.access).await?,
    })
}

#[derive(Debug, Clone)]
pub struct UpdateInvitation {
    pub change: Change,
    pub invitation_id: InvitationId,
    pub role: Option<String>,
    pub display_name: Option<String>,
}

/// # Errors
/// See the contract's `UpdateInvitation`.
pub async fn update_invitation(
    app: App,
    caller: Caller,
    command: UpdateInvitation,
) -> Result<Changed<InvitationOutcome>, Error> {
    change(&app, &caller, &guard::UPDATE_INVITATION, &command.change, async |scene| {
        update(scene, &command).await
    })
    .await
}

async fn update(scene: &mut Scene<'_>, command: &UpdateInvitation) -> Result<InvitationOutcome, Error> {
    let before = fetch(scene, &command.invitation_id).await?;
    let model = scene.access.model()?;
    let (index, old) = stored_role(model, &before.role)?;
    scene.access.require_reach(old, index)?;
    if !before.is_open(scene.access.now) {
        return Err(Error::InvitationOver(before.state(scene.access.now)));
    }
    let mut after = before.clone();
    if let Some(id) = &command.role {
        let (index, new) = role(model, id, "role")?;
        scene.access.require_reach(new, index)?;
        may_gain_role(&new.id, rules(new))?;
        if new.uses_seat && !before.uses_seat {
            scene.require_open().await?.require_spare()?;
        }
        after.role = new.id.to_string();
        after.uses_seat = new.uses_seat;
    }
    if let Some(name) = &command.display_name {
        after.display_name.clone_from(name);
    }
    if before != after {
        scene.tx.invitation_update(&after).await?;
        scene.happened(Happened {
            kind: "invitation.updated",
            subject_id: after.id.as_str(),
            before: facts([("role", before.role.into())]),
            after: facts([("role", after.role.clone().into())]),
            personal: facts([
                ("display_name", after.display_name.clone().into()),
                ("former_display_name", before.display_name.into()),
            ]),
        })?;
    }
    outcome(scene, after).await
}

#[derive(Debug, Clone)]
pub struct RevokeInvitation {
    pub change: Change,
    pub invitation_id: InvitationId,
}

/// # Errors
/// See the contract's `RevokeInvitation`.
pub async fn revoke_invitation(
    app: App,
    caller: Caller,
    command: RevokeInvitation,
) -> Result<Changed<InvitationOutcome>, Error> {
    let guard = &guard::REVOKE_INVITATION;
    change(&app, &caller, guard, &command.change, async |scene| {
        let invitation = fetch(scene, &command.invitation_id).await?;
        match invitation.stored_state {
            InvitationState::Accepted => Err(Error::InvitationOver(InvitationState::Accepted)),
            InvitationState::Revoked => outcome(scene, invitation).await,
            InvitationState::Pending | InvitationState::Expired => {
                let revoked = revoke(scene, invitation).await?;
                outcome(scene, revoked).await
            }
        }
    })
    .await
}

/// Ends an invitation. Its tokens stay, so that who follows a link is told what became of it.
pub(super) async fn revoke(scene: &mut Scene<'_>, mut invitation: Invitation) -> Result<Invitation, Error> {
    let now = scene.access.now;
    invitation.stored_state = InvitationState::Revoked;
    invitation.revoke_time = Some(now);
    scene.tx.invitation_update(&invitation).await?;
    scene.tx.outbox_drop(MailKind::Invitation, invitation.id.as_str(), now).await?;
    scene.happened(Happened {
        kind: "invitation.revoked",
        subject_id: invitation.id.as_str(),
        before: facts([("role", invitation.role.clone().into())]),
        ..Default::default()
    })?;
    Ok(invitation)
}

#[derive(Debug, Clone)]
pub struct ResendInvitation {
    pub change: Change,
    pub invitation_id: InvitationId,
    pub delivery: Delivery,
    pub lifetime: Option<Duration>,
    /// Empty keeps the invitation's.
    pub language: String,
}

/// # Errors
/// See the contract's `ResendInvitation`.
pub async fn resend_invitation(
    app: App,
    caller: Caller,
    command: ResendInvitation,
) -> Result<Changed<InvitationOutcome>, Error> {
    if command.delivery == Delivery::ReturnLink && !caller.scopes.contains(Scope::SignIn) {
        return Err(Error::ScopeMissing(Scope::SignIn));
    }
    change(&app, &caller, &guard::RESEND_INVITATION, &command.change, async |scene| {
        resend(scene, &command).await
    })
    .await
}

async fn resend(scene: &mut Scene<'_>, command: &ResendInvitation) -> Result<InvitationOutcome, Error> {
    let now = scene.access.now;
    let mut invitation = fetch(scene, &command.invitation_id).await?;
    let (index, role) = stored_role(scene.access.model()?, &invitation.role)?;
    scene.access.require_reach(role, index)?;
    let seats = scene.require_open().await?;
    match invitation.state(now) {
        InvitationState::Pending => {}
        InvitationState::Expired => {
            let rivals = Rivals::of(scene.tx, &scene.access, std::slice::from_ref(&invitation)).await?;
            rivals.require_revivable(&invitation, seats)?;
        }
        over => return Err(Error::InvitationOver(over)),
    }
    if command.delivery == Delivery::Email {
        require_mail_rate(scene).await?;
    }
    let before = resent_facts(&invitation);
    invitation.stored_state = InvitationState::Pending;
    invitation.expire_time = now + command.lifetime.unwrap_or(LIFETIME_DEFAULT);
    invitation.invited_by = scene.access.actor().cloned();
    invitation.delivery = command.delivery;
    scene.tx.invitation_token_delete(&invitation.id).await?;
    scene.tx.outbox_drop(MailKind::Invitation, invitation.id.as_str(), now).await?;
    scene.tx.invitation_update(&invitation).await?;
    let accept_link = deliver(scene, &mut invitation, command).await?;
    scene.happened(Happened {
        kind: "invitation.resent",
        subject_id: invitation.id.as_str(),
        before,
        after: resent_facts(&invitation),
        ..Default::default()
    })?;
    Ok(InvitationOutcome {
        accept_link,
        wants_link: command.delivery == Delivery::ReturnLink,
        ..outcome(scene, invitation).await?
    })
}

fn resent_facts(invitation: &Invitation) -> Facts {
    let sponsor = invitation.invited_by.as_ref().map(UserId::as_str).unwrap_or_default();
    facts([
        ("expire_time", invitation.expire_time.micros().into()),
        ("sponsor_id", sponsor.into()),
        ("delivery", format!("{:?}", invitation.delivery).to_lowercase().into()),
    ])
}

/// Who has the addresses of expired invitations by now: invited anew, or a member.
pub(super) struct Rivals {
    pending: HashMap<String, Invitation>,
    members: HashMap<String, Member>,
}

impl Rivals {
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(tx: &Tx, access: &Access<'_>, invitations: &[Invitation]) -> Result<Self, Error> {
        let expired = invitations.iter().filter(|one| one.state(access.now) == InvitationState::Expired);
        let keys: Vec<String> = expired.map(email_key).collect();
        if keys.is_empty() {
            return Ok(Self { pending: HashMap::new(), members: HashMap::new() });
        }
        let account = &access.account.id;
        let pending = tx.invitation_find_pending(account, &keys).await?;
        Ok(Self { pending, members: tx.member_find_by_email(account, &keys).await? })
    }

    /// An expired invitation takes a seat again, unless the address was invited anew or joined meanwhile.
    ///
    /// # Errors
    /// `InvitationOpenWithOtherRole`, `AlreadyMember`, `MemberSuspendedReactivate`; those of a seat.
    pub(super) fn require_revivable(&self, invitation: &Invitation, seats: Seats) -> Result<(), Refusal> {
        let key = email_key(invitation);
        if let Some(other) = self.pending.get(&key).filter(|other| other.id != invitation.id) {
            let (id, role) = (other.id.clone(), other.role.clone());
            return Err(Refusal::InvitationOpenWithOtherRole { id, role });
        }
        if let Some(member) = self.members.get(&key) {
            let user_id = member.user_id.clone();
            return Err(match member.state {
                MemberState::Active => Refusal::AlreadyMember { user_id },
                MemberState::Suspended => Refusal::MemberSuspendedReactivate { user_id },
            });
        }
        if invitation.uses_seat { seats.require_spare() } else { Ok(()) }
    }
}

fn email_key(invitation: &Invitation) -> String {
    EmailAddress::parse(&invitation.email).map(|email| email.key()).unwrap_or_default()
}

async fn deliver(
    scene: &mut Scene<'_>,
    invitation: &mut Invitation,
    command: &ResendInvitation,
) -> Result<Option<Secret<String>>, Error> {
    let mut link_made = None;
    let mut status = DeliveryStatus {
        state: DeliveryState::NotNeeded,
        next_attempt_time: None,
        failure: String::new(),
        ..invitation.delivery_status.clone()
    };
    if command.delivery == Delivery::Email {
        status.state = DeliveryState::Queued;
        let language = if command.language.is_empty() { &invitation.language } else { &command.language };
        scene.mail(MailKind::Invitation, invitation.id.as_str(), &invitation.email, language).await?;
    } else {
        let token = random::token()?;
        let hash = token_hash(token.expose());
        scene.tx.invitation_token_insert(&invitation.id, &hash, scene.access.now).await?;
        link_made = Some(link(&scene.app.choices.invitation_url, &token));
    }
    scene.tx.invitation_update_delivery(&invitation.account_id, &invitation.id, &status, false).await?;
    invitation.delivery_status = status;
    Ok(link_made)
}
