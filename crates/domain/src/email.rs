//! Email addresses, as typed and as compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest address, in bytes (RFC 5321 §4.5.3.1.3 less the angle brackets).
pub const EMAIL_LENGTH_MAX: usize = 254;

/// Why a string is not an email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("is missing")]
    Missing,
    #[error("has more than {EMAIL_LENGTH_MAX} bytes")]
    TooLong,
    #[error(
        "is not an email address: it needs one `@` with a local part before it and a domain after it, without spaces or control characters"
    )]
    Malformed,
}

/// An email address as somebody typed it, trimmed. Two are the same person's when their keys match.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// # Errors
    /// When `text` is empty, too long, or has not the form `local@domain`. What is between is not
    /// judged: only a delivered mail proves an address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailError::Missing);
        }
        if text.len() > EMAIL_LENGTH_MAX {
            return Err(EmailError::TooLong);
        }
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c);
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Malformed)?;
        let domain_ok = !domain.is_empty()
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        let local_ok = !local.is_empty()
            && local.len() <= 64
            && !local.contains('@')
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        if !domain_ok || !local_ok || text.chars().any(forbidden) {
            return Err(EmailError::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// What addresses are matched by: trimmed, lower case. Computed here and never by an engine, so
    /// that both engines agree (`ß` stays `ß`; dots and `+` in the local part count).
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }

    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailError;
    fn try_from(text: String) -> Result<Self, EmailError> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

/// Personal data: shown to those who may see it, never in a log.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        EmailAddress::parse(text).unwrap().key()
    }

    #[test]
    fn case_and_space_around_do_not_count() {
        assert_eq!(key(" Foo@Example.COM "), "foo@example.com");
        assert_ne!(key("a.b@example.com"), key("ab@example.com"), "dots count");
        assert_ne!(key("a+x@example.com"), key("a@example.com"), "tags count");
        assert_ne!(key("stra\u{df}e@example.com"), key("strasse@example.com"));
    }

    #[test]
    fn what_is_no_address() {
        assert_eq!(EmailAddress::parse("  "), Err(EmailError::Missing));
        assert_eq!(EmailAddress::parse(&format!("{}@x.de", "a".repeat(260))), Err(EmailError::TooLong));
        for bad in [
            "x",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a@b c",
            "a\r\nBcc: x@y",
            "<a@b>",
            "a@b..c",
            "a@-b",
            ".a@b",
            "a..b@c",
            "a@b,c@d",
        ] {
            assert_eq!(EmailAddress::parse(bad), Err(EmailError::Malformed), "{bad:?}");
        }
        for good in ["a@b", "a.b+c@d-e.example", "ünïcode@exämple.org", "o'hara@x.ie"] {
            assert!(EmailAddress::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn debug_hides_the_address() {
        assert!(!format!("{:?}", EmailAddress::parse("alice@acme.test").unwrap()).contains("alice"));
    }
}
