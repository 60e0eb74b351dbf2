//! What becomes of an account: another name, suspended, taken back, closed.

use serde::{Deserialize, Serialize};
use usher_domain::account::{Account, AccountState, AccountView};
use usher_domain::caller::Caller;
use usher_domain::invitation::InvitationState;
use usher_domain::time::Time;
use usher_storage::{InvitationFilter, PAGE_SIZE_MAX};

use super::App;
use super::change::{Change, Changed, Happened, Scene, change, change_any, facts};
use super::revise_invitation::revoke;
use crate::error::Error;
use crate::guard;

#[derive(Debug, Serialize, Deserialize)]
pub struct AccountOutcome {
    pub account: AccountView,
}

#[derive(Debug, Clone)]
pub struct UpdateAccount {
    pub change: Change,
    pub name: String,
}

/// # Errors
/// See the contract's `UpdateAccount`.
pub async fn update_account(
    app: App,
    caller: Caller,
    command: UpdateAccount,
) -> Result<Changed<AccountOutcome>, Error> {
    change(&app, &caller, &guard::UPDATE_ACCOUNT, &command.change, async |scene| {
        let name = &command.name;
        if *name != scene.account().name {
            let before = std::mem::replace(&mut scene.access.account.name, name.clone());
            scene.happened(Happened {
                kind: "account.updated",
                before: facts([("name", before.into())]),
                after: facts([("name", name.clone().into())]),
                ..Default::default()
            })?;
        }
        Ok(outcome(scene))
    })
    .await
}

fn outcome(scene: &Scene<'_>) -> AccountOutcome {
    AccountOutcome { account: scene.account().view() }
}

/// Stops an account: every check is denied.
///
/// # Errors
/// `Missing(Account)`, `AccountClosed`.
pub async fn suspend_account(
    app: App,
    caller: Caller,
    command: Change,
) -> Result<Changed<AccountOutcome>, Error> {
    change_any(&app, &caller, &guard::SUSPEND_ACCOUNT, &command, async |scene| {
        set_state(scene, AccountState::Suspended, "account.suspended")
    })
    .await
}

/// # Errors
/// `Missing(Account)`, `AccountClosed`.
pub async fn reactivate_account(
    app: App,
    caller: Caller,
    command: Change,
) -> Result<Changed<AccountOutcome>, Error> {
    change_any(&app, &caller, &guard::REACTIVATE_ACCOUNT, &command, async |scene| {
        set_state(scene, AccountState::Active, "account.reactivated")
    })
    .await
}

fn set_state(
    scene: &mut Scene<'_>,
    state: AccountState,
    kind: &'static str,
) -> Result<AccountOutcome, Error> {
    if scene.account().state == AccountState::Closed {
        return Err(Error::AccountClosed);
    }
    if scene.account().state != state {
        turn(scene, state, kind)?;
    }
    Ok(outcome(scene))
}

fn turn(scene: &mut Scene<'_>, state: AccountState, kind: &'static str) -> Result<(), Error> {
    let now = scene.access.now;
    let before = scene.account().state;
    apply(&mut scene.access.account, state, now);
    let word = |state: AccountState| serde_json::to_value(state).unwrap_or_default();
    scene.happened(Happened {
        kind,
        before: facts([("state", word(before))]),
        after: facts([("state", word(state))]),
        ..Default::default()
    })
}

fn apply(account: &mut Account, state: AccountState, now: Time) {
    account.state = state;
    match state {
        AccountState::Active => account.suspend_time = None,
        AccountState::Suspended => account.suspend_time = Some(now),
        AccountState::Closed => account.close_time = Some(now),
    }
}

/// Closes an account for good. Its open invitations end; its events and its id stay.
///
/// # Errors
/// `Missing(Account)`.
pub async fn close_account(
    app: App,
    caller: Caller,
    command: Change,
) -> Result<Changed<AccountOutcome>, Error> {
    change_any(&app, &caller, &guard::CLOSE_ACCOUNT, &command, async |scene| {
        if scene.account().state != AccountState::Closed {
            revoke_all(scene).await?;
            turn(scene, AccountState::Closed, "account.closed")?;
        }
        Ok(outcome(scene))
    })
    .await
}

async fn revoke_all(scene: &mut Scene<'_>) -> Result<(), Error> {
    let filter = InvitationFilter { states: vec![InvitationState::Pending], ..Default::default() };
    loop {
        let (account, now) = (scene.account().id.clone(), scene.access.now);
        let (open, _) = scene.tx.invitation_list(&account, &filter, now, None, PAGE_SIZE_MAX).await?;
        if open.is_empty() {
            return Ok(());
        }
        for invitation in open {
            revoke(scene, invitation).await?;
        }
    }
}
