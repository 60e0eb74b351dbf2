//! Mails, over a real mail server: what arrives, and what becomes of those that do not.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod delivery;
mod letters;
mod workers;

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use usher_domain::secret::Secret;
use usher_domain::time::Time;
use usher_server::app::App;
use usher_server::clock::Clock;
use usher_server::config::{MailConfig, SmtpTls};
use usher_server::mail::Mailer;
use usher_server::worker::outbox::{self, Links};
use usher_tests::cast::inviting;
use usher_tests::harness::START;
use usher_tests::pb::{self, invite_user_response::Outcome};
use usher_tests::{Engine, INTEGRATE_IO, Platform, Usher, acting};

/// Longer than a busy machine takes for anything that is waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Where links lead, unless something but the configuration has a say.
const ORIGIN: &str = "https://app.example/accept/";

/// A server whose own worker has nowhere to send to, so that tests run workers of theirs; on a clock
/// that they move. With an account `acme`.
async fn start(engine: Engine) -> Usher {
    let clock = Clock::manual(Time::from_seconds(START));
    let usher = Usher::start_with(engine, clock, |config| config.mail.directory = None).await;
    usher.cast("acme", INTEGRATE_IO).await;
    usher
}

/// A configuration for a mail server on this machine, without TLS.
fn plain(port: u16) -> MailConfig {
    MailConfig {
        smtp_host: Some("127.0.0.1".into()),
        smtp_port: Some(port),
        smtp_tls: SmtpTls::None,
        invitation_url: format!("{ORIGIN}{{token}}"),
        from: "Usher <usher@usher.test>".into(),
        ..MailConfig::default()
    }
}

/// A configuration for a mail server that asks for TLS and a login.
fn guarded(port: u16, authority: &std::path::Path) -> MailConfig {
    MailConfig {
        smtp_host: Some("localhost".into()),
        smtp_tls: SmtpTls::StartTls,
        smtp_username: Some("usher".into()),
        smtp_password: Some(Secret::new(PASSWORD.into())),
        smtp_ca_file: Some(authority.to_owned()),
        ..plain(port)
    }
}

/// The password at the mail server; it must show nowhere.
const PASSWORD: &str = "canary-of-the-mail-server";

/// A worker of a test.
struct Worker {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Worker {
    fn start(app: &App, config: &MailConfig) -> Self {
        let links = Links {
            invitation: config.invitation_url.clone(),
            password: config.password_url.clone(),
            email: config.email_url.clone(),
        };
        let (mailer, stop) = (Mailer::new(config).unwrap(), CancellationToken::new());
        let task = tokio::spawn(outbox::run(app.clone(), mailer, links, stop.clone()));
        Self { task, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As if its process had been killed: nothing more of it happens.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Invites an address; the invitation's id.
async fn invite(usher: &Usher, email: &str) -> String {
    let request = inviting("acme", Platform, email, "editor");
    let answer = usher.members().invite_user(request).await.unwrap().into_inner();
    let Some(Outcome::Invitation(invitation)) = answer.outcome else { panic!("no invitation") };
    invitation.id
}

async fn delivery(usher: &Usher, id: &str) -> pb::DeliveryStatus {
    let request = pb::GetInvitationRequest {
        account_id: "acme".into(),
        acting: acting(Platform),
        invitation_id: id.into(),
    };
    let answer = usher.members().get_invitation(request).await.unwrap().into_inner();
    answer.invitation.unwrap().delivery.unwrap()
}

/// Waits until the delivery of an invitation is as wanted.
async fn delivered(
    usher: &Usher,
    id: &str,
    wanted: impl Fn(&pb::DeliveryStatus) -> bool,
) -> pb::DeliveryStatus {
    let waiting = async {
        loop {
            let delivery = delivery(usher, id).await;
            if wanted(&delivery) {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(WAIT_MAX, waiting).await {
        Ok(delivery) => delivery,
        Err(_) => panic!("the delivery is {:?}", delivery(usher, id).await),
    }
}
