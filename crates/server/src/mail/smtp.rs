//! Handing mails to a mail server.
//!
//! Connections are kept here and not by lettre's pool: that one takes back a connection whose send was
//! given up in the middle, and the next mail on it would be told the former one's answers.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::SendError;
use super::failure::{Step, failure};
use crate::config::{MailConfig, SmtpTls};

/// How many connections are kept for the next mails.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Servers hang up on silent clients after minutes; a kept connection is not older.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a kept connection may take to say that it is still there, and the last goodbye.
const COURTESY: Duration = Duration::from_secs(2);
/// How long somebody waits who only wants to know whether we are let in.
const GREETING_MAX: Duration = Duration::from_secs(15);

pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    /// For one mail, from connecting to the last answer.
    timeout: Duration,
    hello: ClientId,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

enum Tls {
    Start(TlsParameters),
    Whole(TlsParameters),
    None,
}

impl Smtp {
    pub(super) fn new(host: &str, config: &MailConfig) -> Result<Self, String> {
        let (tls, port) = match config.smtp_tls {
            SmtpTls::StartTls => (Tls::Start(tls_parameters(host, config)?), 587),
            SmtpTls::Tls => (Tls::Whole(tls_parameters(host, config)?), 465),
            SmtpTls::None => (Tls::None, 25),
        };
        let login = config.smtp_username.clone().zip(config.smtp_password.clone());
        Ok(Self {
            host: host.to_owned(),
            port: config.smtp_port.unwrap_or(port),
            tls,
            credentials: login.map(|(name, password)| Credentials::new(name, password.into_exposed())),
            timeout: Duration::from_secs(config.smtp_timeout_seconds),
            hello: ClientId::default(),
            idle: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn attempt_max(&self) -> Duration {
        self.timeout
    }

    /// Returns when the server has taken the mail upon itself. A connection on which anything went
    /// wrong, or took too long, is closed and never used again.
    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let sending = async {
            let mut connection = match self.kept().await {
                Some(connection) => connection,
                None => self.connect().await.map_err(|e| failure(Step::Session, &e))?,
            };
            transmit(&mut connection, message).await?;
            Ok(connection)
        };
        let connection = timeout(self.timeout, sending)
            .await
            .map_err(|_| SendError::transient("the mail server did not answer in time"))??;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((connection, Instant::now()));
        }
        Ok(())
    }

    /// Connects and logs in, without a mail.
    pub(super) async fn greet(&self) -> Result<(), SendError> {
        let greeting = async {
            let mut connection = self.connect().await.map_err(|e| failure(Step::Session, &e))?;
            let answers = connection.test_connected().await;
            let _ = timeout(COURTESY, connection.quit()).await;
            if answers { Ok(()) } else { Err(SendError::transient("the mail server hangs up")) }
        };
        let late = |_| SendError::transient("the mail server did not answer in time");
        timeout(self.timeout.min(GREETING_MAX), greeting).await.map_err(late)?
    }

    /// A connection that was kept and still answers.
    async fn kept(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (mut connection, since) = self.idle.lock().pop()?;
            let is_young = since.elapsed() < IDLE_MAX;
            if is_young && timeout(COURTESY, connection.test_connected()).await.unwrap_or(false) {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let whole = match &self.tls {
            Tls::Whole(parameters) => Some(parameters.clone()),
            Tls::Start(_) | Tls::None => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, whole, None).await?;
        if let Tls::Start(parameters) = &self.tls {
            // Fails where it is not offered: nothing is ever said in the open instead.
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        let goodbyes = idle.into_iter().map(|(mut connection, _)| async move {
            // It is closed in any case.
            let _ = timeout(COURTESY, connection.quit()).await;
        });
        futures::future::join_all(goodbyes).await;
    }
}

fn tls_parameters(host: &str, config: &MailConfig) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &config.smtp_ca_file {
        let wrong =
            |e: String| format!("cannot use `{}`, which `mail.smtp_ca_file` names: {e}", file.display());
        let pem = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
        if !pem.windows(10).any(|window| window == b"-----BEGIN") {
            return Err(wrong("it holds no certificate in PEM".into()));
        }
        let certificate = Certificate::from_pem(&pem).map_err(|e| wrong(e.to_string()))?;
        // Whoever names a private authority trusts no other.
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|e| format!("TLS for `mail.smtp_host` cannot be set up: {e}"))
}

/// One mail over an open connection. Not lettre's `send`, which does not tell a refused sender, the
/// operator's fault, from a refused recipient.
async fn transmit(connection: &mut AsyncSmtpConnection, message: &Message) -> Result<(), SendError> {
    let envelope = message.envelope();
    let mut parameters = Vec::new();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(SendError::permanent(
                "the mail server does not take addresses with letters beyond ASCII",
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        if connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
    }
    let session = |e: Error| failure(Step::Session, &e);
    let refused = |e: Error| failure(Step::Mail, &e);
    connection.command(Mail::new(envelope.from().cloned(), parameters)).await.map_err(session)?;
    for to in envelope.to() {
        connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(refused)?;
    }
    connection.command(Data).await.map_err(refused)?;
    connection.message(&message.formatted()).await.map_err(refused)?;
    Ok(())
}
