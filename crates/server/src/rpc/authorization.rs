//! AuthorizationService.

use tonic::{Request, Response, Status};
use tracing::Instrument;
use usher_contract::v1 as pb;
use usher_domain::caller::Caller;
use usher_policy::{Decision, GrantKind, Holders, ModelIndex, Part, PartKind, RoleModel, Standing};

use super::convert::{account_state, decision_reason, member_state, seat_state, timestamp};
use super::parse::{Parse, Parser, about, consistency};
use super::{Answer, Api, admit, code_of, status};
use crate::app::App;
use crate::app::check::{self, About, Act, CheckPermission, CheckPermissions, ListPermissions};
use crate::app::roles::{ListRoles, Roles, list_roles};
use crate::error::Error;
use crate::{guard, telemetry};

/// The most checks in one batch.
const CHECKS_MAX: usize = 1000;
/// The most resource types that a list of permissions names.
const RESOURCE_TYPES_MAX: usize = 100;

#[tonic::async_trait]
impl pb::authorization_service_server::AuthorizationService for Api {
    async fn check_permission(
        &self,
        request: Request<pb::CheckPermissionRequest>,
    ) -> Result<Response<pb::CheckPermissionResponse>, Status> {
        self.check(&guard::CHECK_PERMISSION, request, check::check_permission, check_response).await
    }

    async fn check_permissions(
        &self,
        request: Request<pb::CheckPermissionsRequest>,
    ) -> Result<Response<pb::CheckPermissionsResponse>, Status> {
        self.check(&guard::CHECK_PERMISSIONS, request, check::check_permissions, checks_response).await
    }

    async fn list_permissions(
        &self,
        request: Request<pb::ListPermissionsRequest>,
    ) -> Result<Response<pb::ListPermissionsResponse>, Status> {
        self.check(&guard::LIST_PERMISSIONS, request, check::list_permissions, permissions_response).await
    }

    async fn list_roles(
        &self,
        request: Request<pb::ListRolesRequest>,
    ) -> Result<Response<pb::ListRolesResponse>, Status> {
        self.serve(&guard::LIST_ROLES, request, list_roles).await
    }
}

impl Api {
    /// The shorter path of a check: no task of its own, no digest, no line in the log, and no span unless
    /// it is traced.
    async fn check<Q: Parse, Outcome, R>(
        &self,
        guard: &'static guard::Guard,
        request: Request<Q>,
        use_case: impl AsyncFnOnce(&App, &Caller, &Q::Command) -> Result<Outcome, Error>,
        answer: impl FnOnce(&App, &Q::Command, Outcome) -> R,
    ) -> Result<Response<R>, Status> {
        let span = telemetry::check_span(guard.method, request.metadata().as_ref());
        let checking = async {
            let caller = self.caller(&request).await?;
            let account = request.get_ref().account().to_owned();
            let answer = async {
                let ask = ask(guard, &caller, request)?;
                let outcome = use_case(&self.app, &caller, &ask).await?;
                Ok(answer(&self.app, &ask, outcome))
            };
            answer.await.map(Response::new).map_err(|error: Error| {
                self.app.counters.refused(status::reason(&error).into());
                status::status(&error, &account)
            })
        };
        let answer = checking.instrument(span.clone()).await;
        telemetry::call_ended(&span, code_of(&answer));
        answer
    }
}

fn ask<Q: Parse>(guard: &guard::Guard, caller: &Caller, request: Request<Q>) -> Result<Q::Command, Error> {
    let message = admit(guard, caller, request)?;
    let mut parser = Parser::without_digest();
    let command = message.parse(&mut parser);
    parser.finish(command)
}

impl Parse for pb::CheckPermissionRequest {
    type Command = CheckPermission;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<CheckPermission> {
        let account_id = parser.account(&self.account_id);
        let about = about(parser, "subject", self.subject.as_ref());
        let act = act(parser, "", self.action, self.resource);
        let consistency = consistency(parser, self.consistency.as_ref());
        Some(CheckPermission {
            account_id: account_id?,
            about: about?,
            act: act?,
            consistency: consistency?,
            explain: self.explain,
        })
    }
}

