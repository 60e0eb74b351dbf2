//! Following an invitation's link: what the page shows, and accepting.

use serde::{Deserialize, Serialize};
use usher_domain::account::Account;
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::invitation::{Delivery, Invitation, InvitationState};
use usher_domain::member::{Member, MemberState, may_gain_role};
use usher_domain::password::{check_new, normalise};
use usher_domain::refusal::Refusal;
use usher_domain::secret::{Secret, token_hash};
use usher_domain::time::Time;
use usher_storage::{Tx, User};

use super::App;
use super::access::{Access, rules, stored_role};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::identity::{Vouched, insert_bound, resolve, unproven_founder};
use super::invite_user::new_user;
use super::reach;
use super::user_change::user_changed;
use super::view::{InvitationView, MemberView, invitation_view, member_view};
use crate::error::{Error, Missing};
use crate::guard;

/// What the accept page shows.
pub struct LookedUp {
    pub account_name: String,
    pub invitation: InvitationView,
    /// Whether acceptance makes the user, so that the page asks for a new password.
    pub requires_password: bool,
    pub issuers: Vec<String>,
}

/// # Errors
/// `Missing(Invitation)`.
pub async fn look_up_invitation(app: App, caller: Caller, token: Secret<String>) -> Result<LookedUp, Error> {
    let now = app.clock.now();
    let found = app
        .store
        .read(async |tx: &Tx| {
            let (account, invitation) = find(tx, &caller, &token).await?;
            let key = EmailAddress::parse(&invitation.email).map(|email| email.key()).unwrap_or_default();
            let known = tx.user_find_by_email(&key).await?;
            let proves_address = proves_address(&invitation);
            let is_kept = match unproven_founder(tx, &key).await? {
                Some(founder) => !(proves_address && reach::answers_for(tx, &caller, &founder.id).await?),
                None => false,
            };
            let access = Access::open(app.roles, now, tx, Some(account), &Acting::Platform).await?;
            Ok::<_, Error>(LookedUp {
                account_name: access.account.name.clone(),
                invitation: invitation_view(tx, &access, invitation).await?,
                requires_password: known.is_none() && !is_kept,
                issuers: app.choices.oauth_issuers.clone(),
            })
        })
        .await;
    reach::hide(&caller, found)
}

/// Only a link that was mailed proves the address. One that a caller got in its answer makes the address
/// a login name, which a reset by mail takes from whoever set the password, but binds no other login to it.
fn proves_address(invitation: &Invitation) -> bool {
    invitation.delivery == Delivery::Email
}

/// The invitation behind a token, with its account. An unknown token costs the same statements.
async fn find(tx: &Tx, caller: &Caller, token: &Secret<String>) -> Result<(Account, Invitation), Error> {
    let invitation = tx.invitation_find_by_token(&token_hash(token.expose())).await?;
    let nobody = usher_domain::id::AccountId::parse("0").map_err(|e| Error::Internal(e.to_string()))?;
    let id = invitation.as_ref().map_or(&nobody, |invitation| &invitation.account_id);
    let account = tx.account_fetch(id).await?;
    match account.zip(invitation) {
        Some((account, _)) if !caller.may_reach(&account.id) => Err(Error::AccountNotAllowed),
        Some(found) => Ok(found),
        None => Err(Error::Missing(Missing::Invitation)),
    }
}

#[derive(Debug, Clone)]
pub struct AcceptInvitation {
    pub token: Secret<String>,
    pub proof: Proof,
    /// Empty keeps the invitation's.
    pub display_name: String,
    pub request_id: String,
}

/// Who accepts, and how they prove it.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A new person's first password.
    NewPassword(Secret<String>),
    /// The existing password of the person whose address it is.
    Password(Secret<String>),
    Identity(Vouched),
    /// The caller vouches that this user is signed in.
    SignedIn(UserId),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Accepted {
    pub member: MemberView,
    pub already_accepted: bool,
}

