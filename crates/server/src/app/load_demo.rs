//! Many accounts full of people, for trials at size. What is written is what founding the accounts and
//! inviting everybody would have left: rows, revisions and chained events.

use usher_domain::account::Account;
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, UserId};
use usher_domain::license::{License, Subscription};
use usher_domain::member::Member;
use usher_domain::time::Time;
use usher_policy::{Role, RoleModel};
use usher_storage::{Stamp, Tx, User, WholeAccount};

use super::App;
use super::change::{Change, Happened, event, facts};
use crate::error::Error;
use crate::random;

/// About how many members are written in one transaction.
const MEMBERS_PER_TRANSACTION: u32 = 5000;
/// How many seats each account has to spare.
const SEATS_SPARE: u32 = 5;

#[derive(Debug, Clone, Copy)]
pub struct LoadDemo {
    pub accounts: u32,
    /// In all accounts together; each has at least one.
    pub members: u32,
}

/// Whether there is any account.
///
/// # Errors
/// Those of the store.
pub async fn is_empty(app: &App) -> Result<bool, Error> {
    app.store.read(async |tx: &Tx| Ok(tx.account_models().await?.is_empty())).await
}

/// The accounts `demo-1`, `demo-2` and so on, with the users `demo-1-u1` and so on; every second one has the
/// next role model. `progress` is told how many members are written.
///
/// # Errors
/// When accounts of these names are there; those of the store.
pub async fn load_demo(app: &App, plan: &LoadDemo, mut progress: impl FnMut(u32)) -> Result<(), Error> {
    let models: Vec<&RoleModel> = app.roles.models().iter().collect();
    let mut batch = Vec::new();
    let (mut waiting, mut written) = (0, 0);
    for index in 0..plan.accounts {
        let model = models[index as usize % models.len()];
        let members = share(plan, index);
        batch.push(whole(model, index + 1, members, app.clock.now())?);
        waiting += members;
        if waiting >= MEMBERS_PER_TRANSACTION || index + 1 == plan.accounts {
            app.store.account_bulk_insert(&std::mem::take(&mut batch)).await?;
            written += std::mem::take(&mut waiting);
            progress(written);
        }
    }
    Ok(())
}

/// Members are dealt out evenly, what is left over to the first accounts.
fn share(plan: &LoadDemo, index: u32) -> u32 {
    plan.members / plan.accounts + u32::from(index < plan.members % plan.accounts)
}

fn whole(model: &RoleModel, number: u32, members: u32, now: Time) -> Result<WholeAccount, Error> {
    let invalid = |e: usher_domain::id::IdError| Error::Internal(e.to_string());
    let id = AccountId::parse(&format!("demo-{number}")).map_err(invalid)?;
    let mut account = account(model, id, members, now);
    let caller = Caller::local();
    let change = Change {
        account_id: account.id.clone(),
        acting: Acting::Platform,
        request_id: String::new(),
        digest: String::new(),
        note: String::new(),
    };
    let new_event = |at: (i64, usize), what: Happened<'_>| {
        event((&caller, &change), Stream::Account(account.id.to_string()), at, now, what)
    };
    let created = Happened {
        kind: "account.created",
        after: facts([
            ("model", account.model.clone().into()),
            ("purchased", account.license.purchased.into()),
            ("plan", account.license.subscription.plan.clone().into()),
        ]),
        ..Default::default()
    };
    let mut events = vec![new_event((1, 0), created)?];
    let mut people = Vec::with_capacity(members as usize);
    for person in 0..members {
        let revision = i64::from(person) + 1;
        let role = role(model, person)?;
        let user_id = UserId::parse(&format!("demo-{number}-u{}", person + 1)).map_err(invalid)?;
        let (user, member) = member(&account.id, user_id, role, now)?;
        events.push(new_event((revision, usize::from(person == 0)), joined(&member, person == 0))?);
        people.push((user, member, Stamp { time: now, event_kind: "member.joined", revision }));
    }
    account.revision = i64::from(members);
    Ok(WholeAccount {
        account,
        nonce: random::nonce()?,
        event_kind: "account.created",
        members: people,
        events,
    })
}

fn account(model: &RoleModel, id: AccountId, members: u32, now: Time) -> Account {
    let subscription = Subscription { plan: "demo".to_owned(), expire_time: None, grace_end_time: None };
    let license = License::new(Some(members + SEATS_SPARE), subscription);
    let name = format!("Demo {}", id.as_str().trim_start_matches("demo-"));
    Account::new(id, name, model.id().to_owned(), license, now)
}

/// The first is the founder; the others have the other roles in turn.
fn role(model: &RoleModel, person: u32) -> Result<&Role, Error> {
    let founder = model.role_at(model.founder_role());
    let others: Vec<&Role> = model.roles().iter().filter(|role| !role.founder).collect();
    let role = match person.checked_sub(1) {
        Some(index) if !others.is_empty() => Some(others[index as usize % others.len()]),
        _ => founder,
    };
    role.ok_or_else(|| Error::Internal(format!("the model `{}` has no founder", model.id())))
}

fn member(account: &AccountId, user_id: UserId, role: &Role, now: Time) -> Result<(User, Member), Error> {
    let address = format!("{user_id}@people.example");
    let email = EmailAddress::parse(&address).map_err(|e| Error::Internal(e.to_string()))?;
    let member = Member {
        email: email.as_str().to_owned(),
        email_verified: true,
        display_name: format!("Person {user_id}"),
        ..Member::new(account.clone(), user_id.clone(), role.id.to_string(), role.uses_seat, now)
    };
    let user = User {
        id: user_id,
        email: Some(email),
        password_hash: None,
        create_time: now,
        erase_time: None,
        revision: 1,
        event_hash: String::new(),
    };
    Ok((user, member))
}

fn joined(member: &Member, is_founder: bool) -> Happened<'_> {
    let founder = if is_founder { true.into() } else { serde_json::Value::Null };
    Happened {
        kind: "member.joined",
        subject_id: member.user_id.as_str(),
        before: Default::default(),
        after: facts([
            ("role", member.role.clone().into()),
            ("seat", member.seat.into()),
            ("founder", founder),
        ]),
        personal: facts([
            ("email", member.email.clone().into()),
            ("display_name", member.display_name.clone().into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_dealt_out_to_the_last() {
        let plan = LoadDemo { accounts: 3, members: 8 };
        assert_eq!([0, 1, 2].map(|index| share(&plan, index)), [3, 3, 2]);
    }
}