fn act(parser: &mut Parser, prefix: &str, action: String, resource: Option<pb::Resource>) -> Option<Act> {
    let action = parser.word(&format!("{prefix}action"), &action);
    let Some(resource) = resource else {
        return parser.fail(&format!("{prefix}resource"), "is missing; it needs at least a `type`");
    };
    let resource_type = parser.word(&format!("{prefix}resource.type"), &resource.r#type);
    // The id never decides; it is bounded all the same.
    let id = parser.line(&format!("{prefix}resource.id"), &resource.id, 1024);
    let owner_id = match &resource.owner_id {
        Some(owner) => parser.user(&format!("{prefix}resource.owner_id"), owner).map(Some),
        None => Some(None),
    };
    id?;
    Some(Act { resource_type: resource_type?, action: action?, owner_id: owner_id? })
}

/// A check's shape is right for any model; what is not an id, a type or an action is the item's own
/// error in a batch.
impl Parse for pb::CheckPermissionsRequest {
    type Command = CheckPermissions;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<CheckPermissions> {
        let account_id = parser.account(&self.account_id);
        let default = match &self.subject {
            Some(subject) => about(parser, "subject", Some(subject)).map(Some),
            None => Some(None),
        };
        let consistency = consistency(parser, self.consistency.as_ref());
        let count = self.checks.len();
        if count == 0 || count > CHECKS_MAX {
            return parser.fail("checks", format!("holds {count} checks, not 1 to {CHECKS_MAX}"));
        }
        let default = default?;
        let items = self.checks.into_iter().enumerate();
        let items = items.map(|(index, check)| item(index, check, default.as_ref())).collect();
        Some(CheckPermissions { account_id: account_id?, items, consistency: consistency? })
    }
}

fn item(index: usize, check: pb::Check, default: Option<&About>) -> Result<(About, Act), Error> {
    let mut parser = Parser::without_digest();
    let prefix = format!("checks[{index}].");
    let of = match (&check.subject, default) {
        (None, Some(default)) => Some(default.clone()),
        (subject, _) => about(&mut parser, &format!("{prefix}subject"), subject.as_ref()),
    };
    let act = act(&mut parser, &prefix, check.action, check.resource);
    parser.finish(of.zip(act))
}

impl Parse for pb::ListPermissionsRequest {
    type Command = ListPermissions;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListPermissions> {
        let account_id = parser.account(&self.account_id);
        let about = about(parser, "subject", self.subject.as_ref());
        if self.resource_types.len() > RESOURCE_TYPES_MAX {
            return parser.fail("resource_types", format!("holds more than {RESOURCE_TYPES_MAX} types"));
        }
        let types = self.resource_types.iter().enumerate();
        let types: Vec<_> =
            types.map(|(index, text)| parser.word(&format!("resource_types[{index}]"), text)).collect();
        let consistency = consistency(parser, self.consistency.as_ref());
        Some(ListPermissions {
            account_id: account_id?,
            about: about?,
            resource_types: types.into_iter().collect::<Option<_>>()?,
            consistency: consistency?,
        })
    }
}

impl Parse for pb::ListRolesRequest {
    type Command = ListRoles;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListRoles> {
        let account_id = parser.account(&self.account_id);
        let actor_id = parser.user_opt("actor_id", &self.actor_id);
        Some(ListRoles { account_id: account_id?, actor_id: actor_id? })
    }
}

/// A decision as the wire says it, with the names that the account's model gives.
fn outcome(app: &App, model: Option<ModelIndex>, decision: &Decision) -> pb::CheckOutcome {
    let model = model.and_then(|index| app.roles.by_index(index));
    let role = model.zip(decision.role).and_then(|(model, role)| model.role_at(role));
    let permission = model.zip(decision.permission).and_then(|(model, index)| model.permission_at(index));
    let decided = if decision.allows() { pb::Decision::Allow } else { pb::Decision::Deny };
    pb::CheckOutcome {
        decision: decided.into(),
        reason: decision_reason(decision.reason).into(),
        role: role.map(|role| role.id.to_string()).unwrap_or_default(),
        permission: permission.map(|permission| permission.id.to_string()).unwrap_or_default(),
        depends_on_owner: decision.depends_on_owner,
        valid_until_time: decision.valid_until.map(timestamp),
    }
}

fn check_response(app: &App, ask: &CheckPermission, checked: check::Checked) -> pb::CheckPermissionResponse {
    let outcome = outcome(app, checked.model, &checked.decision);
    let revision = checked.revision;
    let consistency_token = super::token_of(app, ask.account_id.as_str(), revision);
    pb::CheckPermissionResponse {
        decision: outcome.decision,
        reason: outcome.reason,
        role: outcome.role,
        permission: outcome.permission,
        depends_on_owner: outcome.depends_on_owner,
        revision,
        valid_until_time: outcome.valid_until_time,
        stale: checked.stale,
        explanation: checked.explanation.map(|explained| explanation(app, explained)),
        consistency_token,
    }
}

fn checks_response(
    app: &App,
    ask: &CheckPermissions,
    checked: check::CheckedMany,
) -> pb::CheckPermissionsResponse {
    let revision = checked.revision;
    let consistency_token = super::token_of(app, ask.account_id.as_str(), revision);
    let valid_until = checked.results.iter().flatten().filter_map(|decision| decision.valid_until).min();
    let results = checked.results.iter().map(|result| {
        let result = match result {
            Ok(decision) => pb::check_result::Result::Outcome(outcome(app, checked.model, decision)),
            Err(error) => pb::check_result::Result::Error(check_error(error)),
        };
        pb::CheckResult { result: Some(result) }
    });
    pb::CheckPermissionsResponse {
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

fn explanation(app: &App, explained: check::Explained) -> pb::Explanation {
    let standing = explained.standing.filter(|_| explained.facts.is_some());
    let model = standing.as_ref().and_then(|standing| app.roles.model_of(standing));
    let role = model.zip(standing.and_then(|standing| standing.member().role()));
    let role = role.and_then(|(model, role)| model.role_at(role));
    let act = &explained.act;
    let action = model.and_then(|model| model.action(&act.resource_type, &act.action).ok());
    let mut told = pb::Explanation {
        parts: explained.parts.iter().map(|part| explanation_part(part, &explained)).collect(),
        role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
        ..Default::default()
    };
    if let (Some(model), Some(action)) = (model, action) {
        told.roles_that_grant = model.roles_that_grant(action).map(|role| role.id.to_string()).collect();
        let permissions = model.permissions_that_grant(action);
        told.permissions_that_grant = permissions.map(|permission| permission.id.to_string()).collect();
    }
    if let Some(model) = model {
        model.id().clone_into(&mut told.model);
        model.digest().clone_into(&mut told.model_version);
    }
    if let (Some(standing), Some(facts)) = (standing, &explained.facts) {
        states(&mut told, model, &standing, facts, explained.as_of);
    }
    told
}

fn states(
    told: &mut pb::Explanation,
    model: Option<&RoleModel>,
    standing: &Standing,
    facts: &usher_storage::StandingFacts,
    now: usher_domain::time::Time,
) {
    let subscription = usher_domain::license::Subscription {
        plan: String::new(),
        expire_time: facts.expire_time,
        grace_end_time: facts.record.lapse_time,
    };
    told.account_state = account_state(facts.record.account_state).into();
    told.subscription_state = super::convert::subscription_state(subscription.state(now)).into();
    if let Some(member) = &facts.record.member {
        let role = standing.member().role();
        let role = model.zip(role).and_then(|(model, role)| model.role_at(role));
        told.member_state = member_state(member.state).into();
        told.seat_state = seat_state(role.is_none_or(|role| role.uses_seat), member.seat).into();
    }
    told.expire_time = facts.expire_time.map(timestamp);
    told.grace_end_time = facts.record.lapse_time.map(timestamp);
    told.standing_changed_time = Some(timestamp(facts.changed_time));
    told.standing_changed_event.clone_from(&facts.changed_event);
    told.standing_changed_revision = facts.changed_revision;
}

fn explanation_part(part: &Part, of: &check::Explained) -> pb::ExplanationPart {
    let kind = match part.part {
        PartKind::Account => pb::DecisionPart::Account,
        PartKind::Member => pb::DecisionPart::Member,
        PartKind::Subscription => pb::DecisionPart::Subscription,
        PartKind::OverLimit => pb::DecisionPart::Limit,
        PartKind::Seat => pb::DecisionPart::Seat,
        PartKind::Role | PartKind::Automation => pb::DecisionPart::Grant,
        PartKind::Owner => pb::DecisionPart::Owner,
    };
    pb::ExplanationPart {
        part: kind.into(),
        holds: part.holds,
        detail: part.detail.clone(),
        reason: part.reason.map_or(pb::DecisionReason::Unspecified, decision_reason).into(),
        since_time: of.facts.as_ref().and_then(|facts| since(part, facts)).map(timestamp),
    }
}

/// Since when a part is as it is. A member's parts remember it; what the clock alone brings about
/// began at its time.
fn since(part: &Part, facts: &usher_storage::StandingFacts) -> Option<usher_domain::time::Time> {
    match part.part {
        PartKind::Account => facts.since.account,
        PartKind::Member => facts.since.member,
        PartKind::Subscription => facts.record.lapse_time.filter(|_| !part.holds),
        PartKind::OverLimit => facts.record.over_limit_end_time.filter(|_| !part.holds),
        PartKind::Seat => facts.since.seat,
        PartKind::Role => facts.since.role,
        PartKind::Owner | PartKind::Automation => None,
    }
}

fn permissions_response(
    app: &App,
    ask: &ListPermissions,
    listed: check::Permissions,
) -> pb::ListPermissionsResponse {
    let revision = listed.standing.revision();
    let consistency_token = super::token_of(app, ask.account_id.as_str(), revision);
    let model = app.roles.by_index(listed.model);
    let role = model.zip(listed.listing.role).and_then(|(model, role)| model.role_at(role));
    let entries = listed.listing.entries.iter().filter_map(|entry| {
        let model = model?;
        let action = model.action_at(entry.action)?;
        let permission = entry.permission.and_then(|permission| model.permission_at(permission));
        Some(pb::PermissionEntry {
            resource_type: action.resource_type().to_owned(),
            action: action.verb().to_owned(),
            grant: grant(entry.grant).into(),
            permission: permission.map(|permission| permission.id.to_string()).unwrap_or_default(),
            available_after_lapse: action.available_after_lapse(),
        })
    });
    pb::ListPermissionsResponse {
        permissions: entries.collect(),
        blocked_reason: listed.listing.blocked.map_or(0, |reason| decision_reason(reason).into()),
        role: role.map(|role| role.id.to_string()).unwrap_or_default(),
        role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
        notices: super::license::notices(
            listed.grace_end_time,
            listed.over_limit_by,
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

impl Answer<Roles> for pb::ListRolesResponse {
    fn answer(app: &App, _account: &str, roles: Roles) -> Self {
        let Some(model) = app.roles.by_index(roles.model) else { return Self::default() };
        let assignable = |at: usize| roles.assignable_by_actor.as_ref().and_then(|may| may.get(at).copied());
        let role = |(at, role): (usize, &usher_policy::Role)| pb::Role {
            id: role.id.to_string(),
            title: role.title.to_string(),
            description: role.description.to_string(),
            permissions: role
                .permissions
                .iter()
                .filter_map(|permission| model.permission_at(*permission))
                .map(|permission| permission.id.to_string())
                .collect(),
            assignable: !role.changes_by_support_only && !role.assignable_by.is_empty(),
            assignable_by_actor: assignable(at),
            uses_seat: role.uses_seat,
            holders: match role.holders {
                Holders::Any => pb::HolderRule::Any,
                Holders::AtLeastOne => pb::HolderRule::AtLeastOne,
                Holders::ExactlyOne => pb::HolderRule::ExactlyOne,
            }
            .into(),
            founder: role.founder,
            changes_by_support_only: role.changes_by_support_only,
        };
        Self {
            model: model.id().to_owned(),
            version: model.digest().to_owned(),
            roles: model.roles().iter().enumerate().map(role).collect(),
            permissions: model
                .permissions()
                .iter()
                .map(|permission| self::permission(model, permission))
                .collect(),
            actions: model.action_indices().filter_map(|action| model_action(model, action)).collect(),
        }
    }
}

fn permission(model: &RoleModel, permission: &usher_policy::Permission) -> pb::Permission {
    let actions = permission.actions.iter().filter_map(|action| model.action_at(*action));
    pb::Permission {
        id: permission.id.to_string(),
        title: permission.title.to_string(),
        actions: actions.map(|action| action.name().to_owned()).collect(),
    }
}

fn model_action(model: &RoleModel, index: usher_policy::ActionIndex) -> Option<pb::ModelAction> {
    let action = model.action_at(index)?;
    let grants = model.role_indices().filter_map(|role| {
        let granted = model.grant(role, index);
        let permission = granted.permission().and_then(|permission| model.permission_at(permission));
        let kind = match granted {
            usher_policy::Grant::Always(_) => pb::Grant::Always,
            usher_policy::Grant::WhenOwn(_) => pb::Grant::WhenOwn,
            usher_policy::Grant::Never => pb::Grant::Never,
        };
        Some(pb::RoleGrant {
            role: model.role_at(role)?.id.to_string(),
            grant: kind.into(),
            permission: permission.map(|permission| permission.id.to_string()).unwrap_or_default(),
        })
    });
    Some(pb::ModelAction {
        resource_type: action.resource_type().to_owned(),
        action: action.verb().to_owned(),
        available_after_lapse: action.available_after_lapse(),
        available_to_automation: action.automation(),
        grants: grants.collect(),
    })
}
