//! Inviting a person: by mail with a link, or by username at an OAuth provider and a member at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use usher_domain::caller::{Caller, Scope};
use usher_domain::email::EmailAddress;
use usher_domain::id::{InvitationId, UserId};
use usher_domain::invitation::{
    Delivery, DeliveryState, DeliveryStatus, ExternalUsername, Invitation, InvitationState, Invited, Known,
    LIFETIME_DEFAULT, invite,
};
use usher_domain::member::{Member, MemberIdentity};
use usher_domain::secret::{Secret, token_hash};
use usher_storage::{Identity, MailKind, Tx, User};

use super::App;
use super::access::{role, rules};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::identity::unproven_founder;
use super::view::{InvitationView, LicensesView, MemberView, invitation_view, licenses, member_view};
use crate::error::{Error, Taken, Wrong};
use crate::{guard, random};

#[derive(Debug, Clone)]
pub struct InviteUser {
    pub change: Change,
    pub email: EmailAddress,
    pub display_name: String,
    pub role: String,
    /// `issuer` may be empty when one alone is configured.
    pub identity: Option<ExternalUsername>,
    pub delivery: Delivery,
    pub lifetime: Option<Duration>,
    pub language: String,
    /// The platform's own id for the person, if they are new to Usher.
    pub new_user_id: Option<UserId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct InviteOutcome {
    /// An invitation, or with a username a member.
    pub invitation: Option<InvitationView>,
    pub member: Option<MemberView>,
    pub already_open: bool,
    /// In the first answer only, so it is not remembered.
    #[serde(skip)]
    pub accept_link: Option<Secret<String>>,
    pub wants_link: bool,
    pub licenses: LicensesView,
}

/// # Errors
/// See the contract's `InviteUser`.
pub async fn invite_user(
    app: App,
    caller: Caller,
    command: InviteUser,
) -> Result<Changed<InviteOutcome>, Error> {
    if command.delivery == Delivery::ReturnLink && !caller.scopes.contains(Scope::SignIn) {
        return Err(Error::ScopeMissing(Scope::SignIn));
    }
    change(&app, &caller, &guard::INVITE_USER, &command.change, async |scene| decide(scene, &command).await)
        .await
}

async fn decide(scene: &mut Scene<'_>, command: &InviteUser) -> Result<InviteOutcome, Error> {
    let model = scene.access.model()?;
    let (index, role) = role(model, &command.role, "role")?;
    scene.access.require_reach(role, index)?;
    let identity = command
        .identity
        .as_ref()
        .map(|identity| resolve_issuer(scene.app, identity, "identity"))
        .transpose()?;
    let found = find(scene, command, identity.as_ref()).await?;
    let seats = scene.seats().await?;
    let decided = invite(scene.access.now, scene.account(), seats, (&role.id, rules(role)), found.known)?;
    let seat = match decided {
        Invited::AlreadyOpen(id) => return already_open(scene, command, &id).await,
        Invited::New { seat } => seat,
    };
    match identity {
        Some(identity) => join(scene, command, identity, found.user, seat).await,
        None => open(scene, command, found.expired, seat).await,
    }
}

/// What the account knows of the person.
struct Found {
    known: Known,
    /// The user behind a username.
    user: Option<UserId>,
    /// An invitation of the address that has expired; the new one takes its place.
    expired: Option<Invitation>,
}

async fn find(
    scene: &Scene<'_>,
    command: &InviteUser,
    identity: Option<&ExternalUsername>,
) -> Result<Found, Error> {
    let (tx, account) = (scene.tx, &scene.account().id);
    let known_member = |member: Option<Member>, by_username| match member {
        Some(member) => Known::Member { user_id: member.user_id, state: member.state, by_username },
        None => Known::Nobody,
    };
    if let Some(identity) = identity {
        // The address is only a contact here and matches nobody; the username alone says who it is.
        let user = tx.identity_find_by_username(&identity.issuer, &identity.username).await?;
        let user = user.map(|identity| identity.user_id);
        let member = match &user {
            Some(user) => tx.member_fetch(account, user).await?,
            None => None,
        };
        return Ok(Found { known: known_member(member, true), user, expired: None });
    }
    let key = &[command.email.key()];
    if let Some(member) = tx.member_find_by_email(account, key).await?.into_values().next() {
        return Ok(Found { known: known_member(Some(member), false), user: None, expired: None });
    }
    match tx.invitation_find_pending(account, key).await?.into_values().next() {
        Some(invitation) if invitation.is_open(scene.access.now) => {
            let known = Known::Open { id: invitation.id, role: invitation.role };
            Ok(Found { known, user: None, expired: None })
        }
        expired => Ok(Found { known: Known::Nobody, user: None, expired }),
    }
}

/// The identity with its issuer, which need not be named when there is only one. `at` is its path in the
/// request.
///
/// # Errors
/// `Invalid` when the issuer is not configured.
pub fn resolve_issuer(app: &App, identity: &ExternalUsername, at: &str) -> Result<ExternalUsername, Error> {
    let issuers = &app.choices.oauth_issuers;
    let issuer = if identity.issuer.is_empty() {
        // Which one is meant is clear only if there is one.
        issuers.first().filter(|_| issuers.len() == 1)
    } else {
        issuers.iter().find(|i| **i == identity.issuer)
    };
    let issuer = issuer.ok_or_else(|| {
        let known: Vec<String> = issuers.iter().map(|issuer| format!("`{issuer}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::invalid_as(
            Wrong::IssuerUnknown,
            format!("{at}.issuer"),
            format!("is not a configured OAuth issuer; configured: {known}"),
        )
    })?;
    Ok(ExternalUsername { issuer: issuer.clone(), username: identity.username.clone() })
}

async fn already_open(
    scene: &mut Scene<'_>,
    command: &InviteUser,
    id: &InvitationId,
) -> Result<InviteOutcome, Error> {
    let invitation = scene.tx.invitation_fetch(&scene.account().id, id).await?;
    let invitation = invitation.ok_or_else(|| Error::Internal("the open invitation is gone".into()))?;
    Ok(InviteOutcome {
        invitation: Some(invitation_view(scene.tx, &scene.access, invitation).await?),
        member: None,
        already_open: true,
        accept_link: None,
        wants_link: command.delivery == Delivery::ReturnLink,
        licenses: licenses(scene.tx, &scene.access).await?,
    })
}

/// Opens an invitation that the person accepts by its link.
async fn open(
    scene: &mut Scene<'_>,
    command: &InviteUser,
    expired: Option<Invitation>,
    seat: bool,
) -> Result<InviteOutcome, Error> {
    let now = scene.access.now;
    if command.delivery == Delivery::Email {
        require_mail_rate(scene).await?;
    }
    require_free_id(scene.tx, command).await?;
    if let Some(mut expired) = expired {
        expired.stored_state = InvitationState::Expired;
        scene.tx.invitation_update(&expired).await?;
    }
    let mut invitation = new_invitation(scene, command, seat)?;
    let mut accept_link = None;
    match command.delivery {
        Delivery::Email => invitation.delivery_status.state = DeliveryState::Queued,
        Delivery::ReturnLink | Delivery::None => {}
    }
    scene.tx.invitation_insert(&invitation).await?;
    match command.delivery {
        Delivery::Email => {
            let (id, email) = (invitation.id.as_str(), invitation.email.as_str());
            scene.mail(MailKind::Invitation, id, email, &command.language).await?;
        }
        Delivery::ReturnLink => {
            let token = random::token()?;
            scene.tx.invitation_token_insert(&invitation.id, &token_hash(token.expose()), now).await?;
            accept_link = Some(link(&scene.app.choices.invitation_url, &token));
        }
        Delivery::None => {}
    }
    scene.happened(Happened {
        kind: "invitation.created",
        subject_id: invitation.id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", invitation.role.clone().into()),
            ("expire_time", invitation.expire_time.micros().into()),
            ("reserves_seat", seat.into()),
        ]),
        personal: facts([
            ("email", invitation.email.clone().into()),
            ("display_name", invitation.display_name.clone().into()),
        ]),
    })?;
    Ok(InviteOutcome {
        invitation: Some(invitation_view(scene.tx, &scene.access, invitation).await?),
        member: None,
        already_open: false,
        accept_link,
        wants_link: command.delivery == Delivery::ReturnLink,
        licenses: licenses(scene.tx, &scene.access).await?,
    })
}

