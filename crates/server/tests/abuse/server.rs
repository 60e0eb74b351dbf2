//! `usher serve`, as an operator starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than a start takes on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server on an empty database. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", directory.path().join("usher.db").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("USHER_"))
        {
            command.env_remove(name);
        }
        command.args(["serve", "--migrate", "--listen", "127.0.0.1:0", "--database-url", &database]);
        // Short times, so that what ends by a time limit does so within the test.
        command.args(["--set", "limits.keepalive_interval_seconds=2"]);
        command.args(["--set", "limits.keepalive_timeout_seconds=1"]);
        command.env("USHER_LOG_FORMAT", "json").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = channel();
        // Reads on as long as the process lives, or the pipe would fill and hold it up.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok).filter(|line| line.contains("\"serving\"")) {
                let _ = tell.send(line);
            }
        });
        let line = told.recv_timeout(START_MAX).expect("it serves");
        Self { child, address: address(&line), _directory: directory }
    }

    /// What it holds in memory now.
    pub(crate) fn memory_bytes(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line of the log.
fn address(line: &str) -> SocketAddr {
    let start = line.find("127.0.0.1:").unwrap();
    let text: String =
        line[start..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    text.parse().unwrap()
}
