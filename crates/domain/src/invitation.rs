//! Invitations: by mail with a link, or by username at an OAuth provider and active at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::id::{AccountId, InvitationId, UserId};
use crate::license::Seats;
use crate::member::{MemberState, RoleRules, may_gain_role};
use crate::refusal::Refusal;
use crate::time::Time;

pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
pub const LIFETIME_MIN: Duration = Duration::from_secs(3600);
pub const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most tokens of one invitation that are alive at once: attempts to deliver one mail.
pub const TOKENS_ALIVE_MAX: u64 = 3;

/// Where an invitation is in its life, as stored. Expiry is judged by the clock, see
/// [`Invitation::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationState {
    Pending,
    Accepted,
    Revoked,
    /// Stored only when a newer invitation of the same address took its place.
    Expired,
}

/// How an invitation reaches the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    Email,
    /// The link is in the answer; the caller delivers it.
    ReturnLink,
    /// Nothing is sent: the person logs in at their provider.
    None,
}

/// How far the mail of an invitation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    NotNeeded,
    Queued,
    Sent,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    pub state: DeliveryState,
    /// Mails handed to the mail server.
    pub sends: u32,
    pub last_send_time: Option<Time>,
    pub next_attempt_time: Option<Time>,
    /// One line on what went wrong last, without addresses.
    pub failure: String,
}

/// The login name that an invitation claims at an OAuth provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalUsername {
    pub issuer: String,
    pub username: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub account_id: AccountId,
    pub id: InvitationId,
    pub email: String,
    pub display_name: String,
    pub role: String,
    pub stored_state: InvitationState,
    /// Whether it reserves a seat while open: whether its role uses one.
    pub uses_seat: bool,
    /// The sponsor, whose rights count again at acceptance; `None` is the platform.
    pub invited_by: Option<UserId>,
    pub create_time: Time,
    pub expire_time: Time,
    pub accept_time: Option<Time>,
    pub revoke_time: Option<Time>,
    pub accepted_user_id: Option<UserId>,
    /// The platform's own id for the person, if accepting makes the user.
    pub new_user_id: Option<UserId>,
    pub language: String,
    pub delivery: Delivery,
    pub delivery_status: DeliveryStatus,
    pub identity: Option<ExternalUsername>,
}

impl Invitation {
    pub fn state(&self, now: Time) -> InvitationState {
        match self.stored_state {
            InvitationState::Pending if now >= self.expire_time => InvitationState::Expired,
            state => state,
        }
    }

    pub fn is_open(&self, now: Time) -> bool {
        self.state(now) == InvitationState::Pending
    }

    pub fn reserves_seat(&self, now: Time) -> bool {
        self.uses_seat && self.is_open(now)
    }
}

/// What is known in the account of the address or username that is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Nobody,
    /// A member whose proven address, or whose login at the provider, it is.
    Member {
        user_id: UserId,
        state: MemberState,
        by_username: bool,
    },
    /// An open invitation of this address.
    Open {
        id: InvitationId,
        role: String,
    },
}

/// What an invitation comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invited {
    /// The same invitation is open already: nothing to do.
    AlreadyOpen(InvitationId),
    /// A new invitation, or with a username a member at once; `seat` says whether it takes one.
    New { seat: bool },
}

/// Decides an invitation. The actor's rights are judged before and elsewhere.
///
/// # Errors
/// The first that holds of: account or subscription not in order, role by support only,
/// a member already, open with another role, no seat.
pub fn invite(
    now: Time,
    account: &Account,
    seats: Seats,
    (role, rules): (&str, RoleRules),
    known: Known,
) -> Result<Invited, Refusal> {
    account.require_open(now, seats)?;
    may_gain_role(role, rules)?;
    match known {
        Known::Open { id, role: open } if open == role => return Ok(Invited::AlreadyOpen(id)),
        Known::Open { id, role } => return Err(Refusal::InvitationOpenWithOtherRole { id, role }),
        Known::Member { state: MemberState::Suspended, user_id, .. } => {
            return Err(Refusal::MemberSuspendedReactivate { user_id });
        }
        Known::Member { user_id, by_username: true, .. } => {
            return Err(Refusal::UsernameTakenInAccount { user_id });
        }
        Known::Member { user_id, by_username: false, .. } => return Err(Refusal::AlreadyMember { user_id }),
        Known::Nobody => {}
    }
    if rules.uses_seat {
        seats.require_spare()?;
    }
    Ok(Invited::New { seat: rules.uses_seat })
}

#[cfg(test)]
#[path = "invitation_tests.rs"]
mod tests;
