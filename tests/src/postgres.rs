//! A PostgreSQL of one test's own, which may be stopped and started: the shared one serves others too.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than a start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A server with a directory and a port of its own; stopped and removed with this.
pub struct OwnPostgres {
    bin: PathBuf,
    port: u16,
    running: Option<Child>,
    directory: TempDir,
}

impl OwnPostgres {
    /// Makes the server and starts it.
    ///
    /// # Panics
    /// When that fails.
    pub fn start() -> Self {
        let bin = std::env::var_os("USHER_TEST_POSTGRES_BIN").map(PathBuf::from);
        let bin = bin.expect("`USHER_TEST_POSTGRES_BIN` says where PostgreSQL is; `tests/run` sets it");
        let directory = tempfile::Builder::new().prefix("usher-postgres").tempdir().expect("a directory");
        if is_root() {
            done(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut server = Self { bin, port, running: None, directory };
        let data = server.data();
        let data = data.to_str().expect("a path that can be printed");
        done(&mut server.command("initdb", &["-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]));
        server.begin();
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it again after [`OwnPostgres::stop`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        let (data, socket, port) = (self.data(), self.directory.path().to_owned(), self.port.to_string());
        let (data, socket) = (data.to_str().expect("a path"), socket.to_str().expect("a path"));
        let arguments =
            ["-D", data, "-k", socket, "-p", &port, "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"];
        let mut command = self.command("postgres", &arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres runs");
        self.running = Some(child);
        let deadline = Instant::now() + START_MAX;
        while !is_ready(&self.data()) {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it as an operator does who does not wait for its clients.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            // SIGINT: a fast shutdown.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A command of PostgreSQL, which refuses to be root.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let program = self.bin.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// The last line of its pid file is its state.
fn is_ready(data: &Path) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    text.lines().last().is_some_and(|line| line.starts_with("ready"))
}

fn done(command: &mut Command) {
    let Output { status, stderr, .. } =
        command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}
