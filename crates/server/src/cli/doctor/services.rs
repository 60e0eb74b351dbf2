//! What others must do for a server: take its mails.

use super::Finding;
use crate::config::Config;
use crate::mail::Mailer;

/// Goes as far as the login, and sends nothing.
pub(super) async fn mail(config: &Config) -> Finding {
    const PART: &str = "mail";
    let mail = &config.mail;
    if mail.smtp_host.is_none() {
        return match &mail.directory {
            Some(directory) => {
                Finding::ok(PART, format!("is written to `{}`, for trials", directory.display()))
            }
            None => Finding::warning(PART, "is not configured, so mails wait; set `mail.smtp_host`"),
        };
    }
    let mailer = match Mailer::new(mail) {
        Ok(mailer) => mailer,
        Err(problem) => return Finding::problem(PART, problem),
    };
    match mailer.greet().await {
        Ok(()) => Finding::ok(PART, "the mail server lets us in"),
        Err(error) => Finding::problem(
            PART,
            format!(
                "{error}; see `mail.smtp_host`, `.smtp_port`, `.smtp_tls`, `.smtp_ca_file` and the login"
            ),
        ),
    }
}
