//! Load by h2load: raw gRPC frames, many requests, one kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prost::Message;

use crate::Result;
use crate::process::{Cores, Server};

/// So many connections with so many calls at once on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub connections: u32,
    pub streams: u32,
}

impl Shape {
    pub(crate) const fn new(connections: u32, streams: u32) -> Self {
        Self { connections, streams }
    }

    pub(crate) fn name(self) -> String {
        format!("{}×{}", self.connections, self.streams)
    }
}

/// Many calls at once, one call a connection, one connection for all, and one call at a time.
pub(crate) const SHAPES: [Shape; 4] =
    [Shape::new(8, 16), Shape::new(32, 1), Shape::new(1, 100), Shape::new(1, 1)];

/// What one run of load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Time on a core that the server spent on one request, in microseconds.
    pub cpu_us: f64,
    /// Requests a second.
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A question as h2load sends it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// `usher.v1.AuthorizationService/CheckPermission`.
    pub method: &'static str,
    pub file: PathBuf,
    /// What `authorization` says.
    bearer: Option<&'static str>,
}

impl Question {
    /// A gRPC message with its five bytes in front, in a file.
    pub(crate) fn grpc(method: &'static str, message: &impl Message, file: PathBuf) -> Result<Self> {
        fs::write(&file, frame(message)?)?;
        Ok(Self { method, file, bearer: None })
    }

    pub(crate) fn with_bearer(self, bearer: &'static str) -> Self {
        Self { bearer: Some(bearer), ..self }
    }
}

/// A gRPC message as it travels.
pub(crate) fn frame(message: &impl Message) -> Result<Vec<u8>> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.encoded_len())?.to_be_bytes());
    message.encode(&mut bytes)?;
    Ok(bytes)
}

/// The version of h2load.
///
/// # Errors
/// How to get it, when it is not there.
pub(crate) fn version() -> Result<String> {
    let out = Command::new("h2load").arg("--version").output();
    let out = out.map_err(|_| "h2load is missing; Debian has it: apt-get install nghttp2-client")?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Sends the question for so long, after a tenth of it to warm up.
pub(crate) fn run(
    cores: &Cores,
    server: &Server,
    question: &Question,
    shape: Shape,
    duration: Duration,
    scratch: &Path,
) -> Result<Sample> {
    let url = format!("{}/{}", server.url(), question.method);
    // h2load counts requests, not seconds, as long as it writes its log: so it is asked how many first.
    let trial =
        once(cores, &url, question, shape, u64::from(shape.connections * shape.streams) * 40, scratch)?;
    let requests = (trial.rate * duration.as_secs_f64()) as u64;
    let requests = requests.max(u64::from(shape.connections * shape.streams) * 10);
    let before = server.cpu()?;
    let ran = once(cores, &url, question, shape, requests, scratch)?;
    let cpu = server.cpu()?.saturating_sub(before);
    Ok(Sample { cpu_us: cpu.as_secs_f64() * 1e6 / requests as f64, ..ran })
}

fn once(
    cores: &Cores,
    url: &str,
    question: &Question,
    shape: Shape,
    requests: u64,
    scratch: &Path,
) -> Result<Sample> {
    let log = scratch.join("h2load.log");
    let _ = fs::remove_file(&log);
    let out = cores
        .command(&cores.load, "h2load")
        .args(["-t", "1", "-n", &requests.to_string()])
        .args(["-c", &shape.connections.to_string(), "-m", &shape.streams.to_string()])
        .arg("-d")
        .arg(&question.file)
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .args(question.bearer.iter().flat_map(|bearer| ["-H".to_owned(), format!("authorization: {bearer}")]))
        .arg(format!("--log-file={}", log.display()))
        .arg(url)
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let good = format!(" {requests} succeeded, 0 failed, 0 errored");
    if !out.status.success() || !text.contains(&good) {
        return Err(format!("not all of {requests} requests were answered:\n{text}").into());
    }
    let rate =
        between(&text, "finished in ", " req/s").and_then(|part| part.rsplit(' ').next()?.parse().ok());
    let mut times = times(&fs::read_to_string(&log)?);
    times.sort_unstable();
    Ok(Sample {
        cpu_us: 0.0,
        rate: rate.ok_or("h2load said no rate")?,
        p50_us: at(&times, 0.50),
        p99_us: at(&times, 0.99),
    })
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(part, _)| part)
}

/// The third column of h2load's log: microseconds of each request.
fn times(log: &str) -> Vec<u64> {
    log.lines().filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok()).collect()
}

/// The value below which a share of them lies; they are sorted.
pub(crate) fn at(sorted: &[u64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(f64::NAN, |value| *value as f64)
}
