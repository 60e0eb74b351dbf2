//! From the text of a role model file to a validated, compiled model.
//!
//! Three steps, each reporting all that it finds: `reader` and this file take the text apart
//! and keep the place of every word; `resolve` finds what the words name; `rules` checks the model as
//! a whole. A word that names nothing is taken for the one it resembles, so that one slip is
//! reported once.

use toml::de::DeTable;

use crate::compile::compile;
use crate::error::{At, Report, SourceErrors};
use crate::hint::quoted;
use crate::reader::{Fields, IdForm, Value, Words, check_id, entries, text, words};
use crate::resolve::resolve;
use crate::rules;
use crate::table::{ACTIONS_MAX, Condition, Holders, PERMISSIONS_MAX, ROLES_MAX, RoleModel};

/// The largest file that is read, in bytes.
pub const SOURCE_LENGTH_MAX: usize = 1 << 20;

/// A file taken apart. What could not be read is left out, and reported.
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) actions: Vec<DraftAction>,
    /// Where `[actions]` stands.
    pub(crate) actions_at: usize,
    pub(crate) permissions: Vec<DraftPermission>,
    pub(crate) roles: Vec<DraftRole>,
    /// Where `[roles]` first stands.
    pub(crate) roles_at: usize,
    pub(crate) after_lapse: Option<Words>,
    pub(crate) automation: Option<Words>,
    pub(crate) aliases: Vec<(At<String>, At<String>)>,
}

pub(crate) struct DraftAction {
    pub(crate) resource_type: At<String>,
    pub(crate) verb: At<String>,
}

impl DraftAction {
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.resource_type.value, self.verb.value)
    }
}

pub(crate) struct DraftPermission {
    pub(crate) id: At<String>,
    pub(crate) title: At<String>,
    pub(crate) when: Option<At<Condition>>,
    pub(crate) actions: Option<Words>,
}

pub(crate) struct DraftRole {
    pub(crate) id: At<String>,
    pub(crate) title: At<String>,
    pub(crate) description: String,
    pub(crate) permissions: Option<Words>,
    pub(crate) assignable_by: Option<Words>,
    pub(crate) uses_seat: bool,
    pub(crate) holders: At<Holders>,
    pub(crate) founder: Option<At<bool>>,
    pub(crate) changes_by_support_only: Option<At<bool>>,
    pub(crate) successor: Option<At<String>>,
}

const CONDITIONS: &[(&str, Condition)] = &[("own", Condition::Own)];
const HOLDERS: &[(&str, Holders)] =
    &[("exactly_one", Holders::ExactlyOne), ("at_least_one", Holders::AtLeastOne), ("any", Holders::Any)];

impl RoleModel {
    /// Reads a role model; `file` is what the messages call it.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn from_source(file: &str, text: &str) -> Result<Self, SourceErrors> {
        if text.len() > SOURCE_LENGTH_MAX {
            return Err(SourceErrors::of_file(file, format!("has more than {SOURCE_LENGTH_MAX} bytes")));
        }
        let mut report = Report::new(file, text);
        let (table, syntax_errors) = DeTable::parse_recoverable(text);
        report_syntax(&mut report, text, &syntax_errors);
        if !report.is_clean() {
            // What a broken file seems to say is not worth judging.
            return report.finish().and(Err(SourceErrors::of_file(file, "cannot be read")));
        }
        let draft = read(&mut report, table.get_ref());
        if !within_limits(&mut report, &draft) {
            return report.finish().and(Err(SourceErrors::of_file(file, "is too large")));
        }
        let resolved = resolve(&mut report, draft);
        rules::check(&mut report, &resolved);
        report.finish()?;
        Ok(compile(resolved))
    }
}

