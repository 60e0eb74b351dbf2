//! The role model of an account, for whoever draws it.

use usher_domain::caller::{Acting, Caller};
use usher_domain::id::{AccountId, UserId};
use usher_policy::{ModelIndex, RoleIndex};
use usher_storage::Tx;

use super::App;
use super::access::Access;
use crate::error::Error;

#[derive(Debug, Clone)]
pub struct ListRoles {
    pub account_id: AccountId,
    /// Asks which roles this member may grant.
    pub actor_id: Option<UserId>,
}

pub struct Roles {
    pub model: ModelIndex,
    /// For each role of the model, in its order, whether the actor may grant it.
    pub assignable_by_actor: Option<Vec<bool>>,
}

/// # Errors
/// `Missing(Account)`.
pub async fn list_roles(app: App, _caller: Caller, command: ListRoles) -> Result<Roles, Error> {
    let now = app.clock.now();
    let acting = command.actor_id.clone().map_or(Acting::Platform, Acting::Member);
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &acting).await?;
            let model = access.model()?;
            let may = |index: RoleIndex| {
                let reach = model.role_at(index).map(|role| access.require_reach(role, index));
                access.may("member.invite") && matches!(reach, Some(Ok(())))
            };
            let assignable = access.actor().map(|_| model.role_indices().map(may).collect());
            let (index, _) = app.roles.get(model.id()).ok_or_else(|| Error::Internal("model gone".into()))?;
            Ok(Roles { model: index, assignable_by_actor: assignable })
        })
        .await
}