/// # Errors
/// See the contract's `AcceptInvitation`.
pub async fn accept_invitation(
    app: App,
    caller: Caller,
    command: AcceptInvitation,
) -> Result<Changed<Accepted>, Error> {
    reach::hide(&caller, accept_by_token(&app, &caller, &command).await)
}

async fn accept_by_token(
    app: &App,
    caller: &Caller,
    command: &AcceptInvitation,
) -> Result<Changed<Accepted>, Error> {
    let now = app.clock.now();
    let (account, invitation, known) = app
        .store
        .read(async |tx: &Tx| {
            let (account, invitation) = find(tx, caller, &command.token).await?;
            // Before any proof is looked at: no other would help.
            if !matches!(invitation.state(now), InvitationState::Pending | InvitationState::Accepted) {
                return Err(Error::InvitationOver(invitation.state(now)));
            }
            let key = EmailAddress::parse(&invitation.email).map(|email| email.key()).unwrap_or_default();
            Ok((account, invitation, tx.user_find_by_email(&key).await?))
        })
        .await?;
    // Hashing takes long, so it is done before the account is locked.
    let proven = prove(app, &command.proof, &invitation, known.as_ref()).await?;
    let of = Change {
        account_id: account.id,
        acting: Acting::Platform,
        request_id: command.request_id.clone(),
        // What carries a secret is not remembered: the token itself makes a repetition safe.
        digest: String::new(),
        note: String::new(),
    };
    change(app, caller, &guard::ACCEPT_INVITATION, &of, async |scene| {
        accept(scene, caller, command, proven).await
    })
    .await
}

/// A proof whose slow part is done.
enum Proven {
    /// To be made, with this password.
    New(Secret<String>),
    User(UserId),
    Identity(Vouched),
}

async fn prove(
    app: &App,
    proof: &Proof,
    invitation: &Invitation,
    known: Option<&User>,
) -> Result<Proven, Error> {
    match proof {
        // A link is used once, and a new password is no proof of anything, not even the same one again.
        Proof::NewPassword(_) if invitation.stored_state == InvitationState::Accepted => {
            Err(Error::InvitationOver(InvitationState::Accepted))
        }
        Proof::NewPassword(password) => {
            if known.is_some() {
                return Err(Error::ExistingLoginRequired);
            }
            let email = EmailAddress::parse(&invitation.email).ok();
            let password = check_new(password.expose(), email.as_ref())?;
            Ok(Proven::New(app.passwords.hash(password).await?))
        }
        Proof::Password(password) => {
            super::sign_in::require_try(app, &invitation.email).await?;
            let hash = known.and_then(|user| user.password_hash.clone());
            let matches = app.passwords.verify(normalise(password.expose()), hash).await?;
            let user = known.filter(|_| matches).ok_or(Error::WrongCredentials)?;
            super::sign_in::forget_tries(app, &invitation.email).await?;
            Ok(Proven::User(user.id.clone()))
        }
        Proof::Identity(vouched) => {
            super::sign_in::require_issuer(app, &vouched.issuer, "identity.issuer")?;
            Ok(Proven::Identity(vouched.clone()))
        }
        Proof::SignedIn(user) => Ok(Proven::User(user.clone())),
    }
}

async fn accept(
    scene: &mut Scene<'_>,
    caller: &Caller,
    command: &AcceptInvitation,
    proven: Proven,
) -> Result<Accepted, Error> {
    let now = scene.access.now;
    // Read again under the lock: it may have been revoked or accepted meanwhile.
    let (_, invitation) = find(scene.tx, caller, &command.token).await?;
    if invitation.stored_state == InvitationState::Accepted {
        return again(scene, caller, &invitation, &proven).await;
    }
    if !invitation.is_open(now) {
        return Err(Error::InvitationOver(invitation.state(now)));
    }
    scene.require_open().await?;
    let (_, role) = stored_role(scene.access.model()?, &invitation.role)?;
    may_gain_role(&role.id, rules(role))?;
    require_sponsor(scene, &invitation).await?;
    let user = user(scene, caller, (command, &invitation), proven).await?;
    if let Some(member) = scene.tx.member_fetch(&scene.account().id, &user.id).await? {
        let user_id = member.user_id;
        return Err(match member.state {
            MemberState::Active => Refusal::AlreadyMember { user_id },
            MemberState::Suspended => Refusal::MemberSuspendedReactivate { user_id },
        }
        .into());
    }
    join(scene, command, invitation, &user).await
}

