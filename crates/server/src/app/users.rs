//! A person across all accounts: what is known of them, and erasing it.

use serde::{Deserialize, Serialize};
use usher_domain::account::{Account, AccountState};
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::member::may_lose_role;
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;
use usher_storage::{Identity, RequestKey, Tx, User};

use super::access::{Access, rules, stored_role};
use super::change::{Change, Happened, Scene, facts};
use super::member_target::end_sponsorship;
use super::revise_invitation::revoke;
use super::user_change::user_changed;
use super::{App, REQUEST_MEMORY};
use crate::error::Error;
use crate::guard;

pub struct UserView {
    pub user: User,
    pub identities: Vec<Identity>,
    pub last_sign_in_time: Option<Time>,
}

/// # Errors
/// `Missing(User)`; `AccountNotAllowed` for a caller that is limited to some accounts.
pub async fn get_user(app: App, caller: Caller, id: UserId) -> Result<UserView, Error> {
    require_unlimited(&caller)?;
    app.store
        .read(async |tx: &Tx| {
            let user = tx.user_fetch(&id).await?.filter(|user| user.erase_time.is_none());
            let user = user.ok_or_else(|| Error::no_user(&id))?;
            let memberships = tx.membership_list(&id, None, None, u32::MAX).await?;
            let last = memberships.iter().filter_map(|(member, _)| member.last_sign_in_time).max();
            Ok(UserView { user, identities: tx.identity_list(&id).await?, last_sign_in_time: last })
        })
        .await
}

/// A person is not of one account.
fn require_unlimited(caller: &Caller) -> Result<(), Error> {
    if caller.accounts.is_some() { Err(Error::AccountNotAllowed) } else { Ok(()) }
}

