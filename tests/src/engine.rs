//! The two databases, each fresh for each test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Makes a test for each engine out of `async fn name(engine: Engine)`.
#[macro_export]
macro_rules! both_engines {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::Engine::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if $crate::engine::postgres_is_there() {
                    super::$name($crate::Engine::Postgres).await;
                }
            }
        }
    )+};
}

/// Where PostgreSQL is, as `tests/run` says it.
const URL: &str = "USHER_TEST_POSTGRES_URL";
/// Set where a test that cannot run must fail.
const REQUIRE: &str = "USHER_TEST_REQUIRE";

/// Whether there is a PostgreSQL server to test on. Says so aloud where there is none.
///
/// # Panics
/// When there is none and there must be one.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn postgres_is_there() -> bool {
    if std::env::var_os(URL).is_some() {
        return true;
    }
    assert!(std::env::var_os(REQUIRE).is_none(), "`{URL}` is not set; `tests/run` starts PostgreSQL");
    eprintln!("SKIPPED on PostgreSQL: `{URL}` is not set; `tests/run` starts one");
    false
}

/// A database of one test; a PostgreSQL one is dropped with this.
pub struct Database {
    pub url: String,
    name: Option<String>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// An empty one; SQLite's file will be in the directory.
    pub fn fresh(engine: Engine, directory: &Path) -> Self {
        match engine {
            Engine::Sqlite => {
                Self { url: format!("sqlite:{}", directory.join("usher.db").display()), name: None }
            }
            Engine::Postgres => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let name = format!("usher_{}_{number}", std::process::id());
                sql(&format!("CREATE DATABASE {name}"));
                let (server, _) = server_url().rsplit_once('/').map_or_else(
                    || panic!("`{URL}` names no database"),
                    |(server, name)| (server.to_owned(), name.to_owned()),
                );
                Self { url: format!("{server}/{name}"), name: Some(name) }
            }
        }
    }

    /// Runs SQL in this database, past the server.
    ///
    /// # Panics
    /// When it is refused.
    pub fn execute(&self, statement: &str) {
        match self.url.strip_prefix("sqlite:") {
            // The language that `tests/run` needs anyway has SQLite in it.
            Some(file) => run(Command::new("python3").args(["-c", SQLITE, file, statement])),
            None => run(Command::new(psql()).args([
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.url,
                "-c",
                statement,
            ])),
        }
    }

    /// Every row of every table, as text.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn dump(&self) -> String {
        match self.url.strip_prefix("sqlite:") {
            Some(file) => read(Command::new("python3").args(["-c", SQLITE_DUMP, file])),
            None => read(Command::new(client("pg_dump")).args(["--data-only", "--inserts", "-d", &self.url])),
        }
    }
}

/// Prints every row of the file, statement by statement.
const SQLITE_DUMP: &str = "import sqlite3, sys
for line in sqlite3.connect(sys.argv[1]).iterdump(): print(line)";

/// Runs the statement of the second argument in the file of the first.
const SQLITE: &str = "import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database: database.execute(sys.argv[2])";

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // `FORCE` because a test that failed has not stopped its server.
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            let _ = Command::new(psql()).args(["-q", "-d", &server_url(), "-c", &drop]).output();
        }
    }
}

/// A program that comes with PostgreSQL.
fn client(name: &str) -> PathBuf {
    std::env::var_os("USHER_TEST_POSTGRES_BIN").map_or(name.into(), |bin| PathBuf::from(bin).join(name))
}

fn sql(statement: &str) {
    run(Command::new(psql()).args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &server_url(), "-c", statement]));
}

fn run(command: &mut Command) {
    read(command);
}

/// What it prints.
fn read(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn server_url() -> String {
    std::env::var(URL).unwrap_or_else(|_| panic!("`{URL}` is not set"))
}

fn psql() -> PathBuf {
    client("psql")
}