/// The same person follows the link again.
async fn again(
    scene: &Scene<'_>,
    caller: &Caller,
    invitation: &Invitation,
    proven: &Proven,
) -> Result<Accepted, Error> {
    let over = || Error::InvitationOver(InvitationState::Accepted);
    let user = match proven {
        Proven::New(_) => return Err(over()),
        Proven::User(user) => user.clone(),
        Proven::Identity(vouched) => {
            resolve(scene.tx, caller, vouched, scene.access.now).await.map_err(|_| over())?.0
        }
    };
    if invitation.accepted_user_id.as_ref() != Some(&user) {
        return Err(over());
    }
    let member = scene.tx.member_fetch(&scene.account().id, &user).await?.ok_or_else(over)?;
    Ok(Accepted { member: member_view(scene.access.model()?, member), already_accepted: true })
}

/// The sponsor's rights count again now; they may have lost them since.
async fn require_sponsor(scene: &Scene<'_>, invitation: &Invitation) -> Result<(), Error> {
    let Some(sponsor) = &invitation.invited_by else { return Ok(()) };
    let acting = Acting::Member(sponsor.clone());
    let account = Some(scene.account().clone());
    let access = Access::open(scene.app.roles, scene.access.now, scene.tx, account, &acting).await?;
    let (index, role) = stored_role(access.model()?, &invitation.role)?;
    let may = access.require("member.invite").and_then(|()| access.require_reach(role, index));
    match may {
        Err(Error::Denied { reason, action, field }) if super::access::is_about_account(reason) => {
            Err(Error::Denied { reason, action, field })
        }
        Err(_) => Err(Error::SponsorLacksRight),
        Ok(()) => Ok(()),
    }
}

/// The user who accepts: found by what they proved, or made. Whoever has the invited address already
/// is the only one who may accept for it.
async fn user(
    scene: &Scene<'_>,
    caller: &Caller,
    (command, invitation): (&AcceptInvitation, &Invitation),
    proven: Proven,
) -> Result<User, Error> {
    let (tx, now) = (scene.tx, scene.access.now);
    let email = EmailAddress::parse(&invitation.email).map_err(|e| Error::Internal(e.to_string()))?;
    // Locked before anybody is looked for by the address: they may prove it in this moment.
    let founder = match unproven_founder(tx, &email.key()).await? {
        Some(founder) => tx.user_lock(&founder.id).await?.filter(|founder| founder.email.is_none()),
        None => None,
    };
    let known = tx.user_find_by_email(&email.key()).await?;
    let founder = founder.map(|founder| founder.id);
    let proves_founder = match &founder {
        Some(founder) => proves_address(invitation) && reach::answers_for(tx, caller, founder).await?,
        None => false,
    };
    let new_user = async || match &founder {
        // They prove their address here, and with it that they are the founder.
        Some(founder) if proves_founder => Ok((founder.clone(), false)),
        _ => Ok::<_, Error>((new_user(tx, invitation.new_user_id.as_ref(), now).await?, true)),
    };
    let (id, is_new, password) = match proven {
        Proven::New(_) if known.is_some() => return Err(Error::ExistingLoginRequired),
        // A founder's first password comes by mail alone.
        Proven::New(_) if founder.is_some() && !proves_founder => return Err(Error::ExistingLoginRequired),
        Proven::New(hash) => {
            let (id, is_new) = new_user().await?;
            (id, is_new, Some(hash))
        }
        Proven::User(id) => {
            // The word of a caller on whom it may not know of counts for nothing; a password is proof.
            let vouched_for = matches!(command.proof, Proof::SignedIn(_));
            if vouched_for && !reach::knows(tx, caller, &id).await? {
                return Err(Error::no_user(&id));
            }
            (id, false, None)
        }
        Proven::Identity(vouched) => match resolve(tx, caller, &vouched, now).await {
            Ok((id, _)) => (id, false, None),
            Err(Error::Missing(Missing::Identity)) if known.is_some() => {
                return Err(Error::ExistingLoginRequired);
            }
            Err(Error::Missing(Missing::Identity)) => {
                let (id, is_new) = new_user().await?;
                insert_bound(tx, &id, &vouched, now).await?;
                (id, is_new, None)
            }
            Err(error) => return Err(error),
        },
    };
    if known.as_ref().is_some_and(|known| known.id != id) {
        return Err(Error::WrongCredentials);
    }
    let user = tx.user_lock(&id).await?.filter(|user| user.erase_time.is_none());
    let mut user = user.ok_or_else(|| Error::no_user(&id))?;
    let is_kept = founder.is_some_and(|founder| founder != user.id);
    // An address is a login: on its word alone a limited caller gives none to people of other accounts.
    let is_vouched = matches!(command.proof, Proof::SignedIn(_));
    let may_gain_login = !is_vouched || reach::answers_for(tx, caller, &user.id).await?;
    let gains_login = user.email.is_none() && proves_address(invitation) && !is_kept && may_gain_login;
    if password.is_some() || gains_login {
        prove_address(tx, caller, &mut user, (email, password), is_new, now).await?;
    }
    Ok(user)
}

