//! What every use case works with. A use case is one function in one file below: it gets the app,
//! the caller and a command, and opens at most one transaction.

pub mod accept_invitation;
pub mod access;
pub mod account_state;
pub mod change;
pub mod change_role;
pub mod check;
pub mod create_account;
pub mod events;
pub mod export;
pub mod get_account;
pub mod identity;
pub mod import;
pub mod invitations;
pub mod invite_user;
pub mod licenses;
pub mod load_demo;
pub mod manage_licenses;
pub mod member_target;
pub mod members;
pub mod ownership;
pub mod reach;
pub mod remove_member;
pub mod revise_invitation;
pub mod roles;
pub mod sign_in;
pub mod suspend_member;
pub mod update_member;
pub mod user_change;
pub mod users;
pub mod verify;
pub mod view;
pub mod watch_events;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use usher_domain::id::AccountId;
use usher_policy::Catalogue;
use usher_storage::{Engine, Store};

use crate::cache::Standings;
use crate::clock::Clock;
use crate::metrics::Counters;
use crate::password::Passwords;
use crate::token::PageTokens;

/// Choices of the operator that use cases depend on.
#[derive(Debug, Clone)]
pub struct Choices {
    /// Where an accept link leads; holds `{token}`.
    pub invitation_url: String,
    /// The OAuth issuers that are configured; one alone need not be named.
    pub oauth_issuers: Vec<String>,
    /// The most mails that an account may cause in an hour.
    pub mails_per_hour: u32,
    /// A follower that takes nothing for so long is cut off.
    pub slow_reader: Duration,
    /// The most that one answer may take.
    pub answer_bytes: usize,
}

/// How long a request id is remembered: payment systems repeat their messages for days.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Parts {
    pub store: Store,
    /// Lives as long as the process, so that answers can name roles without copying their names.
    pub roles: &'static Catalogue,
    /// What accounts used at the start and no role model has; readiness looks again.
    pub roles_missing: Vec<String>,
    pub clock: Clock,
    pub standings: Standings,
    pub choices: Choices,
    /// Revisions of different epochs do not compare. Changes when a backup is restored.
    pub epoch: ArcSwap<String>,
    pub page_tokens: PageTokens,
    pub passwords: Passwords,
    /// Says which accounts changed, for those who follow one.
    pub changes: broadcast::Sender<AccountId>,
    /// Says that the database may be another one than before: what was read from it no longer leads anywhere.
    pub histories: watch::Sender<()>,
    /// Wakes the worker that sends mails.
    pub mail_waits: Notify,
    pub counters: Counters,
    /// Ends those who follow an account when the server stops.
    pub closing: CancellationToken,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub fn epoch(&self) -> Arc<String> {
        self.epoch.load_full()
    }

    pub fn set_epoch(&self, epoch: &str) {
        self.epoch.store(Arc::new(epoch.to_owned()));
    }

    /// Begins anew: the database may be another one than before. Memory goes, and whoever follows an account takes a
    /// snapshot.
    pub fn begin_anew(&self) {
        self.standings.clear();
        self.histories.send_replace(());
    }

    /// Nobody knows whether a change was made, and it raised no floor. On SQLite memory goes, because nothing else would
    /// end the use of what is in it; on PostgreSQL the next poll finds the change.
    pub fn doubt(&self) {
        if self.store.engine() == Engine::Sqlite {
            self.standings.clear();
        }
    }

    /// Tells this server and the others that a committed change took an account to this revision.
    pub fn announce(&self, account: &AccountId, revision: i64) {
        self.standings.raise_floor(account, revision);
        // Nobody may be following.
        let _ = self.changes.send(account.clone());
        if self.store.engine() == Engine::Postgres {
            let app = self.clone();
            tokio::spawn(async move { app.store.wake_others().await });
        }
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
