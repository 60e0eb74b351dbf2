//! Moving an account in, whole or not at all, with the people in it.
//!
//! What a file says of itself has been checked before, by `usher_domain::import`; here it meets what the
//! database holds already. Whoever is known already is never changed by an import.

mod compare;
mod people;

use usher_domain::account::{Account, AccountState};
use usher_domain::caller::{Acting, Caller};
use usher_domain::event::Stream;
use usher_domain::import::{Fault, ImportAccount, ImportError, ImportMember, ImportPeople};
use usher_domain::license::License;
use usher_domain::member::{Member, MemberIdentity, MemberState, RoleRules};
use usher_domain::time::Time;
use usher_policy::RoleModel;
use usher_storage::{NewEvent, Stamp, Tx};

use super::App;
use super::access::rules;
use super::change::{Change, Happened, event, facts};
use super::export::exported;
use crate::error::{Error, nearest};
use crate::random;

/// How many members one revision takes in. Followers get the events of a revision in one message.
const MEMBERS_PER_REVISION: usize = 200;

/// What came of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// Written, or in a dry run: would be.
    New,
    /// It is there already, as the file has it.
    Unchanged,
}

/// Why an account was not imported; nothing of it was written.
#[derive(Debug)]
pub enum ImportFailure {
    Faults(Vec<Fault>),
    Error(Error),
}

impl<E: Into<Error>> From<E> for ImportFailure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// What breaks the rules of the account's role model, before anything is asked of the database.
pub fn check_account(app: &App, account: &ImportAccount) -> Vec<Fault> {
    let Some((_, model)) = app.roles.get(&account.model) else {
        let known = app.roles.models().iter().map(RoleModel::id);
        let suggestion = nearest(&account.model, known).map(str::to_owned);
        let wrong = ImportError::ModelUnknown { model: account.model.clone(), suggestion };
        return vec![Fault { line: account.line, field: "model", wrong }];
    };
    let of_model: Vec<(&str, RoleRules)> =
        model.roles().iter().map(|role| (&*role.id, rules(role))).collect();
    usher_domain::import::check_account(account, &of_model, |role| {
        nearest(role, model.roles().iter().map(|role| &*role.id)).map(str::to_owned)
    })
}

/// Checks one account against the database and, unless it is a dry run, writes it in one transaction.
/// `written` is told how many members were written, now and then.
///
/// # Errors
/// `Faults` when the database has something that speaks against it.
pub async fn import_account(
    app: &App,
    caller: &Caller,
    account: &ImportAccount,
    all: &ImportPeople,
    dry_run: bool,
    written: &(dyn Fn(usize) + Sync),
) -> Result<Imported, ImportFailure> {
    let now = app.clock.now();
    if dry_run {
        return app
            .store
            .read(async |tx: &Tx| match known(tx, account, all, now).await? {
                Some(unchanged) => Ok(unchanged),
                None => {
                    people::check(tx, account, all).await?;
                    Ok(Imported::New)
                }
            })
            .await;
    }
    let (imported, revision) = app
        .store
        .write(async |tx: &Tx| match known(tx, account, all, now).await? {
            Some(unchanged) => Ok::<_, ImportFailure>((unchanged, 0)),
            None => {
                let people = people::check(tx, account, all).await?;
                Ok((Imported::New, write(tx, app, caller, account, people, now, written).await?))
            }
        })
        .await?;
    if imported == Imported::New {
        app.announce(&account.id, revision);
        tracing::info!(
            account_id = %account.id, members = account.members.len(), revision, "imported"
        );
    }
    Ok(imported)
}

/// `Unchanged` for an account that is there as the file has it; nothing if it is not there.
async fn known(
    tx: &Tx,
    account: &ImportAccount,
    all: &ImportPeople,
    now: Time,
) -> Result<Option<Imported>, ImportFailure> {
    // Nothing is done to it either way, so it need not be locked.
    let Some(stored) = tx.account_fetch(&account.id).await? else { return Ok(None) };
    if stored.state == AccountState::Closed {
        let wrong =
            ImportError::Conflict(format!("the account `{}` was closed; its id is spent", account.id));
        return Err(ImportFailure::Faults(vec![Fault { line: account.line, field: "account_id", wrong }]));
    }
    let stored = exported(tx, stored, now).await?;
    let faults = compare::differences(account, &stored, all);
    if faults.is_empty() { Ok(Some(Imported::Unchanged)) } else { Err(ImportFailure::Faults(faults)) }
}

