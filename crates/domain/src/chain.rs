//! Verifying a stream of events: numbered without gaps, each with the hash of the one before it, up to
//! what the account or the user itself says is the newest.
//!
//! Whoever can rewrite a whole stream and its head can forge both; this finds everything less.

use crate::event::{Event, Personal, Stream};

/// What is wrong with a stream, at the first event where it shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("events are missing before it: revision {expected} does not come first")]
    Gap { expected: i64 },
    #[error(
        "its hash does not follow: this event or the one before it was altered, or one between them removed"
    )]
    Altered,
    #[error("its personal part is not the one that was written")]
    PersonalAltered,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("events are missing at the end: the log ends at revision {last}, and the newest is {head}")]
    EndMissing { last: i64, head: i64 },
    #[error("events are missing at the end, or the head was altered: the newest hash is another")]
    HeadDiffers,
    #[error("the log has events of something that is not there")]
    NoHead,
}

/// A stream that is being verified.
#[derive(Debug, Clone)]
pub struct Chain {
    hash: String,
    /// The revision and index of the event before.
    last: (i64, Option<u32>),
}

impl Chain {
    /// An account's first event is of revision 1. A user is made at revision 1 without one, so that their
    /// first is of revision 2.
    pub fn of(stream: &Stream) -> Self {
        let before_first = match stream {
            Stream::Account(_) => 0,
            Stream::User(_) => 1,
        };
        Self { hash: String::new(), last: (before_first, None) }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// What is wrong with it, or shows at it.
    pub fn follow(
        &mut self,
        event: &Event,
        personal: Option<&Personal>,
        hash: &str,
    ) -> Result<(), ChainError> {
        let (revision, index) = self.last;
        let next_in_revision = index.map(|index| (revision, index + 1));
        let place = (event.revision, event.index);
        if place != (revision + 1, 0) && Some(place) != next_in_revision {
            return Err(ChainError::Gap { expected: revision + 1 });
        }
        if event.hash(&self.hash) != hash {
            return Err(ChainError::Altered);
        }
        // Erasing a person takes the part away, and nothing else may.
        if personal.is_some_and(|personal| personal.commitment() != event.personal_commitment) {
            return Err(ChainError::PersonalAltered);
        }
        hash.clone_into(&mut self.hash);
        self.last = (event.revision, Some(event.index));
        Ok(())
    }

    /// Whether the stream ends where the account or the user says.
    ///
    /// # Errors
    /// `EndMissing`, `HeadDiffers`.
    pub fn end(&self, head: i64, head_hash: &str) -> Result<(), ChainError> {
        let (last, _) = self.last;
        if last != head {
            return Err(ChainError::EndMissing { last, head });
        }
        if self.hash != head_hash {
            return Err(ChainError::HeadDiffers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;
    use crate::time::Time;

    fn event(revision: i64, index: u32, personal: Option<&Personal>) -> Event {
        Event {
            stream: Stream::Account("acme".into()),
            revision,
            index,
            time: Time::from_seconds(revision),
            kind: "member.joined".into(),
            caller: "gateway".into(),
            actor_id: None,
            subject_id: "bob".into(),
            request_id: String::new(),
            note: String::new(),
            before: Facts::new(),
            after: Facts::new(),
            personal_commitment: personal.map(Personal::commitment).unwrap_or_default(),
        }
    }

    fn personal() -> Personal {
        Personal { salt: "salt".into(), facts: Facts::from([("email".to_owned(), "b@x.example".into())]) }
    }

    type Log = Vec<(Event, Option<Personal>, String)>;

    /// Revisions 1 (two events), 2 and 3.
    fn log() -> Log {
        let mut hash = String::new();
        let places = [(1, 0), (1, 1), (2, 0), (3, 0)];
        let rows = places.into_iter().map(|(revision, index)| {
            let event = event(revision, index, Some(&personal()));
            hash = event.hash(&hash);
            (event, Some(personal()), hash.clone())
        });
        rows.collect()
    }

    fn verify(
        log: &[(Event, Option<Personal>, String)],
        head: (i64, &str),
    ) -> Result<(), (usize, ChainError)> {
        let mut chain = Chain::of(&Stream::Account("acme".into()));
        for (place, (event, personal, hash)) in log.iter().enumerate() {
            chain.follow(event, personal.as_ref(), hash).map_err(|wrong| (place, wrong))?;
        }
        chain.end(head.0, head.1).map_err(|wrong| (log.len(), wrong))
    }

    #[test]
    fn what_was_written_verifies_also_after_an_erasure() {
        let mut log = log();
        let head = log[3].2.clone();
        assert_eq!(verify(&log, (3, &head)), Ok(()));
        log[1].1 = None;
        assert_eq!(verify(&log, (3, &head)), Ok(()));
    }

    #[test]
    fn what_was_altered_or_removed_is_found_where_it_shows() {
        let whole = log();
        let head = (3, whole[3].2.clone());
        let found = |change: fn(&mut Log)| {
            let mut log = whole.clone();
            change(&mut log);
            verify(&log, (head.0, &head.1)).unwrap_err()
        };
        assert_eq!(found(|log| log[2].0.kind = "member.removed".into()), (2, ChainError::Altered));
        assert_eq!(found(|log| log[2].2 = "00".into()), (2, ChainError::Altered));
        assert_eq!(found(|log| drop(log.remove(2))), (2, ChainError::Gap { expected: 2 }));
        assert_eq!(found(|log| drop(log.remove(0))), (0, ChainError::Gap { expected: 1 }));
        assert_eq!(found(|log| drop(log.remove(1))), (1, ChainError::Altered));
        assert_eq!(found(|log| drop(log.pop())), (3, ChainError::EndMissing { last: 2, head: 3 }));
        assert_eq!(found(Vec::clear), (0, ChainError::EndMissing { last: 0, head: 3 }));
        let forged = |log: &mut Log| {
            log[1].1.as_mut().unwrap().facts.insert("email".into(), "eve@x.example".into());
        };
        assert_eq!(found(forged), (1, ChainError::PersonalAltered));
        assert_eq!(verify(&whole, (3, "00")), Err((4, ChainError::HeadDiffers)));
    }
}