/// The id that the platform wants for the person must not be somebody else's.
async fn require_free_id(tx: &Tx, command: &InviteUser) -> Result<(), Error> {
    let Some(id) = &command.new_user_id else { return Ok(()) };
    let Some(taken) = tx.user_fetch(id).await? else { return Ok(()) };
    let key = command.email.key();
    let founder = unproven_founder(tx, &key).await?.map(|founder| founder.id);
    let is_theirs = taken.email.is_some_and(|email| email.key() == key) || founder.as_ref() == Some(id);
    if is_theirs { Ok(()) } else { Err(Error::Taken(Taken::UserId)) }
}

/// Makes the person behind a username a member at once; the invitation is recorded as accepted.
async fn join(
    scene: &mut Scene<'_>,
    command: &InviteUser,
    identity: ExternalUsername,
    user: Option<UserId>,
    seat: bool,
) -> Result<InviteOutcome, Error> {
    let now = scene.access.now;
    if command.delivery == Delivery::Email {
        require_mail_rate(scene).await?;
    }
    let user_id = match user {
        Some(user) => user,
        None => {
            let user = new_user(scene.tx, command.new_user_id.as_ref(), now).await?;
            scene
                .tx
                .identity_insert(&Identity {
                    issuer: identity.issuer.clone(),
                    username: identity.username.clone(),
                    subject: None,
                    user_id: user.clone(),
                    create_time: now,
                    bind_time: None,
                })
                .await?;
            user
        }
    };
    let bound = scene.tx.identity_find_by_username(&identity.issuer, &identity.username).await?;
    let account = scene.account().id.clone();
    let member = Member {
        email: command.email.as_str().to_owned(),
        display_name: command.display_name.clone(),
        identities: vec![MemberIdentity {
            issuer: identity.issuer.clone(),
            username: identity.username.clone(),
            bound: bound.is_some_and(|identity| identity.subject.is_some()),
        }],
        invited_by: scene.access.actor().cloned(),
        ..Member::new(account, user_id.clone(), command.role.clone(), seat, now)
    };
    scene.tx.member_insert(&member, scene.stamp("member.joined")).await?;
    let mut invitation = new_invitation(scene, command, seat)?;
    invitation.stored_state = InvitationState::Accepted;
    invitation.accept_time = Some(now);
    invitation.accepted_user_id = Some(user_id.clone());
    invitation.identity = Some(identity.clone());
    scene.tx.invitation_insert(&invitation).await?;
    if command.delivery == Delivery::Email {
        scene.mail(MailKind::Joined, user_id.as_str(), &member.email, &command.language).await?;
    }
    let personal = facts([
        ("email", member.email.clone().into()),
        ("display_name", member.display_name.clone().into()),
        ("username", identity.username.into()),
    ]);
    scene.happened(Happened {
        kind: "member.joined",
        subject_id: user_id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", member.role.clone().into()),
            ("seat", seat.into()),
            ("invitation_id", invitation.id.as_str().into()),
            ("issuer", identity.issuer.into()),
        ]),
        personal,
    })?;
    Ok(InviteOutcome {
        invitation: None,
        member: Some(member_view(scene.access.model()?, member)),
        already_open: false,
        accept_link: None,
        wants_link: false,
        licenses: licenses(scene.tx, &scene.access).await?,
    })
}

