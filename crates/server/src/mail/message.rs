//! A letter's texts as a message of the internet (RFC 5322), written so that links survive.

use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::Outgoing;
use super::template::Texts;

/// The longest line that may stand in a message as it is, with room to spare (RFC 5322 §2.1.1: 998).
const LINE_LENGTH_MAX: usize = 990;

/// Says that no person wrote this, so that no machine answers it (RFC 3834 §5).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

pub(super) fn compose(mail: &Outgoing<'_>, from: &Mailbox, texts: Texts) -> Result<Message, String> {
    let to: Address = mail.to.as_str().parse().map_err(|_| "the address cannot be mailed to".to_owned())?;
    let parts = MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, texts.text))
        .singlepart(part(ContentType::TEXT_HTML, texts.html));
    Message::builder()
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(texts.subject)
        .header(AutoSubmitted)
        .multipart(parts)
        .map_err(|e| format!("the mail cannot be written: {e}"))
}

fn part(kind: ContentType, text: String) -> SinglePart {
    SinglePart::builder().header(kind).body(body(text))
}

/// Left to itself, lettre breaks lines of 76 bytes: links, among others, which is harmless to mail
/// programs and a nuisance to everybody who reads the raw message. ASCII stays as it is.
fn body(text: String) -> Body {
    let stays = text.is_ascii() && text.lines().all(|line| line.len() <= LINE_LENGTH_MAX);
    if stays && !text.contains('\0') {
        let lines: Vec<&str> = text.lines().collect();
        let mut text = lines.join("\r\n");
        text.push_str("\r\n");
        return Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit);
    }
    Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable).unwrap_or_else(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Letter;
    use usher_domain::email::EmailAddress;
    use usher_domain::secret::Secret;
    use usher_domain::time::Time;

    fn composed(text: &str, subject: &str) -> String {
        let letter =
            Letter::EmailChange { link: Secret::new(String::new()), expire_time: Time::from_seconds(0) };
        let to = EmailAddress::parse("sofia@example.com").unwrap();
        let mail = Outgoing { id: "mail_1", to: &to, language: "", letter: &letter };
        let texts = Texts { subject: subject.into(), text: text.into(), html: "<p>x</p>".into() };
        let message = compose(&mail, &"Usher <usher@u.test>".parse().unwrap(), texts).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn a_link_stays_on_its_line() {
        let link = format!("https://example.com/{}?a=b", "x".repeat(300));
        let mail = composed(&format!("Hello\n\n{link}\n"), "Hello");
        assert!(mail.contains(&format!("\r\n{link}\r\n")), "{mail}");
        assert!(mail.contains("Content-Transfer-Encoding: 7bit"), "{mail}");
        assert!(!mail.replace("\r\n", "").contains('\n'), "every line ends in CRLF");
    }

    #[test]
    fn what_is_not_ascii_or_too_long_is_quoted() {
        let link = "https://example.com/abc";
        let mail = composed(&format!("Zoë\n{link}\n"), "Zoë");
        assert!(mail.contains("Zo=C3=AB\r\nhttps://example.com/abc\r\n"), "{mail}");
        assert!(mail.contains("Subject: =?utf-8?b?"), "{mail}");
        assert!(composed(&"x".repeat(2000), "a").lines().all(|line| line.len() < 100));
    }

    #[test]
    fn the_headers_are_those_of_a_machine() {
        let mail = composed("a", "a");
        for header in
            ["Message-ID: <mail_1@u.test>", "Auto-Submitted: auto-generated", "To: sofia@example.com"]
        {
            assert!(mail.contains(header), "{header} in {mail}");
        }
    }
}
