use std::time::Duration;

use usher_domain::id::TransferId;
use usher_domain::ownership::{OwnershipTransfer, TransferState};
use usher_storage::{Error, Mail, MailKind, MailResult, SharedKey, Store, Tx};

use super::{account_id, add_account, at, user_id};

const HOLD: Duration = Duration::from_secs(60);

async fn add_mails(store: &Store, count: usize) {
    let insert = async |tx: &Tx| {
        for n in 0..count {
            let mail = Mail {
                id: format!("mail_{n:03}"),
                kind: MailKind::Invitation,
                account_id: Some(account_id("acme")),
                subject_id: format!("inv_{n}"),
                email: "ivy@x.test".into(),
                language: String::new(),
                attempts: 0,
                create_time: at(0),
            };
            tx.outbox_insert(&mail).await?;
        }
        Ok::<_, Error>(())
    };
    store.write(insert).await.unwrap();
}

pub(crate) async fn mails_are_claimed_by_one_worker_at_a_time(store: Store) {
    add_mails(&store, 40).await;
    let claim = |store: Store, worker: usize| async move {
        let mut claimed = Vec::new();
        loop {
            let take = async |tx: &Tx| tx.outbox_claim(&format!("worker{worker}"), at(1), HOLD, 3).await;
            let mails = store.write(take).await.unwrap();
            if mails.is_empty() {
                return claimed;
            }
            claimed.extend(mails.into_iter().map(|mail| mail.id));
        }
    };
    let workers = (0..4).map(|worker| tokio::spawn(claim(store.clone(), worker)));
    let mut all: Vec<String> =
        futures::future::join_all(workers).await.into_iter().flat_map(|done| done.unwrap()).collect();
    all.sort();
    let expected: Vec<String> = (0..40).map(|n| format!("mail_{n:03}")).collect();
    assert_eq!(all, expected, "each once");
}

pub(crate) async fn a_claim_ends_and_a_late_worker_is_not_believed(store: Store) {
    add_mails(&store, 1).await;
    let claim = async |worker: &str, seconds: i64| {
        store.write(async |tx: &Tx| tx.outbox_claim(worker, at(seconds), HOLD, 5).await).await.unwrap().len()
    };
    let finish = async |worker: &str, result: MailResult| {
        store
            .write(async |tx: &Tx| tx.outbox_finish("mail_000", worker, &result, at(70)).await)
            .await
            .unwrap()
    };
    assert_eq!((claim("slow", 1).await, claim("other", 30).await), (1, 0));
    assert_eq!(claim("other", 61).await, 1, "the first worker died, or hangs");
    assert!(!finish("slow", MailResult::Sent).await);
    let later = MailResult::Later { next_attempt_time: at(100), failure: "4.2.1 later".into() };
    assert!(finish("other", later).await);
    assert_eq!((claim("other", 99).await, claim("other", 100).await), (0, 1));
    assert!(finish("other", MailResult::Sent).await);
    let depth = store.read(async |tx: &Tx| tx.outbox_depth().await).await.unwrap();
    assert_eq!(depth, (0, None));
}

pub(crate) async fn shared_values_are_those_of_the_first(store: Store) {
    let share = async |offer: &str| {
        store.write(async |tx: &Tx| tx.shared_value(SharedKey::Epoch, offer).await).await.unwrap()
    };
    assert_eq!((share("a").await, share("b").await), ("a".to_owned(), "a".to_owned()));
    store.write(async |tx: &Tx| tx.shared_value_save(SharedKey::Epoch, "c").await).await.unwrap();
    assert_eq!(share("d").await, "c");
}

pub(crate) async fn role_models_are_remembered(store: Store) {
    let save = async |digest: &str| {
        store.write(async |tx: &Tx| tx.role_model_save("m", digest, "matrix").await).await.unwrap();
    };
    save("1").await;
    save("2").await;
    let known = store.read(async |tx: &Tx| tx.role_model_list().await).await.unwrap();
    assert_eq!(known, [("m".to_owned(), "2".to_owned(), "matrix".to_owned())]);
}

pub(crate) async fn an_open_ticket_is_the_only_one(store: Store) {
    add_account(&store, "acme").await;
    let ticket = |id: &str| OwnershipTransfer {
        account_id: account_id("acme"),
        id: TransferId::parse(id).unwrap(),
        role: "owner".into(),
        stored_state: TransferState::Open,
        present_owner_id: Some(user_id("olivia")),
        successor_role: Some("admin".into()),
        new_owner_id: user_id("adam"),
        ticket_ref: "T-1".into(),
        requested_by: "a call".into(),
        note: String::new(),
        opened_by: "sam".into(),
        open_time: at(0),
        expire_time: at(100),
        ended_by: None,
        end_time: None,
    };
    let insert = async |transfer: &OwnershipTransfer| {
        store.write(async |tx: &Tx| tx.ownership_transfer_insert(transfer).await).await
    };
    let mut first = ticket("tkt_1");
    insert(&first).await.unwrap();
    assert!(matches!(insert(&ticket("tkt_2")).await, Err(Error::Exists(_))));
    first.cancel("pat", at(5)).unwrap();
    store.write(async |tx: &Tx| tx.ownership_transfer_update(&first).await).await.unwrap();
    insert(&ticket("tkt_2")).await.unwrap();
    let list = async |states: &[TransferState], now: i64| {
        let read =
            async |tx: &Tx| tx.ownership_transfer_list(&account_id("acme"), states, at(now), None, 10).await;
        let found = store.read(read).await.unwrap();
        found.into_iter().map(|transfer| transfer.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], 0).await, ["tkt_2", "tkt_1"]);
    assert_eq!(list(&[TransferState::Open], 0).await, ["tkt_2"]);
    assert_eq!(list(&[TransferState::Expired], 100).await, ["tkt_2"], "by the clock");
}
