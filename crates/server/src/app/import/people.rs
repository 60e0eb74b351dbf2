//! The people of an imported account: those who are known already, and those who are new.

use std::collections::{HashMap, HashSet};

use usher_domain::caller::Caller;
use usher_domain::email::EmailAddress;
use usher_domain::event::Stream;
use usher_domain::id::UserId;
use usher_domain::import::{Fault, ImportAccount, ImportError, ImportIdentity, ImportPeople, ImportPerson};
use usher_domain::text::username_key;
use usher_domain::time::Time;
use usher_storage::{Identity, PAGE_SIZE_MAX, Tx, User};

use super::ImportFailure;
use crate::app::change::{Change, Happened, event, facts};
use crate::error::Error;

const AT_ONCE: usize = PAGE_SIZE_MAX as usize;

/// Those of an account's people who are new to Usher.
pub(super) struct New<'a> {
    all: &'a ImportPeople,
    new: HashSet<&'a UserId>,
}

/// Tells new people from known ones, and finds what speaks against either.
pub(super) async fn check<'a>(
    tx: &Tx,
    account: &'a ImportAccount,
    all: &'a ImportPeople,
) -> Result<New<'a>, ImportFailure> {
    let mut faults = Vec::new();
    let mut new = HashSet::with_capacity(account.members.len());
    for members in account.members.chunks(AT_ONCE) {
        let ids: Vec<UserId> = members.iter().map(|member| member.user_id.clone()).collect();
        let users = tx.user_fetch_many(&ids).await?;
        let users: HashMap<&UserId, &User> = users.iter().map(|user| (&user.id, user)).collect();
        let mut logins: HashMap<UserId, Vec<Identity>> = HashMap::new();
        for login in tx.identity_list_many(&ids).await? {
            logins.entry(login.user_id.clone()).or_default().push(login);
        }
        let claims = Claims::of(tx, members.iter().filter_map(|member| all.get(&member.user_id))).await?;
        for member in members {
            let Some(person) = all.get(&member.user_id) else { continue };
            let id = &member.user_id;
            match users.get(id) {
                Some(user) => {
                    let theirs = logins.get(id).map(Vec::as_slice).unwrap_or_default();
                    faults.extend(known_differs(member.line, user, theirs, person));
                }
                None => {
                    new.insert(id);
                    faults.extend(claims.against(member.line, person));
                }
            }
        }
    }
    if faults.is_empty() { Ok(New { all, new }) } else { Err(ImportFailure::Faults(faults)) }
}

/// What a file says of a known person and the database does not. Less than all is no difference.
fn known_differs(line: u64, user: &User, logins: &[Identity], person: &ImportPerson) -> Option<Fault> {
    let fault = |field, why: &str| Some(conflict(line, field, format!("`{}` {why}", user.id)));
    if user.erase_time.is_some() {
        return fault("user_id", "was erased; the id is spent");
    }
    if let Some(email) = &person.verified_email
        && user.email.as_ref().map(EmailAddress::key) != Some(email.key())
    {
        return fault("verified_email", "is known to Usher without this verified address");
    }
    if person.identities.iter().all(|wanted| has_login(logins, wanted)) {
        None
    } else {
        fault("username", "is known to Usher without this login")
    }
}

fn has_login(logins: &[Identity], wanted: &ImportIdentity) -> bool {
    logins.iter().any(|login| {
        login.issuer == wanted.issuer
            && username_key(&login.username) == username_key(&wanted.username)
            && (wanted.subject.is_none() || login.subject == wanted.subject)
    })
}

fn conflict(line: u64, field: &'static str, why: String) -> Fault {
    Fault { line, field, wrong: ImportError::Conflict(why) }
}

/// What people of the database have already that people of the file claim.
struct Claims {
    emails: HashMap<String, UserId>,
    logins: Vec<Identity>,
}

