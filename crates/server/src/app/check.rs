//! The question that Usher is for: may this subject do this, and does the account hold a seat for
//! them? A check neither writes nor locks.
//!
//! Each question comes twice: from memory, which neither waits nor copies and answers nearly always,
//! and with the store behind it. Ids in a question have the form of ids; the parser saw to it.

use futures::{StreamExt, TryStreamExt, stream};
use usher_domain::id::{AccountId, UserId};
use usher_domain::standing::AccountState;
use usher_domain::time::Time;
use usher_policy::{
    Ask, Decision, Listing, ModelIndex, Part, Standing, Subject, UnknownAction, decide, explain, permissions,
};
use usher_storage::StandingFacts;

use super::App;
use crate::cache::{Found, Freshness, Known};
use crate::error::{Error, Missing, Violation, Wrong};
use crate::token;

/// How many standings one batch reads at the same time: a part of the pool.
const READS_AT_ONCE: usize = 4;

/// How fresh the answer must be, as the request says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency<'a> {
    #[default]
    MinimizeLatency,
    /// With a consistency token.
    AtLeastAsFresh(&'a str),
    FullyConsistent,
}

impl Consistency<'_> {
    #[inline]
    fn freshness(self, app: &App, account: &str) -> Result<Freshness, Error> {
        Ok(match self {
            Self::MinimizeLatency => Freshness::Latency,
            Self::AtLeastAsFresh(token) => {
                Freshness::AtLeast(token::read_consistency(token, &app.epoch.load(), account)?)
            }
            Self::FullyConsistent => Freshness::Full,
        })
    }
}

fn user(subject: Subject<'_>) -> Option<&str> {
    match subject {
        Subject::User(id) => Some(id),
        Subject::Automation => None,
    }
}

/// The ids as the store wants them.
fn owned(account: &str, user: Option<&str>) -> Result<(AccountId, Option<UserId>), Error> {
    let failed = |e| Error::Internal(format!("an id passed the parser and is none: {e}"));
    Ok((AccountId::parse(account).map_err(failed)?, user.map(UserId::parse).transpose().map_err(failed)?))
}

async fn read(
    app: &App,
    account: &str,
    subject: Subject<'_>,
    consistency: Consistency<'_>,
) -> Result<Found, Error> {
    let freshness = consistency.freshness(app, account)?;
    let (account, user) = owned(account, user(subject))?;
    app.standings.get(&app.store, app.roles, &account, user.as_ref(), freshness).await
}

#[derive(Debug, Clone, Copy)]
pub struct CheckPermission<'a> {
    pub account_id: &'a str,
    pub ask: Ask<'a>,
    pub consistency: Consistency<'a>,
    pub explain: bool,
}

pub struct Checked {
    pub decision: Decision,
    /// The account's role model, which names the decision's role and permission.
    pub model: Option<ModelIndex>,
    /// 0 when there is no such account.
    pub revision: i64,
    /// Older than the bound allows; see `cache.outage_grace_ms`.
    pub stale: bool,
    /// In a box, for it is large and nearly never there.
    pub explanation: Option<Box<Explained>>,
}

pub struct Explained {
    pub parts: Vec<Part>,
    pub facts: Option<StandingFacts>,
    pub standing: Option<Standing>,
    pub as_of: Time,
}

/// Decides from memory, without an allocation; `None` when [`check_permission`] must read.
///
/// # Errors
/// An action that the account's model does not know; a wrong consistency token.
pub fn check_from_memory(app: &App, check: &CheckPermission<'_>) -> Result<Option<Checked>, Error> {
    if check.explain {
        return Ok(None);
    }
    let freshness = check.consistency.freshness(app, check.account_id)?;
    let Some(known) = app.standings.hit(check.account_id, user(check.ask.subject), freshness) else {
        return Ok(None);
    };
    decided(app, check, &known, false).map(Some)
}

/// # Errors
/// As [`check_from_memory`]; those of the store.
pub async fn check_permission(app: &App, check: &CheckPermission<'_>) -> Result<Checked, Error> {
    if check.explain {
        return explained(app, check).await;
    }
    let found = read(app, check.account_id, check.ask.subject, check.consistency).await?;
    decided(app, check, &found.known, found.stale)
}

fn decided(app: &App, check: &CheckPermission<'_>, known: &Known, stale: bool) -> Result<Checked, Error> {
    let standing = known.as_ref();
    let decision = decide(app.roles, standing, app.clock.now(), &check.ask)
        .map_err(|unknown| unknown_action("", &unknown))?;
    app.counters.decided(decision.reason);
    Ok(Checked {
        decision,
        model: standing.and_then(|standing| standing.model()),
        revision: revision_of(known),
        stale,
        explanation: None,
    })
}

