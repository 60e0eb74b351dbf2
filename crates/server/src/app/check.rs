//! The question that Usher is for: may this subject do this, and does the account hold a seat for
//! them? A check neither writes nor locks, and on a hit does not wait.

use usher_domain::caller::Caller;
use usher_domain::id::{AccountId, UserId};
use usher_domain::time::Time;
use usher_policy::{
    Ask, Decision, Listing, ModelIndex, Part, Standing, Subject, UnknownAction, decide, explain, permissions,
};
use usher_storage::StandingFacts;

use super::App;
use crate::cache::Freshness;
use crate::error::{Error, Missing, Violation, Wrong};
use crate::token;

/// Whom a check is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    User(UserId),
    /// A schedule or service that nobody owns.
    Automation,
}

impl About {
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Automation => None,
        }
    }

    fn subject(&self) -> Subject<'_> {
        match self {
            Self::User(id) => Subject::User(id.as_str()),
            Self::Automation => Subject::Automation,
        }
    }
}

/// How fresh the answer must be, as the request says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Consistency {
    #[default]
    MinimizeLatency,
    AtLeastAsFresh(String),
    FullyConsistent,
}

impl Consistency {
    fn freshness(&self, app: &App, account: &AccountId) -> Result<Freshness, Error> {
        Ok(match self {
            Self::MinimizeLatency => Freshness::Latency,
            Self::AtLeastAsFresh(token) => {
                Freshness::AtLeast(token::read_consistency(token, &app.epoch(), account)?)
            }
            Self::FullyConsistent => Freshness::Full,
        })
    }
}

/// What is to be done to what.
#[derive(Debug, Clone)]
pub struct Act {
    pub resource_type: String,
    pub action: String,
    pub owner_id: Option<UserId>,
}

impl Act {
    fn ask<'a>(&'a self, about: &'a About) -> Ask<'a> {
        Ask {
            subject: about.subject(),
            resource_type: &self.resource_type,
            action: &self.action,
            owner: self.owner_id.as_ref().map(UserId::as_str),
        }
    }
}

#[derive(Debug, Clone)]
pub struct CheckPermission {
    pub account_id: AccountId,
    pub about: About,
    pub act: Act,
    pub consistency: Consistency,
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
    pub explanation: Option<Explained>,
}

pub struct Explained {
    pub parts: Vec<Part>,
    pub facts: Option<StandingFacts>,
    pub standing: Option<Standing>,
    pub as_of: Time,
    pub act: Act,
}

/// # Errors
/// An action that the account's model does not know; a wrong consistency token; those of the store.
pub async fn check_permission(app: &App, _caller: &Caller, ask: &CheckPermission) -> Result<Checked, Error> {
    if ask.explain {
        return explained(app, ask).await;
    }
    let freshness = ask.consistency.freshness(app, &ask.account_id)?;
    let found =
        app.standings.get(&app.store, &app.roles, &ask.account_id, ask.about.user(), freshness).await?;
    let standing = found.known;
    let now = app.clock.now();
    let decision = decide(&app.roles, standing.as_ref(), now, &ask.act.ask(&ask.about))
        .map_err(|unknown| unknown_action("", &unknown))?;
    app.counters.decided(decision.reason);
    Ok(Checked {
        decision,
        model: standing.and_then(|standing| standing.model()),
        revision: standing.map_or(0, |standing| standing.revision()),
        stale: found.stale,
        explanation: None,
    })
}

