//! Checks on the wire. Questions borrow from their message, so that asking memory copies nothing; what
//! memory cannot answer takes its message along to where the store is read. Answers name roles and
//! permissions by the role model's own texts.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use usher_contract::{v1 as pb, wire};
use usher_domain::text;
use usher_policy::{Decision, GrantKind, ModelIndex, Subject};

use super::convert::{decision_reason, timestamp};
use super::explanation::explanation;
use super::parse::{Parser, consistency, subject};
use super::{license, status, token_of};
use crate::app::App;
use crate::app::check::{self, CheckPermission, CheckPermissions, ListPermissions};
use crate::error::Error;

/// The most checks in one batch.
const CHECKS_MAX: usize = 1000;
/// The most resource types that a list of permissions names.
const RESOURCE_TYPES_MAX: usize = 100;

/// A request that memory may answer.
pub(super) trait Ask: Sized + Send + 'static {
    type Response: Send + 'static;

    /// The account as the message names it; empty when that is no text, which the parser says.
    fn account(&self) -> &str;

    /// `None` when the store must be read.
    fn ask_memory(&self, app: &App) -> Result<Option<Self::Response>, Error>;

    fn ask_store(self, app: App) -> impl Future<Output = Result<Self::Response, Error>> + Send;
}

impl Ask for wire::CheckPermissionRequest {
    type Response = wire::CheckPermissionResponse;

    fn account(&self) -> &str {
        std::str::from_utf8(&self.account_id).unwrap_or_default()
    }

    fn ask_memory(&self, app: &App) -> Result<Option<Self::Response>, Error> {
        let ask = one(self)?;
        let checked = check::check_from_memory(app, &ask)?;
        Ok(checked.map(|checked| check_response(app, &ask, checked)))
    }

    async fn ask_store(self, app: App) -> Result<Self::Response, Error> {
        let ask = one(&self)?;
        let checked = check::check_permission(&app, &ask).await?;
        Ok(check_response(&app, &ask, checked))
    }
}

impl Ask for wire::CheckPermissionsRequest {
    type Response = wire::CheckPermissionsResponse;

    fn account(&self) -> &str {
        std::str::from_utf8(&self.account_id).unwrap_or_default()
    }

    fn ask_memory(&self, app: &App) -> Result<Option<Self::Response>, Error> {
        let ask = many(self)?;
        let checked = check::checks_from_memory(app, &ask)?;
        Ok(checked.map(|checked| checks_response(app, &ask, checked)))
    }

    async fn ask_store(self, app: App) -> Result<Self::Response, Error> {
        let ask = many(&self)?;
        let checked = check::check_permissions(&app, &ask).await?;
        Ok(checks_response(&app, &ask, checked))
    }
}

impl Ask for wire::ListPermissionsRequest {
    type Response = wire::ListPermissionsResponse;

    fn account(&self) -> &str {
        std::str::from_utf8(&self.account_id).unwrap_or_default()
    }

    fn ask_memory(&self, app: &App) -> Result<Option<Self::Response>, Error> {
        let ask = all(self)?;
        let listed = check::list_from_memory(app, &ask)?;
        Ok(listed.map(|listed| permissions_response(app, &ask, listed)))
    }

    async fn ask_store(self, app: App) -> Result<Self::Response, Error> {
        let ask = all(&self)?;
        let listed = check::list_permissions(&app, &ask).await?;
        Ok(permissions_response(&app, &ask, listed))
    }
}

fn one(message: &wire::CheckPermissionRequest) -> Result<CheckPermission<'_>, Error> {
    let mut parser = Parser::without_digest();
    let account_id = parser.id_of("account_id", &message.account_id);
    let of = subject(&mut parser, "subject", message.subject.as_ref());
    let ask = ask(&mut parser, At::Request, of, &message.action, message.resource.as_ref());
    let consistency = consistency(&mut parser, message.consistency.as_ref());
    let check = (|| {
        let explain = message.explain;
        Some(CheckPermission { account_id: account_id?, ask: ask?, consistency: consistency?, explain })
    })();
    parser.finish(check)
}

/// Where in a request a check stands; printed in front of its fields' names.
#[derive(Clone, Copy)]
enum At {
    Request,
    Item(usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => Ok(()),
            Self::Item(index) => write!(f, "checks[{index}]."),
        }
    }
}

