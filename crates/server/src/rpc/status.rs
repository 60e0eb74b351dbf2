//! From errors to the wire: the only place that gives an error its code, reason and details. A new
//! variant does not compile until it has them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use usher_contract::v1::ErrorReason;
use usher_domain::invitation::InvitationState;
use usher_domain::license::Seats;
use usher_domain::password::{PASSWORD_LENGTH_MIN, PasswordError};
use usher_domain::refusal::Refusal;
use usher_policy::Reason;

use crate::app::access::is_about_account;
use crate::error::{Error, Missing, Taken, Violation, Wrong};
use crate::random;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "usher.v1";

/// How long to wait when the store is away, or somebody else was faster.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(1);
const RETRY_AFTER_CONTENTION: Duration = Duration::from_millis(50);

/// An error as it goes out: code, reason, message and what comes with it.
struct Wire {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Wire {
    fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        let (message, metadata) = (message.into(), HashMap::new());
        Self { code, reason, message, metadata, details: ErrorDetails::new() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    fn retry(mut self, after: Duration) -> Self {
        self.details.set_retry_info(Some(after));
        self
    }

    fn precondition(mut self, subject: &str) -> Self {
        let kind = self.reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
        self.details.add_precondition_failure_violation(kind, subject, self.message.clone());
        self
    }

    fn quota(mut self, seats: Seats) -> Self {
        self.details.add_quota_failure_violation("seats", self.message.clone());
        self.with("active", seats.active).with("reserved", seats.reserved).with(
            "purchased",
            seats.purchased.map_or("unlimited".to_owned(), |purchased| purchased.to_string()),
        )
    }

    fn into_status(mut self) -> Status {
        self.details.set_error_info(name(self.reason), DOMAIN, self.metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// A reason as `ErrorInfo` carries it.
pub fn name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The name of the reason with this number.
pub fn name_of(number: i32) -> Option<&'static str> {
    ErrorReason::try_from(number).ok().map(name)
}

/// The reason of an error, for answers that carry it as a field.
pub(crate) fn reason(error: &Error) -> ErrorReason {
    wire(error).reason
}

/// The code and reason of an error, for items of a batch.
pub(crate) fn code_and_reason(error: &Error) -> (Code, ErrorReason) {
    let wire = wire(error);
    (wire.code, wire.reason)
}

/// An error of a call about an account as a status. What only we can mend goes to the log, under an id
/// that the caller gets.
pub fn status(error: &Error, account: &str) -> Status {
    let mut wire = wire(error);
    if matches!(wire.reason, ErrorReason::AccountUnknown | ErrorReason::AccountExists) {
        wire = wire.with("account_id", account);
    }
    if wire.reason == ErrorReason::LastHolder {
        wire = wire.precondition(account);
    }
    if wire.code == Code::Internal {
        let id = random::id("err");
        tracing::error!(id, error = %error, "internal error");
        return wire.with("id", id).into_status();
    }
    if let Error::Store(source) = error {
        tracing::warn!(error = %source, code = ?wire.code, "the store failed");
    }
    wire.into_status()
}

fn wire(error: &Error) -> Wire {
    use ErrorReason as R;
    let message = error.to_string();
    match error {
        Error::Invalid(violations) => invalid(violations, message),
        Error::ScopeMissing(scope) => {
            Wire::new(Code::PermissionDenied, R::ScopeMissing, message).with("scope", scope)
        }
        Error::AccountNotAllowed => Wire::new(Code::PermissionDenied, R::AccountNotAllowed, message),
        Error::Refused { refusal, field } => {
            let wire = refused(refusal, message);
            match field {
                Some(field) => wire.with("field", field),
                None => wire,
            }
        }
        Error::Denied { action, reason, field } => {
            let wire = denied(action, *reason).with("action", action);
            match field {
                Some(field) => wire.with("field", field),
                None => wire,
            }
        }
        Error::RoleAboveActor { role } => {
            Wire::new(Code::PermissionDenied, R::RoleAboveActor, message).with("role", role)
        }
        Error::RoleNotAssignable { role } => {
            Wire::new(Code::PermissionDenied, R::RoleNotAssignable, message).with("role", role)
        }
        Error::InvitationOver(state) => invitation_over(*state),
        Error::SponsorLacksRight => {
            Wire::new(Code::FailedPrecondition, R::InvitationSponsorLacksRight, message)
                .precondition("invitation")
        }
        Error::WrongCredentials => Wire::new(Code::PermissionDenied, R::WrongCredentials, message),
        Error::ExistingLoginRequired => {
            Wire::new(Code::FailedPrecondition, R::ExistingLoginRequired, message).precondition("login")
        }
        Error::UsernameBoundToAnother => {
            Wire::new(Code::FailedPrecondition, R::UsernameBoundToAnother, message).precondition("login")
        }
        Error::Password(error) => password(*error, message),
        Error::RateLimited { retry_after } => {
            Wire::new(Code::ResourceExhausted, R::RateLimited, message).retry(*retry_after)
        }
        Error::Overloaded => {
            Wire::new(Code::ResourceExhausted, R::Overloaded, message).retry(RETRY_AFTER_CONTENTION)
        }
        Error::CursorTooOld => Wire::new(Code::OutOfRange, R::CursorTooOld, message),
        Error::SlowReader => Wire::new(Code::Aborted, R::SlowReader, message),
        Error::AccountClosed => {
            Wire::new(Code::FailedPrecondition, R::AccountClosed, message).precondition("account")
        }
        Error::OperatorUnproven => Wire::new(Code::PermissionDenied, R::OperatorUnproven, message),
        Error::ModelHasNoSupportRole => {
            Wire::new(Code::FailedPrecondition, R::ModelHasNoSupportRole, message).precondition("role")
        }
        Error::HolderInAccounts { accounts, refusal } => {
            refused(refusal, message).with("accounts", accounts.join(","))
        }
        Error::Missing(what) => missing(*what),
        Error::Taken(what) => taken(*what),
        Error::RevisionChanged { revision } => {
            Wire::new(Code::Aborted, R::RevisionChanged, message).with("revision", revision)
        }
        Error::RequestIdReused => {
            Wire::new(Code::FailedPrecondition, R::RequestIdReused, message).precondition("request_id")
        }
        Error::MailRate { retry_after } => {
            Wire::new(Code::ResourceExhausted, R::MailRate, message).retry(*retry_after)
        }
        Error::PageTokenInvalid => bad_field(R::PageTokenInvalid, "page_token", message),
        Error::ConsistencyTokenInvalid => bad_field(R::ConsistencyTokenInvalid, "consistency", message),
        Error::ConsistencyTokenOfOtherAccount => {
            bad_field(R::ConsistencyTokenOfOtherAccount, "consistency", message)
        }
        Error::RevisionInFuture => {
            Wire::new(Code::FailedPrecondition, R::RevisionInFuture, message).precondition("consistency")
        }
        Error::With { source, name, value } => wire(source).with(name, value),
        Error::Store(error) => store(error),
        Error::Internal(_) => Wire::new(Code::Internal, R::Internal, "internal error"),
    }
}

fn bad_field(reason: ErrorReason, field: &str, message: String) -> Wire {
    let mut wire = Wire::new(Code::InvalidArgument, reason, message.clone());
    wire.details.add_bad_request_violation(field, message);
    wire
}

fn invalid(violations: &[Violation], message: String) -> Wire {
    let reason_of = |wrong| match wrong {
        Wrong::Field => ErrorReason::InvalidField,
        Wrong::ActingMissing => ErrorReason::ActingMissing,
        Wrong::ActionUnknown => ErrorReason::ActionUnknown,
        Wrong::ResourceTypeUnknown => ErrorReason::ResourceTypeUnknown,
        Wrong::RoleUnknown => ErrorReason::RoleUnknown,
        Wrong::ModelUnknown => ErrorReason::ModelUnknown,
        Wrong::IssuerUnknown => ErrorReason::IssuerUnknown,
    };
    let reason = match violations {
        [only] => reason_of(only.wrong),
        _ => ErrorReason::InvalidField,
    };
    let mut wire = Wire::new(Code::InvalidArgument, reason, message);
    if let [Violation { suggestion: Some(suggestion), .. }] = violations {
        wire = wire.with("suggestion", suggestion);
    }
    let fields: Vec<FieldViolation> = violations
        .iter()
        .map(|violation| {
            let mut field = FieldViolation::new(&violation.field, &violation.description);
            name(reason_of(violation.wrong)).clone_into(&mut field.reason);
            field
        })
        .collect();
    wire.details.set_bad_request(fields);
    wire
}

fn refused(refusal: &Refusal, message: String) -> Wire {
    use ErrorReason as R;
    let precondition = |reason, message| Wire::new(Code::FailedPrecondition, reason, message);
    match refusal {
        Refusal::AccountSuspended => precondition(R::AccountSuspended, message).precondition("account"),
        Refusal::SubscriptionLapsed => {
            precondition(R::SubscriptionLapsed, message).precondition("subscription")
        }
        Refusal::OverLimitEnded => precondition(R::OverLimitEnded, message).precondition("seats"),
        Refusal::NoSeatAvailable(seats) => {
            Wire::new(Code::ResourceExhausted, R::NoSeatAvailable, message).quota(*seats)
        }
        Refusal::OverLimit(seats) => Wire::new(Code::ResourceExhausted, R::OverLimit, message)
            .quota(*seats)
            .with("over_limit_by", seats.over_limit_by()),
        Refusal::SeatsInUse(seats) => precondition(R::SeatsInUse, message)
            .precondition("seats")
            .with("in_use", seats.in_use())
            .with("lowest_possible", seats.in_use()),
        Refusal::ExpectedSeatsDiffer { purchased } => precondition(R::ExpectedSeatsDiffer, message)
            .precondition("seats")
            .with("purchased", purchased.map_or("unlimited".to_owned(), |purchased| purchased.to_string())),
        Refusal::AlreadyMember { user_id } => {
            Wire::new(Code::AlreadyExists, R::AlreadyMember, message).with("user_id", user_id)
        }
        Refusal::UsernameTakenInAccount { user_id } => {
            Wire::new(Code::AlreadyExists, R::UsernameTakenInAccount, message).with("user_id", user_id)
        }
        Refusal::MemberSuspendedReactivate { user_id } => {
            Wire::new(Code::AlreadyExists, R::MemberSuspendedReactivate, message).with("user_id", user_id)
        }
        Refusal::InvitationOpenWithOtherRole { id, role } => {
            Wire::new(Code::AlreadyExists, R::InvitationOpenWithOtherRole, message)
                .with("invitation_id", id)
                .with("role", role)
        }
        Refusal::RoleChangesBySupportOnly { role } => precondition(R::RoleChangesBySupportOnly, message)
            .precondition(&format!("role/{role}"))
            .with("role", role),
        // Its precondition names the account, which the call knows.
        Refusal::LastHolder { role } => precondition(R::LastHolder, message).with("role", role),
        Refusal::Oneself => Wire::new(Code::PermissionDenied, R::OwnMembership, message),
        Refusal::RoleUsesNoSeat { role } => {
            precondition(R::RoleUsesNoSeat, message).precondition(&format!("role/{role}")).with("role", role)
        }
        Refusal::TransferOpen { id } => {
            Wire::new(Code::AlreadyExists, R::OwnershipTransferOpen, message).with("transfer_id", id)
        }
        Refusal::TransferEnded { state } => precondition(R::OwnershipTransferEnded, message)
            .precondition("ownership_transfer")
            .with("state", format!("{state:?}").to_uppercase()),
        Refusal::SecondOperatorRequired => {
            Wire::new(Code::PermissionDenied, R::SecondOperatorRequired, message)
        }
        Refusal::RoleAlreadyHeld { user_id, role } => {
            Wire::new(Code::AlreadyExists, R::RoleAlreadyHeld, message)
                .with("user_id", user_id)
                .with("role", role)
        }
        Refusal::MemberSuspended { user_id } | Refusal::CannotHoldRole { user_id } => {
            precondition(R::MemberNotActive, message).precondition("member").with("user_id", user_id)
        }
    }
}

fn denied(action: &str, reason: Reason) -> Wire {
    use ErrorReason as R;
    if is_about_account(reason) {
        let refusal = match reason {
            Reason::AccountSuspended => Refusal::AccountSuspended,
            Reason::SubscriptionLapsed => Refusal::SubscriptionLapsed,
            Reason::OverLimitEnded => Refusal::OverLimitEnded,
            _ => return missing(Missing::Account),
        };
        return refused(&refusal, refusal.to_string());
    }
    Wire::new(Code::PermissionDenied, R::ActorLacksPermission, format!("the actor may not `{action}`"))
        .with("decision_reason", decision_reason_name(reason))
}

/// A reason as the contract's `DecisionReason` names it, without the prefix.
fn decision_reason_name(reason: Reason) -> &'static str {
    super::convert::decision_reason(reason).as_str_name().trim_start_matches("DECISION_REASON_")
}

fn password(error: PasswordError, message: String) -> Wire {
    let reason = match error {
        PasswordError::TooShort => ErrorReason::PasswordTooShort,
        PasswordError::TooLong => ErrorReason::InvalidField,
        PasswordError::TooCommon => ErrorReason::PasswordTooCommon,
        PasswordError::ContainsEmail => ErrorReason::PasswordContainsEmail,
    };
    let wire = bad_field(reason, "new_password", message);
    if error == PasswordError::TooShort { wire.with("min_length", PASSWORD_LENGTH_MIN) } else { wire }
}

fn invitation_over(state: InvitationState) -> Wire {
    let (reason, message) = match state {
        InvitationState::Accepted => (ErrorReason::InvitationAccepted, "the invitation was accepted"),
        InvitationState::Revoked => (ErrorReason::InvitationRevoked, "the invitation was revoked"),
        InvitationState::Expired => (ErrorReason::InvitationExpired, "the invitation has expired"),
        // Nothing refuses an invitation for being open.
        InvitationState::Pending => (ErrorReason::Internal, "the invitation is open"),
    };
    Wire::new(Code::FailedPrecondition, reason, message).precondition("invitation")
}

fn missing(what: Missing) -> Wire {
    let (reason, message) = match what {
        Missing::Account => (ErrorReason::AccountUnknown, "there is no such account"),
        Missing::Member => (ErrorReason::MemberUnknown, "the account has no such member"),
        Missing::User => (ErrorReason::UserUnknown, "there is no such user"),
        Missing::Invitation => (ErrorReason::InvitationUnknown, "there is no such invitation"),
        Missing::Identity => (ErrorReason::IdentityUnknown, "nobody has this login"),
        Missing::Transfer => (ErrorReason::OwnershipTransferUnknown, "there is no such ownership ticket"),
        Missing::Token => (ErrorReason::TokenUnknown, "there is no such token, or it has been used"),
    };
    Wire::new(Code::NotFound, reason, message)
}

fn taken(what: Taken) -> Wire {
    let (reason, message) = match what {
        Taken::AccountId => (ErrorReason::AccountExists, "there is an account with this id"),
        Taken::UserId => (ErrorReason::UserIdTaken, "the id `new_user_id` is another person's"),
        Taken::Email => (ErrorReason::EmailTaken, "the address is another person's"),
    };
    Wire::new(Code::AlreadyExists, reason, message)
}

fn store(error: &usher_storage::Error) -> Wire {
    use usher_storage::Error as E;
    match error {
        E::Unavailable(_) | E::InUse(_) => {
            Wire::new(Code::Unavailable, ErrorReason::StoreUnavailable, "the database does not answer")
                .retry(RETRY_AFTER_OUTAGE)
        }
        E::CommitUnknown(_) => Wire::new(
            Code::Unavailable,
            ErrorReason::StoreUnavailable,
            "the database broke off; the change may or may not have been made",
        )
        .retry(RETRY_AFTER_OUTAGE),
        // Two requests met where the row lock does not order them: the loser may try again.
        E::Contention(_) | E::Exists(_) => {
            Wire::new(Code::Aborted, ErrorReason::Contention, "another change was in the way")
                .retry(RETRY_AFTER_CONTENTION)
        }
        E::Corrupt(_) | E::Schema(_) | E::Internal(_) => {
            Wire::new(Code::Internal, ErrorReason::Internal, "internal error")
        }
    }
}
