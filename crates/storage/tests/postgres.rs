//! All cases on PostgreSQL, each in a database of its own on the server that
//! `USHER_TEST_POSTGRES_URL` names.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod suite;

use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectionTrait, Database};
use usher_storage::{ConnectOptions, Store};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server, or `None` after saying so aloud; where it is required, its absence is a failure.
fn server() -> Option<String> {
    match std::env::var("USHER_TEST_POSTGRES_URL") {
        Ok(url) => Some(url),
        Err(_) if std::env::var_os("USHER_TEST_REQUIRE").is_some() => {
            panic!("USHER_TEST_POSTGRES_URL is not set, and USHER_TEST_REQUIRE is")
        }
        Err(_) => {
            eprintln!("SKIPPED: no PostgreSQL; set USHER_TEST_POSTGRES_URL, or use tests/run");
            None
        }
    }
}

async fn new_database(server: &str) -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("usher_suite_{}_{number}", std::process::id());
    let connection = Database::connect(server).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

async fn on_postgres<F: Future<Output = ()>>(case: impl FnOnce(Store) -> F) {
    let Some(server) = server() else { return };
    let store = Store::connect(&ConnectOptions::new(new_database(&server).await)).await.unwrap();
    store.migrate().await.unwrap();
    case(store.clone()).await;
    store.close().await;
}

macro_rules! run {
    ($($module:ident :: $case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            on_postgres(suite::$module::$case).await;
        }
    )*};
}
suite::cases!(run);

/// Without the advisory lock most of them fail on a type that exists already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_that_migrate_at_once_all_come_up() {
    let Some(server) = server() else { return };
    let url = new_database(&server).await;
    let migrate = |url: String| async move {
        let store = Store::connect(&ConnectOptions::new(url)).await.unwrap();
        store.migrate().await.unwrap();
        assert_eq!(store.pending_migrations().await.unwrap(), Vec::<String>::new());
        store.close().await;
    };
    for done in futures::future::join_all((0..6).map(|_| tokio::spawn(migrate(url.clone())))).await {
        done.unwrap();
    }
}
