//! Signing in: whose credentials these are, and of which accounts they are a member. Sessions belong
//! to the platform's front end.

use std::time::Duration;

use usher_domain::account::{Account, AccountState};
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::member::Member;
use usher_domain::password::{check_new, normalise};
use usher_domain::secret::{Secret, token_hash};
use usher_domain::time::Time;
use usher_storage::{Mail, MailKind, TokenPurpose, Tx, User};

use super::App;
use super::change::{Happened, facts};
use super::identity::{Vouched, is_beyond_reach, resolve, unproven_founder};
use super::reach;
use super::user_change::user_changed;
use crate::error::{Error, Missing, Taken, Wrong};
use crate::random;

/// How many memberships an answer to a sign-in carries.
const MEMBERSHIPS: u32 = 100;
/// The most mails of one kind to one address in an hour.
const MAILS_PER_ADDRESS: u32 = 5;
const HOUR: Duration = Duration::from_secs(3600);

/// One of a user's memberships.
pub struct Membership {
    pub member: Member,
    pub account: Account,
    pub role_title: String,
    pub uses_seat: bool,
    pub as_of: Time,
}

pub struct SignedIn {
    pub user_id: UserId,
    pub bound_now: bool,
    pub memberships: Vec<Membership>,
    pub next_page_token: String,
}

/// Counts a try for an address, before it is verified.
///
/// # Errors
/// `RateLimited` when it comes too soon after failures.
pub async fn require_try(app: &App, email: &str) -> Result<(), Error> {
    let now = app.clock.now();
    let key = email_key(email);
    let next = app.store.write(async |tx: &Tx| Ok::<_, Error>(tx.sign_in_count(&key, now).await?)).await?;
    match next {
        None => Ok(()),
        Some(next) => Err(Error::RateLimited { retry_after: next.since(now).max(Duration::from_secs(1)) }),
    }
}

/// # Errors
/// Those of the store.
pub async fn forget_tries(app: &App, email: &str) -> Result<(), Error> {
    let key = email_key(email);
    app.store.write(async |tx: &Tx| Ok(tx.sign_in_forget(&key).await?)).await
}

/// What is no address is counted as it is: nobody has it.
fn email_key(email: &str) -> String {
    EmailAddress::parse(email).map_or_else(|_| email.trim().to_lowercase(), |email| email.key())
}

#[derive(Debug, Clone)]
pub struct VerifyPassword {
    pub email: EmailAddress,
    pub password: Secret<String>,
}

/// Answers the same, and takes as long, whether or not anybody has the address.
///
/// # Errors
/// `WrongCredentials`, `RateLimited`, `Overloaded`.
pub async fn verify_password(app: App, caller: Caller, command: VerifyPassword) -> Result<SignedIn, Error> {
    require_try(&app, command.email.as_str()).await?;
    let key = command.email.key();
    let user = app.store.read(async |tx: &Tx| Ok::<_, Error>(tx.user_find_by_email(&key).await?)).await?;
    let hash = user.as_ref().and_then(|user| user.password_hash.clone());
    let matches = app.passwords.verify(normalise(command.password.expose()), hash).await?;
    let user = user.filter(|_| matches).ok_or(Error::WrongCredentials)?;
    if !app.store.read(async |tx: &Tx| reach::knows(tx, &caller, &user.id).await).await? {
        return Err(Error::WrongCredentials);
    }
    forget_tries(&app, command.email.as_str()).await?;
    signed_in(&app, &caller, user.id, false).await
}

/// # Errors
/// `IssuerUnknown` as `Invalid`.
pub fn require_issuer(app: &App, issuer: &str, field: &str) -> Result<(), Error> {
    if app.choices.oauth_issuers.iter().any(|known| known == issuer) {
        return Ok(());
    }
    Err(Error::invalid_as(Wrong::IssuerUnknown, field, "is not a configured OAuth issuer"))
}

/// # Errors
/// `Missing(Identity)`, `UsernameBoundToAnother`.
pub async fn resolve_identity(app: App, caller: Caller, command: Vouched) -> Result<SignedIn, Error> {
    require_issuer(&app, &command.issuer, "issuer")?;
    let now = app.clock.now();
    let found = app
        .store
        .write(async |tx: &Tx| {
            if is_beyond_reach(tx, &caller, &command).await? {
                return Err(Error::Missing(Missing::Identity));
            }
            resolve(tx, &caller, &command, now).await
        })
        .await;
    let (user, bound) = reach::hide(&caller, found)?;
    signed_in(&app, &caller, user, bound).await
}

async fn signed_in(app: &App, caller: &Caller, user_id: UserId, bound_now: bool) -> Result<SignedIn, Error> {
    let now = app.clock.now();
    let reach = reach::limits(caller);
    let note = async |tx: &Tx| Ok::<_, Error>(tx.member_note_sign_in(&user_id, now, reach).await?);
    app.store.write(note).await?;
    let (memberships, next_page_token) = memberships(app, caller, &user_id, "", MEMBERSHIPS).await?;
    Ok(SignedIn { user_id, bound_now, memberships, next_page_token })
}