/// Reports lists that are too long, at their first entry too many.
fn within_limits(report: &mut Report<'_>, draft: &Draft) -> bool {
    let too_many = [
        (draft.actions.get(ACTIONS_MAX).map(|action| action.verb.at), ACTIONS_MAX, "actions"),
        (draft.permissions.get(PERMISSIONS_MAX).map(|p| p.id.at), PERMISSIONS_MAX, "permissions"),
        (draft.roles.get(ROLES_MAX).map(|role| role.id.at), ROLES_MAX, "roles"),
    ];
    for (at, max, what) in too_many {
        if let Some(at) = at {
            report.error(at, format!("there are more than {max} {what}"));
        }
    }
    too_many.iter().all(|(at, ..)| at.is_none())
}

/// Reports the parser's errors, each on one line. A table that stands twice is one mistake: the
/// parser reports its keys too.
fn report_syntax(report: &mut Report<'_>, text: &str, errors: &[toml::de::Error]) {
    let mut second_table = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let is_duplicate = error.message() == "duplicate key";
        let since = second_table.and_then(|start| text.get(start..span.start));
        if is_duplicate && since.is_some_and(|since: &str| !since.contains("\n[")) {
            continue;
        }
        let is_header = text.get(..span.start).is_some_and(|before| line_of(before).starts_with('['));
        second_table = (is_duplicate && is_header).then_some(span.start);
        let key = text.get(span.clone()).filter(|_| is_duplicate).map(quoted).unwrap_or_default();
        let words: Vec<&str> = error.message().split_whitespace().chain(key.split_whitespace()).collect();
        report.error(span.start, format!("not TOML: {}", words.join(" ")));
    }
}

/// The last line of `text`.
fn line_of(text: &str) -> &str {
    text.rsplit('\n').next().unwrap_or(text)
}

fn read(report: &mut Report<'_>, table: &DeTable<'_>) -> Draft {
    const KEYS: &[&str] =
        &["id", "title", "actions", "permissions", "roles", "after_lapse", "automation", "aliases_for_hints"];
    let file = Fields::new(report, (table, 0), "the file", KEYS);
    let id = file.required_word(report, "id", "`id = \"…\"`, the name that accounts are created with");
    if let Some(id) = &id {
        check_id(report, At { value: &id.value, at: id.at }, "model id", IdForm::Dashed);
    }
    let title = file.title(report).value;
    let actions =
        file.required_table(report, "actions", "`[actions]` with lines like `job = [\"view\", \"run\"]`");
    let permissions = file.required_table(report, "permissions", "`[permissions.…]` with a list of actions");
    let roles = file.required_table(report, "roles", "`[roles.…]` with a list of permissions");
    let after_lapse = file.required_table(
        report,
        "after_lapse",
        "`[after_lapse]` with the `actions` that bring an account back",
    );
    let automation = file.table(report, "automation");
    let aliases = file.table(report, "aliases_for_hints");
    Draft {
        id: id.map(|id| id.value).unwrap_or_default(),
        title,
        actions: actions.map(|(table, _)| read_actions(report, table)).unwrap_or_default(),
        actions_at: actions.map_or(0, |(_, at)| at),
        permissions: permissions.map(|(table, _)| read_permissions(report, table)).unwrap_or_default(),
        roles: roles.map(|(table, _)| read_roles(report, table)).unwrap_or_default(),
        roles_at: roles.map_or(0, |(_, at)| at),
        after_lapse: after_lapse.and_then(|table| {
            let fields = Fields::new(report, table, "`[after_lapse]`", &["actions"]);
            fields.required_words(report, "actions", "`actions = [\"…\"]`")
        }),
        automation: automation.and_then(|table| {
            let fields = Fields::new(report, table, "`[automation]`", &["actions"]);
            fields.required_words(report, "actions", "`actions = []`")
        }),
        aliases: aliases.map(|(table, _)| read_aliases(report, table)).unwrap_or_default(),
    }
}

