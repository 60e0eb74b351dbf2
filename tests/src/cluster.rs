//! A PostgreSQL server of one test, to be stopped, restored and looked into: one that no other test uses.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than a start with recovery takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server with its files. Both go when this is dropped. It must be made and resumed on the
/// thread of the test, because the server is told to stop when that thread ends.
pub struct Cluster {
    files: TempDir,
    port: u16,
    settings: Vec<String>,
    server: Mutex<Option<Child>>,
}

impl Cluster {
    /// A new, empty server. What was acknowledged survives [`Cluster::stop`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(settings: &[&str]) -> Self {
        let files = tempfile::Builder::new().prefix("usher-cluster.").tempdir().expect("a directory");
        own(files.path());
        let data = files.path().join("data");
        let mut init = as_owner(&tool("initdb"));
        init.args(["-A", "trust", "-U", "postgres", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        run(init.arg(&data));
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let cluster = Self { files, port: free_port(), settings, server: Mutex::new(None) };
        cluster.resume();
        cluster
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&self) {
        let mut server = self.server();
        assert!(server.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = as_owner(&tool("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.files.path());
        command.args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=200", "fsync=off"] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = server.insert(command.spawn().expect("postgres starts"));
        let started = Instant::now();
        while !self.is_ready() {
            let ended = child.try_wait().is_ok_and(|ended| ended.is_some());
            assert!(!ended && started.elapsed() < START_MAX, "PostgreSQL does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self) -> bool {
        let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        state.lines().last().is_some_and(|line| line.starts_with("ready"))
    }

    /// Stops it as a crash does: connections are cut, and the next start recovers.
    ///
    /// # Panics
    /// When it cannot be told to.
    pub fn stop(&self) {
        let Some(mut server) = self.server().take() else { return };
        run(Command::new("kill").args(["-QUIT", &server.id().to_string()]));
        server.wait().expect("it was started here");
    }

    /// Makes of it, while it does not run, a standby of nobody: it answers reads once it is resumed, until somebody
    /// calls `pg_promote()`.
    ///
    /// # Panics
    /// When it runs, or its files cannot be written.
    pub fn demote(&self) {
        assert!(self.server().is_none(), "it runs");
        File::create(self.data().join("standby.signal")).expect("a file in the data directory");
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> PathBuf {
        self.files.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join("log")
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Copies its files as they are, or back. It must not run.
    ///
    /// # Panics
    /// When it cannot.
    pub fn copy_files(&self, from: &Path, to: &Path) {
        assert!(self.server().is_none(), "it runs");
        if to.exists() {
            fs::remove_dir_all(to).expect("the old files go");
        }
        run(Command::new("cp").arg("-a").arg(from).arg(to));
    }

    /// Runs SQL and returns its output, a line a row.
    ///
    /// # Panics
    /// When it is refused.
    pub fn sql(&self, statement: &str) -> Vec<String> {
        let mut psql = Command::new(tool("psql"));
        psql.args(["-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", statement]);
        run(&mut psql).lines().map(str::to_owned).collect()
    }

    /// Runs SQL in the background, for what takes long.
    ///
    /// # Panics
    /// When `psql` does not start.
    pub fn sql_meanwhile(&self, statement: &str) -> Child {
        let mut psql = Command::new(tool("psql"));
        psql.args(["-q", "-A", "-t", "-d", &self.url(), "-c", statement]);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        psql.spawn().expect("psql starts")
    }

    /// `pg_dump` into a file that [`Cluster::restore`] takes.
    pub fn dump(&self, file: &Path) {
        run(Command::new(tool("pg_dump"))
            .args(["--format=custom", "--file"])
            .arg(file)
            .args(["-d", &self.url()]));
    }

    pub fn restore(&self, file: &Path) {
        let url = self.url();
        run(Command::new(tool("pg_restore")).args(["--clean", "--if-exists", "-d", &url]).arg(file));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server().take() {
            let _ = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
            let _ = server.wait();
        }
    }
}

/// A port of 127.0.0.1 that nobody uses now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn tool(name: &str) -> PathBuf {
    std::env::var_os("USHER_TEST_POSTGRES_BIN").map_or(name.into(), |bin| PathBuf::from(bin).join(name))
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// PostgreSQL refuses to run as root.
fn owner() -> &'static str {
    let exists = Command::new("id").arg("postgres").output().is_ok_and(|output| output.status.success());
    if exists { "postgres" } else { "nobody" }
}

/// Gives a directory to the user of [`as_owner`].
pub(crate) fn own(directory: &Path) {
    if is_root() {
        run(Command::new("chown").arg(owner()).arg(directory));
    }
}

/// A program that refuses to run as root; it ends with the thread that starts it.
pub(crate) fn as_owner(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        let id = |flag: &str| run(Command::new("id").args([flag, owner()])).trim().to_owned();
        command.arg(format!("--reuid={}", id("-u"))).arg(format!("--regid={}", id("-g")));
        command.arg("--clear-groups");
    }
    command.arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