fn ask<'a>(
    parser: &mut Parser,
    at: At,
    subject: Option<Subject<'a>>,
    action: &'a [u8],
    resource: Option<&'a wire::Resource>,
) -> Option<usher_policy::Ask<'a>> {
    let action = parser.id_of(format_args!("{at}action"), action);
    let Some(resource) = resource else {
        return parser.fail(format_args!("{at}resource"), "is missing; it needs at least a `type`");
    };
    let resource_type = parser.id_of(format_args!("{at}resource.type"), &resource.r#type);
    // The id never decides; it is bounded all the same.
    let id = parser.utf8(format_args!("{at}resource.id"), &resource.id);
    let id = id.and_then(|id| parser.take(format_args!("{at}resource.id"), text::check_line(id, 1024)));
    let owner = match &resource.owner_id {
        Some(owner) => parser.id_of(format_args!("{at}resource.owner_id"), owner).map(Some),
        None => Some(None),
    };
    id?;
    Some(usher_policy::Ask {
        subject: subject?,
        resource_type: resource_type?,
        action: action?,
        owner: owner?,
    })
}

/// A batch's shape is right for any model; what is not an id, a type or an action is the item's own
/// error.
fn many(message: &wire::CheckPermissionsRequest) -> Result<CheckPermissions<'_>, Error> {
    let mut parser = Parser::without_digest();
    let account_id = parser.id_of("account_id", &message.account_id);
    let default = match &message.subject {
        Some(of) => subject(&mut parser, "subject", Some(of)).map(Some),
        None => Some(None),
    };
    let consistency = consistency(&mut parser, message.consistency.as_ref());
    let count = message.checks.len();
    if count == 0 || count > CHECKS_MAX {
        let wrong = parser.fail("checks", format!("holds {count} checks, not 1 to {CHECKS_MAX}"));
        return parser.finish(wrong);
    }
    let check = (|| {
        let default = default?;
        let items = message.checks.iter().enumerate().map(|(index, check)| item(index, check, default));
        Some(CheckPermissions { account_id: account_id?, items: items.collect(), consistency: consistency? })
    })();
    parser.finish(check)
}

fn item<'a>(
    index: usize,
    check: &'a wire::Check,
    default: Option<Subject<'a>>,
) -> Result<usher_policy::Ask<'a>, Error> {
    let mut parser = Parser::without_digest();
    let at = At::Item(index);
    let of = match (&check.subject, default) {
        (None, Some(default)) => Some(default),
        (of, _) => subject(&mut parser, format_args!("{at}subject"), of.as_ref()),
    };
    let ask = ask(&mut parser, at, of, &check.action, check.resource.as_ref());
    parser.finish(ask)
}

fn all(message: &wire::ListPermissionsRequest) -> Result<ListPermissions<'_>, Error> {
    let mut parser = Parser::without_digest();
    let account_id = parser.id_of("account_id", &message.account_id);
    let subject = subject(&mut parser, "subject", message.subject.as_ref());
    if message.resource_types.len() > RESOURCE_TYPES_MAX {
        let wrong = parser.fail("resource_types", format!("holds more than {RESOURCE_TYPES_MAX} types"));
        return parser.finish(wrong);
    }
    let types = message.resource_types.iter().enumerate();
    let types: Vec<_> =
        types.map(|(index, text)| parser.id_of(format_args!("resource_types[{index}]"), text)).collect();
    let consistency = consistency(&mut parser, message.consistency.as_ref());
    let list = (|| {
        Some(ListPermissions {
            account_id: account_id?,
            subject: subject?,
            resource_types: types.into_iter().collect::<Option<_>>()?,
            consistency: consistency?,
        })
    })();
    parser.finish(list)
}