/// Reads the database, because the derivation names what is not cached.
async fn explained(app: &App, ask: &CheckPermission) -> Result<Checked, Error> {
    let freshness = ask.consistency.freshness(app, &ask.account_id)?;
    let facts = app.store.standing(&ask.account_id, ask.about.user()).await?;
    let standing = facts.as_ref().map(|facts| app.roles.standing(&facts.record));
    let revision = standing.map_or(0, |standing| standing.revision());
    if matches!(freshness, Freshness::AtLeast(wanted) if wanted > revision) {
        return Err(Error::RevisionInFuture.with("revision", revision));
    }
    let now = app.clock.now();
    let of = ask.act.ask(&ask.about);
    let unknown = |unknown| unknown_action("", &unknown);
    let decision = decide(&app.roles, standing.as_ref(), now, &of).map_err(unknown)?;
    let parts = explain(&app.roles, standing.as_ref(), now, &of).map_err(unknown)?;
    app.counters.decided(decision.reason);
    let act = ask.act.clone();
    let explained = Explained { parts, facts, standing, as_of: now, act };
    let model = standing.and_then(|standing| standing.model());
    Ok(Checked { decision, model, revision, stale: false, explanation: Some(explained) })
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
#[derive(Debug, Clone)]
pub struct CheckPermissions {
    pub account_id: AccountId,
    /// Each an item to answer, or what is wrong with it.
    pub items: Vec<Result<(About, Act), Error>>,
    pub consistency: Consistency,
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

/// All at one revision: when the subjects' standings were read at different ones, they are read
/// again from one snapshot.
///
/// # Errors
/// As [`check_permission`], for the request as a whole; an item's error is its own.
pub async fn check_permissions(
    app: &App,
    _caller: &Caller,
    ask: &CheckPermissions,
) -> Result<CheckedMany, Error> {
    let freshness = ask.consistency.freshness(app, &ask.account_id)?;
    let mut subjects: Vec<Option<&UserId>> =
        ask.items.iter().flatten().map(|(about, _)| about.user()).collect();
    if subjects.is_empty() {
        // Nothing to decide; the revision is that of the account all the same.
        subjects.push(None);
    }
    subjects.sort_unstable();
    subjects.dedup();
    let mut standings = Vec::with_capacity(subjects.len());
    let mut stale = false;
    for subject in &subjects {
        let found = app.standings.get(&app.store, &app.roles, &ask.account_id, *subject, freshness).await?;
        stale |= found.stale;
        standings.push(found.known);
    }
    let revision_of = |standing: &Option<Standing>| standing.map_or(0, |standing| standing.revision());
    if standings.windows(2).any(|pair| revision_of(&pair[0]) != revision_of(&pair[1])) {
        standings = snapshot(app, &ask.account_id, &subjects).await?;
    }
    let now = app.clock.now();
    let results = ask.items.iter().enumerate().map(|(index, item)| {
        let (about, act) = item.as_ref().map_err(Clone::clone)?;
        let standing = subjects.binary_search(&about.user()).ok().and_then(|at| standings[at].as_ref());
        let decision = decide(&app.roles, standing, now, &act.ask(about))
            .map_err(|unknown| unknown_action(&format!("checks[{index}]."), &unknown))?;
        app.counters.decided(decision.reason);
        Ok(decision)
    });
    let results = results.collect();
    let first = standings.first().copied().flatten();
    Ok(CheckedMany {
        results,
        model: first.and_then(|standing| standing.model()),
        revision: revision_of(&first),
        stale,
    })
}

async fn snapshot(
    app: &App,
    account: &AccountId,
    subjects: &[Option<&UserId>],
) -> Result<Vec<Option<Standing>>, Error> {
    app.store
        .read(async |tx: &usher_storage::Tx| {
            let mut standings = Vec::with_capacity(subjects.len());
            for subject in subjects {
                let facts = tx.standing(account, *subject).await?;
                standings.push(facts.map(|facts| app.roles.standing(&facts.record)));
            }
            Ok(standings)
        })
        .await
}

#[derive(Debug, Clone)]
pub struct ListPermissions {
    pub account_id: AccountId,
    pub about: About,
    pub resource_types: Vec<String>,
    pub consistency: Consistency,
}

pub struct Permissions {
    pub listing: Listing,
    pub model: ModelIndex,
    pub standing: Standing,
    pub stale: bool,
    /// When grace ends, if the account is in grace.
    pub grace_end_time: Option<Time>,
    /// How many seats too many are in use, if any, and when that begins to deny.
    pub over_limit_by: u32,
}

/// # Errors
/// `Missing(Account)`; an unknown resource type; as [`check_permission`].
pub async fn list_permissions(
    app: &App,
    _caller: &Caller,
    ask: &ListPermissions,
) -> Result<Permissions, Error> {
    let freshness = ask.consistency.freshness(app, &ask.account_id)?;
    let found =
        app.standings.get(&app.store, &app.roles, &ask.account_id, ask.about.user(), freshness).await?;
    let standing = found
        .known
        .filter(|standing| standing.account_state() != usher_domain::standing::AccountState::Closed)
        .ok_or(Error::Missing(Missing::Account))?;
    let index = standing.model();
    let model = index.and_then(|index| Some((index, app.roles.by_index(index)?)));
    let (index, model) =
        model.ok_or_else(|| Error::Internal("this server lacks the account's role model".into()))?;
    let unknown = ask.resource_types.iter().enumerate().filter(|(_, asked)| !model.has_resource_type(asked));
    let unknown: Vec<Violation> = unknown
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
    let mut listing = permissions(model, Some(&standing), now, ask.about == About::Automation);
    let is_asked = |action: usher_policy::ActionIndex| {
        let of = model.action_at(action).map(|action| action.resource_type().to_owned());
        ask.resource_types.is_empty() || of.is_some_and(|of| ask.resource_types.contains(&of))
    };
    listing.entries.retain(|entry| is_asked(entry.action));
    // Banners are about the account and change seldom; they are read with the account's figures.
    let (grace_end_time, over_limit_by) = notices(app, &ask.account_id, now).await?;
    Ok(Permissions { listing, model: index, standing, stale: found.stale, grace_end_time, over_limit_by })
}

async fn notices(app: &App, account: &AccountId, now: Time) -> Result<(Option<Time>, u32), Error> {
    use usher_domain::license::SubscriptionState;
    app.store
        .read(async |tx: &usher_storage::Tx| {
            let Some(account) = tx.account_fetch(account).await? else { return Ok((None, 0)) };
            let subscription = &account.license.subscription;
            let in_grace = subscription.state(now) == SubscriptionState::InGrace;
            let seats = tx.seats(&account, now).await?;
            Ok((subscription.grace_end_time.filter(|_| in_grace), seats.over_limit_by()))
        })
        .await
}
