//! Founding an account: its first revision, its founder and the founder's seat, in one transaction.

use serde::{Deserialize, Serialize};
use usher_domain::account::{Account, AccountView};
use usher_domain::caller::Caller;
use usher_domain::email::EmailAddress;
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, UserId};
use usher_domain::invitation::ExternalUsername;
use usher_domain::license::{License, Subscription};
use usher_domain::member::{Member, MemberIdentity};
use usher_domain::time::Time;
use usher_policy::{Role, RoleModel};
use usher_storage::{Identity, Mail, MailKind, RequestKey, Stamp, Tx};

use super::App;
use super::change::{Change, Changed, Happened, event, facts, remember, replay};
use super::identity::unproven_founder;
use super::invite_user::{new_user, resolve_issuer};
use super::reach;
use super::view::{LicensesView, MemberView, licenses_view, member_view};
use crate::error::{Error, Taken, Wrong, nearest};
use crate::{guard, random};

#[derive(Debug, Clone)]
pub struct CreateAccount {
    pub change: Change,
    /// Whether `change.account_id` was made for the request, not named by it.
    pub is_id_made: bool,
    pub name: String,
    pub model: String,
    /// `None` is unlimited.
    pub purchased: Option<u32>,
    pub subscription: Subscription,
    pub founder: Founder,
    pub new_user_id: Option<UserId>,
    pub contact_email: Option<EmailAddress>,
    pub display_name: String,
    pub language: String,
}

