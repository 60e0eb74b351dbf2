//! A server in this process, started as `usher serve` starts it.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use usher_domain::time::Time;
use usher_server::app::App;
use usher_server::clock::Clock;
use usher_server::config::Config;
use usher_server::lifecycle::{StartError, build_app, serve};

use crate::engine::{Database, Engine};
use crate::mailbox::Mailbox;
use crate::pb::account_service_client::AccountServiceClient;
use crate::pb::authorization_service_client::AuthorizationServiceClient;
use crate::pb::license_service_client::LicenseServiceClient;
use crate::pb::member_service_client::MemberServiceClient;

/// The OAuth issuer that the servers of tests trust.
pub const ISSUER: &str = "https://login.example";
/// A manual clock starts here: 2030-01-01T00:00:00Z.
pub const START: i64 = 1_893_456_000;
/// Longer than any call may take; a test that hangs says so instead.
const CALL_MAX: Duration = Duration::from_secs(30);

/// A running server with a database, a mailbox and a directory of its own.
pub struct Usher {
    pub app: App,
    pub clock: Clock,
    pub channel: Channel,
    pub url: String,
    pub mailbox: Mailbox,
    pub config: Config,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), StartError>>,
    // Last, so that they are removed when nobody uses them any more.
    pub database: Database,
    directory: TempDir,
}

impl Usher {
    /// On the system's clock.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, Clock::system(), |_| {}).await
    }

    /// On a clock that stands at [`START`] until it is moved.
    pub async fn start_with_manual_clock(engine: Engine) -> Self {
        Self::start_with(engine, Clock::manual(Time::from_seconds(START)), |_| {}).await
    }

    /// With another configuration.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn start_with(engine: Engine, clock: Clock, configure: impl FnOnce(&mut Config)) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let database = Database::fresh(engine, directory.path());
        let mut config = config(&database.url, directory.path());
        configure(&mut config);
        let app = build_app(&config, clock.clone()).await.expect("the app");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn({
            let (config, app) = (config.clone(), app.clone());
            async move {
                let shutdown = async { stopped.await.unwrap_or(()) };
                serve(&config, app, listener, shutdown).await
            }
        });
        let channel = channel(&url).await;
        let mailbox = Mailbox { directory: directory.path().join("mails") };
        Self { app, clock, channel, url, mailbox, config, stop, served, database, directory }
    }

    /// Serves the same app at a second port, configured otherwise, until the test ends.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn second_door(&self, configure: impl FnOnce(&mut Config)) -> u16 {
        let mut config = self.config.clone();
        configure(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let app = self.app.clone();
        tokio::spawn(async move { serve(&config, app, listener, std::future::pending()).await });
        port
    }

    pub fn authorization(&self) -> AuthorizationServiceClient<Channel> {
        AuthorizationServiceClient::new(self.channel.clone())
    }

    pub fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel.clone())
    }

    pub fn licenses(&self) -> LicenseServiceClient<Channel> {
        LicenseServiceClient::new(self.channel.clone())
    }

    pub fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Moves a manual clock on by some seconds from its start.
    pub fn set_seconds(&self, since_start: i64) {
        self.clock.set(Time::from_seconds(START + since_start));
    }

    /// Stops as a signal would and waits for it.
    ///
    /// # Panics
    /// When the server did not end well.
    pub async fn stop(self) {
        drop(self.channel);
        let _ = self.stop.send(());
        self.served.await.expect("the server's task").expect("a clean end");
    }
}

fn config(database_url: &str, directory: &Path) -> Config {
    let mut config = Config::default();
    config.database.url = database_url.to_owned();
    config.database.migrate = true;
    config.server.drain_seconds = 5;
    config.mail.directory = Some(directory.join("mails"));
    // High enough to be in nobody's way; a test of its own lowers it.
    config.mail.account_hourly_max = 100_000;
    config.oauth.issuers = vec![ISSUER.to_owned()];
    config
}

/// A connection to a server that is about to listen.
///
/// # Panics
/// When it does not listen in time.
pub async fn channel(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a url").timeout(CALL_MAX);
    let connecting = async {
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let connected = tokio::time::timeout(CALL_MAX, connecting).await;
    connected.unwrap_or_else(|_| panic!("nobody listens at {url}"))
}
