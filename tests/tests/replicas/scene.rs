//! Three servers on one PostgreSQL, each with a network of its own to it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use usher_tests::cast::{founding, joining};
use usher_tests::cluster::{Cluster, free_port};
use usher_tests::harness::channel;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::process::{binary, faulty_binary};
use usher_tests::proxy::Proxy;
use usher_tests::{INTEGRATE_IO, Platform, Process};

use crate::history::At;

pub(crate) const REPLICAS: usize = 3;
/// What a client waits for an answer.
const CALL_MAX: Duration = Duration::from_secs(3);

pub(crate) struct Scene {
    // First, so that the servers end before their database.
    processes: Vec<Mutex<Option<Process>>>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) cluster: Cluster,
    ports: Vec<u16>,
    channels: Vec<Channel>,
    settings: Vec<String>,
    /// The mistake that the servers make, if any.
    fault: Option<&'static str>,
    began: Instant,
    number: AtomicU64,
    _directory: TempDir,
}

impl Scene {
    /// Starts everything. Each setting is `path=value`.
    pub(crate) async fn start(settings: &[&str], fault: Option<&'static str>) -> Self {
        let cluster = Cluster::start(&[]);
        let directory = TempDir::new().unwrap();
        let mut all = vec![
            format!("mail.directory={}", directory.path().join("mails").display()),
            "mail.account_hourly_max=100000".to_owned(),
            "oauth.issuers=https://login.example".to_owned(),
        ];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let mut scene = Self {
            cluster,
            proxies: Vec::new(),
            ports: Vec::new(),
            channels: Vec::new(),
            settings: all,
            fault,
            processes: Vec::new(),
            began: Instant::now(),
            number: AtomicU64::new(0),
            _directory: directory,
        };
        for replica in 0..REPLICAS {
            let port = free_port();
            let target = ([127, 0, 0, 1], scene.cluster.port()).into();
            scene.proxies.push(Proxy::start(target).await);
            scene.ports.push(port);
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let endpoint = endpoint.timeout(CALL_MAX).connect_timeout(Duration::from_secs(1));
            scene.channels.push(endpoint.connect_lazy());
            scene.processes.push(Mutex::new(None));
            scene.launch(replica);
        }
        scene
    }

    /// Starts a server where it was, and waits until it serves.
    pub(crate) fn launch(&self, replica: usize) {
        let address = format!("127.0.0.1:{}", self.ports[replica]);
        let url = format!("postgres://postgres@{}/postgres", self.proxies[replica].address);
        let mut arguments = vec!["serve", "--migrate", "--listen", &address, "--database-url", &url];
        for setting in &self.settings {
            arguments.extend(["--set", setting]);
        }
        let variables: Vec<(&str, &str)> = self.fault.iter().map(|fault| ("USHER_FAULT", *fault)).collect();
        let program = if self.fault.is_some() { faulty_binary() } else { binary() };
        let process = Process::start_program(program, &arguments, &variables);
        *self.processes[replica].lock().unwrap() = Some(process);
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, replica: usize) {
        if let Some(process) = self.processes[replica].lock().unwrap().take() {
            process.kill();
        }
    }

    pub(crate) fn signal(&self, replica: usize, name: &str) {
        if let Some(process) = &*self.processes[replica].lock().unwrap() {
            process.signal(name);
        }
    }

    /// Where a server listens.
    pub(crate) fn address(&self, replica: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[replica]).into()
    }

    /// A connection to a server, made anew when it breaks.
    pub(crate) fn channel(&self, replica: usize) -> Channel {
        self.channels[replica].clone()
    }

    pub(crate) fn now(&self) -> At {
        At::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    /// A number that nobody else has, for request ids and for choosing.
    pub(crate) fn number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// An account with some editors, at the revision that is returned.
    pub(crate) async fn found(&self, account: &str, editors: usize) -> i64 {
        let url = format!("http://127.0.0.1:{}", self.ports[0]);
        let channel = channel(&url).await;
        let request = founding(account, INTEGRATE_IO, 1000);
        let made = AccountServiceClient::new(channel.clone()).create_account(request).await.unwrap();
        let mut revision = made.into_inner().revision;
        let mut members = MemberServiceClient::new(channel);
        for user in 0..editors {
            let request = joining(account, Platform, &user_name(account, user), "editor");
            revision = members.invite_user(request).await.unwrap().into_inner().revision;
        }
        revision
    }
}

pub(crate) fn user_name(account: &str, user: usize) -> String {
    format!("{account}-user-{user}")
}

/// Whether a fault of the run explains that there was no answer, or that the change must be asked again.
pub(crate) fn is_excused(status: &Status) -> bool {
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    match status.code() {
        // The client's own limit ends as either of the two.
        Code::DeadlineExceeded | Code::Cancelled => true,
        // A server that says so knows why; without a reason the connection broke.
        Code::Unavailable => reason.is_empty() || reason == "STORE_UNAVAILABLE" || reason == "UNAVAILABLE",
        Code::Aborted => reason == "CONTENTION",
        Code::Unknown | Code::Internal => reason.is_empty() && is_broken_connection(status),
        _ => false,
    }
}

fn is_broken_connection(status: &Status) -> bool {
    let said = status.message();
    ["transport error", "h2 protocol error", "connection", "broken pipe"]
        .iter()
        .any(|text| said.contains(text))
}

/// A small generator of choices: which one does not matter, only that a seed repeats it.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}
