//! Why the mail server did not take a mail, in one line that an account's admin may read: what it
//! answered, without addresses, names of servers or links.

use std::error::Error as _;
use std::io;

use lettre::transport::smtp::Error;
use rustls::CertificateError;

use super::SendError;

/// The longest part of an answer that is kept, in characters.
const ANSWER_LENGTH_MAX: usize = 200;
/// Words beyond this are ids, tokens or encoded addresses (RFC 3461's and SRS's), in bytes.
const WORD_LENGTH_MAX: usize = 30;

/// How far the conversation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Up to and with the login and the sender: what goes wrong is the operator's to mend, and no
    /// fault of this mail.
    Session,
    /// The recipient or the mail itself.
    Mail,
}

pub(super) fn failure(step: Step, error: &Error) -> SendError {
    if let Some(code) = error.status() {
        let answer = error.source().map(|answer| clean(&answer.to_string())).unwrap_or_default();
        let whose = if step == Step::Session { "the mail server is not at our service" } else { "refused" };
        let message = format!("{whose}: {code} {answer}");
        let permanent = error.is_permanent() && step == Step::Mail;
        return SendError { permanent, message: message.trim_end().to_owned() };
    }
    SendError::transient(reason(error))
}

fn reason(error: &Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return tls_reason(tls).to_owned();
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return tls_reason(tls).to_owned();
            }
            return format!("the mail server cannot be reached: {}", io.kind());
        }
        source = cause.source();
    }
    if error.is_tls() {
        return "TLS with the mail server failed".into();
    }
    if error.is_client() {
        // Lettre's own words: STARTTLS or a way to log in is not offered.
        return format!("the mail server lacks what is needed: {}", clean(&words(error)));
    }
    if error.is_response() {
        return "the mail server's answer was no SMTP, or broke off".into();
    }
    "the mail server cannot be reached".into()
}

fn words(error: &Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

fn tls_reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the mail server's certificate is for another name"
            }
            CertificateError::UnknownIssuer => {
                "the mail server's certificate is from an authority that is not trusted"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the mail server's certificate has expired"
            }
            _ => "the mail server's certificate is not valid",
        },
        _ => "TLS with the mail server failed",
    }
}

/// Keeps words; what may name a person, a server or a page becomes `…`.
fn clean(answer: &str) -> String {
    let words = answer.split(|c: char| c.is_whitespace() || c.is_control());
    let words = words.filter(|word| !word.is_empty()).map(|word| if is_plain(word) { word } else { "…" });
    let mut words: Vec<&str> = words.collect();
    words.dedup_by(|next, word| next == word && *word == "…");
    words.join(" ").chars().take(ANSWER_LENGTH_MAX).collect()
}

fn is_plain(word: &str) -> bool {
    let core = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_enhanced_code = core.len() <= 9
        && core.split('.').count() == 3
        && core.split('.').all(|part| part.len() <= 3 && part.bytes().all(|c| c.is_ascii_digit()));
    is_enhanced_code || core.len() <= WORD_LENGTH_MAX && !core.contains(['@', '.', '/', ':', '=', '%', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_nobody() {
        let answer = "5.1.1 <sofia@example.com>: Recipient address rejected: User unknown in \
                      mx1.example.com\r\n see https://example.com/x 10.0.0.7 [2001:db8::1] id=8f7";
        assert_eq!(clean(answer), "5.1.1 … Recipient address rejected: User unknown in … see …");
        assert_eq!(clean("4.7.0 Greylisted, please try again."), "4.7.0 Greylisted, please try again.");
        assert!(!clean(&format!("spam: {}", "A".repeat(43))).contains("AAA"));
        assert!(clean(&"no ".repeat(500)).chars().count() <= ANSWER_LENGTH_MAX);
    }
}
