//! The texts of mails: shipped in English and German, each replaceable by a file of the operator.
//!
//! A text is three files: `invitation.subject.txt`, `invitation.txt` and `invitation.html`; in another
//! language `invitation.de.subject.txt` and so on. Everything is rendered once at the start with made-up
//! values, so that a wrong template stops the start and not a mail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};
use usher_domain::secret::Secret;
use usher_domain::time::Time;

use super::Letter;

const KINDS: [&str; 6] =
    ["invitation", "joined", "founder", "password_reset", "email_change", "ownership_transfer"];
const PARTS: [&str; 3] = ["subject.txt", "txt", "html"];
/// The longest language tag that a file name may hold (RFC 5646 §4.4.1).
const LANGUAGE_LENGTH_MAX: usize = 35;

macro_rules! shipped {
    ($($kind:literal),+) => {
        &[$(
            (concat!($kind, ".subject.txt"), include_str!(concat!("../../templates/", $kind, ".subject.txt"))),
            (concat!($kind, ".txt"), include_str!(concat!("../../templates/", $kind, ".txt"))),
            (concat!($kind, ".html"), include_str!(concat!("../../templates/", $kind, ".html"))),
        )+]
    };
}

const SHIPPED: &[(&str, &str)] = shipped!(
    "invitation",
    "invitation.de",
    "joined",
    "joined.de",
    "founder",
    "founder.de",
    "password_reset",
    "password_reset.de",
    "email_change",
    "email_change.de",
    "ownership_transfer",
    "ownership_transfer.de"
);

/// A letter in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// Which text: of what kind, in which language (`""` is the default), which of the three parts.
type Key = (&'static str, String, &'static str);

pub(super) struct Templates {
    environment: Environment<'static>,
    /// The name of each template: of the file, as its place in messages.
    names: BTreeMap<Key, String>,
}

impl Templates {
    /// The shipped texts, with those of the directory over them.
    ///
    /// # Errors
    /// All that is wrong with the directory's files, each with its place.
    pub(super) fn load(directory: Option<&Path>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        });
        let mut templates = Self { environment, names: BTreeMap::new() };
        let mut problems = Vec::new();
        for (name, source) in SHIPPED {
            problems.extend(templates.add(name, (*name).to_owned(), (*source).to_owned()).err());
        }
        for path in directory.map(list).transpose()?.unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let place = path.display().to_string();
            let added = std::fs::read_to_string(&path)
                .map_err(|e| format!("{place}: cannot be read: {e}"))
                .and_then(|source| templates.add(&name, place, source));
            problems.extend(added.err());
        }
        if problems.is_empty() {
            templates.check(&mut problems);
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems.join("\n")) }
    }

    fn add(&mut self, name: &str, place: String, source: String) -> Result<(), String> {
        let key = parse_name(name).ok_or_else(|| {
            let (kinds, parts) = (KINDS.join(", "), PARTS.join(", "));
            format!(
                "{place}: is no name of a template; it must be one of {kinds}, a language if it is not the \
                 default, and one of {parts}, as in `invitation.de.subject.txt`"
            )
        })?;
        self.environment.add_template_owned(place.clone(), source).map_err(|e| located(&place, &e))?;
        self.names.insert(key, place);
        Ok(())
    }

    /// Renders everything with made-up values, and looks that no text lacks a part.
    fn check(&self, problems: &mut Vec<String>) {
        for ((kind, language, part), place) in &self.names {
            for lacking in PARTS {
                let key = (*kind, language.clone(), lacking);
                if !self.names.contains_key(&key) {
                    problems.push(format!("{place}: `{}` is missing beside it", file_name(&key)));
                }
            }
            for sample in samples().iter().filter(|sample| kind_of(sample) == *kind) {
                match self.render_part(place, part, sample) {
                    Ok(text) if *part == "subject.txt" && text.trim().lines().count() != 1 => {
                        problems.push(format!("{place}:1: a subject must be one line"));
                        break;
                    }
                    Ok(_) => {}
                    Err(problem) => {
                        problems.push(problem);
                        break;
                    }
                }
            }
        }
    }

    /// In the language, or the one that it is a kind of (`de` for `de-AT`), or the default.
    ///
    /// # Errors
    /// Where and why a template fails; the check at the start leaves few reasons.
    pub(super) fn render(&self, letter: &Letter, language: &str) -> Result<Texts, String> {
        let kind = kind_of(letter);
        let mut language = language.trim().replace('_', "-").to_ascii_lowercase();
        while !self.names.contains_key(&(kind, language.clone(), "txt")) && !language.is_empty() {
            language.truncate(language.rfind('-').unwrap_or(0));
        }
        let render = |part| {
            let key = (kind, language.clone(), part);
            let place = self.names.get(&key).ok_or_else(|| format!("`{}` is missing", file_name(&key)))?;
            self.render_part(place, part, letter)
        };
        Ok(Texts { subject: one_line(&render("subject.txt")?), text: render("txt")?, html: render("html")? })
    }

    fn render_part(&self, place: &str, part: &str, letter: &Letter) -> Result<String, String> {
        let template = self.environment.get_template(place).map_err(|e| located(place, &e))?;
        template.render(values(letter, part == "html")).map_err(|e| located(place, &e))
    }
}

