//! Looks whether calls would be answered: the database answers, its schema fits, the role models that
//! accounts use are there, and the changes of other servers are known.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Health;
use crate::app::App;
use crate::lifecycle::missing_roles;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Until a server is ready for the first time, somebody waits for it.
const LOOK_FIRST_EVERY: Duration = Duration::from_millis(100);
/// How long one question to the database may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How many looks in a row must fail before a server says so.
const FAILURES_MAX: u32 = 3;
/// The schema is looked at with every so many looks, and the roles in use, which reads every member; sooner again
/// while some are missing.
const SCHEMA_EVERY: u32 = 10;
const ROLES_EVERY: u32 = 300;
const ROLES_MISSING_EVERY: u32 = 50;

/// Keeps `health` right until it is told to stop.
pub async fn keep_watch(app: App, health: Health, stop: CancellationToken) {
    let (mut failures, mut was_ready) = (0, false);
    let (mut schema, mut roles) = (None, app.roles_missing.first().cloned());
    for round in 0_u32.. {
        let problem = match now(&app).await {
            Some(problem) => Some(problem),
            None => {
                // The start itself has just looked.
                if round > 0 && round.is_multiple_of(SCHEMA_EVERY) {
                    schema = schema_problem(&app).await;
                }
                let every = if roles.is_some() { ROLES_MISSING_EVERY } else { ROLES_EVERY };
                if round > 0 && round.is_multiple_of(every) {
                    // What takes too long says nothing new.
                    roles =
                        missing_roles(&app.store, app.roles).await.map_or(roles, |m| m.into_iter().next());
                }
                schema.clone().or_else(|| roles.clone())
            }
        };
        app.standings.prune();
        match problem {
            None => {
                (failures, was_ready) = (0, true);
                health.set(None);
            }
            Some(problem) => {
                failures += 1;
                tracing::debug!(problem, failures, "a look at the readiness failed");
                if failures >= FAILURES_MAX {
                    health.set(Some(&problem));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(if was_ready { LOOK_EVERY } else { LOOK_FIRST_EVERY }) => {}
        }
    }
}

async fn now(app: &App) -> Option<String> {
    let lease = app.standings.lease();
    // Where the operator lets memory answer for longer, it does.
    if lease.outlives_outage() {
        return None;
    }
    match timeout(ANSWER_MAX, app.store.ping()).await {
        Err(_) => return Some("the database does not answer in time".to_owned()),
        Ok(Err(_)) => return Some("the database does not answer".to_owned()),
        Ok(Ok(())) => {}
    }
    (!lease.is_held()).then(|| "the changes of other servers are not known: polls fail".to_owned())
}

async fn schema_problem(app: &App) -> Option<String> {
    match timeout(ANSWER_MAX, app.store.pending_migrations()).await {
        Ok(Ok(pending)) if pending.is_empty() => None,
        Ok(Ok(pending)) => Some(format!("the database lacks the migrations {}", pending.join(", "))),
        Ok(Err(usher_storage::Error::Schema(problem))) => Some(problem),
        // What does not answer is seen elsewhere.
        Ok(Err(_)) | Err(_) => None,
    }
}