fn read_actions(report: &mut Report<'_>, table: &DeTable<'_>) -> Vec<DraftAction> {
    let mut actions = Vec::new();
    for (resource_type, value) in entries(table) {
        let type_is_good = check_id(report, resource_type, "resource type", IdForm::Word);
        let name = format!("the verbs of `{}`", resource_type.value);
        let Some(verbs) = words(report, value, &name) else { continue };
        if verbs.is_empty() {
            report.error_with(
                value.at,
                format!("resource type `{}` has no verb", resource_type.value),
                "remove it",
            );
        }
        for verb in verbs {
            let verb_is_good = check_id(report, At { value: &verb.value, at: verb.at }, "verb", IdForm::Word);
            if type_is_good && verb_is_good {
                let resource_type = At { value: resource_type.value.to_owned(), at: resource_type.at };
                actions.push(DraftAction { resource_type, verb });
            }
        }
    }
    actions
}

/// The tables of `[permissions.…]` or `[roles.…]`, with their ids.
fn named_tables<'t, 'i>(
    report: &mut Report<'_>,
    table: &'t DeTable<'i>,
    what: &str,
    form: IdForm,
) -> Vec<(At<String>, &'t DeTable<'i>)> {
    let mut tables = Vec::new();
    for (id, Value { value, at }) in entries(table) {
        if !check_id(report, id, what, form) {
            continue;
        }
        match value.as_table() {
            Some(inner) => tables.push((At { value: id.value.to_owned(), at: id.at }, inner)),
            None => {
                let message = format!("{what} `{}` must be a table", id.value);
                report.error_with(at, message, format!("write `[{what}s.{}]`", id.value));
            }
        }
    }
    tables
}

fn read_permissions(report: &mut Report<'_>, table: &DeTable<'_>) -> Vec<DraftPermission> {
    let mut permissions = Vec::new();
    for (id, table) in named_tables(report, table, "permission", IdForm::Named) {
        let name = format!("permission `{}`", id.value);
        let fields = Fields::new(report, (table, id.at), name, &["title", "when", "actions"]);
        permissions.push(DraftPermission {
            title: fields.title(report),
            when: fields.choice(report, "when", CONDITIONS),
            actions: fields.required_words(report, "actions", "`actions = [\"…\"]`"),
            id,
        });
    }
    permissions
}

fn read_roles(report: &mut Report<'_>, table: &DeTable<'_>) -> Vec<DraftRole> {
    const KEYS: &[&str] = &[
        "title",
        "description",
        "permissions",
        "assignable_by",
        "uses_seat",
        "holders",
        "founder",
        "changes_by_support_only",
        "successor",
    ];
    let mut roles = Vec::new();
    for (id, table) in named_tables(report, table, "role", IdForm::Dashed) {
        let fields = Fields::new(report, (table, id.at), format!("role `{}`", id.value), KEYS);
        roles.push(DraftRole {
            title: fields.title(report),
            description: fields.description(report),
            permissions: fields.required_words(report, "permissions", "`permissions = [\"…\"]`"),
            assignable_by: fields.words(report, "assignable_by"),
            // Whoever forgets it gets the stricter reading: a seat is needed.
            uses_seat: fields.flag(report, "uses_seat").is_none_or(|flag| flag.value),
            holders: fields
                .choice(report, "holders", HOLDERS)
                .unwrap_or(At { value: Holders::Any, at: id.at }),
            founder: fields.flag(report, "founder").filter(|flag| flag.value),
            changes_by_support_only: fields.flag(report, "changes_by_support_only").filter(|flag| flag.value),
            successor: fields.word(report, "successor"),
            id,
        });
    }
    roles
}

fn read_aliases(report: &mut Report<'_>, table: &DeTable<'_>) -> Vec<(At<String>, At<String>)> {
    let mut aliases = Vec::new();
    for (from, value) in entries(table) {
        let name = || format!("alias `{}` (an action with its dot goes in quotes)", from.value);
        if let Some(to) = text(report, value, name) {
            let from = At { value: from.value.to_owned(), at: from.at };
            aliases.push((from, At { value: to.to_owned(), at: value.at }));
        }
    }
    aliases
}