fn located(place: &str, error: &Error) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{place}:{}: {}{detail}", error.line().unwrap_or(1), error.kind())
}

fn file_name((kind, language, part): &Key) -> String {
    if language.is_empty() { format!("{kind}.{part}") } else { format!("{kind}.{language}.{part}") }
}

/// `invitation.de.subject.txt` is the subject of an invitation in German.
fn parse_name(name: &str) -> Option<Key> {
    let (kind, rest) = name.split_once('.')?;
    let kind = KINDS.into_iter().find(|known| *known == kind)?;
    if let Some(part) = PARTS.into_iter().find(|part| *part == rest) {
        return Some((kind, String::new(), part));
    }
    let (language, part) = rest.split_once('.')?;
    let part = PARTS.into_iter().find(|known| *known == part)?;
    let is_tag = (2..=LANGUAGE_LENGTH_MAX).contains(&language.len())
        && language.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    is_tag.then(|| (kind, language.to_ascii_lowercase(), part))
}

/// The texts in a directory. Hidden files are not meant: that is how Kubernetes mounts a directory.
fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |e| format!("cannot read `{}`, which `mail.templates` names: {e}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|kind| kind == "txt" || kind == "html") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn kind_of(letter: &Letter) -> &'static str {
    match letter {
        Letter::Invitation { .. } => "invitation",
        Letter::Joined { .. } => "joined",
        Letter::Founder { .. } => "founder",
        Letter::PasswordReset { .. } => "password_reset",
        Letter::EmailChange { .. } => "email_change",
        Letter::OwnershipTransfer { .. } => "ownership_transfer",
    }
}

/// What a template may name. What people typed is kept to one line, whatever it was stored as.
fn values(letter: &Letter, is_html: bool) -> BTreeMap<&'static str, Value> {
    let typed = |text: &str| Value::from(one_line(text));
    let link = |link: &Secret<String>| link_value(link.expose(), is_html);
    match letter {
        Letter::Invitation { account_name, role_title, invited_by_name, link: to, expire_time } => [
            ("account_name", typed(account_name)),
            ("role_title", typed(role_title)),
            ("invited_by_name", typed(invited_by_name)),
            ("link", link(to)),
            ("expire_time", until(*expire_time)),
        ]
        .into(),
        Letter::Joined { account_name, role_title, invited_by_name, username } => [
            ("account_name", typed(account_name)),
            ("role_title", typed(role_title)),
            ("invited_by_name", typed(invited_by_name)),
            ("username", typed(username)),
        ]
        .into(),
        Letter::Founder { account_name, link: to, expire_time } => {
            [("account_name", typed(account_name)), ("link", link(to)), ("expire_time", until(*expire_time))]
                .into()
        }
        Letter::PasswordReset { link: to, expire_time } | Letter::EmailChange { link: to, expire_time } => {
            [("link", link(to)), ("expire_time", until(*expire_time))].into()
        }
        Letter::OwnershipTransfer { account_name, ticket_ref, role_title, new_owner_name } => [
            ("account_name", typed(account_name)),
            ("ticket_ref", typed(ticket_ref)),
            ("role_title", typed(role_title)),
            ("new_owner_name", typed(new_owner_name)),
        ]
        .into(),
    }
}

/// The engine would write `/` as an entity too, which scanners that rewrite links do not all undo.
fn link_value(link: &str, is_html: bool) -> Value {
    if !is_html {
        return Value::from(link);
    }
    let escaped = link.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Value::from_safe_string(escaped.replace('"', "&quot;").replace('\'', "&#x27;"))
}

fn until(time: Time) -> Value {
    let time = chrono::DateTime::from_timestamp(time.seconds(), 0);
    Value::from(time.map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default())
}

fn one_line(text: &str) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.trim().split(is_break).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Made-up letters of each kind, with and without what may be empty.
fn samples() -> Vec<Letter> {
    let link = || Secret::new("https://example.com/link".to_owned());
    let expire_time = Time::from_seconds(0);
    let invitation = |name: &str| Letter::Invitation {
        account_name: "Account".into(),
        role_title: "Role".into(),
        invited_by_name: name.into(),
        link: link(),
        expire_time,
    };
    let joined = |name: &str| Letter::Joined {
        account_name: "Account".into(),
        role_title: "Role".into(),
        invited_by_name: name.into(),
        username: "login".into(),
    };
    vec![
        invitation("Name"),
        invitation(""),
        joined("Name"),
        joined(""),
        Letter::Founder { account_name: "Account".into(), link: link(), expire_time },
        Letter::PasswordReset { link: link(), expire_time },
        Letter::EmailChange { link: link(), expire_time },
        Letter::OwnershipTransfer {
            account_name: "Account".into(),
            ticket_ref: "Ticket".into(),
            role_title: "Role".into(),
            new_owner_name: "Name".into(),
        },
    ]
}

#[cfg(test)]
mod tests;
