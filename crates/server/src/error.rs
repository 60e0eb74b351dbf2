//! Why a use case fails. `rpc/status.rs` is the only place that turns these into codes and reasons.

use std::time::Duration;

use usher_domain::caller::Scope;
use usher_domain::id::UserId;
use usher_domain::invitation::InvitationState;
use usher_domain::password::PasswordError;
use usher_domain::refusal::Refusal;
use usher_policy::Reason;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field: `changes[2].set_purchased_seats.seats`.
    pub field: String,
    pub description: String,
    pub wrong: Wrong,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// In what way a field is wrong, where callers may want to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Field,
    ActingMissing,
    ActionUnknown,
    ResourceTypeUnknown,
    RoleUnknown,
    ModelUnknown,
    IssuerUnknown,
}

/// What a request names that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Account,
    Member,
    User,
    Invitation,
    Identity,
    Token,
    Transfer,
}

/// Whose the taken thing is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    AccountId,
    UserId,
    Email,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    #[error("the caller lacks the scope `{0}`")]
    ScopeMissing(Scope),
    #[error("the caller may not reach this account")]
    AccountNotAllowed,
    /// A rule of the domain says no; `field` names the part of the request, if it is one of several.
    #[error("{refusal}")]
    Refused { refusal: Refusal, field: Option<String> },
    /// A check of the actor did not answer ALLOW.
    #[error("the actor may not `{action}`: {reason:?}")]
    Denied { action: &'static str, reason: Reason, field: Option<String> },
    #[error("the role `{role}` allows more than the actor's own")]
    RoleAboveActor { role: String },
    #[error("the role model does not let the actor assign the role `{role}`")]
    RoleNotAssignable { role: String },
    #[error("the invitation is {0:?}")]
    InvitationOver(InvitationState),
    #[error("the member who sponsors the invitation may not invite to this role any more")]
    SponsorLacksRight,
    #[error("address or password is wrong, or the login is another person's")]
    WrongCredentials,
    #[error("the address belongs to a person who has a login; they prove it instead of setting a password")]
    ExistingLoginRequired,
    #[error("the username is bound to another person at the provider")]
    UsernameBoundToAnother,
    #[error("{0}")]
    Password(#[from] PasswordError),
    #[error("too many tries")]
    RateLimited { retry_after: Duration },
    #[error("the server has more in hand than it takes")]
    Overloaded,
    #[error(
        "the events after this revision are too many, or of a database that was restored; take a snapshot"
    )]
    CursorTooOld,
    #[error("the events were not read fast enough")]
    SlowReader,
    #[error("the account is closed")]
    AccountClosed,
    #[error("the caller cannot say which operator stands behind the ticket")]
    OperatorUnproven,
    #[error("the role model has no role that support moves; name a role that somebody must hold")]
    ModelHasNoSupportRole,
    #[error("the person must keep holding a role in {}", .accounts.join(", "))]
    HolderInAccounts { accounts: Vec<String>, refusal: Refusal },
    #[error("{0:?} not found")]
    Missing(Missing),
    #[error("{0:?} is taken")]
    Taken(Taken),
    #[error("the account is at revision {revision}, not the one expected")]
    RevisionChanged { revision: i64 },
    #[error("the request id was used for another request")]
    RequestIdReused,
    #[error("too many mails for this account")]
    MailRate { retry_after: Duration },
    #[error("the page token is not one of this list")]
    PageTokenInvalid,
    #[error("the consistency token is not one of this server")]
    ConsistencyTokenInvalid,
    #[error("the consistency token belongs to another account")]
    ConsistencyTokenOfOtherAccount,
    #[error("the consistency token names a revision that does not exist")]
    RevisionInFuture,
    /// Another error, with facts that its place alone knows.
    #[error("{source}")]
    With { source: Box<Error>, name: &'static str, value: String },
    #[error(transparent)]
    Store(#[from] usher_storage::Error),
    #[error("{0}")]
    Internal(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, field: None }
    }
}

impl Error {
    /// A request with one thing wrong.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::invalid_as(Wrong::Field, field, description)
    }

    pub fn invalid_as(wrong: Wrong, field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::unknown(wrong, field, description, None)
    }

    /// A word that stands for nothing, with the one that was probably meant.
    pub fn unknown(
        wrong: Wrong,
        field: impl Into<String>,
        description: impl Into<String>,
        suggestion: Option<&str>,
    ) -> Self {
        let suggestion = suggestion.map(str::to_owned);
        Self::Invalid(vec![Violation {
            field: field.into(),
            description: description.into(),
            wrong,
            suggestion,
        }])
    }

    /// The same error, said of one part of the request.
    #[must_use]
    pub fn at(self, part: &str) -> Self {
        match self {
            Self::Refused { refusal, .. } => Self::Refused { refusal, field: Some(part.to_owned()) },
            Self::Denied { action, reason, .. } => {
                Self::Denied { action, reason, field: Some(part.to_owned()) }
            }
            other => other.with("field", part),
        }
    }

    pub fn no_member(id: &UserId) -> Self {
        Self::Missing(Missing::Member).with("user_id", id)
    }

    pub fn no_user(id: &UserId) -> Self {
        Self::Missing(Missing::User).with("user_id", id)
    }

    /// The same error with a fact more, as the contract's reason names it.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl ToString) -> Self {
        Self::With { source: Box::new(self), name, value: value.to_string() }
    }
}

/// The word among `known` that `word` is probably a slip of.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (strsim::jaro_winkler(known, word), known));
    near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|near| near.0 > 0.8).map(|(_, known)| known)
}
