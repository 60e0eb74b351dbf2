//! What tests look up, or arrange, past the wire: through the store of the server that they test.

use usher_domain::account::{Account, AccountState};
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, InvitationId, UserId};
use usher_domain::member::MemberState;
use usher_storage::{Error, EventFilter, EventRow, Stamp, Store, Tx};

use crate::harness::Usher;

/// An account's id.
///
/// # Panics
/// When it is none.
pub fn account_id(id: &str) -> AccountId {
    AccountId::parse(id).expect("an account id")
}

fn user_id(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

/// An account as it is stored.
///
/// # Panics
/// When it is not there.
pub async fn account(store: &Store, id: &str) -> Account {
    let id = account_id(id);
    let found = store.read(async |tx: &Tx| Ok::<_, Error>(tx.account_fetch(&id).await?)).await;
    found.expect("the store").expect("an account")
}

/// All events of an account, in their order.
///
/// # Panics
/// When they cannot be read.
pub async fn events(store: &Store, account: &str) -> Vec<EventRow> {
    let stream = Stream::Account(account.to_owned());
    let filter = EventFilter::default();
    let read =
        store.read(async |tx: &Tx| Ok::<_, Error>(tx.event_list(&stream, &filter, None, 100_000).await?));
    read.await.expect("the events")
}

/// Whether each event carries the hash of the one before it, the revisions have no gap, and the account
/// knows the newest hash.
///
/// # Panics
/// When they do not.
pub fn check_chain(account: &Account, events: &[EventRow]) {
    let mut previous = String::new();
    let mut last = (0, 0);
    for row in events {
        let (revision, index) = (row.event.revision, row.event.index);
        let follows = (revision, index) == (last.0, last.1 + 1) || (revision, index) == (last.0 + 1, 0);
        assert!(follows, "event ({revision}, {index}) after {last:?} of {}", account.id);
        assert_eq!(row.hash, row.event.hash(&previous), "event ({revision}, {index}) of {}", account.id);
        previous.clone_from(&row.hash);
        last = (revision, index);
    }
    assert_eq!((account.revision, &account.event_hash), (last.0, &previous), "{}", account.id);
}

/// How many mails of an invitation the outbox ever held.
///
/// # Panics
/// When they cannot be read.
pub async fn mails_of_invitation(store: &Store, invitation: &str) -> usize {
    let id = InvitationId::parse(invitation).expect("an invitation id");
    let read = store.read(async |tx: &Tx| Ok::<_, Error>(tx.outbox_list_invitation(&id).await?.len()));
    read.await.expect("the outbox")
}

impl Usher {
    /// Puts an account into a state that no served call leads to yet.
    pub async fn set_account_state(&self, account: &str, state: AccountState) {
        self.rewrite(account, |account| account.state = state, None).await;
    }

    /// Suspends a member as SuspendMember would.
    pub async fn suspend_member(&self, account: &str, user: &str) {
        self.rewrite(account, |_| {}, Some(user)).await;
    }

    async fn rewrite(&self, id: &str, change: impl FnOnce(&mut Account) + Send, suspend: Option<&str>) {
        let (id, now) = (account_id(id), self.clock.now());
        let suspend = suspend.map(user_id);
        let written = self.app.store.write(async |tx: &Tx| {
            let mut account = tx.account_lock(&id).await?.expect("an account");
            change(&mut account);
            account.revision += 1;
            if let Some(user) = suspend {
                let mut member = tx.member_fetch(&id, &user).await?.expect("a member");
                (member.state, member.seat, member.suspend_time) = (MemberState::Suspended, false, Some(now));
                let stamp = Stamp { time: now, event_kind: "member.suspended", revision: account.revision };
                tx.member_update(&member, Some(stamp)).await?;
            }
            tx.account_update(&account, now, 0, Some("account.suspended")).await?;
            Ok::<_, Error>(account.revision)
        });
        let revision = written.await.expect("the store");
        self.app.standings.raise_floor(&id, revision);
    }
}