impl Claims {
    async fn of(tx: &Tx, people: impl Iterator<Item = &ImportPerson>) -> Result<Self, Error> {
        let (mut emails, mut names, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        for person in people {
            emails.extend(person.verified_email.as_ref().map(EmailAddress::key));
            names.extend(person.identities.iter().map(|login| login.username.clone()));
            subjects.extend(person.identities.iter().filter_map(|login| login.subject.clone()));
        }
        let mut claims = Self { emails: HashMap::new(), logins: Vec::new() };
        for keys in emails.chunks(AT_ONCE) {
            for user in tx.user_find_by_emails(keys).await? {
                claims.emails.extend(user.email.map(|email| (email.key(), user.id)));
            }
        }
        for names in names.chunks(AT_ONCE) {
            claims.logins.extend(tx.identity_find_many(names, &[]).await?);
        }
        for subjects in subjects.chunks(AT_ONCE) {
            claims.logins.extend(tx.identity_find_many(&[], subjects).await?);
        }
        Ok(claims)
    }

    fn against(&self, line: u64, person: &ImportPerson) -> Option<Fault> {
        if let Some(owner) = person.verified_email.as_ref().and_then(|email| self.emails.get(&email.key())) {
            let why = format!("the verified address is that of `{owner}` in Usher");
            return Some(conflict(line, "verified_email", why));
        }
        for wanted in &person.identities {
            let taken = |login: &&Identity| {
                login.issuer == wanted.issuer
                    && (username_key(&login.username) == username_key(&wanted.username)
                        || wanted.subject.is_some() && login.subject == wanted.subject)
            };
            if let Some(owner) = self.logins.iter().find(taken) {
                let why = format!("the login is that of `{}` in Usher", owner.user_id);
                return Some(conflict(line, "username", why));
            }
        }
        None
    }
}

impl New<'_> {
    /// Writes those of these people who are new, each with the first event of their own stream.
    pub(super) async fn write<'m>(
        &self,
        tx: &Tx,
        by: (&Caller, &Change),
        ids: impl Iterator<Item = &'m UserId>,
        now: Time,
    ) -> Result<(), Error> {
        let (mut users, mut logins, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids.filter(|id| self.new.contains(id)) {
            let Some(person) = self.all.get(id) else { continue };
            // A user is made at revision 1, and what is known of them is their first change.
            let stream = Stream::User(id.to_string());
            events.push(event(by, stream, (FIRST_REVISION, 0), now, created(id, person))?);
            users.push(new_user(id, person, now));
            logins.extend(person.identities.iter().map(|login| Identity {
                issuer: login.issuer.clone(),
                username: login.username.clone(),
                subject: login.subject.clone(),
                user_id: id.clone(),
                create_time: now,
                bind_time: login.subject.is_some().then_some(now),
            }));
        }
        for (user, hash) in users.iter_mut().zip(tx.event_begin(&events).await?) {
            user.event_hash = hash;
        }
        tx.user_insert_many(&users).await?;
        Ok(tx.identity_insert_many(&logins).await?)
    }
}

const FIRST_REVISION: i64 = 2;

fn new_user(id: &UserId, person: &ImportPerson, now: Time) -> User {
    User {
        id: id.clone(),
        email: person.verified_email.clone(),
        password_hash: None,
        create_time: now,
        erase_time: None,
        revision: FIRST_REVISION,
        event_hash: String::new(),
    }
}

fn created<'a>(id: &'a UserId, person: &ImportPerson) -> Happened<'a> {
    let named = |part: fn(&ImportIdentity) -> Option<&str>| -> serde_json::Value {
        match person.identities.iter().filter_map(part).collect::<Vec<_>>() {
            told if told.is_empty() => serde_json::Value::Null,
            told => told.into(),
        }
    };
    Happened {
        kind: "user.created",
        subject_id: id.as_str(),
        before: Default::default(),
        after: facts([
            ("has_password", false.into()),
            ("issuers", named(|login| Some(&login.issuer))),
            ("imported", true.into()),
        ]),
        personal: facts([
            ("email", person.verified_email.as_ref().map(EmailAddress::as_str).into()),
            ("usernames", named(|login| Some(&login.username))),
            ("subjects", named(|login| login.subject.as_deref())),
        ]),
    }
}
