//! From a checked role model to the dense table.
//!
//! Which permission is reported is decided here, once: the unconditional one wins, then the first in
//! the role's order.

use crate::error::At;
use crate::index::ActionTable;
use crate::matrix;
use crate::resolve::{Resolved, ResolvedPermission, ResolvedRole};
use crate::source::DraftAction;
use crate::table::{
    Action, ActionIndex, Cell, Condition, Grant, OwnerFact, Permission, PermissionIndex, Role, RoleIndex,
    RoleModel,
};

/// The cells of each role: the unconditional permission wins, then the first in the role's order.
pub(crate) fn grants(
    permissions: &[ResolvedPermission],
    roles: &[ResolvedRole],
    actions: usize,
) -> Vec<Vec<Grant>> {
    roles
        .iter()
        .map(|role| {
            let mut cells = vec![Grant::Never; actions];
            for At { value: index, .. } in &role.permissions {
                let Some(permission) = permissions.get(index.position()) else { continue };
                for At { value: action, .. } in &permission.actions {
                    if let Some(cell) = cells.get_mut(action.position()) {
                        *cell = stronger(*cell, grant_by(permission, *index));
                    }
                }
            }
            cells
        })
        .collect()
}

fn grant_by(permission: &ResolvedPermission, index: PermissionIndex) -> Grant {
    match permission.draft.when.map(|when| when.value) {
        None => Grant::Always(index),
        Some(Condition::Own) => Grant::WhenOwn(index),
    }
}

/// Of two grants the one that is reported, `first` standing first in the role.
fn stronger(first: Grant, second: Grant) -> Grant {
    match (first, second) {
        (Grant::Never, _) | (Grant::WhenOwn(_), Grant::Always(_)) => second,
        _ => first,
    }
}

/// Whether `actor` allows whatever `target` allows, for every fact.
pub(crate) fn grants_cover(actor: Grant, target: Grant) -> bool {
    OwnerFact::ALL.into_iter().all(|fact| !target.allows(fact) || actor.allows(fact))
}

/// `resolved` must have passed the rules.
pub(crate) fn compile(resolved: Resolved) -> RoleModel {
    let Resolved { id, title, actions, permissions, roles, grants, after_lapse, automation, hints, .. } =
        resolved;
    let actions: Box<[Action]> = (0u16..)
        .map(ActionIndex)
        .zip(&actions)
        .map(|(index, draft)| action(draft, contains(&after_lapse, index), contains(&automation, index)))
        .collect();
    let cells = grants.into_iter().flatten().map(Cell::of).collect();
    let find =
        |is: fn(&ResolvedRole) -> bool| (0u8..).zip(&roles).find(|(_, r)| is(r)).map(|(i, _)| RoleIndex(i));
    let founder = find(|role| role.draft.founder.is_some()).unwrap_or(RoleIndex(0));
    let support_only = find(|role| role.draft.changes_by_support_only.is_some());
    let mut model = RoleModel {
        id: id.into(),
        title: title.into(),
        digest: Box::default(),
        index: ActionTable::new(&actions),
        actions,
        permissions: permissions.into_iter().map(permission).collect(),
        roles: roles.into_iter().map(role).collect(),
        cells,
        covers: Box::default(),
        assigns: Box::default(),
        founder,
        support_only,
        hints,
    };
    model.covers = bits(&model, covers);
    // The rules refuse a file in which somebody named does not cover; a table must not rest on that.
    model.assigns = bits(&model, |model, actor, target| {
        covers(model, actor, target)
            && model.role_at(target).is_some_and(|role| role.assignable_by.contains(&actor))
    });
    model.digest = matrix::digest(&model.matrix()).into();
    model
}

fn contains(list: &[At<ActionIndex>], action: ActionIndex) -> bool {
    list.iter().any(|listed| listed.value == action)
}

fn action(draft: &DraftAction, available_after_lapse: bool, automation: bool) -> Action {
    let dot = draft.resource_type.value.len();
    Action { name: draft.name().into(), dot, available_after_lapse, automation }
}

fn permission(resolved: ResolvedPermission) -> Permission {
    Permission {
        id: resolved.draft.id.value.into(),
        title: resolved.draft.title.value.into(),
        condition: resolved.draft.when.map(|when| when.value),
        actions: resolved.actions.iter().map(|action| action.value).collect(),
    }
}

fn role(resolved: ResolvedRole) -> Role {
    let draft = resolved.draft;
    Role {
        id: draft.id.value.into(),
        title: draft.title.value.into(),
        description: draft.description.into(),
        permissions: resolved.permissions.iter().map(|permission| permission.value).collect(),
        assignable_by: resolved.assignable_by.iter().map(|role| role.value).collect(),
        uses_seat: draft.uses_seat,
        holders: draft.holders.value,
        founder: draft.founder.is_some(),
        changes_by_support_only: draft.changes_by_support_only.is_some(),
        successor: resolved.successor.map(|successor| successor.value),
    }
}

fn covers(model: &RoleModel, actor: RoleIndex, target: RoleIndex) -> bool {
    model.action_indices().all(|action| grants_cover(model.grant(actor, action), model.grant(target, action)))
}

/// For each role, a bit for each role of which `holds` is true.
fn bits(model: &RoleModel, holds: impl Fn(&RoleModel, RoleIndex, RoleIndex) -> bool) -> Box<[u64]> {
    model
        .role_indices()
        .map(|actor| {
            model
                .role_indices()
                .filter(|target| holds(model, actor, *target))
                .fold(0u64, |row, target| row | 1 << target.position())
        })
        .collect()
}
