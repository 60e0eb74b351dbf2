//! Servers as processes of their own: pinned to cores, and what they use.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// Longer than a server takes to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// Which cores the servers and the load get. The same one for both where there is only one.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    pub server: String,
    pub load: String,
    pinned: bool,
}

impl Cores {
    /// The first core that this process may use for servers, the others for the load.
    pub(crate) fn find() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = expand(allowed.unwrap_or("0").trim());
        let pinned = allowed.len() > 1 && Command::new("taskset").arg("-V").output().is_ok();
        let list = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        match allowed.split_first() {
            Some((first, rest)) if pinned => Self { server: first.to_string(), load: list(rest), pinned },
            _ => Self { server: list(&allowed), load: list(&allowed), pinned: false },
        }
    }

    /// Every core for everybody.
    pub(crate) fn unpinned() -> Self {
        Self { server: String::new(), load: String::new(), pinned: false }
    }

    pub(crate) fn describe(&self) -> String {
        if self.pinned {
            format!("servers on core {}, load on {}", self.server, self.load)
        } else {
            "nothing pinned: one core, or no taskset".to_owned()
        }
    }

    /// A command on some of the cores.
    pub(crate) fn command(&self, cores: &str, program: impl AsRef<OsStr>) -> Command {
        if !self.pinned {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cores).arg(program);
        command
    }
}

/// `0-2,5` as numbers.
fn expand(list: &str) -> Vec<usize> {
    let ranges = list.split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
    });
    ranges.flatten().collect()
}

/// A running server. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub port: u16,
    /// From the start of the process to its word that it serves.
    pub started_in: Duration,
    _lines: Receiver<String>,
}

impl Server {
    /// Starts it and waits for a line of `serving` with its port, on stdout or stderr.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = channel();
        let streams: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|s| Box::new(s) as _), child.stderr.take().map(|s| Box::new(s) as _)];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            // Reads on, or the pipe would fill and hold the server up.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(std::result::Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        drop(sender);
        let mut server = Self { child, port: 0, started_in: Duration::ZERO, _lines: lines };
        let mut said = Vec::new();
        loop {
            match server._lines.recv_timeout(START_MAX) {
                Ok(line) => match port(&line) {
                    Some(port) => {
                        server.port = port;
                        server.started_in = began.elapsed();
                        return Ok(server);
                    }
                    None => said.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no server after {START_MAX:?}: {said:#?}").into());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the server ended: {said:#?}").into());
                }
            }
        }
    }

    /// A server that says nothing of its port: waits until something listens on it.
    pub(crate) fn start_on(mut command: Command, port: u16) -> Result<Self> {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let (_, lines) = channel();
        let mut server = Self { child, port, started_in: Duration::ZERO, _lines: lines };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if began.elapsed() > START_MAX {
                return Err(format!("nobody listens on {port} after {START_MAX:?}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server.started_in = began.elapsed();
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The time that all its threads were on a core so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path().join("schedstat");
            nanos += first_number(&path).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// The port in a line that says where calls are served.
fn port(line: &str) -> Option<u16> {
    if !line.contains("serving") || line.contains("serving metrics") {
        return None;
    }
    let rest = line.split("127.0.0.1:").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A port that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
