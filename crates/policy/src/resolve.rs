//! Finds what the words of a role model file name: actions, permissions, roles.
//!
//! A word that names nothing is reported once and then taken for the one that it resembles, so that
//! the rules that follow do not report the same slip again in other words.

use std::collections::HashMap;

use crate::compile::grants;
use crate::error::{At, Report};
use crate::guard::scope_of;
use crate::hint::{Hints, closest, quoted};
use crate::reader::Words;
use crate::source::{Draft, DraftAction, DraftPermission, DraftRole};
use crate::table::{ActionIndex, Grant, PermissionIndex, RoleIndex};

/// A file whose words are found.
pub(crate) struct Resolved {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) actions: Vec<DraftAction>,
    pub(crate) actions_at: usize,
    pub(crate) permissions: Vec<ResolvedPermission>,
    pub(crate) roles: Vec<ResolvedRole>,
    pub(crate) roles_at: usize,
    /// For each role, its cells.
    pub(crate) grants: Vec<Vec<Grant>>,
    pub(crate) after_lapse: Vec<At<ActionIndex>>,
    /// Where a list of nothing stands.
    pub(crate) empty_lapse_at: Option<usize>,
    pub(crate) automation: Vec<At<ActionIndex>>,
    pub(crate) hints: Hints,
}

pub(crate) struct ResolvedPermission {
    pub(crate) draft: DraftPermission,
    pub(crate) actions: Vec<At<ActionIndex>>,
}

pub(crate) struct ResolvedRole {
    pub(crate) draft: DraftRole,
    pub(crate) permissions: Vec<At<PermissionIndex>>,
    pub(crate) assignable_by: Vec<At<RoleIndex>>,
    pub(crate) successor: Option<At<RoleIndex>>,
}

/// The names of one kind, to look words up in.
struct Names<'a> {
    kind: &'static str,
    list: Vec<&'a str>,
    positions: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    fn new(kind: &'static str, list: Vec<&'a str>) -> Self {
        let positions = list.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        Self { kind, list, positions }
    }

    /// Where `word` stands; an unknown one is reported and taken for the one it resembles.
    fn find(&self, report: &mut Report<'_>, word: &At<String>) -> Option<usize> {
        if let Some(position) = self.positions.get(word.value.as_str()) {
            return Some(*position);
        }
        if let Some(scope) = scope_of(&word.value).filter(|_| self.kind == "action") {
            report_scope_action(report, word.at, &word.value, scope);
            return None;
        }
        let message = format!("unknown {} {}", self.kind, quoted(&word.value));
        if report.is_full() {
            report.error(word.at, message);
            return None;
        }
        if self.kind == "action" && word.value.contains('*') {
            report.error_with(word.at, message, "there are no patterns: name each action");
            return None;
        }
        let near = closest(&word.value, self.list.iter().copied());
        match near {
            Some(near) => report.error_with(word.at, message, format!("did you mean `{near}`?")),
            None => report.error_with(word.at, message, self.what_there_is()),
        }
        near.and_then(|near| self.positions.get(near).copied())
    }

    fn what_there_is(&self) -> String {
        match self.kind {
            "action" => "name it in `[actions]` first, and write it as `resource_type.verb`".to_owned(),
            kind if self.list.is_empty() => format!("there is no {kind}"),
            _ => format!("there are `{}`", self.list.join("`, `")),
        }
    }

    fn find_all<I>(
        &self,
        report: &mut Report<'_>,
        words: Option<&Words>,
        index: fn(usize) -> Option<I>,
    ) -> Vec<At<I>> {
        words
            .map_or(&[][..], |words| &words.value)
            .iter()
            .filter_map(|word| Some(At { value: index(self.find(report, word)?)?, at: word.at }))
            .collect()
    }
}

fn action(position: usize) -> Option<ActionIndex> {
    u16::try_from(position).ok().map(ActionIndex)
}

fn permission(position: usize) -> Option<PermissionIndex> {
    u8::try_from(position).ok().map(PermissionIndex)
}

fn role(position: usize) -> Option<RoleIndex> {
    u8::try_from(position).ok().map(RoleIndex)
}

pub(crate) fn report_scope_action(report: &mut Report<'_>, at: usize, action: &str, scope: &str) {
    let message = format!("no role can grant `{action}`");
    report.error_with(at, message, format!("it takes a calling service with the scope `{scope}`; remove it"));
}

pub(crate) fn resolve(report: &mut Report<'_>, draft: Draft) -> Resolved {
    let Draft {
        id,
        title,
        actions,
        actions_at,
        permissions,
        roles,
        roles_at,
        after_lapse,
        automation,
        aliases,
    } = draft;
    let action_texts: Vec<String> = actions.iter().map(DraftAction::name).collect();
    let action_names = Names::new("action", action_texts.iter().map(String::as_str).collect());
    let permission_ids: Vec<String> = permissions.iter().map(|p| p.id.value.clone()).collect();
    let permission_names = Names::new("permission", permission_ids.iter().map(String::as_str).collect());
    let role_ids: Vec<String> = roles.iter().map(|r| r.id.value.clone()).collect();
    let role_names = Names::new("role", role_ids.iter().map(String::as_str).collect());

    let permissions: Vec<_> = permissions
        .into_iter()
        .map(|draft| ResolvedPermission {
            actions: action_names.find_all(report, draft.actions.as_ref(), action),
            draft,
        })
        .collect();
    let roles: Vec<_> = roles
        .into_iter()
        .map(|draft| ResolvedRole {
            permissions: permission_names.find_all(report, draft.permissions.as_ref(), permission),
            assignable_by: role_names.find_all(report, draft.assignable_by.as_ref(), role),
            successor: draft
                .successor
                .as_ref()
                .and_then(|word| Some(At { value: role(role_names.find(report, word)?)?, at: word.at })),
            draft,
        })
        .collect();
    let empty_lapse_at = after_lapse.as_ref().filter(|list| list.value.is_empty()).map(|list| list.at);
    let after_lapse = action_names.find_all(report, after_lapse.as_ref(), action);
    let automation = action_names.find_all(report, automation.as_ref(), action);
    let hints = resolve_hints(report, &actions, &action_names, aliases);
    Resolved {
        grants: grants(&permissions, &roles, actions.len()),
        id,
        title,
        actions,
        actions_at,
        permissions,
        roles,
        roles_at,
        after_lapse,
        empty_lapse_at,
        automation,
        hints,
    }
}

fn resolve_hints(
    report: &mut Report<'_>,
    actions: &[DraftAction],
    names: &Names<'_>,
    aliases: Vec<(At<String>, At<String>)>,
) -> Hints {
    let mut hints = Hints::default();
    for (from, to) in aliases {
        if from.value.contains('.') {
            if names.positions.contains_key(from.value.as_str()) {
                let message = format!("alias {} is an action already", quoted(&from.value));
                report.error_with(from.at, message, "remove it");
            } else if let Some(to) = names.find(report, &to).and_then(action) {
                hints.actions.push((from.value.into(), to));
            }
        } else if actions.iter().any(|a| a.resource_type.value == to.value || a.verb.value == to.value) {
            hints.words.push((from.value.into(), to.value.into()));
        } else {
            let message = format!("alias {} stands for {}", quoted(&from.value), quoted(&to.value));
            report.error_with(to.at, message, "a bare word must stand for a resource type or a verb");
        }
    }
    hints
}
