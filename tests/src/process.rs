//! The real binary, as an operator starts it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Longer than a start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// The binary `usher` that belongs to the running test. Built if need be, so that a test never runs an
/// older one; that takes no time when `tests/run` has built it already.
///
/// # Panics
/// When it can be neither built nor found.
#[expect(clippy::print_stderr, reason = "a build in the middle of a test says what it is")]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the running test has a path");
        let directory = test.ancestors().nth(2).expect("below the target directory").to_owned();
        let binary = directory.join("usher");
        // Not a build for release with other settings: then the binary must be there.
        if let (Some(cargo), true) = (std::env::var_os("CARGO"), directory.ends_with("debug")) {
            eprintln!("building {} if it is not up to date", binary.display());
            // All packages, because features differ with the packages that are built together.
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--workspace", "--bin", "usher", "--target-dir"]);
            build.arg(directory.parent().expect("the target directory"));
            build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
            assert!(build.status().is_ok_and(|status| status.success()), "cannot build {}", binary.display());
        }
        assert!(binary.is_file(), "{} is missing; run `cargo build --workspace --bins`", binary.display());
        binary
    })
}

/// Runs the binary to its end.
///
/// # Panics
/// When it cannot be run.
pub fn usher(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

/// A command that no variable of the environment changes.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("USHER_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A running server. It is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    pub url: String,
}

impl Process {
    /// Starts `usher serve` on a free port and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn serve(database_url: &str, mails: &Path) -> Self {
        let mails = format!("mail.directory={}", mails.display());
        Self::start(&[
            "serve",
            "--migrate",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            database_url,
            "--set",
            &mails,
            "--set",
            "mail.account_hourly_max=100000",
            "--set",
            "oauth.issuers=https://login.example",
        ])
    }

    /// Starts the binary and waits until it says where it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .env("USHER_LOG_FORMAT", "json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stderr.take().expect("stderr is piped")),
            Box::new(child.stdout.take().expect("stdout is piped")),
        ];
        for stream in streams {
            let sender = sender.clone();
            // Reads on as long as the process lives, or its pipe would fill and hold it up.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let mut process = Self { child, lines, url: String::new() };
        process.url = process.wait_for_address();
        process
    }

    fn wait_for_address(&mut self) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(START_MAX) {
                Ok(line) if line.contains("\"serving\"") || line.contains(" serving ") => {
                    return format!("http://{}", address(&line));
                }
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("it does not serve; it said {seen:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; it said {seen:#?}"),
            }
        }
    }

    /// What it said since it serves, so far and not yet asked for.
    pub fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// SIGKILL: no time for anything. Returns when the process is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and then its exit code.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM cannot be sent");
        self.child.wait().ok().and_then(|status| status.code())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The address in a log line.
fn address(line: &str) -> &str {
    let start = line.find("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line}"));
    let rest = &line[start..];
    rest.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next().unwrap_or(rest)
}
