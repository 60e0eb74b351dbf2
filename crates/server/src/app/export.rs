//! Reading a whole account as a file has it, to move it elsewhere or to compare it with one.

use std::collections::HashMap;

use usher_domain::account::{Account, AccountState};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::import::{ImportAccount, ImportIdentity, ImportMember};
use usher_domain::member::Member;
use usher_domain::text::username_key;
use usher_storage::{Identity, MemberFilter, PAGE_SIZE_MAX, Tx, User};

use super::App;
use crate::error::Error;

/// The ids of all accounts, in order.
///
/// # Errors
/// Those of the store.
pub async fn export_ids(app: &App) -> Result<Vec<AccountId>, Error> {
    app.store.read(async |tx: &Tx| Ok::<_, Error>(tx.account_ids().await?)).await
}

/// The account as it is at one moment; `None` if it is closed or not there.
///
/// # Errors
/// Those of the store.
pub async fn export_account(app: &App, id: &AccountId) -> Result<Option<ImportAccount>, Error> {
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(id).await?;
            match account.filter(|account| account.state != AccountState::Closed) {
                Some(account) => Ok::<_, Error>(Some(exported(tx, account, app.clock.now()).await?)),
                None => Ok(None),
            }
        })
        .await
}

/// A stored account with its members, by user id.
///
/// # Errors
/// Those of the store.
pub async fn exported(
    tx: &Tx,
    account: Account,
    now: usher_domain::time::Time,
) -> Result<ImportAccount, Error> {
    let mut members = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let filter = MemberFilter::default();
        let (page, _) = tx.member_list(&account.id, &filter, after.as_ref(), PAGE_SIZE_MAX).await?;
        let Some(last) = page.last() else { break };
        after = Some((email_key(&last.email), last.user_id.to_string()));
        let ids: Vec<UserId> = page.iter().map(|member| member.user_id.clone()).collect();
        let users = tx.user_fetch_many(&ids).await?;
        let users: HashMap<UserId, User> = users.into_iter().map(|user| (user.id.clone(), user)).collect();
        let mut logins: HashMap<UserId, Vec<Identity>> = HashMap::new();
        for login in tx.identity_list_many(&ids).await? {
            logins.entry(login.user_id.clone()).or_default().push(login);
        }
        members.extend(page.into_iter().map(|member| {
            let logins = logins.remove(&member.user_id).unwrap_or_default();
            exported_member(&member, users.get(&member.user_id), logins)
        }));
    }
    members.sort_by(|a, b| a.user_id.cmp(&b.user_id));
    let seats = tx.seats(&account, now).await?;
    Ok(ImportAccount {
        line: 0,
        name: account.name,
        model: account.model,
        state: account.state,
        purchased: account.license.purchased,
        subscription: account.license.subscription,
        allow_over_limit: account.license.purchased.is_some_and(|purchased| seats.active > purchased),
        over_limit_end_time: account.license.over_limit_end_time,
        create_time: Some(account.create_time),
        id: account.id,
        members,
    })
}

fn email_key(text: &str) -> String {
    EmailAddress::parse(text).map(|email| email.key()).unwrap_or_default()
}

fn exported_member(member: &Member, user: Option<&User>, logins: Vec<Identity>) -> ImportMember {
    let given = |login: &Identity| {
        member.identities.iter().any(|given| {
            given.issuer == login.issuer && username_key(&given.username) == username_key(&login.username)
        })
    };
    let verified_email = user.and_then(|user| user.email.clone());
    let email = EmailAddress::parse(&member.email).ok();
    let mut identities: Vec<ImportIdentity> = logins
        .into_iter()
        .map(|login| ImportIdentity {
            given: given(&login),
            issuer: login.issuer,
            username: login.username,
            subject: login.subject,
        })
        .collect();
    identities.sort_by(|a, b| (&a.issuer, &a.username).cmp(&(&b.issuer, &b.username)));
    ImportMember {
        line: 0,
        user_id: member.user_id.clone(),
        display_name: member.display_name.clone(),
        email: email.filter(|email| Some(email) != verified_email.as_ref()),
        verified_email,
        role: member.role.clone(),
        state: member.state,
        seat: Some(member.seat),
        identities,
        join_time: Some(member.join_time),
    }
}