/// What a role model calls something.
fn name(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

/// A decision as the wire says it, with the names that the account's model gives.
fn outcome(app: &App, model: Option<ModelIndex>, decision: &Decision) -> wire::CheckOutcome {
    let model = model.and_then(|index| app.roles.by_index(index));
    let role = model.zip(decision.role).and_then(|(model, role)| model.role_at(role));
    let permission = model.zip(decision.permission).and_then(|(model, index)| model.permission_at(index));
    let decided = if decision.allows() { pb::Decision::Allow } else { pb::Decision::Deny };
    wire::CheckOutcome {
        decision: decided.into(),
        reason: decision_reason(decision.reason).into(),
        role: role.map_or_else(Bytes::new, |role| name(&role.id)),
        permission: permission.map_or_else(Bytes::new, |permission| name(&permission.id)),
        depends_on_owner: decision.depends_on_owner,
        valid_until_time: decision.valid_until.map(timestamp),
    }
}

fn check_response(
    app: &App,
    ask: &CheckPermission<'_>,
    checked: check::Checked,
) -> wire::CheckPermissionResponse {
    let outcome = outcome(app, checked.model, &checked.decision);
    let revision = checked.revision;
    let consistency_token = token_of(app, ask.account_id, revision).into();
    wire::CheckPermissionResponse {
        decision: outcome.decision,
        reason: outcome.reason,
        role: outcome.role,
        permission: outcome.permission,
        depends_on_owner: outcome.depends_on_owner,
        revision,
        valid_until_time: outcome.valid_until_time,
        stale: checked.stale,
        explanation: checked.explanation.map(|explained| explanation(app, &ask.ask, *explained)),
        consistency_token,
    }
}

fn checks_response(
    app: &App,
    ask: &CheckPermissions<'_>,
    checked: check::CheckedMany,
) -> wire::CheckPermissionsResponse {
    let revision = checked.revision;
    let consistency_token = token_of(app, ask.account_id, revision).into();
    let valid_until = checked.results.iter().flatten().filter_map(|decision| decision.valid_until).min();
    let results = checked.results.iter().map(|result| {
        let result = match result {
            Ok(decision) => wire::check_result::Result::Outcome(outcome(app, checked.model, decision)),
            Err(error) => wire::check_result::Result::Error(check_error(error)),
        };
        wire::CheckResult { result: Some(result) }
    });
    wire::CheckPermissionsResponse {
        results: results.collect(),
        revision,
        valid_until_time: valid_until.map(timestamp),
        stale: checked.stale,
        consistency_token,
    }
}

fn check_error(error: &Error) -> pb::CheckError {
    let (code, reason) = status::code_and_reason(error);
    let field = match error {
        Error::Invalid(violations) => violations.first().map(|violation| violation.field.clone()),
        _ => None,
    };
    let code = match code {
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    };
    pb::CheckError {
        code: code.to_owned(),
        reason: reason.into(),
        field: field.unwrap_or_default(),
        message: error.to_string(),
    }
}

fn permissions_response(
    app: &App,
    ask: &ListPermissions<'_>,
    listed: check::Permissions,
) -> wire::ListPermissionsResponse {
    let revision = listed.standing.revision();
    let consistency_token = token_of(app, ask.account_id, revision).into();
    let model = app.roles.by_index(listed.model);
    let role = model.zip(listed.listing.role).and_then(|(model, role)| model.role_at(role));
    let entries = listed.listing.entries.iter().filter_map(|entry| {
        let model = model?;
        let action = model.action_at(entry.action)?;
        let permission = entry.permission.and_then(|permission| model.permission_at(permission));
        Some(wire::PermissionEntry {
            resource_type: name(action.resource_type()),
            action: name(action.verb()),
            grant: grant(entry.grant).into(),
            permission: permission.map_or_else(Bytes::new, |permission| name(&permission.id)),
            available_after_lapse: action.available_after_lapse(),
        })
    });
    wire::ListPermissionsResponse {
        permissions: entries.collect(),
        blocked_reason: listed.listing.blocked.map_or(0, |reason| decision_reason(reason).into()),
        role: role.map_or_else(Bytes::new, |role| name(&role.id)),
        role_title: role.map_or_else(Bytes::new, |role| name(&role.title)),
        notices: license::notices(
            listed.standing.grace_end_time(listed.as_of),
            listed.standing.is_over_limit(listed.as_of),
            listed.standing.over_limit_end_time(),
        ),
        revision,
        valid_until_time: listed.listing.valid_until.map(timestamp),
        consistency_token,
        stale: listed.stale,
    }
}

fn grant(kind: GrantKind) -> pb::Grant {
    match kind {
        GrantKind::Always => pb::Grant::Always,
        GrantKind::WhenOwn => pb::Grant::WhenOwn,
        GrantKind::Never => pb::Grant::Never,
    }
}
