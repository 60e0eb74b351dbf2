//! Reads tables of a role model file key by key, and reports what is not as it should be.
//!
//! serde would stop at the first mistake and forget where the rest stands; this keeps the place of
//! every word, so that later rules can point at it.

use toml::de::{DeTable, DeValue};

use crate::error::{At, Report};
use crate::hint::{closest, quoted};

/// The longest id of a model, role, permission, resource type or verb.
pub(crate) const ID_LENGTH_MAX: usize = 64;
/// The longest title, in characters.
pub(crate) const TITLE_LENGTH_MAX: usize = 100;
/// The longest description, in characters.
pub(crate) const DESCRIPTION_LENGTH_MAX: usize = 1_000;

/// A value of the file with its place.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t, 'i> {
    pub(crate) value: &'t DeValue<'i>,
    pub(crate) at: usize,
}

/// A list of words, each with its place.
pub(crate) type Words = At<Vec<At<String>>>;

/// A table that has a fixed set of keys.
pub(crate) struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    /// How messages call it: "role `admin`".
    name: String,
    /// Where its header stands.
    at: usize,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// Reports keys that are not among `known`.
    pub(crate) fn new(
        report: &mut Report<'_>,
        (table, at): (&'t DeTable<'i>, usize),
        name: impl Into<String>,
        known: &[&str],
    ) -> Self {
        let name = name.into();
        for (key, _) in entries(table) {
            if !known.contains(&key.value) {
                let message = format!("unknown key {} in {name}", quoted(key.value));
                match closest(key.value, known.iter().copied()) {
                    Some(near) if !report.is_full() => {
                        report.error_with(key.at, message, format!("did you mean `{near}`?"));
                    }
                    _ => report.error_with(key.at, message, format!("there are {}", backticked(known))),
                }
            }
        }
        Self { table, name, at }
    }

    fn get(&self, key: &str) -> Option<Value<'t, 'i>> {
        let (_, value) = self.table.get_key_value(key)?;
        Some(Value { value: value.get_ref(), at: value.span().start })
    }

    fn missing(&self, report: &mut Report<'_>, key: &str, example: &str) {
        report.error_with(self.at, format!("{} has no `{key}`", self.name), format!("add {example}"));
    }

    /// A line of text for people. A missing one is reported, and empty.
    pub(crate) fn title(&self, report: &mut Report<'_>) -> At<String> {
        let Some(value) = self.get("title") else {
            self.missing(report, "title", "`title = \"…\"`, the name that people see");
            return At { value: String::new(), at: self.at };
        };
        let title = self.line(report, "title", value, TITLE_LENGTH_MAX);
        if title.is_empty() && value.value.is_str() {
            report.error(value.at, format!("the title of {} is empty", self.name));
        }
        At { value: title, at: value.at }
    }

    /// A sentence for people; empty when there is none.
    pub(crate) fn description(&self, report: &mut Report<'_>) -> String {
        match self.get("description") {
            Some(value) => self.line(report, "description", value, DESCRIPTION_LENGTH_MAX),
            None => String::new(),
        }
    }

    fn line(&self, report: &mut Report<'_>, key: &str, value: Value<'_, '_>, length_max: usize) -> String {
        let Some(text) = text(report, value, || format!("`{key}` of {}", self.name)) else {
            return String::new();
        };
        if text.chars().count() > length_max {
            report.error(value.at, format!("`{key}` of {} has more than {length_max} characters", self.name));
        } else if text.chars().any(char::is_control) {
            report.error(value.at, format!("`{key}` of {} has line breaks or control characters", self.name));
        }
        text.to_owned()
    }

    /// A word, when it is there.
    pub(crate) fn word(&self, report: &mut Report<'_>, key: &str) -> Option<At<String>> {
        let value = self.get(key)?;
        let word = text(report, value, || format!("`{key}` of {}", self.name))?;
        Some(At { value: word.to_owned(), at: value.at })
    }

    /// A word that must be there.
    pub(crate) fn required_word(
        &self,
        report: &mut Report<'_>,
        key: &str,
        example: &str,
    ) -> Option<At<String>> {
        if self.get(key).is_none() {
            self.missing(report, key, example);
        }
        self.word(report, key)
    }

    /// One of a few words, when it is there.
    pub(crate) fn choice<T: Copy>(
        &self,
        report: &mut Report<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<At<T>> {
        let At { value: word, at } = self.word(report, key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(At { value: *value, at });
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("unknown `{key}` {} in {}", quoted(&word), self.name);
        report.error_with(at, message, format!("there is {}", backticked(&names)));
        None
    }

    /// `true` or `false`, when it is there.
    pub(crate) fn flag(&self, report: &mut Report<'_>, key: &str) -> Option<At<bool>> {
        let value = self.get(key)?;
        match value.value.as_bool() {
            Some(flag) => Some(At { value: flag, at: value.at }),
            None => {
                report.error(value.at, format!("`{key}` of {} must be true or false", self.name));
                None
            }
        }
    }

    /// A list of words, when it is there; a word that stands twice is reported and dropped.
    pub(crate) fn words(&self, report: &mut Report<'_>, key: &str) -> Option<Words> {
        let value = self.get(key)?;
        let list = words(report, value, &format!("`{key}` of {}", self.name))?;
        Some(At { value: list, at: value.at })
    }

    /// A list of words that must be there.
    pub(crate) fn required_words(&self, report: &mut Report<'_>, key: &str, example: &str) -> Option<Words> {
        if self.get(key).is_none() {
            self.missing(report, key, example);
        }
        self.words(report, key)
    }

    /// A table within, with the place of its header.
    pub(crate) fn table(&self, report: &mut Report<'_>, key: &str) -> Option<(&'t DeTable<'i>, usize)> {
        let (name, value) = self.table.get_key_value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some((table, name.span().start)),
            None => {
                report.error_with(
                    value.span().start,
                    format!("`{key}` must be a table"),
                    format!("write `[{key}]`"),
                );
                None
            }
        }
    }

    /// A table within that must be there.
    pub(crate) fn required_table(
        &self,
        report: &mut Report<'_>,
        key: &str,
        example: &str,
    ) -> Option<(&'t DeTable<'i>, usize)> {
        if self.get(key).is_none() {
            self.missing(report, key, example);
        }
        self.table(report, key)
    }
}