fn new_invitation(scene: &Scene<'_>, command: &InviteUser, seat: bool) -> Result<Invitation, Error> {
    let now = scene.access.now;
    let id = InvitationId::parse(&random::id("inv")).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(Invitation {
        account_id: scene.account().id.clone(),
        id,
        email: command.email.as_str().to_owned(),
        display_name: command.display_name.clone(),
        role: command.role.clone(),
        stored_state: InvitationState::Pending,
        uses_seat: seat,
        invited_by: scene.access.actor().cloned(),
        create_time: now,
        expire_time: now + command.lifetime.unwrap_or(LIFETIME_DEFAULT),
        accept_time: None,
        revoke_time: None,
        accepted_user_id: None,
        new_user_id: command.new_user_id.clone(),
        language: command.language.clone(),
        delivery: command.delivery,
        delivery_status: DeliveryStatus {
            state: DeliveryState::NotNeeded,
            sends: 0,
            last_send_time: None,
            next_attempt_time: None,
            failure: String::new(),
        },
        identity: None,
    })
}

/// Inserts a user with nothing proven yet, under the platform's id or one of ours.
///
/// # Errors
/// `Taken(UserId)`.
pub async fn new_user(tx: &Tx, id: Option<&UserId>, now: usher_domain::time::Time) -> Result<UserId, Error> {
    let id = match id {
        Some(id) if tx.user_fetch(id).await?.is_some() => return Err(Error::Taken(Taken::UserId)),
        Some(id) => id.clone(),
        None => UserId::parse(&random::id("usr")).map_err(|e| Error::Internal(e.to_string()))?,
    };
    let user = User {
        id: id.clone(),
        email: None,
        password_hash: None,
        create_time: now,
        erase_time: None,
        revision: 1,
        event_hash: String::new(),
    };
    tx.user_insert(&user).await?;
    Ok(id)
}

/// The link that carries a token, from configuration alone.
pub fn link(url: &str, token: &Secret<String>) -> Secret<String> {
    Secret::new(url.replace("{token}", token.expose()))
}

const MAIL_WINDOW: Duration = Duration::from_secs(3600);

/// # Errors
/// `MailRate` when the account caused as many mails within an hour as it may.
pub async fn require_mail_rate(scene: &Scene<'_>) -> Result<(), Error> {
    let now = scene.access.now;
    let (sent, oldest) = scene.tx.outbox_count_since(&scene.account().id, now.minus(MAIL_WINDOW)).await?;
    if sent < scene.app.choices.mails_per_hour {
        return Ok(());
    }
    let free = oldest.map_or(now, |oldest| oldest + MAIL_WINDOW);
    Err(Error::MailRate { retry_after: free.since(now).max(Duration::from_secs(1)) })
}
