//! The one way to change an account: lock, replay or guard, decide, write, append events, bump the
//! revision, remember the request, commit, tell the others.

use serde::Serialize;
use serde::de::DeserializeOwned;
use usher_domain::account::Account;
use usher_domain::caller::{Acting, Caller};
use usher_domain::event::{Event, Facts, Personal, Stream};
use usher_domain::id::AccountId;
use usher_domain::license::Seats;
use usher_domain::time::Time;
use usher_storage::{Mail, MailKind, NewEvent, RequestKey, Stamp, Tx};

use super::access::Access;
use super::{App, REQUEST_MEMORY};
use crate::error::Error;
use crate::faults::{self, Fault};
use crate::guard::Guard;
use crate::random;

/// What every request that changes an account says.
#[derive(Debug, Clone)]
pub struct Change {
    pub account_id: AccountId,
    pub acting: Acting,
    /// Empty when the caller gave none.
    pub request_id: String,
    /// Tells this request from another under the same request id; empty for what is not remembered.
    pub digest: String,
    pub note: String,
}

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    pub outcome: T,
    /// The account's revision now.
    pub revision: i64,
    /// How many events it wrote.
    pub events: u32,
    /// Whether this is the remembered result of an earlier request.
    pub replayed: bool,
}

/// A locked account in the hands of one use case, with the events that it will leave.
pub struct Scene<'a> {
    pub app: &'a App,
    pub tx: &'a Tx,
    pub access: Access<'a>,
    caller: &'a Caller,
    change: &'a Change,
    events: Vec<NewEvent>,
    /// The kind of the last event about the account itself.
    account_event: Option<&'static str>,
    has_mail: bool,
    /// Only when that mistake is made.
    seats_unlocked: Option<Seats>,
}

/// Something that happened, as a use case says it.
#[derive(Debug, Default)]
pub struct Happened<'a> {
    pub kind: &'static str,
    /// Empty for the account itself.
    pub subject_id: &'a str,
    pub before: Facts,
    pub after: Facts,
    /// What identifies a person.
    pub personal: Facts,
}

