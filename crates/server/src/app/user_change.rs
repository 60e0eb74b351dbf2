//! Changes of a person: password, identity, address. They have a stream of events of their own.

use usher_domain::caller::{Acting, Caller};
use usher_domain::event::{Event, Personal, Stream};
use usher_domain::time::Time;
use usher_storage::{NewEvent, Tx, User};

use super::change::Happened;
use crate::error::Error;
use crate::random;

/// Appends an event to a locked user's stream and writes the user.
///
/// # Errors
/// `Store(Exists)` when the user's new address is somebody else's.
pub async fn user_changed(
    tx: &Tx,
    caller: &Caller,
    user: &mut User,
    now: Time,
    acting: &Acting,
    what: Happened<'_>,
) -> Result<(), Error> {
    let personal = if what.personal.is_empty() {
        None
    } else {
        Some(Personal { salt: random::token()?.into_exposed(), facts: what.personal })
    };
    user.revision += 1;
    let event = Event {
        stream: Stream::User(user.id.to_string()),
        revision: user.revision,
        index: 0,
        time: now,
        kind: what.kind.to_owned(),
        caller: caller.name.to_string(),
        actor_id: acting.member().map(ToString::to_string),
        subject_id: user.id.to_string(),
        request_id: String::new(),
        note: String::new(),
        before: what.before,
        after: what.after,
        personal_commitment: personal.as_ref().map(Personal::commitment).unwrap_or_default(),
    };
    user.event_hash = tx.event_append(&user.event_hash, &[NewEvent { event, personal }]).await?;
    Ok(tx.user_update(user).await?)
}