/// The entries of a table in the order of the file.
pub(crate) fn entries<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(At<&'t str>, Value<'t, 'i>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let key = At { value: key.get_ref().as_ref(), at: key.span().start };
            (key, Value { value: value.get_ref(), at: value.span().start })
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.at);
    entries
}

/// A list of words; a word that stands twice is reported and dropped.
pub(crate) fn words(report: &mut Report<'_>, value: Value<'_, '_>, name: &str) -> Option<Vec<At<String>>> {
    let Some(array) = value.value.as_array() else {
        report.error_with(value.at, format!("{name} must be a list"), "write `[\"…\", \"…\"]`");
        return None;
    };
    let mut seen = std::collections::HashSet::new();
    let mut list = Vec::new();
    for item in array.iter() {
        let at = item.span().start;
        let Some(word) = text(report, Value { value: item.get_ref(), at }, || format!("each of {name}"))
        else {
            continue;
        };
        if seen.insert(word) {
            list.push(At { value: word.to_owned(), at });
        } else {
            report.error_with(at, format!("{} stands twice in {name}", quoted(word)), "remove one");
        }
    }
    Some(list)
}

/// Reports a value that is not a text; `name` begins the sentence.
pub(crate) fn text<'t>(
    report: &mut Report<'_>,
    value: Value<'t, '_>,
    name: impl FnOnce() -> String,
) -> Option<&'t str> {
    let text = value.value.as_str();
    if text.is_none() {
        report.error(value.at, format!("{} must be a text in quotes", name()));
    }
    text
}

/// What an id may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdForm {
    /// `[a-z][a-z0-9_]*`: a resource type, a verb.
    Word,
    /// `-` too: a model, a role.
    Dashed,
    /// Capitals too, because products write their permissions so: `Update`.
    Named,
}

/// Reports an id that has not its form.
pub(crate) fn check_id(report: &mut Report<'_>, id: At<&str>, what: &str, form: IdForm) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || (form == IdForm::Named && b.is_ascii_uppercase());
    let dash = form != IdForm::Word;
    let plain = |b: u8| letter(b) || b.is_ascii_digit() || b == b'_' || (dash && b == b'-');
    let bytes = id.value.as_bytes();
    if bytes.len() > ID_LENGTH_MAX {
        report.error(id.at, format!("{what} {} has more than {ID_LENGTH_MAX} characters", quoted(id.value)));
        return false;
    }
    if bytes.first().is_some_and(|b| letter(*b)) && bytes.iter().all(|b| plain(*b)) {
        return true;
    }
    let dash = if dash { ", `-`" } else { "" };
    let letters = if form == IdForm::Named { "a-z or A-Z" } else { "a-z" };
    let message = format!("{what} {} is malformed", quoted(id.value));
    report.error_with(
        id.at,
        message,
        format!("it starts with {letters} and holds only {letters}, 0-9, `_`{dash}"),
    );
    false
}

fn backticked(words: &[&str]) -> String {
    format!("`{}`", words.join("`, `"))
}
