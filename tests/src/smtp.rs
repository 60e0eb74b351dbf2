//! A real mail server, aiosmtpd, that does what a test tells it to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::mailbox::{Letter, parse};

const AIOSMTPD: &str = "aiosmtpd==1.4.6";
/// Longer than a busy machine takes for anything that a test waits for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A mail as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub raw: String,
    pub letter: Letter,
    pub recipients: Vec<String>,
    pub over_tls: bool,
    pub login: Option<String>,
    pub reply: String,
}

impl Seen {
    /// A header as it stands in the mail.
    ///
    /// # Panics
    /// When it is missing.
    pub fn header(&self, name: &str) -> &str {
        let line = self.raw.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.raw))
    }
}

/// A running mail server. It ends when this is dropped.
pub struct SmtpServer {
    child: Child,
    lines: Receiver<Value>,
    pub port: u16,
}

impl SmtpServer {
    /// With options as `tests/smtp/server.py` describes them; `None`, said aloud, where Python's package
    /// cannot be had.
    ///
    /// # Panics
    /// When it does not start, or cannot be had where it must be.
    pub fn start(options: &Value) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("smtp/server.py");
        let mut child = Command::new(python()?)
            .arg(script)
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the mail server starts");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        let first: Value = lines.recv_timeout(WAIT_MAX).expect("the mail server says its port");
        let port = first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        Some(Self { child, lines, port })
    }

    /// The next mail that it sees.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn next(&self) -> Seen {
        let next = async {
            loop {
                match self.try_next() {
                    Some(seen) => return seen,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, next).await.expect("a mail in time")
    }

    /// A mail that it has seen and nobody has read yet.
    ///
    /// # Panics
    /// When the server ended by itself.
    pub fn try_next(&self) -> Option<Seen> {
        match self.lines.try_recv() {
            Ok(line) => Some(seen(&line)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the mail server ended"),
        }
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seen(line: &Value) -> Seen {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let raw = text("mail").expect("a mail");
    let recipients = line["recipients"].as_array().cloned().unwrap_or_default();
    Seen {
        letter: parse(&raw).unwrap_or_else(|| panic!("not as Usher writes mails: {raw}")),
        raw,
        recipients: recipients.iter().filter_map(|to| Some(to.as_str()?.to_owned())).collect(),
        over_tls: line["tls"] == json!(true),
        login: text("login"),
        reply: text("reply").unwrap_or_default(),
    }
}

/// A Python that has aiosmtpd, made if need be in a place that later runs find again.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| match make_python() {
        Ok(python) => Some(python),
        Err(problem) => {
            let must = std::env::var_os("USHER_TEST_REQUIRE").is_some();
            assert!(!must, "no mail server to test with: {problem}");
            eprintln!("SKIPPED, there is no mail server to test with: {problem}");
            None
        }
    });
    python.as_deref()
}

fn make_python() -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    fs::create_dir_all(&tools).map_err(|e| format!("cannot make {}: {e}", tools.display()))?;
    // Another test binary may be at it.
    let lock = fs::File::create(tools.join("aiosmtpd.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let place = tools.join("aiosmtpd");
    let python = place.join("bin/python3");
    if run(Command::new(&python).args(["-c", "import aiosmtpd"])).is_err() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", AIOSMTPD];
        run(Command::new(&python).args(pip))?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

/// An authority of its own, and a certificate from it for one name.
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate and key.
    pub server: PathBuf,
}

impl Certificates {
    /// # Panics
    /// When they cannot be made.
    pub fn make(directory: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&key).expect("an authority");
        let issuer = rcgen::Issuer::new(parameters, key);
        let server_key = rcgen::KeyPair::generate().expect("a key");
        let server = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let server = server.signed_by(&server_key, &issuer).expect("a certificate");
        let paths = Self { authority: directory.join("authority.pem"), server: directory.join("server.pem") };
        fs::write(&paths.authority, authority.pem()).expect("a file");
        fs::write(&paths.server, format!("{}{}", server.pem(), server_key.serialize_pem())).expect("a file");
        paths
    }
}
