//! Reading invitations.

use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::InvitationId;
use usher_domain::invitation::{Invitation, InvitationState};
use usher_domain::license::Seats;
use usher_storage::{InvitationFilter, Tx};

use super::App;
use super::access::{Access, role, stored_role};
use super::members::{Listed, Page, Read, place};
use super::revise_invitation::Rivals;
use super::view::{InvitationAffordances, InvitationView, invitation_views};
use crate::error::{Error, Missing};

#[derive(Debug, Clone)]
pub struct ListInvitations {
    pub read: Read,
    pub page: Page,
    pub states: Vec<InvitationState>,
    pub roles: Vec<String>,
    pub email: Option<EmailAddress>,
}

/// # Errors
/// See the contract's `ListInvitations`.
pub async fn list_invitations(
    app: App,
    _caller: Caller,
    command: ListInvitations,
) -> Result<Listed<InvitationView>, Error> {
    let email_key = command.email.as_ref().map(EmailAddress::key);
    let bound = format!(
        "invitations {} {:?} {:?} {:?} {email_key:?}",
        command.read.account_id, command.read.acting, command.states, command.roles
    );
    let after =
        app.page_tokens.read::<2>(&bound, &command.page.token)?.map(|[email_key, id]| (email_key, id));
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.read.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.read.acting).await?;
            access.require("invitation.list")?;
            for (index, id) in command.roles.iter().enumerate() {
                role(access.model()?, id, &format!("roles[{index}]"))?;
            }
            let filter = InvitationFilter {
                states: command.states.clone(),
                roles: command.roles.clone(),
                email_key: email_key.clone(),
            };
            let size = command.page.size;
            let (mut found, total_size) =
                tx.invitation_list(&access.account.id, &filter, now, after.as_ref(), size + 1).await?;
            let more = found.len() > size as usize;
            found.truncate(size as usize);
            let next = found.last().filter(|_| more).map(|last| place(&last.email, last.id.as_str()));
            let items = shown(tx, &access, found).await?;
            Ok(Listed {
                items,
                next_page_token: next.map(|place| app.page_tokens.make(&bound, &place)).unwrap_or_default(),
                total_size,
                revision: access.account.revision,
            })
        })
        .await
}

#[derive(Debug, Clone)]
pub struct GetInvitation {
    pub read: Read,
    pub invitation_id: InvitationId,
}

/// # Errors
/// See the contract's `GetInvitation`.
pub async fn get_invitation(
    app: App,
    _caller: Caller,
    command: GetInvitation,
) -> Result<(InvitationView, i64), Error> {
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.read.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.read.acting).await?;
            access.require("invitation.view")?;
            let invitation = tx.invitation_fetch(&access.account.id, &command.invitation_id).await?;
            let invitation = invitation.ok_or(Error::Missing(Missing::Invitation))?;
            let view = shown(tx, &access, vec![invitation]).await?.pop();
            Ok((view.ok_or(Error::Missing(Missing::Invitation))?, access.account.revision))
        })
        .await
}

/// Invitations as the actor sees them, with what the actor may do with each.
async fn shown(
    tx: &Tx,
    access: &Access<'_>,
    invitations: Vec<Invitation>,
) -> Result<Vec<InvitationView>, Error> {
    if access.acting == &Acting::Platform {
        return invitation_views(tx, access, invitations).await;
    }
    let seats = tx.seats(&access.account, access.now).await?;
    let rivals = Rivals::of(tx, access, &invitations).await?;
    let mut views = invitation_views(tx, access, invitations).await?;
    for view in &mut views {
        view.actor_may = Some(affordances(access, &view.invitation, &rivals, seats)?);
    }
    Ok(views)
}

fn affordances(
    access: &Access<'_>,
    invitation: &Invitation,
    rivals: &Rivals,
    seats: Seats,
) -> Result<InvitationAffordances, Error> {
    let (index, role) = stored_role(access.model()?, &invitation.role)?;
    let state = invitation.state(access.now);
    let over = |state| Err(Error::InvitationOver(state));
    let reach = |action| access.require(action).and_then(|()| access.require_reach(role, index));
    Ok(InvitationAffordances {
        resend: reach("invitation.resend").and_then(|()| {
            access.account.require_open(access.now, seats)?;
            match state {
                InvitationState::Pending => {}
                InvitationState::Expired => rivals.require_revivable(invitation, seats)?,
                InvitationState::Accepted | InvitationState::Revoked => return over(state),
            }
            Ok(true)
        }),
        revoke: access.require("invitation.revoke").and_then(|()| match state {
            InvitationState::Pending | InvitationState::Expired => Ok(true),
            InvitationState::Revoked => Ok(false),
            InvitationState::Accepted => over(state),
        }),
        update: reach("invitation.resend").and_then(|()| match state {
            InvitationState::Pending => Ok(true),
            _ => over(state),
        }),
    })
}
