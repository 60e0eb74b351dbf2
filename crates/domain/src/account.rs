//! An account: a customer of the platform.

use serde::{Deserialize, Serialize};

use crate::id::AccountId;
use crate::license::{License, Seats, SubscriptionState};
use crate::refusal::Refusal;
pub use crate::standing::AccountState;
use crate::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    /// The id of its role model.
    pub model: String,
    pub state: AccountState,
    pub license: License,
    /// Counts the account's changes, from 1.
    pub revision: i64,
    /// The hash of the account's newest event.
    pub event_hash: String,
    pub create_time: Time,
    pub suspend_time: Option<Time>,
    pub close_time: Option<Time>,
}

/// What an account is like apart from its members, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    pub id: AccountId,
    pub name: String,
    pub model: String,
    pub state: AccountState,
    pub create_time: Time,
    pub suspend_time: Option<Time>,
    pub close_time: Option<Time>,
}

impl Account {
    /// An active account at its first revision.
    pub fn new(id: AccountId, name: String, model: String, license: License, create_time: Time) -> Self {
        Self {
            id,
            name,
            model,
            state: AccountState::Active,
            license,
            revision: 1,
            event_hash: String::new(),
            create_time,
            suspend_time: None,
            close_time: None,
        }
    }

    pub fn view(&self) -> AccountView {
        AccountView {
            id: self.id.clone(),
            name: self.name.clone(),
            model: self.model.clone(),
            state: self.state,
            create_time: self.create_time,
            suspend_time: self.suspend_time,
            close_time: self.close_time,
        }
    }

    /// Whether somebody may come in now: invitations and acceptances need an account in order.
    ///
    /// # Errors
    /// `AccountSuspended`, `SubscriptionLapsed`, `OverLimitEnded`.
    pub fn require_open(&self, now: Time, seats: Seats) -> Result<(), Refusal> {
        if self.state != AccountState::Active {
            return Err(Refusal::AccountSuspended);
        }
        if self.license.subscription.state(now) == SubscriptionState::Lapsed {
            return Err(Refusal::SubscriptionLapsed);
        }
        let has_ended = self.license.over_limit_end_time.is_some_and(|end| now >= end);
        if has_ended && seats.over_limit_by() > 0 { Err(Refusal::OverLimitEnded) } else { Ok(()) }
    }
}
