//! What must hold of a role model as a whole.
//!
//! Each function is one rule, or one group that reads together, and says what to write instead.

use std::collections::{BTreeSet, HashMap};

use crate::compile::grants_cover;
use crate::error::{At, Report};
use crate::guard::{GUARD_ACTIONS, TRANSFER_VIEW, scope_of};
use crate::hint::quoted;
use crate::resolve::{Resolved, ResolvedRole, report_scope_action};
use crate::table::{ActionIndex, Grant, Holders, PermissionIndex, RoleIndex};

pub(crate) fn check(report: &mut Report<'_>, model: &Resolved) {
    scope_actions(report, model);
    guard_actions(report, model);
    permissions_match_something(report, model);
    every_action_is_granted(report, model);
    conditions_make_sense(report, model);
    lapse_set(report, model);
    titles_differ(report, model);
    founder(report, model);
    support_only(report, model);
    for (index, role) in (0u8..).map(RoleIndex).zip(&model.roles) {
        role_rules(report, role);
        holder_rule(report, role);
        successor(report, index, role);
        assignable(report, model, index, role);
    }
}

fn scope_actions(report: &mut Report<'_>, model: &Resolved) {
    for action in &model.actions {
        let name = action.name();
        if let Some(scope) = scope_of(&name) {
            report_scope_action(report, action.verb.at, &name, scope);
        }
    }
}

fn guard_actions(report: &mut Report<'_>, model: &Resolved) {
    let has_support_role = model.roles.iter().any(|role| role.draft.changes_by_support_only.is_some());
    let transfer_view = model.actions.iter().find(|action| action.name() == TRANSFER_VIEW);
    if let Some(action) = transfer_view.filter(|_| !has_support_role) {
        let message = format!("`{TRANSFER_VIEW}` is for models with a role that changes by support only");
        report.error_with(action.verb.at, message, "remove it: elsewhere only support reads the tickets");
    }
    let names: BTreeSet<String> = model.actions.iter().map(|action| action.name()).collect();
    let needed = GUARD_ACTIONS.iter().copied().chain(has_support_role.then_some(TRANSFER_VIEW));
    for name in needed.filter(|name| !names.contains(*name)) {
        let (resource_type, verb) = name.split_once('.').unwrap_or((name, ""));
        let line = model.actions.iter().find(|action| action.resource_type.value == resource_type);
        let (at, suggestion) = match line {
            Some(line) => (line.resource_type.at, format!("add \"{verb}\" to `{resource_type}`")),
            None => (model.actions_at, format!("add `{resource_type} = [\"{verb}\"]`")),
        };
        report.error_with(
            at,
            format!("action `{name}` is missing, which guards Usher's own calls"),
            suggestion,
        );
    }
}

fn permissions_match_something(report: &mut Report<'_>, model: &Resolved) {
    for (index, permission) in (0u8..).map(PermissionIndex).zip(&model.permissions) {
        let id = &permission.draft.id;
        if let Some(list) = permission.draft.actions.as_ref().filter(|list| list.value.is_empty()) {
            report.error_with(
                list.at,
                format!("permission `{}` matches no action", id.value),
                "list its actions or remove it",
            );
        }
        if !model.roles.iter().any(|role| role.permissions.iter().any(|p| p.value == index)) {
            report.error_with(
                id.at,
                format!("permission `{}` is in no role", id.value),
                "give it to a role or remove it",
            );
        }
    }
}

fn every_action_is_granted(report: &mut Report<'_>, model: &Resolved) {
    let granted: BTreeSet<ActionIndex> =
        model.permissions.iter().flat_map(|p| p.actions.iter().map(|action| action.value)).collect();
    for (index, action) in (0u16..).map(ActionIndex).zip(&model.actions) {
        let name = action.name();
        // Of these enough was said already.
        if !granted.contains(&index) && scope_of(&name).is_none() {
            report.error_with(
                action.verb.at,
                format!("no permission grants `{name}`"),
                "add it to a permission or remove it",
            );
        }
    }
}

/// A condition on the owner must be able to hold, and to matter.
fn conditions_make_sense(report: &mut Report<'_>, model: &Resolved) {
    for (index, permission) in (0u8..).map(PermissionIndex).zip(&model.permissions) {
        let Some(when) = permission.draft.when else { continue };
        let id = &permission.draft.id.value;
        for At { value: index, at } in &permission.actions {
            let Some(action) = model.actions.get(index.position()) else { continue };
            let name = action.name();
            if action.verb.value == "create" {
                let message = format!("`{name}` cannot depend on an owner: what is created has none yet");
                report.error_with(*at, message, "put it into a permission without `when`");
            } else if name == TRANSFER_VIEW || GUARD_ACTIONS.contains(&name.as_str()) {
                let message = format!("`{name}` cannot depend on an owner: it guards Usher's own calls");
                report.error_with(*at, message, "put it into a permission without `when`");
            }
        }
        let mut holders = model
            .roles
            .iter()
            .zip(&model.grants)
            .filter(|(role, _)| role.permissions.iter().any(|p| p.value == index))
            .peekable();
        let decides = |cells: &[Grant]| {
            let mut own = permission.actions.iter().filter_map(|action| cells.get(action.value.position()));
            own.any(|grant| matches!(grant, Grant::WhenOwn(_)))
        };
        // Without a holder or an action, something else was said already.
        let has_a_say = holders.peek().is_some() && !permission.actions.is_empty();
        if has_a_say && !holders.any(|(_, cells)| decides(cells)) {
            report.error_with(
                when.at,
                format!("`when` of permission `{id}` matches nothing"),
                "every role that has it grants its actions without a condition too",
            );
        }
    }
}

