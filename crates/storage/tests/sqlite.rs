//! All cases on SQLite, each with a file of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod suite;

use usher_storage::{ConnectOptions, Store};

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