/// Writes the account, its people and its events; the revision that it is at then.
async fn write(
    tx: &Tx,
    app: &App,
    caller: &Caller,
    import: &ImportAccount,
    people: people::New<'_>,
    now: Time,
    written: &(dyn Fn(usize) + Sync),
) -> Result<i64, ImportFailure> {
    let (_, model) = app.roles.get(&import.model).ok_or_else(|| Error::Internal("no role model".into()))?;
    let mut account = new_account(import, now);
    tx.account_insert(&account, random::nonce()?, "account.created").await?;
    let change = Change {
        account_id: account.id.clone(),
        acting: Acting::Platform,
        request_id: String::new(),
        digest: String::new(),
        note: "imported".to_owned(),
    };
    let by = (caller, &change);
    let mut chunks = import.members.chunks(MEMBERS_PER_REVISION);
    let mut events = vec![event(by, stream(&account), (1, 0), now, created(&account))?];
    loop {
        let members = chunks.next().unwrap_or_default();
        people.write(tx, by, members.iter().map(|member| &member.user_id), now).await?;
        let rows: Vec<Member> =
            members.iter().map(|member| new_member(&account, member, model, now)).collect();
        let stamp = Stamp { time: now, event_kind: "member.joined", revision: account.revision };
        tx.member_insert_many(&rows, stamp).await?;
        for member in &rows {
            let place = (account.revision, events.len());
            events.push(event(by, stream(&account), place, now, joined(member))?);
        }
        account.event_hash = append(tx, &account.event_hash, &events).await?;
        events.clear();
        written(members.len());
        if chunks.len() == 0 {
            break;
        }
        account.revision += 1;
    }
    tx.account_update(&account, now, random::nonce()?, None).await?;
    Ok(account.revision)
}

async fn append(tx: &Tx, previous: &str, events: &[NewEvent]) -> Result<String, Error> {
    Ok(tx.event_append(previous, events).await?)
}

fn stream(account: &Account) -> Stream {
    Stream::Account(account.id.to_string())
}

fn new_account(import: &ImportAccount, now: Time) -> Account {
    let license = License {
        over_limit: import.allow_over_limit,
        over_limit_end_time: import.over_limit_end_time,
        ..License::new(import.purchased, import.subscription.clone())
    };
    let create_time = import.create_time.unwrap_or(now);
    Account {
        state: import.state,
        suspend_time: (import.state == AccountState::Suspended).then_some(now),
        ..Account::new(import.id.clone(), import.name.clone(), import.model.clone(), license, create_time)
    }
}

fn new_member(account: &Account, import: &ImportMember, model: &RoleModel, now: Time) -> Member {
    let role = model.role(&import.role).and_then(|role| model.role_at(role));
    let seat = role.is_some_and(|role| import.holds_seat(rules(role)));
    let join_time = import.join_time.unwrap_or(now);
    Member {
        email: import.contact().to_owned(),
        display_name: import.display_name.clone(),
        state: import.state,
        identities: import
            .identities
            .iter()
            .filter(|identity| identity.given)
            .map(|identity| MemberIdentity {
                issuer: identity.issuer.clone(),
                username: identity.username.clone(),
                bound: identity.subject.is_some(),
            })
            .collect(),
        suspend_time: (import.state == MemberState::Suspended).then_some(now),
        ..Member::new(account.id.clone(), import.user_id.clone(), import.role.clone(), seat, join_time)
    }
}

fn created(account: &Account) -> Happened<'static> {
    let license = &account.license;
    Happened {
        kind: "account.created",
        after: facts([
            ("model", account.model.clone().into()),
            ("purchased", license.purchased.map_or("unlimited".into(), Into::into)),
            ("plan", license.subscription.plan.clone().into()),
            ("expire_time", license.subscription.expire_time.map(Time::micros).into()),
            ("grace_end_time", license.subscription.grace_end_time.map(Time::micros).into()),
            ("imported", true.into()),
        ]),
        ..Default::default()
    }
}

fn joined(member: &Member) -> Happened<'_> {
    let issuers: Vec<&str> = member.identities.iter().map(|identity| identity.issuer.as_str()).collect();
    Happened {
        kind: "member.joined",
        subject_id: member.user_id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", member.role.clone().into()),
            ("seat", member.seat.into()),
            ("suspended", (member.state == MemberState::Suspended).then_some(true).into()),
            ("issuers", if issuers.is_empty() { serde_json::Value::Null } else { issuers.into() }),
            ("imported", true.into()),
        ]),
        personal: facts([
            ("email", member.email.clone().into()),
            ("display_name", member.display_name.clone().into()),
        ]),
    }
}