#[derive(Debug, Clone)]
pub struct ListMemberships {
    pub user_id: UserId,
    pub page: super::members::Page,
}

/// # Errors
/// `Missing(User)`, `PageTokenInvalid`.
pub async fn list_memberships(
    app: App,
    caller: Caller,
    command: ListMemberships,
) -> Result<(Vec<Membership>, String), Error> {
    let id = &command.user_id;
    let known = app
        .store
        .read(async |tx: &Tx| {
            let user = tx.user_fetch(id).await?.filter(|user| user.erase_time.is_none());
            Ok::<_, Error>(user.is_some() && reach::knows(tx, &caller, id).await?)
        })
        .await?;
    if !known {
        return reach::hide(&caller, Err(Error::no_user(id)));
    }
    memberships(&app, &caller, &command.user_id, &command.page.token, command.page.size).await
}

/// Closed accounts are left out, and those that the caller may not reach.
async fn memberships(
    app: &App,
    caller: &Caller,
    user: &UserId,
    token: &str,
    size: u32,
) -> Result<(Vec<Membership>, String), Error> {
    let bound = format!("memberships {user} {}", caller.name);
    let mut after = app.page_tokens.read::<1>(&bound, token)?.map(|[account]| account);
    let now = app.clock.now();
    let mut shown = Vec::new();
    loop {
        let place = after.clone();
        let found = app
            .store
            .read(async |tx: &Tx| {
                let reach = reach::limits(caller);
                Ok::<_, Error>(tx.membership_list(user, reach, place.as_deref(), size + 1).await?)
            })
            .await?;
        let (read, mut looked_at) = (found.len(), 0);
        for (member, account) in found.into_iter().take(size as usize) {
            looked_at += 1;
            after = Some(account.id.to_string());
            if account.state != AccountState::Closed {
                shown.push(membership(app, member, account, now));
            }
            if shown.len() == size as usize {
                break;
            }
        }
        // A page is short only when it is the last: when nothing was read that is not in it, or closed.
        if looked_at == read {
            return Ok((shown, String::new()));
        }
        if shown.len() == size as usize {
            let place = after.unwrap_or_default();
            return Ok((shown, app.page_tokens.make(&bound, &[place])));
        }
    }
}

fn membership(app: &App, member: Member, account: Account, now: Time) -> Membership {
    let model = app.roles.get(&account.model).map(|(_, model)| model);
    let role = model.and_then(|model| model.role_at(model.role(&member.role)?));
    Membership {
        role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
        uses_seat: role.is_none_or(|role| role.uses_seat),
        member,
        account,
        as_of: now,
    }
}

#[derive(Debug, Clone)]
pub struct RequestPasswordReset {
    pub email: EmailAddress,
    pub language: String,
}

/// Always answers the same and does the same: a row in the outbox, which the worker drops if nobody
/// has the address. Beyond the limit per address it does nothing, silently.
///
/// # Errors
/// Those of the store.
pub async fn request_password_reset(
    app: App,
    caller: Caller,
    command: RequestPasswordReset,
) -> Result<(), Error> {
    let now = app.clock.now();
    let key = command.email.key();
    app.store
        .write(async |tx: &Tx| {
            let (sent, _) = tx.outbox_count_for(MailKind::PasswordReset, &key, now.minus(HOUR)).await?;
            let user = tx.user_find_by_email(&key).await?;
            let founder = unproven_founder(tx, &key).await?;
            if sent >= MAILS_PER_ADDRESS {
                return Ok(());
            }
            let subject = match user.or(founder).map(|user| user.id) {
                Some(id) if reach::knows(tx, &caller, &id).await? => id.to_string(),
                _ => String::new(),
            };
            let mail = mail(MailKind::PasswordReset, &subject, &key, &command.language, now);
            Ok::<_, Error>(tx.outbox_insert(&mail).await?)
        })
        .await?;
    app.mail_waits.notify_one();
    Ok(())
}

fn mail(kind: MailKind, subject_id: &str, email: &str, language: &str, now: Time) -> Mail {
    Mail {
        id: random::id("mail"),
        kind,
        account_id: None,
        subject_id: subject_id.to_owned(),
        email: email.to_owned(),
        language: language.to_owned(),
        attempts: 0,
        create_time: now,
    }
}

#[derive(Debug, Clone)]
pub struct ResetPassword {
    pub token: Secret<String>,
    pub new_password: Secret<String>,
}

/// The user and the address that a token was mailed for, while it lives.
async fn token_owner(
    tx: &Tx,
    caller: &Caller,
    (token, purpose): (&str, TokenPurpose),
    now: Time,
) -> Result<(User, EmailAddress), Error> {
    let found = tx.user_token_find(&token_hash(token), purpose).await?;
    let (id, email, _) =
        found.filter(|(_, _, expire)| now < *expire).ok_or(Error::Missing(Missing::Token))?;
    if !reach::knows(tx, caller, &id).await? {
        return Err(Error::Missing(Missing::Token));
    }
    let user = tx.user_lock(&id).await?.filter(|user| user.erase_time.is_none());
    let email = EmailAddress::parse(&email).map_err(|e| Error::Internal(e.to_string()))?;
    Ok((user.ok_or(Error::Missing(Missing::Token))?, email))
}