/// Reads the database, because the derivation names what is not cached.
async fn explained(app: &App, check: &CheckPermission<'_>) -> Result<Checked, Error> {
    let freshness = check.consistency.freshness(app, check.account_id)?;
    let (account, user) = owned(check.account_id, user(check.ask.subject))?;
    let facts = app.store.standing(&account, user.as_ref()).await?;
    let standing = facts.as_ref().map(|facts| app.roles.standing(&facts.record));
    let revision = standing.map_or(0, |standing| standing.revision());
    if matches!(freshness, Freshness::AtLeast(wanted) if wanted > revision) {
        return Err(Error::RevisionInFuture.with("revision", revision));
    }
    let now = app.clock.now();
    let unknown = |unknown| unknown_action("", &unknown);
    let decision = decide(app.roles, standing.as_ref(), now, &check.ask).map_err(unknown)?;
    let parts = explain(app.roles, standing.as_ref(), now, &check.ask).map_err(unknown)?;
    app.counters.decided(decision.reason);
    let explained = Explained { parts, facts, standing, as_of: now };
    let model = standing.and_then(|standing| standing.model());
    Ok(Checked { decision, model, revision, stale: false, explanation: Some(Box::new(explained)) })
}

/// The error of an action or resource type that the model does not know, so that a typo cannot pass
/// for a denial. `prefix` is the path of the message that named it.
pub fn unknown_action(prefix: &str, unknown: &UnknownAction) -> Error {
    let (wrong, field) = match unknown.part() {
        usher_policy::UnknownPart::ResourceType => (Wrong::ResourceTypeUnknown, "resource.type"),
        usher_policy::UnknownPart::Verb => (Wrong::ActionUnknown, "action"),
    };
    let suggestion = unknown.suggestion();
    Error::unknown(wrong, format!("{prefix}{field}"), unknown.to_string(), suggestion)
}

/// Several checks of one account.
#[derive(Debug)]
pub struct CheckPermissions<'a> {
    pub account_id: &'a str,
    /// Each an item to answer, or what is wrong with it.
    pub items: Vec<Result<Ask<'a>, Error>>,
    pub consistency: Consistency<'a>,
}

impl<'a> CheckPermissions<'a> {
    /// Whom they are about, each once and sorted.
    fn users(&self) -> Vec<Option<&'a str>> {
        let mut users = Vec::new();
        for ask in self.items.iter().flatten() {
            let user = user(ask.subject);
            // Most batches are about one.
            if users.last() != Some(&user) {
                users.push(user);
            }
        }
        if users.is_empty() {
            // Nothing to decide; the revision is that of the account all the same.
            users.push(None);
        }
        users.sort_unstable();
        users.dedup();
        users
    }
}

impl Clone for Error {
    /// Only errors of items are cloned, and these are violations.
    fn clone(&self) -> Self {
        match self {
            Self::Invalid(violations) => Self::Invalid(violations.clone()),
            other => Self::Internal(other.to_string()),
        }
    }
}

pub struct CheckedMany {
    pub results: Vec<Result<Decision, Error>>,
    pub model: Option<ModelIndex>,
    pub revision: i64,
    pub stale: bool,
}

/// As [`check_permissions`], if memory has all standings at one revision.
///
/// # Errors
/// A wrong consistency token.
pub fn checks_from_memory(app: &App, checks: &CheckPermissions<'_>) -> Result<Option<CheckedMany>, Error> {
    let freshness = checks.consistency.freshness(app, checks.account_id)?;
    let users = checks.users();
    let hits = users.iter().map(|user| app.standings.hit(checks.account_id, *user, freshness));
    let standings: Option<Vec<Known>> = hits.collect();
    let standings = standings.filter(|standings| is_one_revision(standings));
    Ok(standings.map(|standings| decided_many(app, checks, &users, &standings, false)))
}

/// All at one revision: when the subjects' standings were read at different ones, they are read
/// again from one snapshot.
///
/// # Errors
/// A wrong consistency token; those of the store. An item's error is its own.
pub async fn check_permissions(app: &App, checks: &CheckPermissions<'_>) -> Result<CheckedMany, Error> {
    let freshness = checks.consistency.freshness(app, checks.account_id)?;
    let users = checks.users();
    let mut ids = Vec::with_capacity(users.len());
    let (account, _) = owned(checks.account_id, None)?;
    for user in &users {
        ids.push(owned(checks.account_id, *user)?.1);
    }
    let reads =
        ids.iter().map(|id| app.standings.get(&app.store, app.roles, &account, id.as_ref(), freshness));
    let reads: Vec<_> = reads.collect();
    let found: Vec<Found> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let stale = found.iter().any(|found| found.stale);
    let mut standings: Vec<Known> = found.iter().map(|found| found.known).collect();
    if !is_one_revision(&standings) {
        standings = snapshot(app, &account, &ids).await?;
    }
    Ok(decided_many(app, checks, &users, &standings, stale))
}