fn lapse_set(report: &mut Report<'_>, model: &Resolved) {
    if let Some(at) = model.empty_lapse_at {
        report.error_with(
            at,
            "no action stays available after a lapse, so no account could come back",
            "list what pays and what frees a seat, such as `subscription.update`",
        );
    }
}

fn titles_differ(report: &mut Report<'_>, model: &Resolved) {
    let roles = model.roles.iter().map(|role| ("role", &role.draft.id, &role.draft.title));
    let permissions = model.permissions.iter().map(|p| ("permission", &p.draft.id, &p.draft.title));
    let mut seen = HashMap::new();
    for (kind, id, title) in roles.chain(permissions) {
        if title.value.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert((kind, &title.value), &id.value) {
            let message =
                format!("{kind} `{}` has the title {} of `{first}`", id.value, quoted(&title.value));
            report.error_with(title.at, message, "people could not tell them apart");
        }
    }
}

fn founder(report: &mut Report<'_>, model: &Resolved) {
    let mut founders =
        model.roles.iter().filter_map(|role| Some((&role.draft.id.value, role.draft.founder?.at)));
    let Some((first, _)) = founders.next() else {
        if !model.roles.is_empty() {
            let suggestion = "add `founder = true` to the role of whoever creates an account";
            report.error_with(model.roles_at, "no role is the founder's", suggestion);
        }
        return;
    };
    for (id, at) in founders {
        let message = format!("`{id}` is a second founder's role, beside `{first}`");
        report.error_with(at, message, "an account is founded by one person; keep one");
    }
}

fn support_only(report: &mut Report<'_>, model: &Resolved) {
    let mut roles = model
        .roles
        .iter()
        .filter_map(|role| Some((&role.draft.id.value, role.draft.changes_by_support_only?.at)));
    let Some((first, _)) = roles.next() else { return };
    for (id, at) in roles {
        let message = format!("`{id}` is a second role that changes by support only, beside `{first}`");
        report.error_with(at, message, "keep one");
    }
}

fn role_rules(report: &mut Report<'_>, role: &ResolvedRole) {
    if let Some(list) = role.draft.permissions.as_ref().filter(|list| list.value.is_empty()) {
        let message = format!("role `{}` has no permission", role.draft.id.value);
        report.error_with(list.at, message, "list its permissions or remove it");
    }
}

/// A role that must be held is held from the first day, and has a way to change hands.
fn holder_rule(report: &mut Report<'_>, role: &ResolvedRole) {
    let At { value: holders, at } = role.draft.holders;
    let id = &role.draft.id.value;
    if holders != Holders::Any && role.draft.founder.is_none() {
        let message = format!("role `{id}` must have a holder, but a new account has only its founder");
        report.error_with(at, message, "make it the founder's role or write `holders = \"any\"`");
    }
    if holders == Holders::ExactlyOne && role.draft.changes_by_support_only.is_none() {
        let message = format!("role `{id}` must have exactly one holder, so no member could pass it on");
        report.error_with(at, message, "add `changes_by_support_only = true` and a `successor`");
    }
}

fn successor(report: &mut Report<'_>, index: RoleIndex, role: &ResolvedRole) {
    let id = &role.draft.id;
    match (&role.draft.successor, role.draft.changes_by_support_only) {
        (Some(word), None) => {
            let message = format!("role `{}` has a successor but does not change by support only", id.value);
            report.error_with(word.at, message, "remove `successor` or add `changes_by_support_only = true`");
        }
        (Some(word), Some(_)) if role.successor.is_some_and(|successor| successor.value == index) => {
            let message = format!("role `{}` is its own successor", id.value);
            report.error_with(word.at, message, "name the role that the former holder gets");
        }
        (None, Some(flag)) if role.draft.holders.value == Holders::ExactlyOne => {
            let message = format!("role `{}` has no successor", id.value);
            report.error_with(
                flag.at,
                message,
                "add `successor = \"…\"`, the role that the former holder gets",
            );
        }
        _ => {}
    }
}

/// Whoever is named to assign a role can, and somebody is, unless the role comes another way.
fn assignable(report: &mut Report<'_>, model: &Resolved, index: RoleIndex, role: &ResolvedRole) {
    let id = &role.draft.id;
    let is_support_only = role.draft.changes_by_support_only.is_some();
    if let Some(first) = role.assignable_by.first().filter(|_| is_support_only) {
        let message = format!("role `{}` changes by support only, so no role can assign it", id.value);
        report.error_with(first.at, message, "write `assignable_by = []`");
        return;
    }
    for actor in &role.assignable_by {
        let Some(actor_role) = model.roles.get(actor.value.position()) else { continue };
        if !role_covers(model, actor.value, index) {
            let message = format!(
                "`{}` can never assign `{}`: it may not do all that `{}` may",
                actor_role.draft.id.value, id.value, id.value
            );
            report.error_with(actor.at, message, "remove it, or give it those permissions");
        }
    }
    if role.assignable_by.is_empty() && role.draft.founder.is_none() && !is_support_only {
        let message = format!("no role can assign `{}`, so nobody could ever have it", id.value);
        report.error_with(id.at, message, "add `assignable_by = [\"…\"]`");
    }
}

fn role_covers(model: &Resolved, actor: RoleIndex, target: RoleIndex) -> bool {
    let cells = |role: RoleIndex| model.grants.get(role.position()).into_iter().flatten();
    cells(actor).zip(cells(target)).all(|(actor, target)| grants_cover(*actor, *target))
}
