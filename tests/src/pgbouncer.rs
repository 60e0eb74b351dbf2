//! PgBouncer in transaction mode, before a [`Cluster`].

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::{Cluster, as_owner, free_port, own};

/// Longer than a start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// A running PgBouncer. It is stopped when this is dropped, and also when the thread ends that made it.
pub struct PgBouncer {
    child: Child,
    port: u16,
    files: TempDir,
}

impl PgBouncer {
    /// With so many connections to the cluster; `None`, and it says so aloud, where there is no PgBouncer.
    ///
    /// # Panics
    /// When it does not start, or when there is none and there must be one.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn start(cluster: &Cluster, connections: usize) -> Option<Self> {
        let Some(program) = program() else {
            let must = std::env::var_os("USHER_TEST_REQUIRE").is_some();
            assert!(!must, "there is no pgbouncer; `tests/run` installs it");
            eprintln!("SKIPPED: there is no pgbouncer; `tests/run` installs it");
            return None;
        };
        let files = tempfile::Builder::new().prefix("usher-pgbouncer.").tempdir().expect("a directory");
        let (port, server) = (free_port(), cluster.port());
        // What is not named here is as PgBouncer has it by default.
        let configuration = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n"
        );
        let path = files.path().join("pgbouncer.ini");
        fs::write(&path, configuration).expect("a file");
        own(files.path());
        let log = fs::File::create(files.path().join("log")).expect("a log");
        let mut command = as_owner(&program);
        command.arg(&path).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut started = Self { child: command.spawn().expect("pgbouncer starts"), port, files };
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = started.child.try_wait().is_ok_and(|ended| ended.is_some());
            assert!(!ended && since.elapsed() < START_MAX, "pgbouncer does not start:\n{}", started.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(started)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // SIGTERM: at once.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Debian puts it where only root looks.
fn program() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin"]);
    places.map(|place| Path::new(place).join("pgbouncer")).find(|program| program.is_file())
}
