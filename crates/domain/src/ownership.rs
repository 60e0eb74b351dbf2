//! Tickets that carry a role which members cannot move themselves: the Owner's, and any role with a
//! holder rule in an account that is locked out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, TransferId, UserId};
use crate::refusal::Refusal;
use crate::time::Time;

/// How long a ticket stays open.
pub const TRANSFER_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);
/// The longest reference of a ticket, in characters.
pub const TICKET_REF_LENGTH_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    Open,
    Approved,
    Cancelled,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipTransfer {
    pub account_id: AccountId,
    pub id: TransferId,
    /// The role that the new owner gets.
    pub role: String,
    pub stored_state: TransferState,
    /// Who held the role when the ticket was opened, if there can be only one holder.
    pub present_owner_id: Option<UserId>,
    /// What the present owner gets instead.
    pub successor_role: Option<String>,
    pub new_owner_id: UserId,
    pub ticket_ref: String,
    /// Who asked the help desk, in its words.
    pub requested_by: String,
    pub note: String,
    /// The support operator.
    pub opened_by: String,
    pub open_time: Time,
    pub expire_time: Time,
    pub ended_by: Option<String>,
    pub end_time: Option<Time>,
}

impl OwnershipTransfer {
    pub fn state(&self, now: Time) -> TransferState {
        match self.stored_state {
            TransferState::Open if now >= self.expire_time => TransferState::Expired,
            state => state,
        }
    }

    /// Ends an open ticket by a second operator's approval.
    ///
    /// # Errors
    /// `TransferEnded`, `SecondOperatorRequired`.
    pub fn approve(&mut self, operator: &str, now: Time) -> Result<(), Refusal> {
        self.require_open(now)?;
        // A person who is named in another spelling is no second one.
        if operator.to_lowercase() == self.opened_by.to_lowercase() {
            return Err(Refusal::SecondOperatorRequired);
        }
        self.end(TransferState::Approved, operator, now);
        Ok(())
    }

    /// Ends an open ticket; any operator may.
    ///
    /// # Errors
    /// `TransferEnded`.
    pub fn cancel(&mut self, operator: &str, now: Time) -> Result<(), Refusal> {
        self.require_open(now)?;
        self.end(TransferState::Cancelled, operator, now);
        Ok(())
    }

    fn require_open(&self, now: Time) -> Result<(), Refusal> {
        match self.state(now) {
            TransferState::Open => Ok(()),
            state => Err(Refusal::TransferEnded { state }),
        }
    }

    fn end(&mut self, state: TransferState, operator: &str, now: Time) {
        self.stored_state = state;
        self.ended_by = Some(operator.to_owned());
        self.end_time = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> OwnershipTransfer {
        OwnershipTransfer {
            account_id: AccountId::parse("acme").unwrap(),
            id: TransferId::parse("tkt_1").unwrap(),
            role: "owner".into(),
            stored_state: TransferState::Open,
            present_owner_id: None,
            successor_role: None,
            new_owner_id: UserId::parse("bob").unwrap(),
            ticket_ref: "T-1".into(),
            requested_by: String::new(),
            note: String::new(),
            opened_by: "sam".into(),
            open_time: Time::from_seconds(0),
            expire_time: Time::from_seconds(100),
            ended_by: None,
            end_time: None,
        }
    }

    #[test]
    fn two_people_approve_one_ticket_once() {
        let mut ticket = ticket();
        let now = Time::from_seconds(50);
        assert_eq!(ticket.approve("sam", now), Err(Refusal::SecondOperatorRequired));
        assert_eq!(ticket.approve("pat", now), Ok(()));
        assert_eq!(
            ticket.approve("kim", now),
            Err(Refusal::TransferEnded { state: TransferState::Approved })
        );
        assert_eq!(ticket.cancel("kim", now), Err(Refusal::TransferEnded { state: TransferState::Approved }));
    }

    #[test]
    fn a_ticket_expires_by_the_clock() {
        let mut ticket = ticket();
        let late = Time::from_seconds(100);
        assert_eq!(
            ticket.approve("pat", late),
            Err(Refusal::TransferEnded { state: TransferState::Expired })
        );
    }
}
