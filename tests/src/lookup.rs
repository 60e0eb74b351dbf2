//! What tests look up past the wire: in the store of the server that they test.

use usher_domain::account::Account;
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, InvitationId};
use usher_storage::{Error, EventFilter, EventRow, Store, Tx};

/// An account's id.
///
/// # Panics
/// When it is none.
pub fn account_id(id: &str) -> AccountId {
    AccountId::parse(id).expect("an account id")
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
