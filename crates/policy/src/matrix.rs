//! The whole of a role model as text: what a person compares, and what the store remembers.
//!
//! One line for each rule and each cell. It holds all that decides and nothing that does not
//! (wording, hints), so its hash is the model's digest, and two texts are enough to say what changed.
//! The first two words of a line name it; a line that starts with `#` explains.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::table::{Grant, Role, RoleModel};

/// The most changed lines that are said one by one.
const CHANGES_MAX: usize = 200;

impl RoleModel {
    /// The model as text, the form of the golden files.
    pub fn matrix(&self) -> String {
        let mut text = format!(
            "# role model {}\n# ✔ always · own: on what one owns · `·` never · L: still answered by role after a lapse\n\n",
            self.id
        );
        let width = self.roles.iter().map(|role| role.id.len()).max().unwrap_or(0);
        for role in &self.roles {
            push(&mut text, format_args!("role: {:width$}  {}", role.id, rules_of(self, role)));
        }
        for action in self.actions.iter().filter(|action| action.automation()) {
            push(&mut text, format_args!("automation: {}", action.name()));
        }
        for (index, role) in self.role_indices().zip(&self.roles) {
            text.push('\n');
            for (action, name) in self.action_indices().zip(&self.actions) {
                let grant = self.grant(index, action);
                let permission =
                    grant.permission().and_then(|p| self.permission_at(p)).map_or("", |p| &*p.id);
                let lapse = if grant != Grant::Never && name.available_after_lapse() { "L" } else { "" };
                let mark = mark(grant);
                push(
                    &mut text,
                    format_args!("{:width$}  {:28} {mark:4} {permission:16} {lapse}", role.id, name.name()),
                );
            }
        }
        text
    }

    /// What has changed since `former`, another version's [`RoleModel::matrix`], a readable line each:
    /// ``editor connector.view: `·` → `✔ operate` ``.
    pub fn changed_cells(&self, former: &str) -> Vec<String> {
        let now = self.matrix();
        let (former, now) = (lines_by_name(former), lines_by_name(&now));
        let names: std::collections::BTreeSet<_> = former.keys().chain(now.keys()).collect();
        let mut changes: Vec<String> = names
            .into_iter()
            .filter_map(|name| {
                let change = match (former.get(name), now.get(name)) {
                    (Some(was), Some(is)) if was == is => return None,
                    (Some(was), Some(is)) => format!("`{was}` → `{is}`"),
                    (Some(_), None) => "removed".to_owned(),
                    (None, Some(is)) if is.is_empty() => "added".to_owned(),
                    (None, is) => format!("added, `{}`", is.map_or("", String::as_str)),
                };
                Some(format!("{} {}: {change}", name.0.trim_end_matches(':'), name.1))
            })
            .collect();
        if changes.len() > CHANGES_MAX {
            let rest = changes.len() - CHANGES_MAX;
            changes.truncate(CHANGES_MAX);
            changes.push(format!("{rest} more changes"));
        }
        changes
    }
}

/// The SHA-256 of what a matrix says, in hex; its legend and its blanks do not count.
pub(crate) fn digest(matrix: &str) -> String {
    let mut hash = Sha256::new();
    for line in matrix.lines().filter(|line| !line.starts_with('#')) {
        for word in line.split_whitespace() {
            hash.update(word.as_bytes());
            hash.update(b" ");
        }
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// How a cell is shown.
pub(crate) fn mark(grant: Grant) -> &'static str {
    match grant {
        Grant::Always(_) => "✔",
        Grant::WhenOwn(_) => "own",
        Grant::Never => "·",
    }
}

fn rules_of(model: &RoleModel, role: &Role) -> String {
    let id_of = |index| model.role_at(index).map_or("", |role: &Role| &*role.id);
    let assigners: Vec<&str> = role.assignable_by.iter().map(|index| id_of(*index)).collect();
    let mut rules = vec![format!("holders={}", role.holders.as_str())];
    rules.push(if role.uses_seat { "seat".to_owned() } else { "seatless".to_owned() });
    if role.founder {
        rules.push("founder".to_owned());
    }
    if role.changes_by_support_only {
        rules.push("support_only".to_owned());
    }
    if let Some(successor) = role.successor {
        rules.push(format!("successor={}", id_of(successor)));
    }
    rules.push(format!(
        "assignable_by={}",
        if assigners.is_empty() { "-".to_owned() } else { assigners.join(",") }
    ));
    rules.join(" ")
}

/// A line without the blanks at its end.
fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{line}");
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// Each line's rest by its first two words, blanks made one.
fn lines_by_name(matrix: &str) -> BTreeMap<(String, String), String> {
    matrix
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = (words.next()?.to_owned(), words.next()?.to_owned());
            Some((name, words.collect::<Vec<_>>().join(" ")))
        })
        .collect()
}