/// Changes an account in one transaction.
///
/// # Errors
/// Those of the guard, the work and the store; then nothing was written.
pub async fn change<T>(
    app: &App,
    caller: &Caller,
    guard: &Guard,
    change: &Change,
    work: impl AsyncFnOnce(&mut Scene<'_>) -> Result<T, Error> + Send,
) -> Result<Changed<T>, Error>
where
    T: Serialize + DeserializeOwned + Send,
{
    run(app, caller, guard, change, false, work).await
}

/// As [`change`], for what the platform may do to closed accounts too.
///
/// # Errors
/// As [`change`].
pub async fn change_any<T>(
    app: &App,
    caller: &Caller,
    guard: &Guard,
    change: &Change,
    work: impl AsyncFnOnce(&mut Scene<'_>) -> Result<T, Error> + Send,
) -> Result<Changed<T>, Error>
where
    T: Serialize + DeserializeOwned + Send,
{
    run(app, caller, guard, change, true, work).await
}

async fn run<T>(
    app: &App,
    caller: &Caller,
    guard: &Guard,
    change: &Change,
    even_closed: bool,
    work: impl AsyncFnOnce(&mut Scene<'_>) -> Result<T, Error> + Send,
) -> Result<Changed<T>, Error>
where
    T: Serialize + DeserializeOwned + Send,
{
    let key = RequestKey {
        caller: caller.name.to_string(),
        rpc: guard.rpc,
        account_id: change.account_id.to_string(),
        request_id: change.request_id.clone(),
    };
    let now = app.clock.now();
    let seats_unlocked = match faults::is(Fault::SeatsUnlocked) {
        true => count_seats(app, &change.account_id, now).await?,
        false => None,
    };
    let (changed, has_mail) = app
        .store
        .write(async |tx: &Tx| {
            let account = tx.account_lock(&change.account_id).await?;
            if let Some(first) = replay(tx, &key, change, now).await? {
                return Ok((first, false));
            }
            let access = match account {
                Some(account) if even_closed => Access::of_platform(app.roles, now, account),
                account => Access::open(app.roles, now, tx, account, &change.acting).await?,
            };
            let mut scene = Scene::begin(app, tx, access, caller, change);
            scene.seats_unlocked = seats_unlocked;
            if let Some(action) = guard.action {
                scene.access.require(action)?;
            }
            let outcome = work(&mut scene).await?;
            let has_mail = scene.has_mail;
            let (revision, events) = scene.finish().await?;
            let changed = Changed { outcome, revision, events, replayed: false };
            remember(tx, &key, change, &changed, now).await?;
            Ok::<_, Error>((changed, has_mail))
        })
        .await?;
    app.announce(&change.account_id, changed.revision);
    if has_mail {
        app.mail_waits.notify_one();
    }
    tracing::info!(
        rpc = guard.rpc, account_id = %change.account_id, caller = %caller.name, revision = changed.revision,
        events = changed.events, replayed = changed.replayed, "changed"
    );
    Ok(changed)
}

async fn count_seats(app: &App, account: &AccountId, now: Time) -> Result<Option<Seats>, Error> {
    app.store
        .read(async |tx: &Tx| match tx.account_fetch(account).await? {
            Some(account) => Ok(Some(tx.seats(&account, now).await?)),
            None => Ok(None),
        })
        .await
}

/// The remembered result of the same request, if it was made before.
pub(super) async fn replay<T: DeserializeOwned>(
    tx: &Tx,
    key: &RequestKey,
    change: &Change,
    now: Time,
) -> Result<Option<Changed<T>>, Error> {
    if key.request_id.is_empty() || change.digest.is_empty() {
        return Ok(None);
    }
    let Some((digest, outcome)) = tx.request_find(key, now.minus(REQUEST_MEMORY)).await? else {
        return Ok(None);
    };
    if digest != change.digest {
        return Err(Error::RequestIdReused);
    }
    let (outcome, revision, events) =
        serde_json::from_str(&outcome).map_err(|e| Error::Internal(format!("a remembered request: {e}")))?;
    Ok(Some(Changed { outcome, revision, events, replayed: true }))
}

pub(super) async fn remember<T: Serialize>(
    tx: &Tx,
    key: &RequestKey,
    change: &Change,
    changed: &Changed<T>,
    now: Time,
) -> Result<(), Error> {
    if key.request_id.is_empty() || change.digest.is_empty() {
        return Ok(());
    }
    let outcome = serde_json::to_string(&(&changed.outcome, changed.revision, changed.events))
        .map_err(|e| Error::Internal(format!("a request to remember: {e}")))?;
    Ok(tx.request_insert(key, &change.digest, &outcome, now).await?)
}

impl<'a> Scene<'a> {
    /// Begins a change of an account that the transaction has locked.
    pub fn begin(
        app: &'a App,
        tx: &'a Tx,
        access: Access<'a>,
        caller: &'a Caller,
        change: &'a Change,
    ) -> Self {
        Self {
            app,
            tx,
            access,
            caller,
            change,
            events: Vec::new(),
            account_event: None,
            has_mail: false,
            seats_unlocked: None,
        }
    }

    pub fn account(&self) -> &Account {
        &self.access.account
    }

    /// The account's seat figures, counted under its lock.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn seats(&self) -> Result<Seats, Error> {
        match self.seats_unlocked {
            Some(seats) => Ok(seats),
            None => Ok(self.tx.seats(self.account(), self.access.now).await?),
        }
    }

    /// The seat figures, if somebody may come in now.
    ///
    /// # Errors
    /// Those of [`Account::require_open`] and of the store.
    pub async fn require_open(&self) -> Result<Seats, Error> {
        let seats = self.seats().await?;
        self.account().require_open(self.access.now, seats)?;
        Ok(seats)
    }

    /// What a member's row is stamped with by this change.
    pub fn stamp(&self, event_kind: &'static str) -> Stamp<'static> {
        Stamp { time: self.access.now, event_kind, revision: self.access.account.revision + 1 }
    }

    /// Adds an event to the change. `Happened::kind` starting with `account.`, `license.` or
    /// `subscription.` is about the account itself.
    ///
    /// # Errors
    /// When there is no randomness for the salt of personal facts.
    pub fn happened(&mut self, what: Happened<'_>) -> Result<(), Error> {
        let what_kind = what.kind;
        let event = event(
            (self.caller, self.change),
            Stream::Account(self.access.account.id.to_string()),
            (self.access.account.revision + 1, self.events.len()),
            self.access.now,
            what,
        )?;
        if ["account.", "license.", "subscription."].iter().any(|noun| what_kind.starts_with(noun)) {
            self.account_event = Some(what_kind);
        }
        self.events.push(event);
        Ok(())
    }

    /// Puts a mail into the outbox.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn mail(
        &mut self,
        kind: MailKind,
        subject_id: &str,
        email: &str,
        language: &str,
    ) -> Result<(), Error> {
        let mail = Mail {
            id: random::id("mail"),
            kind,
            account_id: Some(self.access.account.id.clone()),
            subject_id: subject_id.to_owned(),
            email: email.to_owned(),
            language: language.to_owned(),
            attempts: 0,
            create_time: self.access.now,
        };
        self.tx.outbox_insert(&mail).await?;
        self.has_mail = true;
        Ok(())
    }

    /// Writes the account and its events; the revision goes up by one if anything happened.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn finish(mut self) -> Result<(i64, u32), Error> {
        let count = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        let account = &mut self.access.account;
        if count > 0 {
            account.revision += 1;
            account.event_hash = self.tx.event_append(&account.event_hash, &self.events).await?;
            self.tx.account_update(account, self.access.now, random::nonce()?, self.account_event).await?;
        }
        Ok((account.revision, count))
    }
}

/// An event with its personal part and the commitment to it.
pub(super) fn event(
    (caller, change): (&Caller, &Change),
    stream: Stream,
    (revision, index): (i64, usize),
    now: Time,
    what: Happened<'_>,
) -> Result<NewEvent, Error> {
    let personal = if what.personal.is_empty() {
        None
    } else {
        Some(Personal { salt: random::token()?.into_exposed(), facts: what.personal })
    };
    let event = Event {
        stream,
        revision,
        index: u32::try_from(index).unwrap_or(u32::MAX),
        time: now,
        kind: what.kind.to_owned(),
        caller: caller.name.to_string(),
        actor_id: change.acting.member().map(ToString::to_string),
        subject_id: what.subject_id.to_owned(),
        request_id: change.request_id.clone(),
        note: change.note.clone(),
        before: what.before,
        after: what.after,
        personal_commitment: personal.as_ref().map(Personal::commitment).unwrap_or_default(),
    };
    Ok(NewEvent { event, personal })
}

/// Facts from pairs, without those that are empty.
pub fn facts<const N: usize>(pairs: [(&str, serde_json::Value); N]) -> Facts {
    let told = pairs.into_iter().filter(|(_, value)| !value.is_null() && value != "");
    told.map(|(name, value)| (name.to_owned(), value)).collect()
}
