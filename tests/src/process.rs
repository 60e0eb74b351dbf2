//! The real binary, as an operator starts it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

/// Longer than a start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// The binary `usher` that belongs to the running test. It is built if it is missing or older than what it is
/// made from; `tests/run` has built it before.
///
/// # Panics
/// When it can be neither found nor built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    // With a test among the targets, because features differ without one and all would be built twice.
    BINARY.get_or_init(|| built("usher", &["--bin", "usher", "--test", "e2e"]))
}

/// As [`binary`], the one that makes the mistake that the variable `USHER_FAULT` names.
///
/// # Panics
/// When it can be neither found nor built.
pub fn faulty_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["--bin", "usher-faulty", "--features", "usher-server/faults", "--test", "hints"];
    BINARY.get_or_init(|| built("usher-faulty", &arguments))
}

fn built(name: &str, arguments: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let directory = test.ancestors().nth(2).expect("below the target directory");
    let binary = directory.join(name);
    if is_stale(&binary) {
        build(directory, arguments);
    }
    binary
}

fn is_stale(binary: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|metadata| metadata.modified()) else { return true };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    newest(&root.join("crates")).max(newest(&root.join("proto"))) > Some(built)
}

/// When something below the directory was last changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let times = entries.filter_map(|entry| {
        let path = entry.path();
        if path.is_dir() { newest(&path) } else { entry.metadata().ok()?.modified().ok() }
    });
    times.max()
}

#[expect(clippy::print_stderr, reason = "a build in the middle of a test says what it is")]
fn build(directory: &Path, arguments: &[&str]) {
    eprintln!("building {arguments:?} in {}; `tests/run` does it beforehand", directory.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the outer cargo says of the package under test would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO" {
            cargo.env_remove(name);
        }
    }
    cargo.args(["build", "--quiet", "--workspace"]).args(arguments).arg("--target-dir");
    cargo.arg(directory.parent().expect("the target directory"));
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    assert!(cargo.status().is_ok_and(|status| status.success()), "cannot build {}", directory.display());
}

/// Runs the binary to its end.
///
/// # Panics
/// When it cannot be run.
pub fn usher(arguments: &[&str]) -> Output {
    command(binary(), arguments).output().expect("the binary runs")
}

/// A command that no variable of the environment changes.
fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if ["USHER_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A running server. It is killed when this is dropped.
pub struct Process {
    child: Child,
    /// Its log, line by line.
    lines: Receiver<String>,
    /// Its standard output.
    printed: File,
    /// What it said before it served.
    before: Vec<String>,
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

    /// Starts `usher serve` on a free port with these settings and variables.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn serve_with(database_url: &str, settings: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["serve", "--migrate", "--database-url", database_url];
        let usual = ["server.listen=127.0.0.1:0", "oauth.issuers=https://login.example"];
        for setting in usual.iter().chain(settings) {
            arguments.extend(["--set", setting]);
        }
        Self::start_with(&arguments, variables)
    }

    /// Starts `usher demo`; also what it printed before it served.
    ///
    /// # Panics
    /// When it does not start.
    pub fn demo(listen: &str, directory: &Path) -> (Self, Vec<String>) {
        let directory = directory.to_str().expect("a path that can be printed");
        let mut process = Self::spawn(binary(), &["demo", "--listen", listen, "--directory", directory], &[]);
        process.wait_for_address();
        let said = process.said();
        (process, said)
    }

    /// Starts the binary and waits until it says where it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with these variables.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_program(binary(), arguments, variables)
    }

    /// As [`Process::start_with`], another binary.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start_program(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(program, arguments, variables);
        process.wait_for_address();
        process
    }

    /// Where it serves something else beside calls: `probes` or `metrics`.
    ///
    /// # Panics
    /// When it does not.
    pub fn serves(&self, what: &str) -> &str {
        let words = format!("serving {what}");
        let line = self.before.iter().find(|line| line.contains(&words));
        address(line.unwrap_or_else(|| panic!("it does not say `{words}`: {:#?}", self.before)))
    }

    fn spawn(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let printed = tempfile::tempfile().expect("a temporary file");
        let mut child = command(program, arguments)
            .env("USHER_LOG_FORMAT", "json")
            .envs(variables.iter().copied())
            .stdout(printed.try_clone().expect("a second handle"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        // Reads on as long as the process lives, or the pipe would fill and hold it up.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, printed, before: Vec::new(), url: String::new() }
    }

    /// What it has printed so far. A program prints and logs in order, so what comes before a line of the log
    /// is here when that line is.
    fn said(&mut self) -> Vec<String> {
        let mut text = String::new();
        self.printed.rewind().expect("a file");
        self.printed.read_to_string(&mut text).expect("what was printed is text");
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for_address(&mut self) {
        loop {
            match self.lines.recv_timeout(START_MAX) {
                Ok(line) if line.contains("\"serving\"") || line.contains(" serving ") => {
                    self.url = format!("http://{}", address(&line));
                    return;
                }
                Ok(line) => self.before.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("it does not serve; it said {:#?}", self.before),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; it said {:#?}", self.before),
            }
        }
    }

    /// What it said before it served.
    pub fn said_before(&self) -> &[String] {
        &self.before
    }

    /// What it said since it serves, so far and not yet asked for.
    pub fn logged(&self) -> Vec<String> {
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
    pub fn terminate(self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by its name: `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent");
    }

    /// The memory that it uses now.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// Its exit code, once it has ended.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().ok().and_then(|status| status.code())
    }

    /// Its exit code, once it has ended, and what it said that was not asked for yet.
    pub fn wait_and_log(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().ok().and_then(|status| status.code());
        // Until the end of its log: the reader hangs up there.
        (code, self.lines.iter().collect())
    }

    /// SIGTERM, and then as [`Process::wait_and_log`].
    pub fn terminate_and_log(self) -> (Option<i32>, Vec<String>) {
        self.signal("TERM");
        self.wait_and_log()
    }

    /// The next line of its log that holds these words.
    ///
    /// # Panics
    /// When none comes.
    pub fn line(&self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(START_MAX) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line says `{words}`: {error}"),
            }
        }
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