#[derive(Debug, Clone)]
pub struct EraseUser {
    pub user_id: UserId,
    pub request_id: String,
    pub digest: String,
    pub note: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Erased {
    pub erase_time: Time,
    pub accounts: Vec<ErasedMembership>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ErasedMembership {
    pub account_id: AccountId,
    pub revision: i64,
    pub revoked_invitation_ids: Vec<String>,
}

/// Ends every membership and deletes all personal data, in one transaction, or refuses and names the
/// accounts that would lose the last holder of a role.
///
/// # Errors
/// See the contract's `EraseUser`.
pub async fn erase_user(app: App, caller: Caller, command: EraseUser) -> Result<Erased, Error> {
    require_unlimited(&caller)?;
    let now = app.clock.now();
    let key = RequestKey {
        caller: caller.name.to_string(),
        rpc: guard::ERASE_USER.rpc,
        account_id: String::new(),
        request_id: command.request_id.clone(),
    };
    let erased = app
        .store
        .write(async |tx: &Tx| {
            if let Some(first) = replay(tx, &key, &command, now).await? {
                return Ok(first);
            }
            let erased = erase(tx, &app, &caller, &command, now).await?;
            if !command.request_id.is_empty() {
                let outcome = serde_json::to_string(&erased).map_err(|e| Error::Internal(e.to_string()))?;
                tx.request_insert(&key, &command.digest, &outcome, now).await?;
            }
            Ok::<_, Error>(erased)
        })
        .await?;
    for account in &erased.accounts {
        app.announce(&account.account_id, account.revision);
    }
    tracing::info!(rpc = guard::ERASE_USER.rpc, user_id = %command.user_id, caller = %caller.name, "changed");
    Ok(erased)
}

async fn replay(tx: &Tx, key: &RequestKey, command: &EraseUser, now: Time) -> Result<Option<Erased>, Error> {
    if key.request_id.is_empty() {
        return Ok(None);
    }
    let Some((digest, outcome)) = tx.request_find(key, now.minus(REQUEST_MEMORY)).await? else {
        return Ok(None);
    };
    if digest != command.digest {
        return Err(Error::RequestIdReused);
    }
    serde_json::from_str(&outcome)
        .map(Some)
        .map_err(|e| Error::Internal(format!("a remembered request: {e}")))
}

async fn erase(tx: &Tx, app: &App, caller: &Caller, command: &EraseUser, now: Time) -> Result<Erased, Error> {
    let id = &command.user_id;
    let known = tx.user_fetch(id).await?.ok_or_else(|| Error::no_user(id))?;
    if let Some(erase_time) = known.erase_time {
        return Ok(Erased { erase_time, accounts: Vec::new() });
    }
    let key = known.email.as_ref().map(EmailAddress::key);
    // Accounts first, in the order of their ids, then the user: everybody locks so.
    let mut accounts = tx.member_accounts(id).await?;
    accounts.extend(tx.erase_find_accounts(id, key.as_deref()).await?);
    accounts.sort_unstable();
    accounts.dedup();
    let mut locked = Vec::with_capacity(accounts.len());
    for account in &accounts {
        locked.extend(tx.account_lock(account).await?);
    }
    require_dispensable(tx, app, id, &locked).await?;
    let mut user = tx.user_lock(id).await?.ok_or_else(|| Error::no_user(id))?;
    let mut erased = Vec::with_capacity(locked.len());
    for account in locked {
        let of = Change {
            account_id: account.id.clone(),
            acting: Acting::Platform,
            request_id: command.request_id.clone(),
            digest: String::new(),
            note: command.note.clone(),
        };
        let mut scene = Scene::begin(app, tx, Access::of_platform(app.roles, now, account), caller, &of);
        let revoked_invitation_ids = leave(&mut scene, id, key.as_slice()).await?;
        let (revision, _) = scene.finish().await?;
        erased.push(ErasedMembership { account_id: of.account_id.clone(), revision, revoked_invitation_ids });
    }
    tx.identity_delete_all(id).await?;
    tx.erase_traces(id, key.as_deref()).await?;
    user.email = None;
    user.password_hash = None;
    user.erase_time = Some(now);
    let happened = Happened { kind: "user.erased", ..Default::default() };
    user_changed(tx, caller, &mut user, now, &Acting::Platform, happened).await?;
    Ok(Erased { erase_time: now, accounts: erased })
}

/// Whether every account can do without the person; if not, the refusal names all that cannot.
async fn require_dispensable(tx: &Tx, app: &App, id: &UserId, accounts: &[Account]) -> Result<(), Error> {
    let mut needed = Vec::new();
    let mut refused: Option<Refusal> = None;
    for account in accounts.iter().filter(|account| account.state != AccountState::Closed) {
        let Some(member) = tx.member_fetch(&account.id, id).await? else { continue };
        let Some((_, model)) = app.roles.get(&account.model) else { continue };
        let (_, role) = stored_role(model, &member.role)?;
        let holders = tx.member_count_holders(&account.id, &role.id, role.uses_seat).await?;
        // Support alone moves the Owner, and so ends nobody else's account by erasing them.
        let lost = if role.changes_by_support_only {
            Err(Refusal::LastHolder { role: role.id.to_string() })
        } else {
            may_lose_role(&role.id, rules(role), member.holds(rules(role)), holders)
        };
        if let Err(refusal) = lost {
            needed.push(account.id.to_string());
            refused = Some(refusal);
        }
    }
    match refused {
        Some(refusal) => Err(Error::HolderInAccounts { accounts: needed, refusal }),
        None => Ok(()),
    }
}

/// Ends the membership in one account, and the invitations that the person sponsored or was sent: to the address
/// that they proved. A contact address is somebody's typing, and may be another person's.
async fn leave(scene: &mut Scene<'_>, id: &UserId, email_key: &[String]) -> Result<Vec<String>, Error> {
    let account = scene.account().id.clone();
    let mut revoked = end_sponsorship(scene, id, false).await?;
    // Also one that has expired: it must not be sent again.
    for open in scene.tx.invitation_find_pending(&account, email_key).await?.into_values() {
        revoked.push(open.id.to_string());
        revoke(scene, open).await?;
    }
    if let Some(member) = scene.tx.member_fetch(&account, id).await? {
        if let Ok(contact) = EmailAddress::parse(&member.email) {
            scene.tx.erase_ticket_mails(&account, &contact.key()).await?;
        }
        scene.tx.member_delete(&account, id).await?;
        scene.happened(Happened {
            kind: "member.erased",
            subject_id: id.as_str(),
            before: facts([("role", member.role.into()), ("seat", member.seat.into())]),
            ..Default::default()
        })?;
    }
    Ok(revoked)
}
