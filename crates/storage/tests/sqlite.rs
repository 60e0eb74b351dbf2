//! All cases on SQLite, each with a file of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod suite;

use std::time::Duration;

use usher_storage::{ConnectOptions, Store, Tx};

async fn on_sqlite<F: Future<Output = ()>>(case: impl FnOnce(Store) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("usher.db").display());
    let store = Store::connect(&ConnectOptions::new(url)).await.unwrap();
    store.migrate().await.unwrap();
    case(store).await;
}

macro_rules! run {
    ($($module:ident :: $case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            on_sqlite(suite::$module::$case).await;
        }
    )*};
}
suite::cases!(run);

/// Who gave up waiting would not know that the change was made, and here nobody else does.
#[tokio::test]
async fn a_commit_may_take_as_long_as_it_takes() {
    on_sqlite(async |store: Store| {
        let write = store.write(async |tx: &Tx| {
            // From the commit on, which takes longer.
            store.limit_transactions(Duration::from_nanos(1));
            tx.role_model_save("integrate", "digest", &"x".repeat(20 << 20)).await
        });
        write.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let options = ConnectOptions::new(format!("sqlite:{}", directory.path().join("usher.db").display()));
    let first = Store::connect(&options).await.unwrap();
    let second = Store::connect(&options).await.err().unwrap().to_string();
    assert!(second.contains("another usher process uses"), "{second}");
    drop(first);
    Store::connect(&options).await.unwrap();
}
