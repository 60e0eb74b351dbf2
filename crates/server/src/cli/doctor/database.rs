//! The database: there, with its schema, on the same time, and with roles that are known.

use std::path::Path;
use std::time::{Duration, Instant};

use usher_domain::time::Time;
use usher_policy::Catalogue;
use usher_storage::{Engine, Store};

use super::Finding;
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::{connect_options, missing_roles};

const PART: &str = "database";
/// How far the clocks may differ before somebody should look, and before times are wrong.
const DRIFT_WARNING: Duration = Duration::from_secs(1);
const DRIFT_MAX: Duration = Duration::from_secs(30);

pub(super) async fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let roles = Catalogue::load(config.roles.directory.as_deref());
    let mut findings = vec![match &roles {
        Ok(roles) => Finding::ok("role models", format!("{} are right", roles.models().len())),
        Err(error) => Finding::problem("role models", format!("{error}; `usher roles check FILE` says more")),
    }];
    if let Some(missing) = file_that_is_missing(&config.database.url) {
        let text = format!("`{missing}` is not there yet; run `usher migrate`, or start with `--migrate`");
        findings.push(Finding::problem(PART, text));
        return findings;
    }
    let began = Instant::now();
    let store = match Store::connect(&connect_options(config)).await {
        Ok(store) => store,
        Err(error) => {
            findings.push(not_reached(error));
            return findings;
        }
    };
    let engine = match store.engine() {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "PostgreSQL",
    };
    findings.push(Finding::ok(PART, format!("{engine} answers, in {} ms", began.elapsed().as_millis())));
    let schema = schema(&store).await;
    let is_right = schema.verdict == super::Verdict::Ok;
    findings.push(schema);
    findings.extend(drift(&store, clock).await);
    if let (true, Ok(roles)) = (is_right, &roles) {
        findings.push(match missing_roles(&store, roles).await {
            Ok(missing) if missing.is_empty() => Finding::ok("roles in use", "are all in the role models"),
            Ok(missing) => Finding::problem(
                "roles in use",
                format!("{}; give the server the file, see `--role-models`", missing.join("; ")),
            ),
            Err(error) => Finding::problem("roles in use", error.to_string()),
        });
    }
    store.close().await;
    findings
}

/// Looking must not make a database.
fn file_that_is_missing(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    let path = path.split('?').next().unwrap_or(path);
    (!path.contains(":memory:") && !Path::new(path).exists()).then_some(path)
}

fn not_reached(error: usher_storage::Error) -> Finding {
    match error {
        usher_storage::Error::InUse(path) => {
            let text = format!("`{path}` is in use by a running server, so it was not looked into");
            Finding::ok(PART, text)
        }
        error => Finding::problem(PART, error.to_string()),
    }
}

async fn schema(store: &Store) -> Finding {
    const PART: &str = "schema";
    let newer = store.newer_migrations().await.unwrap_or_default();
    match store.pending_migrations().await {
        Ok(pending) if !pending.is_empty() => Finding::problem(
            PART,
            format!("lacks {}; run `usher migrate`, or start with `--migrate`", pending.join(", ")),
        ),
        Ok(_) if newer.is_empty() => Finding::ok(PART, "is up to date"),
        Ok(_) => Finding::ok(PART, format!("is newer ({}), and fits", newer.join(", "))),
        Err(error) => Finding::problem(PART, error.to_string()),
    }
}

/// SQLite has the clock of this machine.
async fn drift(store: &Store, clock: &Clock) -> Option<Finding> {
    const PART: &str = "clock";
    if store.engine() == Engine::Sqlite {
        return None;
    }
    let before = clock.now();
    let theirs = match store.time().await {
        Ok(theirs) => theirs,
        Err(error) => return Some(Finding::problem(PART, error.to_string())),
    };
    let middle = before + clock.now().since(before) / 2;
    let drift = difference(middle, theirs);
    let text = format!("differs by {} ms from the database's", drift.as_millis());
    Some(if drift > DRIFT_MAX {
        Finding::problem(PART, format!("{text}: expiries are judged wrongly; synchronise it (NTP)"))
    } else if drift > DRIFT_WARNING {
        Finding::warning(PART, format!("{text}; synchronise it (NTP)"))
    } else {
        Finding::ok(PART, text)
    })
}

fn difference(a: Time, b: Time) -> Duration {
    a.since(b).max(b.since(a))
}
