//! Reading the fields of one line, collecting all that is wrong with it.

use std::fmt::Display;

use serde_json::{Map, Value};
use usher_domain::import::{Fault, ImportError};
use usher_domain::time::Time;

use crate::error::nearest;

/// Every field that a line may have.
pub(super) const FIELDS: [&str; 22] = [
    "account_id",
    "user_id",
    "name",
    "model",
    "seats",
    "plan",
    "expire_time",
    "grace_end_time",
    "allow_over_limit",
    "over_limit_end_time",
    "create_time",
    "state",
    "role",
    "verified_email",
    "email",
    "display_name",
    "seat",
    "username",
    "subject",
    "issuer",
    "identities",
    "join_time",
];

/// One line: what it says by field.
pub(super) struct Fields {
    pub(super) line: u64,
    pub(super) values: Map<String, Value>,
}

pub(super) struct Reader<'a> {
    pub(super) line: u64,
    values: Map<String, Value>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Empty texts are absent: a table has no other way to say so.
    pub(super) fn new(fields: Fields, faults: &'a mut Vec<Fault>) -> Self {
        let mut values = fields.values;
        values.retain(|_, value| !value.is_null() && value != "");
        Self { line: fields.line, values, faults }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    pub(super) fn fail<T>(&mut self, field: &'static str, why: impl Display) -> Option<T> {
        self.faults.push(Fault { line: self.line, field, wrong: ImportError::Malformed(why.to_string()) });
        None
    }

    /// A text; numbers are texts too, because tables have them as ids.
    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        match self.values.remove(field)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => self.fail(field, "is no text"),
        }
    }

    /// What `parse` makes of the text, if there is one.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(field)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => self.fail(field, format!("`{text}` {error}")),
        }
    }

    pub(super) fn required<T, E: Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.has(field) { self.optional(field, parse) } else { self.fail(field, "is missing") }
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        match self.values.remove(field)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => self.fail(field, "is neither `true` nor `false`"),
        }
    }

    pub(super) fn time(&mut self, field: &'static str) -> Option<Time> {
        self.optional(field, |text| {
            let time = chrono::DateTime::parse_from_rfc3339(text);
            let time = time.map_err(|_| "is no time such as 2027-01-31T00:00:00Z")?;
            Ok::<_, &str>(Time::from_micros(time.timestamp_micros()))
        })
    }

    /// The logins of `identities`, each as fields of its own.
    pub(super) fn list(&mut self, field: &'static str) -> Vec<Map<String, Value>> {
        let objects = match self.values.remove(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.into_iter().map(|item| match item {
                Value::Object(object) => Some(object),
                _ => None,
            }),
            Some(_) => return self.fail(field, "is no list").unwrap_or_default(),
        };
        match objects.collect::<Option<Vec<_>>>() {
            Some(objects) => objects,
            None => self.fail(field, "is no list of objects").unwrap_or_default(),
        }
    }

    /// Another line of fields at the same place.
    pub(super) fn within(&mut self, values: Map<String, Value>) -> Reader<'_> {
        Reader::new(Fields { line: self.line, values }, self.faults)
    }

    /// What was not taken does not belong here.
    pub(super) fn finish(self, of: &str) {
        for name in self.values.keys() {
            let why = if FIELDS.contains(&name.as_str()) {
                format!("`{name}` is no field of {of}")
            } else {
                let hint = nearest(name, FIELDS).map(|word| format!("; did you mean `{word}`?"));
                format!("`{name}` is no field{}", hint.unwrap_or_default())
            };
            self.faults.push(Fault { line: self.line, field: "", wrong: ImportError::Malformed(why) });
        }
    }
}
