//! A role model for a terminal, `usher roles show`: what each role may do, in 100 columns.

use std::fmt::Write as _;

use crate::matrix::mark;
use crate::table::{Holders, Permission, Role, RoleIndex, RoleModel};

/// The widest line.
const WIDTH: usize = 100;
/// Room that is kept for the permissions beside the marks.
const PERMISSIONS_WIDTH: usize = 30;
/// The mark of an action that survives a lapse.
const LAPSE: &str = "L";

/// The whole model: a title, a legend, the roles, the table, automation.
pub fn render(model: &RoleModel) -> String {
    let mut text = String::new();
    let (roles, actions) = (model.roles().len(), model.actions().len());
    let _ = writeln!(text, "{} ({}): {roles} roles, {actions} actions", model.title(), model.id());
    text.push_str("✔ always   own: on what one owns   · never   L: still answered by role after a lapse\n");
    for role in model.roles() {
        describe(&mut text, model, role);
    }
    for roles in runs(model) {
        table(&mut text, model, &roles);
    }
    let automation: Vec<String> = model
        .actions()
        .iter()
        .filter(|action| action.automation())
        .map(|action| format!("`{}`", action.name()))
        .collect();
    text.push('\n');
    let automation = if automation.is_empty() { "nothing".to_owned() } else { automation.join(", ") };
    wrapped(&mut text, "", &format!("Automation may do {automation}."));
    text
}

fn describe(text: &mut String, model: &RoleModel, role: &Role) {
    let titles = |roles: &[RoleIndex]| -> String {
        let titles: Vec<&str> = roles.iter().filter_map(|role| Some(&*model.role_at(*role)?.title)).collect();
        titles.join(", ")
    };
    let permissions: Vec<&str> =
        role.permissions.iter().filter_map(|p| model.permission_at(*p)).map(|p| &*p.title).collect();
    let mut facts = vec![permissions.join(", ")];
    facts.push(if role.uses_seat { "uses a seat" } else { "uses no seat" }.to_owned());
    match role.holders {
        Holders::Any => {}
        Holders::AtLeastOne => facts.push("at least one holder".to_owned()),
        Holders::ExactlyOne => facts.push("exactly one holder".to_owned()),
    }
    if role.founder {
        facts.push("the founder's".to_owned());
    }
    match (role.changes_by_support_only, role.successor) {
        (false, _) => {}
        (true, None) => facts.push("changes by support only".to_owned()),
        (true, Some(successor)) => {
            facts.push(format!(
                "changes by support only, then {} for its former holder",
                titles(&[successor])
            ));
        }
    }
    if !role.assignable_by.is_empty() {
        facts.push(format!("assignable by {}", titles(&role.assignable_by)));
    }
    text.push('\n');
    wrapped(text, "", &format!("{} ({}): {}", role.title, role.id, facts.join("; ")));
    if !role.description.is_empty() {
        wrapped(text, "  ", &role.description);
    }
}

fn table(text: &mut String, model: &RoleModel, roles: &[RoleIndex]) {
    let action_width = action_width(model);
    let columns: Vec<(RoleIndex, &str, usize)> = roles
        .iter()
        .filter_map(|index| model.role_at(*index).map(|role| (*index, &*role.title, column_width(role))))
        .collect();
    let mut line = format!("\n{:action_width$}", "");
    for (_, title, width) in &columns {
        let _ = write!(line, "{title:width$}");
    }
    push(text, &format!("{line}   permission"));
    let mut last_type = "";
    for (index, action) in model.action_indices().zip(model.actions()) {
        if action.resource_type() != last_type && !last_type.is_empty() {
            text.push('\n');
        }
        last_type = action.resource_type();
        let mut line = format!("{:action_width$}", action.name());
        for (role, _, width) in &columns {
            let _ = write!(line, "{:width$}", mark(model.grant(*role, index)));
        }
        let lapse = if action.available_after_lapse() { LAPSE } else { "" };
        let room = WIDTH.saturating_sub(line.chars().count() + 3);
        let titles: Vec<&str> = model.permissions_that_grant(index).map(|p: &Permission| &*p.title).collect();
        push(text, &format!("{line}{lapse:3}{}", cut(&titles.join(", "), room)));
    }
}

/// Runs of roles whose columns fit beside the actions and the permissions; at least one each.
fn runs(model: &RoleModel) -> Vec<Vec<RoleIndex>> {
    let room = WIDTH.saturating_sub(action_width(model) + PERMISSIONS_WIDTH);
    let mut runs: Vec<Vec<RoleIndex>> = Vec::new();
    let mut used = room;
    for (index, role) in model.role_indices().zip(model.roles()) {
        used += column_width(role);
        match runs.last_mut() {
            Some(run) if used <= room => run.push(index),
            _ => {
                runs.push(vec![index]);
                used = column_width(role);
            }
        }
    }
    runs
}

fn action_width(model: &RoleModel) -> usize {
    model.actions().iter().map(|action| action.name().len()).max().unwrap_or(0) + 2
}

fn column_width(role: &Role) -> usize {
    role.title.chars().count().max(3) + 2
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end_matches(' '));
    text.push('\n');
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `sentence` in lines of at most [`WIDTH`], the first begun by `first`, the others by two blanks.
fn wrapped(text: &mut String, first: &str, sentence: &str) {
    let indent = "  ";
    text.push_str(first);
    let (mut column, mut is_first_word) = (first.len(), true);
    for word in sentence.split_whitespace() {
        let length = word.chars().count();
        if !is_first_word && column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(indent);
            column = indent.len();
        } else if !is_first_word {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        is_first_word = false;
    }
    text.push('\n');
}
