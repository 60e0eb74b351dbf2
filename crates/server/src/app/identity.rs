//! Finding the person whom an OAuth provider vouches for, and binding the provider's own subject id
//! at the first sign-in; and the founder who has yet to prove the address that they were named by.

use usher_domain::caller::{Acting, Caller};
use usher_domain::id::UserId;
use usher_domain::time::Time;
use usher_storage::{Identity, Tx, User};

use super::change::{Happened, facts};
use super::reach;
use super::user_change::user_changed;
use crate::error::{Error, Missing};

/// What a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    pub issuer: String,
    /// The provider's own id of the person, which never changes.
    pub subject: String,
    /// The login name of today; may be empty.
    pub username: String,
}

/// Whether the login is somebody's whom the caller may not know of.
///
/// # Errors
/// Those of the store.
pub async fn is_beyond_reach(tx: &Tx, caller: &Caller, vouched: &Vouched) -> Result<bool, Error> {
    if reach::limits(caller).is_none() {
        return Ok(false);
    }
    let known = match tx.identity_find_by_subject(&vouched.issuer, &vouched.subject).await? {
        Some(known) => Some(known),
        None => tx.identity_find_by_username(&vouched.issuer, &vouched.username).await?,
    };
    match known {
        Some(known) => Ok(!reach::knows(tx, caller, &known.user_id).await?),
        None => Ok(false),
    }
}

/// The person, and whether this bound the subject.
///
/// # Errors
/// `Missing(Identity)`, `UsernameBoundToAnother`.
pub async fn resolve(
    tx: &Tx,
    caller: &Caller,
    vouched: &Vouched,
    now: Time,
) -> Result<(UserId, bool), Error> {
    if let Some(known) = tx.identity_find_by_subject(&vouched.issuer, &vouched.subject).await? {
        return Ok((known.user_id, false));
    }
    if vouched.username.is_empty() {
        return Err(Error::Missing(Missing::Identity));
    }
    let claim = tx.identity_find_by_username(&vouched.issuer, &vouched.username).await?;
    let claim = claim.ok_or(Error::Missing(Missing::Identity))?;
    if claim.subject.is_some() {
        return Err(Error::UsernameBoundToAnother);
    }
    if !reach::answers_for(tx, caller, &claim.user_id).await? {
        return Err(Error::UsernameBoundToAnother);
    }
    let user = tx.user_lock(&claim.user_id).await?;
    let mut user = user.filter(|user| user.erase_time.is_none()).ok_or(Error::Missing(Missing::Identity))?;
    if !tx.identity_bind(&vouched.issuer, &vouched.username, &vouched.subject, now).await? {
        return Err(Error::UsernameBoundToAnother);
    }
    let happened = Happened {
        kind: "user.identity_bound",
        after: facts([("issuer", vouched.issuer.clone().into())]),
        personal: facts([
            ("username", vouched.username.clone().into()),
            ("subject", vouched.subject.clone().into()),
        ]),
        ..Default::default()
    };
    user_changed(tx, caller, &mut user, now, &Acting::Platform, happened).await?;
    Ok((claim.user_id, true))
}

/// The founder of an account who was named by this address and has not proven it yet. It is kept for them: they have
/// no other login, and if somebody else came to have the address, their account would have an owner who can
/// never sign in. Whoever lets a caller act on them must see to it that the caller
/// [answers for them](reach::answers_for): their first login is all that stands before their account.
///
/// # Errors
/// Those of the store.
pub async fn unproven_founder(tx: &Tx, email_key: &str) -> Result<Option<User>, Error> {
    let id = tx.outbox_find_founder(email_key).await?.and_then(|id| UserId::parse(&id).ok());
    let Some(id) = id else { return Ok(None) };
    let user = tx.user_fetch(&id).await?;
    Ok(user.filter(|user| user.email.is_none() && user.erase_time.is_none()))
}

/// A new identity of a person, bound from the start.
///
/// # Errors
/// `Store(Exists)` when the username or subject is taken.
pub async fn insert_bound(tx: &Tx, user: &UserId, vouched: &Vouched, now: Time) -> Result<(), Error> {
    // A provider that tells no login name is known by its subject alone.
    let username = if vouched.username.is_empty() { &vouched.subject } else { &vouched.username };
    tx.identity_insert(&Identity {
        issuer: vouched.issuer.clone(),
        username: username.clone(),
        subject: Some(vouched.subject.clone()),
        user_id: user.clone(),
        create_time: now,
        bind_time: Some(now),
    })
    .await?;
    Ok(())
}
