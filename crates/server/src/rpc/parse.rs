//! From messages to commands. A parser goes on after the first thing that is wrong, so that a caller
//! is told all of them.

use std::fmt::Display;
use std::time::Duration;

use sha2::{Digest, Sha256};
use usher_contract::wire;
use usher_domain::caller::Acting;
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, IdError, InvitationId, UserId, check_id};
use usher_domain::text;
use usher_domain::time::Time;
use usher_policy::Subject;
use usher_storage::PAGE_SIZE_MAX;

use crate::app::change::Change;
use crate::app::check::Consistency;
use crate::app::members::{Page, Read};
use crate::error::{Error, Violation, Wrong};

/// A request message that becomes a command.
pub(crate) trait Parse: prost::Message {
    type Command: Send + 'static;

    /// The account as the message names it; empty for requests about none.
    fn account(&self) -> &str;

    /// `None` when the parser holds violations.
    fn parse(self, parser: &mut Parser) -> Option<Self::Command>;
}

/// Collects what is wrong with one request.
pub(crate) struct Parser {
    violations: Vec<Violation>,
    digest: String,
    as_platform: bool,
}

/// The size of a page that does not say.
const PAGE_SIZE_DEFAULT: u32 = 50;

impl Parser {
    /// For one message, whose bytes tell it from another under the same request id.
    pub(crate) fn of(message: &impl prost::Message) -> Self {
        Self { digest: hex::encode(Sha256::digest(message.encode_to_vec())), ..Self::without_digest() }
    }

    pub(crate) fn without_digest() -> Self {
        Self { violations: Vec::new(), digest: String::new(), as_platform: false }
    }

    /// Whether the message says that the platform acts, and no member.
    pub(crate) fn acts_as_platform(&self) -> bool {
        self.as_platform
    }

    /// The command, or all that is wrong.
    pub(crate) fn finish<T>(self, command: Option<T>) -> Result<T, Error> {
        match command {
            Some(command) if self.violations.is_empty() => Ok(command),
            _ => Err(Error::Invalid(self.violations)),
        }
    }

    /// `field` is only printed when it is wrong, here and below: `format_args!` costs nothing until then.
    pub(crate) fn fail<T>(&mut self, field: impl Display, description: impl Into<String>) -> Option<T> {
        self.fail_as(Wrong::Field, field, description)
    }

    pub(crate) fn fail_as<T>(
        &mut self,
        wrong: Wrong,
        field: impl Display,
        description: impl Into<String>,
    ) -> Option<T> {
        let (field, description) = (field.to_string(), description.into());
        self.violations.push(Violation { field, description, wrong, suggestion: None });
        None
    }

