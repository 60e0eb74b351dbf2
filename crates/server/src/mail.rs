//! Mails: what they say, and where they go.

use std::path::PathBuf;

use lettre::message::{Mailbox, MultiPart, header};
use lettre::{Address, AsyncFileTransport, AsyncTransport, Message, Tokio1Executor};
use usher_domain::email::EmailAddress;
use usher_domain::secret::Secret;
use usher_domain::time::Time;

use crate::config::MailConfig;

/// What a mail is about.
#[derive(Debug, Clone)]
pub enum Letter {
    Invitation {
        account_name: String,
        role_title: String,
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
    OwnershipTransfer {
        account_name: String,
        ticket_ref: String,
        role_title: String,
        new_owner_name: String,
    },
}

/// Why a mail did not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// Trying again will not help.
    pub permanent: bool,
    /// One line, without addresses.
    pub message: String,
}

/// Sends mails.
pub enum Mailer {
    /// As `.eml` files in a directory.
    Files { transport: AsyncFileTransport<Tokio1Executor>, from: Mailbox },
    /// Nowhere is configured; mails wait in the outbox until somewhere is.
    Nowhere,
}

impl Mailer {
    /// # Errors
    /// When the sender is no address, or the directory cannot be made.
    pub fn new(config: &MailConfig) -> Result<Self, String> {
        let from = config.from.parse().map_err(|e| format!("`mail.from` is not an address: {e}"))?;
        let Some(directory) = &config.directory else { return Ok(Self::Nowhere) };
        Self::files(directory, from)
    }

    fn files(directory: &PathBuf, from: Mailbox) -> Result<Self, String> {
        std::fs::create_dir_all(directory).map_err(|e| {
            format!("cannot make `{}`, which `mail.directory` names: {e}", directory.display())
        })?;
        Ok(Self::Files { transport: AsyncFileTransport::new(directory), from })
    }

    pub fn is_configured(&self) -> bool {
        !matches!(self, Self::Nowhere)
    }

    /// Sends one mail. `id` becomes its `Message-ID`, the same for each attempt.
    ///
    /// # Errors
    /// When it did not leave, or may not have.
    pub async fn send(&self, id: &str, to: &EmailAddress, letter: &Letter) -> Result<(), SendError> {
        let permanent = |message: String| SendError { permanent: true, message };
        match self {
            Self::Nowhere => {
                Err(SendError { permanent: false, message: "no mail server is configured".into() })
            }
            Self::Files { transport, from } => {
                let message = message(id, from, to, letter).map_err(permanent)?;
                transport.send(message).await.map(drop).map_err(|e| SendError {
                    permanent: false,
                    message: format!("the mail directory cannot be written: {e}"),
                })
            }
        }
    }
}

fn message(id: &str, from: &Mailbox, to: &EmailAddress, letter: &Letter) -> Result<Message, String> {
    let address: Address = to.as_str().parse().map_err(|_| "the address cannot be mailed to".to_owned())?;
    let domain = from.email.domain();
    let (subject, text, html) = text(letter);
    Message::builder()
        .message_id(Some(format!("<{id}@{domain}>")))
        .from(from.clone())
        .to(Mailbox::new(None, address))
        .subject(subject)
        // Automatic answers are not wanted (RFC 3834).
        .header(header::ContentTransferEncoding::QuotedPrintable)
        .multipart(MultiPart::alternative_plain_html(text, html))
        .map_err(|e| format!("the mail cannot be written: {e}"))
}

/// Subject, plain text and HTML of a letter.
fn text(letter: &Letter) -> (String, String, String) {
    match letter {
        Letter::Invitation { account_name, role_title, invited_by_name, link, expire_time } => {
            let by = if invited_by_name.is_empty() { "You are invited" } else { "invites you" };
            let first = if invited_by_name.is_empty() {
                format!("{by} to {account_name} as {role_title}.")
            } else {
                format!("{invited_by_name} {by} to {account_name} as {role_title}.")
            };
            with_link(format!("Invitation to {account_name}"), &first, "Accept", link, *expire_time)
        }
        Letter::Founder { account_name, link, expire_time } => with_link(
            format!("Your account {account_name}"),
            &format!("{account_name} is ready. Set a password to log in."),
            "Set a password",
            link,
            *expire_time,
        ),
        Letter::PasswordReset { link, expire_time } => with_link(
            "Set a new password".into(),
            "Somebody asked to set a new password for this address. If it was not you, nothing has changed.",
            "Set a new password",
            link,
            *expire_time,
        ),
        Letter::EmailChange { link, expire_time } => with_link(
            "Confirm your address".into(),
            "Somebody asked to make this address theirs. If it was not you, do nothing.",
            "Confirm",
            link,
            *expire_time,
        ),
        Letter::OwnershipTransfer { account_name, ticket_ref, role_title, new_owner_name } => {
            let text = format!(
                "Support opened the ticket {ticket_ref} to make {new_owner_name} {role_title} of {account_name}. \
                 If you did not expect this, answer the ticket."
            );
            let html = format!("<p>{}</p>", escape(&text));
            (format!("Ownership of {account_name}"), text, html)
        }
    }
}

fn with_link(
    subject: String,
    first: &str,
    verb: &str,
    link: &Secret<String>,
    expire_time: Time,
) -> (String, String, String) {
    let until = chrono::DateTime::from_timestamp(expire_time.seconds(), 0)
        .map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string())
        .unwrap_or_default();
    let text = format!("{first}\n\n{verb}:\n{}\n\nThe link works until {until}.\n", link.expose());
    let html = format!(
        "<p>{}</p><p><a href=\"{}\">{verb}</a></p><p>The link works until {until}.</p>",
        escape(first),
        escape(link.expose())
    );
    (subject, text, html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
