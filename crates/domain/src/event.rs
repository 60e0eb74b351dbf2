//! The audit log: one event per change, chained by hashes within its stream.
//!
//! What identifies a person (names, addresses) is kept apart from the hashed part, so that it can
//! be erased without breaking the chain. A salted commitment ties it to the event until then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::time::Time;

/// Facts by name. Sorted, so that one set of facts has one text.
pub type Facts = BTreeMap<String, Value>;

/// Whose log an event stands in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of", content = "id")]
pub enum Stream {
    Account(String),
    User(String),
}

/// The hashed part of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub stream: Stream,
    /// The account's (or user's) revision that this event belongs to.
    pub revision: i64,
    /// The place among the events of one revision, from 0.
    pub index: u32,
    pub time: Time,
    /// What happened, as `noun.verb`: `member.joined`.
    pub kind: String,
    /// The calling service.
    pub caller: String,
    /// The member who acted; `None` is the platform or the person without a membership.
    pub actor_id: Option<String>,
    /// The id of what was changed: a user, an invitation, a ticket; empty for the account itself.
    pub subject_id: String,
    pub request_id: String,
    pub note: String,
    pub before: Facts,
    pub after: Facts,
    /// Commitment to the personal part; empty when there is none.
    pub personal_commitment: String,
}

impl Event {
    /// The hash that the next event builds on: SHA-256 over the hash before and the event's JSON,
    /// whose fields stand in the order of this struct and whose facts are sorted by name.
    pub fn hash(&self, previous: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(previous.as_bytes());
        hasher.update(b"\n");
        hasher.update(serde_json::to_vec(self).unwrap_or_default());
        hex::encode(hasher.finalize())
    }
}

/// What identifies people in an event; erased with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Random, so that a guessed address cannot be confirmed from the commitment.
    pub salt: String,
    pub facts: Facts,
}

impl Personal {
    pub fn commitment(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.salt.as_bytes());
        hasher.update(serde_json::to_vec(&self.facts).unwrap_or_default());
        hex::encode(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            stream: Stream::Account("acme".into()),
            revision: 2,
            index: 0,
            time: Time::from_seconds(5),
            kind: "member.joined".into(),
            caller: "gateway".into(),
            actor_id: Some("alice".into()),
            subject_id: "bob".into(),
            request_id: String::new(),
            note: String::new(),
            before: Facts::new(),
            after: Facts::from([("role".to_owned(), "editor".into())]),
            personal_commitment: String::new(),
        }
    }

    #[test]
    fn any_altered_field_or_predecessor_changes_the_hash() {
        let hash = event().hash("before");
        assert_eq!(hash, event().hash("before"));
        assert_ne!(hash, event().hash("other"));
        let altered: [fn(&mut Event); 6] = [
            |e| e.revision = 3,
            |e| e.index = 1,
            |e| e.kind = "member.removed".into(),
            |e| e.actor_id = None,
            |e| e.subject_id = "eve".into(),
            |e| drop(e.after.insert("role".into(), "admin".into())),
        ];
        for alter in altered {
            let mut event = event();
            alter(&mut event);
            assert_ne!(hash, event.hash("before"), "{event:?}");
        }
    }
}
