//! Mails: what they say, and where they go.
//!
//! A letter becomes a message by the templates, and leaves by SMTP or as a file. Deliberately absent:
//! retries, which are the outbox's.

mod failure;
mod message;
mod smtp;
mod template;

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::{AsyncFileTransport, AsyncTransport, Tokio1Executor};
use usher_domain::email::EmailAddress;
use usher_domain::secret::Secret;
use usher_domain::time::Time;

use crate::config::MailConfig;
use smtp::Smtp;
use template::Templates;

/// What a mail is about.
#[derive(Debug, Clone)]
pub enum Letter {
    Invitation {
        account_name: String,
        role_title: String,
        /// Empty when the platform invites.
        invited_by_name: String,
        link: Secret<String>,
        expire_time: Time,
    },
    /// To the founder of an account, to set a first password.
    Founder {
        account_name: String,
        link: Secret<String>,
        expire_time: Time,
    },
    PasswordReset {
        link: Secret<String>,
        expire_time: Time,
    },
    EmailChange {
        link: Secret<String>,
        expire_time: Time,
    },
    /// To who was made a member by username: there is nothing to accept, and no link.
    Joined {
        account_name: String,
        role_title: String,
        /// Empty when the platform invites.
        invited_by_name: String,
        /// The login name.
        username: String,
    },
    OwnershipTransfer {
        account_name: String,
        ticket_ref: String,
        role_title: String,
        new_owner_name: String,
    },
}

/// One mail. Its id becomes its `Message-ID`, the same for each attempt.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub id: &'a str,
    pub to: &'a EmailAddress,
    /// A language tag; empty is the default.
    pub language: &'a str,
    pub letter: &'a Letter,
}

/// Why a mail did not leave, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// Trying again will not help.
    pub permanent: bool,
    /// One line, without addresses and names of servers.
    pub message: String,
}

impl SendError {
    fn permanent(message: impl Into<String>) -> Self {
        Self { permanent: true, message: message.into() }
    }

    fn transient(message: impl Into<String>) -> Self {
        Self { permanent: false, message: message.into() }
    }
}

/// Writing a file takes no time; this is for a slow network disk.
const FILE_MAX: Duration = Duration::from_secs(60);

/// Sends mails.
pub struct Mailer {
    carrier: Carrier,
    from: Mailbox,
    templates: Templates,
}

enum Carrier {
    Smtp(Smtp),
    /// As `.eml` files in a directory.
    Files(AsyncFileTransport<Tokio1Executor>),
    /// Nowhere is configured; mails wait in the outbox until somewhere is.
    Nowhere,
}

impl Mailer {
    /// # Errors
    /// When the sender is no address, a template is wrong, the certificates cannot be read or the
    /// directory cannot be made. The mail server is not spoken to: it may come later.
    pub fn new(config: &MailConfig) -> Result<Self, String> {
        let from = config.from.parse().map_err(|e| format!("`mail.from` is not an address: {e}"))?;
        let templates = Templates::load(config.templates.as_deref())?;
        let carrier = match (&config.smtp_host, &config.directory) {
            (Some(host), _) => Carrier::Smtp(Smtp::new(host, config)?),
            (None, Some(directory)) => Carrier::Files(files(directory)?),
            (None, None) => Carrier::Nowhere,
        };
        Ok(Self { carrier, from, templates })
    }

    pub fn is_configured(&self) -> bool {
        !matches!(self.carrier, Carrier::Nowhere)
    }

    /// The longest that [`Mailer::send`] takes.
    pub fn attempt_max(&self) -> Duration {
        match &self.carrier {
            Carrier::Smtp(smtp) => smtp.attempt_max(),
            Carrier::Files(_) | Carrier::Nowhere => FILE_MAX,
        }
    }

    /// # Errors
    /// When it did not leave, or may not have.
    pub async fn send(&self, mail: Outgoing<'_>) -> Result<(), SendError> {
        // An operator can mend a template while mails wait.
        let texts = self
            .templates
            .render(mail.letter, mail.language)
            .map_err(|e| SendError::transient(format!("the mail cannot be written: {e}")))?;
        let message = message::compose(&mail, &self.from, texts).map_err(SendError::permanent)?;
        match &self.carrier {
            Carrier::Smtp(smtp) => smtp.send(&message).await,
            Carrier::Files(transport) => tokio::time::timeout(FILE_MAX, transport.send(message))
                .await
                .map_err(|_| SendError::transient("the mail directory cannot be written in time"))?
                .map(drop)
                .map_err(|_| SendError::transient("the mail directory cannot be written")),
            Carrier::Nowhere => Err(SendError::transient("no mail server is configured")),
        }
    }

    /// Says hello to the mail server as far as the login, and sends nothing.
    ///
    /// # Errors
    /// When it does not let us in.
    pub async fn greet(&self) -> Result<(), SendError> {
        match &self.carrier {
            Carrier::Smtp(smtp) => smtp.greet().await,
            Carrier::Files(_) | Carrier::Nowhere => Ok(()),
        }
    }

    /// Takes leave of the mail server.
    pub async fn close(&self) {
        if let Carrier::Smtp(smtp) = &self.carrier {
            smtp.close().await;
        }
    }
}

fn files(directory: &PathBuf) -> Result<AsyncFileTransport<Tokio1Executor>, String> {
    std::fs::create_dir_all(directory)
        .map_err(|e| format!("cannot make `{}`, which `mail.directory` names: {e}", directory.display()))?;
    Ok(AsyncFileTransport::new(directory))
}
