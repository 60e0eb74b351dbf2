//! The directory that a server delivers mails to, read as a person would.

use std::path::PathBuf;
use std::time::Duration;

/// How long a mail may take: it leaves when the change has committed, without being asked for.
const DELIVERY_MAX: Duration = Duration::from_secs(15);

/// A delivered mail.
#[derive(Debug, Clone)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    /// The plain text part, decoded.
    pub text: String,
}

impl Letter {
    /// The link in it.
    ///
    /// # Panics
    /// When there is none.
    pub fn link(&self) -> &str {
        let link = self.text.lines().find(|line| line.starts_with("http"));
        link.unwrap_or_else(|| panic!("no link in {self:?}")).trim_end()
    }

    /// The token at the end of the link.
    pub fn token(&self) -> &str {
        self.link().rsplit('/').next().unwrap_or_default()
    }
}

/// A directory of `.eml` files.
#[derive(Debug, Clone)]
pub struct Mailbox {
    pub directory: PathBuf,
}

impl Mailbox {
    /// What lies there now. A file that is still being written is left out.
    pub fn letters(&self) -> Vec<Letter> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let letters = paths.filter(|path| path.extension().is_some_and(|kind| kind == "eml"));
        letters.filter_map(|path| parse(&std::fs::read_to_string(path).ok()?)).collect()
    }

    pub fn letters_to(&self, address: &str) -> Vec<Letter> {
        self.letters().into_iter().filter(|letter| letter.to == address).collect()
    }

    /// Waits for the first mail to an address.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn wait_for(&self, address: &str) -> Letter {
        let waiting = async {
            loop {
                if let Some(letter) = self.letters_to(address).pop() {
                    return letter;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(DELIVERY_MAX, waiting).await;
        found.unwrap_or_else(|_| panic!("no mail to {address} in {}", self.directory.display()))
    }
}

/// A mail of two alternative parts, as Usher writes them.
pub(crate) fn parse(mail: &str) -> Option<Letter> {
    let header = |name: &str| {
        let line = mail.lines().find(|line| line.starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    let boundary = mail.split("boundary=\"").nth(1)?.split('"').next()?;
    // Without its end the mail is still being written.
    let (parts, _) = mail.split_once(&format!("--{boundary}--"))?;
    let plain = parts.split(&format!("--{boundary}")).find(|part| part.contains("text/plain"))?;
    let (headers, body) = plain.split_once("\r\n\r\n")?;
    let is_quoted = headers.contains("quoted-printable");
    Some(Letter {
        to: header("To:")?.trim_matches(|c| c == '<' || c == '>').to_owned(),
        subject: header("Subject:")?,
        text: if is_quoted { unquote(body) } else { body.to_owned() },
    })
}

/// Undoes quoted-printable (RFC 2045 §6.7).
fn unquote(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'=', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_printable_is_undone() {
        assert_eq!(unquote("a=C3=A4 =3D b=\r\nc\r\n"), "aä = bc\r\n");
    }
}
