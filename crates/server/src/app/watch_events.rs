//! Following an account's changes, for services that keep a copy: from a revision, or from a snapshot.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use usher_domain::account::AccountView;
use usher_domain::caller::{Acting, Caller};
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, UserId};
use usher_storage::{EventFilter, EventRow, PAGE_SIZE_MAX, Tx};

use super::App;
use super::access::Access;
use super::events::wire_bytes;
use super::view::{LicensesView, MemberView, SubscriptionView, licenses, member_view};
use crate::error::Error;

/// Messages that wait for the reader.
const WAITING_MAX: usize = 16;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often changes are looked for when nobody says that there are some.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What the events of one message may take: with [`WAITING_MAX`] of them a slow reader costs 1 MiB, and a
/// revision of any size passes the limit of answers.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A follower further behind than this takes a snapshot: that is less to read.
const BEHIND_MAX: i64 = 100_000;

#[derive(Debug, Clone)]
pub struct WatchEvents {
    pub account_id: AccountId,
    pub start: Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Now,
    After(i64),
    Snapshot,
}

/// A message to the follower, with the revision that they are complete for once they have it.
pub struct Told {
    pub revision: i64,
    pub content: Content,
}

pub enum Content {
    Snapshot(Box<Snapshot>),
    /// Events of one revision, all that are left of it if the message carries that revision; at least one.
    Changes(Vec<EventRow>),
    Heartbeat,
}

/// A part of an account as it is.
#[derive(Default)]
pub struct Snapshot {
    /// In the first part only.
    pub account: Option<(AccountView, LicensesView, SubscriptionView)>,
    pub members: Vec<MemberView>,
    pub last: bool,
}

pub type Watching = mpsc::Receiver<Result<Told, Error>>;

/// # Errors
/// `Missing(Account)`, `CursorTooOld`, `RevisionInFuture`.
pub async fn watch_events(app: App, _caller: Caller, command: WatchEvents) -> Result<Watching, Error> {
    let mut histories = app.histories.subscribe();
    let now = app.clock.now();
    let current = app
        .store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &Acting::Platform).await?;
            Ok::<_, Error>(access.account.revision)
        })
        .await?;
    if let Start::After(revision) = command.start {
        if revision > current {
            return Err(Error::RevisionInFuture.with("revision", current));
        }
        if current - revision > BEHIND_MAX {
            return Err(Error::CursorTooOld.with("oldest_revision", current - BEHIND_MAX));
        }
    }
    let (sender, receiver) = mpsc::channel(WAITING_MAX + 1);
    // Why it ends is told also to a reader for whom no message more has room.
    let last_word = sender.clone().reserve_owned().await;
    // Subscribed before anything is read, so that no change falls between.
    let changes = app.changes.subscribe();
    let follower = Follower { app, account: command.account_id, sender };
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = follower.run(command.start, current, changes) => ended,
            // Revisions of the former history may be other changes now, and a part of what was told never was.
            _ = histories.changed() => Err(Error::CursorTooOld),
        };
        if let (Err(error), Ok(last_word)) = (ended, last_word) {
            tracing::info!(account_id = %follower.account, %error, "a follower is cut off");
            last_word.send(Err(error));
        }
    });
    Ok(receiver)
}

struct Follower {
    app: App,
    account: AccountId,
    sender: mpsc::Sender<Result<Told, Error>>,
}

/// How far a follower is.
struct Place {
    /// The revision that they are complete for.
    complete: i64,
    /// The revision and index of the last event that they were told.
    last: (i64, u32),
}

impl Place {
    fn after(revision: i64) -> Self {
        Self { complete: revision, last: (revision, u32::MAX) }
    }
}

/// The reader is gone: not an error, but the end.
struct Gone;