    pub(crate) fn take<T, E: Display>(&mut self, field: impl Display, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => self.fail(field, error.to_string()),
        }
    }

    pub(crate) fn account(&mut self, text: &str) -> Option<AccountId> {
        self.take("account_id", AccountId::parse(text))
    }

    /// A text of a message whose texts nobody looked at.
    pub(crate) fn utf8<'a>(&mut self, field: impl Display, bytes: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(bytes).ok().or_else(|| self.fail(field, "is not UTF-8"))
    }

    /// An id that is looked up by and not kept, of such a message.
    pub(crate) fn id_of<'a>(&mut self, field: impl Display, bytes: &'a [u8]) -> Option<&'a str> {
        let text = self.utf8(&field, bytes)?;
        self.id(field, text)
    }

    /// An id that is looked up by and not kept.
    pub(crate) fn id<'a>(&mut self, field: impl Display, text: &'a str) -> Option<&'a str> {
        self.take(field, check_id(text)).map(|()| text)
    }

    pub(crate) fn user(&mut self, field: &str, text: &str) -> Option<UserId> {
        self.take(field, UserId::parse(text))
    }

    /// An id that may be left out.
    pub(crate) fn user_opt(&mut self, field: &str, text: &str) -> Option<Option<UserId>> {
        self.take(field, absent(UserId::parse(text)))
    }

    pub(crate) fn invitation(&mut self, text: &str) -> Option<InvitationId> {
        self.take("invitation_id", InvitationId::parse(text))
    }

    pub(crate) fn email(&mut self, field: &str, text: &str) -> Option<EmailAddress> {
        self.take(field, EmailAddress::parse(text))
    }

    pub(crate) fn email_opt(&mut self, field: &str, text: &str) -> Option<Option<EmailAddress>> {
        if text.is_empty() { Some(None) } else { self.email(field, text).map(Some) }
    }

    pub(crate) fn line(&mut self, field: &str, text: &str, length_max: usize) -> Option<String> {
        self.take(field, text::line(text, length_max))
    }

    pub(crate) fn required_line(&mut self, field: &str, text: &str, length_max: usize) -> Option<String> {
        self.take(field, text::required_line(text, length_max))
    }

    /// A short word that the role model gives a meaning: a role, an action, a resource type.
    pub(crate) fn word(&mut self, field: &str, text: &str) -> Option<String> {
        self.id(field, text).map(str::to_owned)
    }

    /// A BCP 47 tag, or nothing.
    pub(crate) fn language(&mut self, text: &str) -> Option<String> {
        let parts_ok = text
            .split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if text.is_empty() || (parts_ok && text.len() <= 35) {
            Some(text.to_owned())
        } else {
            self.fail("language", "is not a BCP 47 language tag such as `de` or `pt-BR`")
        }
    }

    pub(crate) fn time(&mut self, field: &str, time: Option<prost_types::Timestamp>) -> Option<Option<Time>> {
        let Some(time) = time else { return Some(None) };
        let seconds = (0..=Time::MAX.seconds()).contains(&time.seconds);
        if !seconds || !(0..1_000_000_000).contains(&time.nanos) {
            return self.fail(field, "is not a time between 1970 and 9999");
        }
        let micros = time.seconds * 1_000_000 + i64::from(time.nanos) / 1000;
        Some(Some(Time::from_micros(micros)))
    }

    pub(crate) fn span(
        &mut self,
        field: &str,
        span: Option<prost_types::Duration>,
        (min, max): (Duration, Duration),
    ) -> Option<Option<Duration>> {
        let Some(span) = span else { return Some(None) };
        // Not by prost's conversion, which panics at the lowest number there is.
        let seconds = u64::try_from(span.seconds).ok();
        let nanos = u32::try_from(span.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        match seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos)) {
            Some(span) if (min..=max).contains(&span) => Some(Some(span)),
            _ => self.fail(
                field,
                format!("is not a span from {}h to {}h", min.as_secs() / 3600, max.as_secs() / 3600),
            ),
        }
    }

    /// A value of an enum that is not its zero.
    pub(crate) fn choice<T: TryFrom<i32> + Default + PartialEq>(
        &mut self,
        field: &str,
        value: i32,
    ) -> Option<T> {
        match T::try_from(value) {
            Ok(choice) if choice != T::default() => Some(choice),
            _ => self.fail(field, "is unspecified or unknown"),
        }
    }

    /// The acting party, from a message's own `oneof`.
    pub(crate) fn acting(&mut self, acting: Option<Party>) -> Option<Acting> {
        match acting {
            Some(Party::Actor(id)) => self.user("actor_id", &id).map(Acting::Member),
            Some(Party::Platform) => {
                self.as_platform = true;
                Some(Acting::Platform)
            }
            None => self.fail_as(
                Wrong::ActingMissing,
                "acting",
                "is not set; name the member in `actor_id`, or set `platform`",
            ),
        }
    }

    pub(crate) fn request_id(&mut self, text: &str) -> Option<String> {
        if text.is_empty() {
            return Some(String::new());
        }
        if text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return self.fail("request_id", "is not 1 to 128 printable ASCII characters without spaces");
        }
        Some(text.to_owned())
    }

    /// What every change says. `note` is checked by its own call.
    pub(crate) fn change(
        &mut self,
        account: &str,
        acting: Option<Party>,
        request_id: &str,
    ) -> Option<Change> {
        let acting = self.acting(acting);
        self.change_by(account, acting, request_id)
    }

    /// A change whose acting party the message does not name.
    pub(crate) fn change_by(
        &mut self,
        account: &str,
        acting: Option<Acting>,
        request_id: &str,
    ) -> Option<Change> {
        let account_id = self.account(account);
        let request_id = self.request_id(request_id);
        Some(Change {
            account_id: account_id?,
            acting: acting?,
            request_id: request_id?,
            digest: self.digest.clone(),
            note: String::new(),
        })
    }

    /// What every read says.
    pub(crate) fn read(&mut self, account: &str, acting: Option<Party>) -> Option<Read> {
        let (account_id, acting) = (self.account(account), self.acting(acting));
        Some(Read { account_id: account_id?, acting: acting?, at_least_as_fresh: None })
    }

    /// A page: absent size is the default, a larger one than the bound is cut to it (AIP-158).
    pub(crate) fn page(&mut self, size: i32, token: &str) -> Option<Page> {
        let size = match u32::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) => Some(size.min(PAGE_SIZE_MAX)),
            Err(_) => self.fail("page_size", "is negative"),
        };
        Some(Page { size: size?, token: token.to_owned() })
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

