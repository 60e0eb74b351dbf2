//! What may have been meant: suggestions for words that are not in a model.
//!
//! A check of an action that does not exist is a bug in the asking service, so the answer says what
//! would have been right. Nothing here is on the path of an answer that is a decision.

use std::fmt;

use crate::table::{ActionIndex, RoleModel};

/// Longer words than this get no suggestion, so that a long one costs no more than a short one.
const WORD_LENGTH_MAX: usize = 64;

/// The word among `known` that `word` is probably a slip of.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_LENGTH_MAX {
        return None;
    }
    known
        .into_iter()
        .filter_map(|candidate| Some((distance(word, candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far `word` is from `candidate`, if it may be a slip of it: in each part of an action at most
/// one letter in three is wrong, and one always may be.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    if let (Some((left, right)), Some((left_of, right_of))) =
        (word.split_once('.'), candidate.split_once('.'))
    {
        return Some(distance(left, left_of)? + distance(right, right_of)?);
    }
    let distance = strsim::damerau_levenshtein(word, candidate);
    (distance <= (word.len().min(candidate.len()) / 3).max(1)).then_some(distance)
}

/// A stranger's word for a message: in backticks, cut, without control characters.
pub(crate) fn quoted(word: &str) -> String {
    let shown: String = word.chars().take(WORD_LENGTH_MAX).flat_map(char::escape_debug).collect();
    let cut = if word.chars().nth(WORD_LENGTH_MAX).is_some() { "…" } else { "" };
    format!("`{shown}{cut}`")
}

/// The model's `aliases_for_hints`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// A bare word for another: `get` for `view`.
    pub(crate) words: Vec<(Box<str>, Box<str>)>,
    /// A whole action for another: `job.execute` for `job.run`.
    pub(crate) actions: Vec<(Box<str>, ActionIndex)>,
}

impl Hints {
    fn word<'a>(&'a self, word: &'a str) -> &'a str {
        self.words.iter().find(|(from, _)| &**from == word).map_or(word, |(_, to)| to)
    }
}

/// Which part of an action the model does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPart {
    ResourceType,
    /// The resource type is known, and has no such verb.
    Verb,
}

/// An action that is not in the account's role model: a mistake of the asking service, not a denial.
///
/// Small, because it is the other half of every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAction(Box<Unknown>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Unknown {
    resource_type: String,
    verb: String,
    part: UnknownPart,
    suggestion: Option<String>,
    /// What there is instead: the verbs of the resource type, or the resource types.
    known: String,
}

impl UnknownAction {
    #[cold]
    pub(crate) fn new(model: &RoleModel, resource_type: &str, verb: &str) -> Self {
        let part = if model.has_resource_type(resource_type) {
            UnknownPart::Verb
        } else {
            UnknownPart::ResourceType
        };
        let known: Vec<&str> = match part {
            UnknownPart::Verb => verbs_of(model, resource_type).collect(),
            UnknownPart::ResourceType => resource_types(model),
        };
        Self(Box::new(Unknown {
            resource_type: resource_type.to_owned(),
            verb: verb.to_owned(),
            part,
            suggestion: suggest(model, resource_type, verb)
                .and_then(|action| model.action_at(action))
                .map(|action| action.name().to_owned()),
            known: known.join("`, `"),
        }))
    }

    /// Which part of the action is unknown.
    pub fn part(&self) -> UnknownPart {
        self.0.part
    }

    pub fn resource_type(&self) -> &str {
        &self.0.resource_type
    }

    pub fn verb(&self) -> &str {
        &self.0.verb
    }

    /// The action that was probably meant, `job.run`.
    pub fn suggestion(&self) -> Option<&str> {
        self.0.suggestion.as_deref()
    }
}

impl fmt::Display for UnknownAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unknown { resource_type, verb, part, suggestion, known } = &*self.0;
        let action = quoted(&format!("{resource_type}.{verb}"));
        match part {
            UnknownPart::Verb => write!(f, "unknown action {action}: ")?,
            UnknownPart::ResourceType => {
                write!(f, "unknown resource type {} in {action}: ", quoted(resource_type))?;
            }
        }
        match (suggestion, part) {
            (Some(suggestion), _) => write!(f, "did you mean `{suggestion}`?"),
            (None, UnknownPart::Verb) => write!(f, "`{resource_type}` has `{known}`"),
            (None, UnknownPart::ResourceType) => write!(f, "the model has `{known}`"),
        }
    }
}

impl std::error::Error for UnknownAction {}

/// The action that was probably meant: by the model's aliases first, then as a slip of the pen.
fn suggest(model: &RoleModel, resource_type: &str, verb: &str) -> Option<ActionIndex> {
    // The whole action given as the verb, or with a type that only repeats it.
    if let Some(action) = model.action_index(verb) {
        return Some(action);
    }
    let (other_type, other_verb) = (model.hints.word(resource_type), model.hints.word(verb));
    let spellings =
        [(resource_type, verb), (other_type, verb), (resource_type, other_verb), (other_type, other_verb)];
    for (resource_type, verb) in spellings {
        let alias =
            model.hints.actions.iter().find(|(from, _)| from.split_once('.') == Some((resource_type, verb)));
        if let Some(action) = alias.map(|(_, to)| *to).or_else(|| model.find(resource_type, verb)) {
            return Some(action);
        }
    }
    let near_type = if model.has_resource_type(other_type) {
        Some(other_type)
    } else {
        closest(other_type, resource_types(model))
    }?;
    model
        .find(near_type, verb)
        .or_else(|| model.find(near_type, other_verb))
        .or_else(|| model.find(near_type, closest(verb, verbs_of(model, near_type))?))
}

fn verbs_of<'a>(model: &'a RoleModel, resource_type: &str) -> impl Iterator<Item = &'a str> {
    model
        .actions()
        .iter()
        .filter(move |action| action.resource_type() == resource_type)
        .map(|action| action.verb())
}

fn resource_types(model: &RoleModel) -> Vec<&str> {
    let mut types: Vec<&str> = model.actions().iter().map(|action| action.resource_type()).collect();
    types.dedup();
    types
}