impl Follower {
    async fn run(
        &self,
        start: Start,
        current: i64,
        mut changes: tokio::sync::broadcast::Receiver<AccountId>,
    ) -> Result<(), Error> {
        let mut place = Place::after(match start {
            Start::After(revision) => revision,
            Start::Now => current,
            Start::Snapshot => self.snapshot().await?,
        });
        let mut beat = Instant::now() + HEARTBEAT;
        loop {
            match self.changes(&mut place).await? {
                Some(true) => beat = Instant::now() + HEARTBEAT,
                Some(false) => {
                    if !self.wait(&mut changes, place.complete, &mut beat).await? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    async fn tell(&self, revision: i64, content: Content) -> Result<Result<(), Gone>, Error> {
        match self.sender.send_timeout(Ok(Told { revision, content }), self.app.choices.slow_reader).await {
            Ok(()) => Ok(Ok(())),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Ok(Err(Gone)),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Error::SlowReader),
        }
    }

    /// The account as it is, in parts. Rows of later parts may be of later revisions than the one it
    /// is labelled with; the events after that revision say the same again, and more. Members come by their id,
    /// which never changes, so that each stands in one part.
    async fn snapshot(&self) -> Result<i64, Error> {
        let mut after: Option<UserId> = None;
        let mut labelled = None;
        loop {
            let (revision, part, next) = self.part(after.as_ref(), labelled.is_none()).await?;
            let revision = *labelled.get_or_insert(revision);
            let last = part.last;
            if self.tell(revision, Content::Snapshot(Box::new(part))).await?.is_err() || last {
                return Ok(revision);
            }
            after = next;
        }
    }

    async fn part(
        &self,
        after: Option<&UserId>,
        first: bool,
    ) -> Result<(i64, Snapshot, Option<UserId>), Error> {
        let now = self.app.clock.now();
        let app = &self.app;
        app.store
            .read(async |tx: &Tx| {
                let account = tx.account_fetch(&self.account).await?;
                let access = Access::open(app.roles, now, tx, account, &Acting::Platform).await?;
                let mut members = tx.members_by_id(&self.account, after, PAGE_SIZE_MAX + 1).await?;
                let last = members.len() <= PAGE_SIZE_MAX as usize;
                members.truncate(PAGE_SIZE_MAX as usize);
                let next = members.last().map(|member| member.user_id.clone());
                let model = access.model()?;
                let subscription = access.account.license.subscription.clone();
                let head = match first {
                    true => Some((
                        access.account.view(),
                        licenses(tx, &access).await?,
                        SubscriptionView { subscription, as_of: now },
                    )),
                    false => None,
                };
                let members = members.into_iter().map(|member| member_view(model, member)).collect();
                Ok((access.account.revision, Snapshot { account: head, members, last }, next))
            })
            .await
    }

    /// Tells what comes after a place, and whether anything did; `None` when the reader is gone.
    async fn changes(&self, place: &mut Place) -> Result<Option<bool>, Error> {
        let stream = Stream::Account(self.account.to_string());
        let (filter, after) = (EventFilter::default(), Some(place.last));
        let read =
            async |tx: &Tx| Ok::<_, Error>(tx.event_list(&stream, &filter, after, PAGE_SIZE_MAX + 1).await?);
        let mut events = self.app.store.read(read).await?;
        // One more than is told says whether the last revision goes on.
        let beyond = events.split_off(events.len().min(PAGE_SIZE_MAX as usize));
        let beyond = beyond.first().map(|row| row.event.revision);
        let any = !events.is_empty();
        let mut parts = parts(events).into_iter().peekable();
        while let Some(part) = parts.next() {
            let next = parts.peek().map_or(beyond, |next| Some(next[0].event.revision));
            let last = &part[part.len() - 1].event;
            if next != Some(last.revision) {
                place.complete = last.revision;
            }
            place.last = (last.revision, last.index);
            if self.tell(place.complete, Content::Changes(part)).await?.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(any))
    }

    /// Waits until the account may have changed, beating the heart meanwhile; false when the reader is
    /// gone.
    async fn wait(
        &self,
        changes: &mut tokio::sync::broadcast::Receiver<AccountId>,
        complete: i64,
        beat: &mut Instant,
    ) -> Result<bool, Error> {
        let look = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = self.sender.closed() => return Ok(false),
                () = self.app.closing.cancelled() => return Ok(false),
                changed = changes.recv() => match changed {
                    Ok(account) if account != self.account => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Ok(true),
                    Err(RecvError::Closed) => return Ok(false),
                },
                () = &mut look => return Ok(true),
                () = tokio::time::sleep_until(*beat) => {
                    *beat = Instant::now() + HEARTBEAT;
                    if self.tell(complete, Content::Heartbeat).await?.is_err() {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// Splits events into messages, each of one revision.
fn parts(events: Vec<EventRow>) -> Vec<Vec<EventRow>> {
    let (mut parts, mut bytes) = (Vec::<Vec<EventRow>>::new(), 0);
    for row in events {
        let size = wire_bytes(&row);
        bytes += size;
        match parts.last_mut() {
            Some(part) if part[0].event.revision == row.event.revision && bytes <= MESSAGE_BYTES_MAX => {
                part.push(row);
            }
            _ => {
                bytes = size;
                parts.push(vec![row]);
            }
        }
    }
    parts
}