/// # Errors
/// `Missing(Token)`, `Password`, `Overloaded`.
pub async fn reset_password(app: App, caller: Caller, command: ResetPassword) -> Result<UserId, Error> {
    let now = app.clock.now();
    let token = command.token.expose().as_str();
    let purpose = TokenPurpose::SetPassword;
    let owner = async |tx: &Tx| token_owner(tx, &caller, (token, purpose), now).await;
    let (_, email) = reach::hide(&caller, app.store.write(owner).await)?;
    let password = check_new(command.new_password.expose(), Some(&email))?;
    let hash = app.passwords.hash(password).await?;
    let reset = app
        .store
        .write(async |tx: &Tx| {
            // Read again under the lock: a token is used once.
            let (mut user, email) = token_owner(tx, &caller, (token, purpose), now).await?;
            user.password_hash = Some(hash);
            if user.email.is_none() {
                require_free(tx, &user, &email).await?;
                user.email = Some(email.clone());
            }
            let happened = Happened { kind: "user.password_changed", ..Default::default() };
            user_changed(tx, &caller, &mut user, now, &Acting::Platform, happened).await?;
            tx.user_token_delete(&user.id, purpose).await?;
            tx.sign_in_forget(&email.key()).await?;
            Ok(user.id)
        })
        .await;
    reach::hide(&caller, reset)
}

async fn require_free(tx: &Tx, user: &User, email: &EmailAddress) -> Result<(), Error> {
    match tx.user_find_by_email(&email.key()).await? {
        Some(other) if other.id != user.id => Err(Error::Taken(Taken::Email)),
        _ => Ok(()),
    }
}

#[derive(Debug, Clone)]
pub struct RequestEmailChange {
    pub user_id: UserId,
    pub new_email: EmailAddress,
    pub language: String,
}

/// Nothing changes until the link is followed. Whether somebody has the address is not said.
///
/// # Errors
/// `Missing(User)`, `MailRate`.
pub async fn request_email_change(
    app: App,
    caller: Caller,
    command: RequestEmailChange,
) -> Result<(), Error> {
    let now = app.clock.now();
    let (email, key) = (command.new_email.as_str(), command.new_email.key());
    let requested = app
        .store
        .write(async |tx: &Tx| {
            let id = &command.user_id;
            let user = tx.user_lock(id).await?.filter(|user| user.erase_time.is_none());
            let user = user.ok_or_else(|| Error::no_user(id))?;
            if !reach::answers_for(tx, &caller, id).await? {
                return Err(Error::no_user(id));
            }
            let (sent, oldest) = tx.outbox_count_for(MailKind::EmailChange, &key, now.minus(HOUR)).await?;
            if sent >= MAILS_PER_ADDRESS {
                let free = oldest.map_or(now, |oldest| oldest + HOUR);
                return Err(Error::MailRate { retry_after: free.since(now).max(Duration::from_secs(1)) });
            }
            tx.outbox_drop(MailKind::EmailChange, user.id.as_str(), now).await?;
            tx.user_token_delete(&user.id, TokenPurpose::ChangeEmail).await?;
            let mail = mail(MailKind::EmailChange, user.id.as_str(), email, &command.language, now);
            Ok(tx.outbox_insert(&mail).await?)
        })
        .await;
    reach::hide(&caller, requested)?;
    app.mail_waits.notify_one();
    Ok(())
}

/// # Errors
/// `Missing(Token)`, `Taken(Email)`.
pub async fn change_email(
    app: App,
    caller: Caller,
    token: Secret<String>,
) -> Result<(UserId, EmailAddress), Error> {
    let now = app.clock.now();
    let presented = (token.expose().as_str(), TokenPurpose::ChangeEmail);
    let changed = app
        .store
        .write(async |tx: &Tx| {
            let (mut user, email) = token_owner(tx, &caller, presented, now).await?;
            // They may have joined another account since they asked.
            if !reach::answers_for(tx, &caller, &user.id).await? {
                return Err(Error::Missing(Missing::Token));
            }
            require_free(tx, &user, &email).await?;
            if unproven_founder(tx, &email.key()).await?.is_some_and(|founder| founder.id != user.id) {
                return Err(Error::Taken(Taken::Email));
            }
            let before = user.email.replace(email.clone());
            let happened = Happened {
                kind: "user.email_changed",
                personal: facts([
                    ("email", email.as_str().into()),
                    ("former_email", before.as_ref().map(EmailAddress::as_str).unwrap_or_default().into()),
                ]),
                ..Default::default()
            };
            user_changed(tx, &caller, &mut user, now, &Acting::Platform, happened).await?;
            // Links to a new password that went to the old address end with it.
            tx.user_token_delete(&user.id, TokenPurpose::ChangeEmail).await?;
            tx.user_token_delete(&user.id, TokenPurpose::SetPassword).await?;
            Ok((user.id, email))
        })
        .await;
    reach::hide(&caller, changed)
}