async fn prove_address(
    tx: &Tx,
    caller: &Caller,
    user: &mut User,
    (email, password): (EmailAddress, Option<Secret<String>>),
    is_new: bool,
    now: Time,
) -> Result<(), Error> {
    let kind = if is_new { "user.created" } else { "user.email_changed" };
    let personal = facts([("email", email.as_str().into())]);
    let after = facts([("has_password", password.is_some().into())]);
    user.email = Some(email);
    if password.is_some() {
        user.password_hash = password;
    }
    let happened = Happened { kind, after, personal, ..Default::default() };
    user_changed(tx, caller, user, now, &Acting::Platform, happened).await
}

async fn join(
    scene: &mut Scene<'_>,
    command: &AcceptInvitation,
    mut invitation: Invitation,
    user: &User,
) -> Result<Accepted, Error> {
    let now = scene.access.now;
    let name = if command.display_name.is_empty() { &invitation.display_name } else { &command.display_name };
    let key = |text: &str| EmailAddress::parse(text).map(|email| email.key()).ok();
    let account = scene.account().id.clone();
    let member = Member {
        email: invitation.email.clone(),
        email_verified: user.email.as_ref().map(EmailAddress::key) == key(&invitation.email),
        display_name: name.clone(),
        invited_by: invitation.invited_by.clone(),
        // The reservation becomes the member's seat: net zero, so it never needs a spare one.
        ..Member::new(account, user.id.clone(), invitation.role.clone(), invitation.uses_seat, now)
    };
    scene.tx.member_insert(&member, scene.stamp("member.joined")).await?;
    invitation.stored_state = InvitationState::Accepted;
    invitation.accept_time = Some(now);
    invitation.accepted_user_id = Some(user.id.clone());
    scene.tx.invitation_update(&invitation).await?;
    let accepted_by = facts([("user_id", user.id.as_str().into())]);
    scene.happened(Happened {
        kind: "invitation.accepted",
        subject_id: invitation.id.as_str(),
        after: accepted_by,
        ..Default::default()
    })?;
    scene.happened(Happened {
        kind: "member.joined",
        subject_id: user.id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", member.role.clone().into()),
            ("seat", member.seat.into()),
            ("invitation_id", invitation.id.as_str().into()),
        ]),
        personal: facts([
            ("email", member.email.clone().into()),
            ("display_name", member.display_name.clone().into()),
        ]),
    })?;
    Ok(Accepted { member: member_view(scene.access.model()?, member), already_accepted: false })
}
