use std::time::Duration;

use usher_domain::event::{Event, Facts, Personal, Stream};
use usher_storage::{Error, EventFilter, NewEvent, RequestKey, Store, Tx};

use super::{Result, account, account_id, add_account, at};

pub(crate) async fn an_account_is_what_was_written(store: Store) {
    add_account(&store, "acme").await;
    let id = account_id("acme");
    let mut changed = store.read(async |tx: &Tx| tx.account_fetch(&id).await).await.unwrap().unwrap();
    assert_eq!(changed, account("acme"));
    changed.revision = 2;
    changed.name = "🦉".into();
    changed.license.purchased = None;
    changed.license.seats_as_of = Some(at(5));
    changed.suspend_time = Some(at(6));
    store
        .write(async |tx: &Tx| tx.account_update(&changed, at(6), 8, Some("account.updated")).await)
        .await
        .unwrap();
    let read = store.read(async |tx: &Tx| tx.account_fetch(&id).await).await.unwrap().unwrap();
    assert_eq!(read, changed);
    let again =
        store.write(async |tx: &Tx| tx.account_insert(&account("acme"), 1, "account.created").await).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert_eq!(store.read(async |tx: &Tx| tx.account_fetch(&account_id("Acme")).await).await.unwrap(), None);
}

pub(crate) async fn an_error_rolls_back_and_so_does_a_dropped_future(store: Store) {
    let failed: Result<()> = store
        .write(async |tx: &Tx| {
            tx.account_insert(&account("acme"), 7, "account.created").await?;
            Err(Error::Internal("on purpose".into()))
        })
        .await;
    assert!(failed.is_err());
    let dropped = store.write(async |tx: &Tx| {
        tx.account_insert(&account("acme"), 7, "account.created").await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, Error>(())
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), dropped).await.is_err());
    let read = store.read(async |tx: &Tx| tx.account_fetch(&account_id("acme")).await).await.unwrap();
    assert_eq!(read, None);
    // And the store still works.
    add_account(&store, "acme").await;
}

/// Sixty-four writers read, think, and write one more: none is lost.
pub(crate) async fn writers_of_one_account_take_turns(store: Store) {
    add_account(&store, "acme").await;
    let write = |store: Store| async move {
        store
            .write(async |tx: &Tx| {
                let mut account = tx.account_lock(&account_id("acme")).await?.unwrap();
                tokio::task::yield_now().await;
                account.revision += 1;
                tx.account_update(&account, at(1), account.revision, None).await
            })
            .await
    };
    let done = futures::future::join_all((0..64).map(|_| tokio::spawn(write(store.clone())))).await;
    for one in done {
        one.unwrap().unwrap();
    }
    let read = store.read(async |tx: &Tx| tx.account_fetch(&account_id("acme")).await).await.unwrap();
    assert_eq!(read.unwrap().revision, 65);
}

pub(crate) async fn migrating_again_changes_nothing(store: Store) {
    add_account(&store, "acme").await;
    store.migrate().await.unwrap();
    assert_eq!(store.pending_migrations().await.unwrap(), Vec::<String>::new());
    assert!(store.read(async |tx: &Tx| tx.account_fetch(&account_id("acme")).await).await.unwrap().is_some());
}

pub(crate) async fn a_remembered_request_is_found_until_it_is_too_old(store: Store) {
    let key = |request: &str| RequestKey {
        caller: "gateway".into(),
        rpc: "MemberService/InviteUser",
        account_id: "acme".into(),
        request_id: request.into(),
    };
    store.write(async |tx: &Tx| tx.request_insert(&key("r1"), "d1", "first", at(10)).await).await.unwrap();
    let find = async |request: &str, since: i64| {
        let key = key(request);
        store.read(async |tx: &Tx| tx.request_find(&key, at(since)).await).await.unwrap()
    };
    assert_eq!(find("r1", 0).await, Some(("d1".into(), "first".into())));
    assert_eq!(find("r1", 10).await, None, "too old");
    assert_eq!(find("R1", 0).await, None, "case counts");
    let forgotten = store.write(async |tx: &Tx| tx.request_delete_before(at(10)).await).await.unwrap();
    assert_eq!((forgotten, find("r1", 0).await), (1, None));
}

fn event(revision: i64, index: u32, kind: &str) -> NewEvent {
    let personal = Personal { salt: "s".into(), facts: Facts::from([("email".into(), "ä@b.test".into())]) };
    NewEvent {
        event: Event {
            stream: Stream::Account("acme".into()),
            revision,
            index,
            time: at(revision),
            kind: kind.into(),
            caller: "gateway".into(),
            actor_id: Some("alice".into()),
            subject_id: "bob".into(),
            request_id: String::new(),
            note: "ünï".into(),
            before: Facts::new(),
            after: Facts::from([("n".into(), revision.into())]),
            personal_commitment: personal.commitment(),
        },
        personal: Some(personal),
    }
}

pub(crate) async fn events_are_chained_in_order_and_pages_go_both_ways(store: Store) {
    let first = [event(1, 0, "account.created"), event(1, 1, "member.joined")];
    let second = [event(2, 0, "member.removed")];
    let hash = store
        .write(async |tx: &Tx| {
            let hash = tx.event_append("", &first).await?;
            tx.event_append(&hash, &second).await
        })
        .await
        .unwrap();
    let stream = Stream::Account("acme".into());
    let list = async |filter: EventFilter, after: Option<(i64, u32)>| {
        let read = async |tx: &Tx| tx.event_list(&stream, &filter, after, 2).await;
        store.read(read).await.unwrap()
    };
    let place = |row: &usher_storage::EventRow| (row.event.revision, row.event.index);
    let forward = list(EventFilter::default(), None).await;
    assert_eq!(forward.iter().map(place).collect::<Vec<_>>(), [(1, 0), (1, 1)]);
    let rest = list(EventFilter::default(), Some((1, 1))).await;
    assert_eq!(rest.iter().map(place).collect::<Vec<_>>(), [(2, 0)]);
    let newest = list(EventFilter { descending: true, ..Default::default() }, None).await;
    assert_eq!(newest.iter().map(place).collect::<Vec<_>>(), [(2, 0), (1, 1)]);
    let members = list(EventFilter { kinds: vec!["member".into()], ..Default::default() }, None).await;
    assert_eq!(members.len(), 2, "a kind's part before the dot");
    let mut previous = String::new();
    for row in forward.iter().chain(&rest) {
        assert_eq!(row.hash, row.event.hash(&previous));
        assert_eq!(row.personal.as_ref().unwrap().commitment(), row.event.personal_commitment);
        previous.clone_from(&row.hash);
    }
    assert_eq!(previous, hash);
    let gap = store.write(async |tx: &Tx| tx.event_append("", &[event(2, 0, "again")]).await).await;
    assert!(matches!(gap, Err(Error::Exists(_))), "a revision is written once");
}