fn absent(parsed: Result<UserId, IdError>) -> Result<Option<UserId>, IdError> {
    match parsed {
        Err(IdError::Missing) => Ok(None),
        parsed => parsed.map(Some),
    }
}

/// The acting party of a message.
pub(crate) enum Party {
    Actor(String),
    Platform,
}

/// Reads the `acting` of a message, whose generated type each message has its own.
macro_rules! party {
    ($acting:expr, $module:ident) => {
        $acting.map(|acting| match acting {
            pb::$module::Acting::ActorId(id) => $crate::rpc::parse::Party::Actor(id),
            pb::$module::Acting::Platform(_) => $crate::rpc::parse::Party::Platform,
        })
    };
}
pub(crate) use party;

/// Whom a check is about.
pub(crate) fn subject<'a>(
    parser: &mut Parser,
    field: impl Display,
    subject: Option<&'a wire::Subject>,
) -> Option<Subject<'a>> {
    match subject.and_then(|subject| subject.kind.as_ref()) {
        Some(wire::subject::Kind::UserId(id)) => {
            parser.id_of(format_args!("{field}.user_id"), id).map(Subject::User)
        }
        Some(wire::subject::Kind::Automation(automation)) => {
            // It may be left out and never decides; it is bounded all the same.
            let field = format_args!("{field}.automation.id");
            let id = text::check_line(parser.utf8(field, &automation.id)?, 128);
            parser.take(field, id).map(|_| Subject::Automation)
        }
        None => parser.fail(field, "is missing; name a `user_id` or an `automation`"),
    }
}

pub(crate) fn consistency<'a>(
    parser: &mut Parser,
    consistency: Option<&'a wire::Consistency>,
) -> Option<Consistency<'a>> {
    use wire::consistency::Requirement;
    let Some(consistency) = consistency else { return Some(Consistency::MinimizeLatency) };
    let mut must_be_true = |field: &str, value: bool, then: Consistency<'a>| {
        if value {
            Some(then)
        } else {
            parser.fail(format_args!("consistency.{field}"), "can only be true; leave it out instead")
        }
    };
    match &consistency.requirement {
        None => parser.fail("consistency", "names no requirement; leave it out, or set one"),
        Some(Requirement::MinimizeLatency(value)) => {
            must_be_true("minimize_latency", *value, Consistency::MinimizeLatency)
        }
        Some(Requirement::FullyConsistent(value)) => {
            must_be_true("fully_consistent", *value, Consistency::FullyConsistent)
        }
        Some(Requirement::AtLeastAsFresh(token)) => {
            parser.utf8("consistency.at_least_as_fresh", token).map(Consistency::AtLeastAsFresh)
        }
    }
}
