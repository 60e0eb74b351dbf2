//! AuthorizationService.

use tonic::{Request, Response, Status};
use usher_contract::{v1 as pb, wire};
use usher_policy::{Holders, RoleModel};

use super::parse::{Parse, Parser};
use super::{Answer, Api};
use crate::app::App;
use crate::app::roles::{ListRoles, Roles, list_roles};
use crate::guard;

#[tonic::async_trait]
impl wire::authorization_service_server::AuthorizationService for Api {
    async fn check_permission(
        &self,
        request: Request<wire::CheckPermissionRequest>,
    ) -> Result<Response<wire::CheckPermissionResponse>, Status> {
        self.check(&guard::CHECK_PERMISSION, request).await
    }

    async fn check_permissions(
        &self,
        request: Request<wire::CheckPermissionsRequest>,
    ) -> Result<Response<wire::CheckPermissionsResponse>, Status> {
        self.check(&guard::CHECK_PERMISSIONS, request).await
    }

    async fn list_permissions(
        &self,
        request: Request<wire::ListPermissionsRequest>,
    ) -> Result<Response<wire::ListPermissionsResponse>, Status> {
        self.check(&guard::LIST_PERMISSIONS, request).await
    }

    async fn list_roles(
        &self,
        request: Request<pb::ListRolesRequest>,
    ) -> Result<Response<pb::ListRolesResponse>, Status> {
        self.serve(&guard::LIST_ROLES, request, list_roles).await
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