/// How the founder is known.
#[derive(Debug, Clone)]
pub enum Founder {
    User(UserId),
    Email(EmailAddress),
    Identity(ExternalUsername),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct CreateAccountOutcome {
    pub account: AccountView,
    pub member: MemberView,
    pub licenses: LicensesView,
}

/// # Errors
/// See the contract's `CreateAccount`.
pub async fn create_account(
    app: App,
    caller: Caller,
    command: CreateAccount,
) -> Result<Changed<CreateAccountOutcome>, Error> {
    // Also of an id that Usher has just made: it is none of those that the caller is limited to.
    if !caller.may_reach(&command.change.account_id) {
        return Err(Error::AccountNotAllowed);
    }
    let (_, model) = app.roles.get(&command.model).ok_or_else(|| {
        let known: Vec<String> = app.roles.models().iter().map(|model| format!("`{}`", model.id())).collect();
        Error::unknown(
            Wrong::ModelUnknown,
            "model",
            format!("is not a role model of this server, which has {}", known.join(", ")),
            nearest(&command.model, app.roles.models().iter().map(RoleModel::id)),
        )
    })?;
    // Whoever lets Usher make the id repeats the request without knowing it.
    let named = if command.is_id_made { "" } else { command.change.account_id.as_str() };
    let key = RequestKey {
        caller: caller.name.to_string(),
        rpc: guard::CREATE_ACCOUNT.rpc,
        account_id: named.to_owned(),
        request_id: command.change.request_id.clone(),
    };
    let now = app.clock.now();
    let changed = app
        .store
        .write(async |tx: &Tx| {
            if let Some(first) = replay(tx, &key, &command.change, now).await? {
                return Ok(first);
            }
            let changed = found(tx, &app, &caller, &command, model, now).await?;
            remember(tx, &key, &command.change, &changed, now).await?;
            Ok::<_, Error>(changed)
        })
        .await?;
    app.announce(&changed.outcome.account.id, changed.revision);
    app.mail_waits.notify_one();
    tracing::info!(
        rpc = guard::CREATE_ACCOUNT.rpc, account_id = %changed.outcome.account.id, caller = %caller.name,
        revision = changed.revision, replayed = changed.replayed, "changed"
    );
    Ok(changed)
}

async fn found(
    tx: &Tx,
    app: &App,
    caller: &Caller,
    command: &CreateAccount,
    model: &RoleModel,
    now: Time,
) -> Result<Changed<CreateAccountOutcome>, Error> {
    if tx.account_fetch(&command.change.account_id).await?.is_some() {
        return Err(Error::Taken(Taken::AccountId));
    }
    let role = model.role_at(model.founder_role());
    let role = role.ok_or_else(|| Error::Internal(format!("the model `{}` has no founder", model.id())))?;
    let mut account = new_account(command, model, now);
    // First the account's row, so that the key of the member's leads somewhere.
    tx.account_insert(&account, random::nonce()?, "account.created").await?;
    if let Founder::User(id) = &command.founder
        && !reach::knows(tx, caller, id).await?
    {
        return reach::hide(caller, Err(Error::no_user(id)));
    }
    let member = founder(tx, (app, caller), command, role, now).await?;
    tx.member_insert(&member, Stamp { time: now, event_kind: "member.joined", revision: 1 }).await?;
    if let (Founder::Email(email), false) = (&command.founder, member.email_verified) {
        let mail = Mail {
            id: random::id("mail"),
            kind: MailKind::Founder,
            account_id: Some(account.id.clone()),
            subject_id: member.user_id.to_string(),
            email: email.as_str().to_owned(),
            language: command.language.clone(),
            attempts: 0,
            create_time: now,
        };
        tx.outbox_insert(&mail).await?;
    }
    let events = events(caller, command, role, &account, &member, now)?;
    account.event_hash = tx.event_append("", &events).await?;
    tx.account_update(&account, now, random::nonce()?, Some("account.created")).await?;
    let seats = account.license.seats(u32::from(member.seat), 0);
    let outcome = CreateAccountOutcome {
        account: account.view(),
        licenses: licenses_view(&account, seats),
        member: member_view(model, member),
    };
    Ok(Changed { outcome, revision: 1, events: 2, replayed: false })
}

fn new_account(command: &CreateAccount, model: &RoleModel, now: Time) -> Account {
    let license = License::new(command.purchased, command.subscription.clone());
    let id = command.change.account_id.clone();
    Account::new(id, command.name.clone(), model.id().to_owned(), license, now)
}

async fn founder(
    tx: &Tx,
    (app, caller): (&App, &Caller),
    command: &CreateAccount,
    role: &Role,
    now: Time,
) -> Result<Member, Error> {
    let mut email = command.contact_email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default();
    let mut email_verified = false;
    let mut identities = Vec::new();
    let user_id = match &command.founder {
        Founder::User(id) => match tx.user_fetch(id).await?.filter(|user| user.erase_time.is_none()) {
            Some(user) => {
                if let Some(proven) = user.email.filter(|_| email.is_empty()) {
                    email = proven.as_str().to_owned();
                    email_verified = true;
                }
                id.clone()
            }
            None => return Err(Error::no_user(id)),
        },
        Founder::Email(address) => {
            address.as_str().clone_into(&mut email);
            match tx.user_find_by_email(&address.key()).await? {
                Some(user) => {
                    email_verified = true;
                    user.id
                }
                // Named by the same address for another account before: they prove it once, for both.
                None => match unproven_founder(tx, &address.key()).await? {
                    Some(user) if reach::answers_for(tx, caller, &user.id).await? => user.id,
                    _ => new_user(tx, command.new_user_id.as_ref(), now).await?,
                },
            }
        }
        Founder::Identity(identity) => {
            let identity = resolve_issuer(app, identity, "founder.identity")?;
            let known = tx.identity_find_by_username(&identity.issuer, &identity.username).await?;
            let bound = known.as_ref().is_some_and(|known| known.subject.is_some());
            let user_id = match known {
                Some(known) => known.user_id,
                None => new_identity(tx, command, &identity, now).await?,
            };
            identities.push(MemberIdentity { issuer: identity.issuer, username: identity.username, bound });
            user_id
        }
    };
    let account_id = command.change.account_id.clone();
    Ok(Member {
        email,
        email_verified,
        display_name: command.display_name.clone(),
        identities,
        ..Member::new(account_id, user_id, role.id.to_string(), role.uses_seat, now)
    })
}

async fn new_identity(
    tx: &Tx,
    command: &CreateAccount,
    identity: &ExternalUsername,
    now: Time,
) -> Result<UserId, Error> {
    let user_id = new_user(tx, command.new_user_id.as_ref(), now).await?;
    let row = Identity {
        issuer: identity.issuer.clone(),
        username: identity.username.clone(),
        subject: None,
        user_id: user_id.clone(),
        create_time: now,
        bind_time: None,
    };
    tx.identity_insert(&row).await?;
    Ok(user_id)
}

fn events(
    caller: &Caller,
    command: &CreateAccount,
    role: &Role,
    account: &Account,
    member: &Member,
    now: Time,
) -> Result<Vec<usher_storage::NewEvent>, Error> {
    let stream = || Stream::Account(account.id.to_string());
    let by = (caller, &command.change);
    let created = Happened {
        kind: "account.created",
        after: facts([
            ("name", account.name.clone().into()),
            ("model", account.model.clone().into()),
            ("purchased", account.license.purchased.map_or("unlimited".into(), Into::into)),
            ("plan", account.license.subscription.plan.clone().into()),
            ("expire_time", account.license.subscription.expire_time.map(Time::micros).into()),
            ("grace_end_time", account.license.subscription.grace_end_time.map(Time::micros).into()),
        ]),
        ..Default::default()
    };
    let joined = Happened {
        kind: "member.joined",
        subject_id: member.user_id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", role.id.as_ref().into()),
            ("seat", member.seat.into()),
            ("founder", true.into()),
        ]),
        personal: facts([
            ("email", member.email.clone().into()),
            ("display_name", member.display_name.clone().into()),
        ]),
    };
    Ok(vec![event(by, stream(), (1, 0), now, created)?, event(by, stream(), (1, 1), now, joined)?])
}

/// An id for an account whose caller brought none.
///
/// # Errors
/// Never for an id that we make.
pub fn new_account_id() -> Result<AccountId, Error> {
    AccountId::parse(&random::id("acc")).map_err(|e| Error::Internal(e.to_string()))
}