fn revision_of(known: &Known) -> i64 {
    known.map_or(0, |standing| standing.revision())
}

fn is_one_revision(standings: &[Known]) -> bool {
    standings.windows(2).all(|pair| revision_of(&pair[0]) == revision_of(&pair[1]))
}

/// `standings` are those of `users`, in their order.
fn decided_many(
    app: &App,
    checks: &CheckPermissions<'_>,
    users: &[Option<&str>],
    standings: &[Known],
    stale: bool,
) -> CheckedMany {
    let now = app.clock.now();
    let results = checks.items.iter().enumerate().map(|(index, item)| {
        let ask = item.as_ref().map_err(Clone::clone)?;
        let standing = users.binary_search(&user(ask.subject)).ok().and_then(|at| standings[at].as_ref());
        let decision = decide(app.roles, standing, now, ask)
            .map_err(|unknown| unknown_action(&format!("checks[{index}]."), &unknown))?;
        app.counters.decided(decision.reason);
        Ok(decision)
    });
    let results = results.collect();
    let first = standings.first().copied().flatten();
    let model = first.and_then(|standing| standing.model());
    CheckedMany { results, model, revision: revision_of(&first), stale }
}

async fn snapshot(app: &App, account: &AccountId, users: &[Option<UserId>]) -> Result<Vec<Known>, Error> {
    app.store
        .read(async |tx: &usher_storage::Tx| {
            let mut standings = Vec::with_capacity(users.len());
            for user in users {
                let facts = tx.standing(account, user.as_ref()).await?;
                standings.push(facts.map(|facts| app.roles.standing(&facts.record)));
            }
            Ok(standings)
        })
        .await
}

#[derive(Debug, Clone)]
pub struct ListPermissions<'a> {
    pub account_id: &'a str,
    pub subject: Subject<'a>,
    /// Empty is all of them.
    pub resource_types: Vec<&'a str>,
    pub consistency: Consistency<'a>,
}

pub struct Permissions {
    pub listing: Listing,
    pub model: ModelIndex,
    pub standing: Standing,
    pub stale: bool,
    pub as_of: Time,
}

/// As [`list_permissions`], if memory has the standing.
///
/// # Errors
/// As [`list_permissions`].
pub fn list_from_memory(app: &App, list: &ListPermissions<'_>) -> Result<Option<Permissions>, Error> {
    let freshness = list.consistency.freshness(app, list.account_id)?;
    let known = app.standings.hit(list.account_id, user(list.subject), freshness);
    known.map(|known| listed(app, list, Found { known, stale: false })).transpose()
}

/// # Errors
/// `Missing(Account)`; an unknown resource type; a wrong consistency token; those of the store.
pub async fn list_permissions(app: &App, list: &ListPermissions<'_>) -> Result<Permissions, Error> {
    let found = read(app, list.account_id, list.subject, list.consistency).await?;
    listed(app, list, found)
}

fn listed(app: &App, list: &ListPermissions<'_>, found: Found) -> Result<Permissions, Error> {
    let standing = found.known.filter(|standing| standing.account_state() != AccountState::Closed);
    let standing = standing.ok_or(Error::Missing(Missing::Account))?;
    let index = standing.model();
    let model = index.and_then(|index| Some((index, app.roles.by_index(index)?)));
    let (index, model) =
        model.ok_or_else(|| Error::Internal("this server lacks the account's role model".into()))?;
    let types = list.resource_types.iter().enumerate();
    let unknown: Vec<Violation> = types
        .filter(|(_, asked)| !model.has_resource_type(asked))
        .map(|(position, asked)| {
            let unknown = model.action(asked, "view").err();
            let suggestion = unknown.as_ref().and_then(|unknown| unknown.suggestion()?.split_once('.'));
            Violation {
                field: format!("resource_types[{position}]"),
                suggestion: suggestion.map(|(resource_type, _)| resource_type.to_owned()),
                description: unknown.map(|unknown| unknown.to_string()).unwrap_or_default(),
                wrong: Wrong::ResourceTypeUnknown,
            }
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    let now = app.clock.now();
    let mut listing = permissions(model, Some(&standing), now, list.subject == Subject::Automation);
    if !list.resource_types.is_empty() {
        listing.entries.retain(|entry| {
            let action = model.action_at(entry.action);
            action.is_some_and(|action| list.resource_types.contains(&action.resource_type()))
        });
    }
    Ok(Permissions { listing, model: index, standing, stale: found.stale, as_of: now })
}
