//! What a check needs of a subject in an account, at one revision, in the words of the store.
//!
//! The store reads it in one statement; `usher-policy` turns it into the small value that a check
//! is decided from.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Whether an account may be used at all. A closed account stays as a tombstone, and checks answer
/// as if it had never been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    Active,
    Suspended,
    Closed,
}

/// Whether a member may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    Active,
    Suspended,
}

/// One account and one subject in it, as read at `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRecord {
    pub revision: i64,
    pub account_state: AccountState,
    /// The id of the account's role model.
    pub model: String,
    /// When the subscription expires and grace begins. `None` is never.
    pub expire_time: Option<Time>,
    /// When the subscription lapses: the end of grace. `None` is never.
    pub lapse_time: Option<Time>,
    /// Whether more seats are in use than are purchased.
    pub over_limit: bool,
    /// When being over the limit begins to deny. `None` is never. Only set while over the limit.
    pub over_limit_end_time: Option<Time>,
    /// When the account stops being over the limit by itself, because invitations expire.
    pub over_limit_clear_time: Option<Time>,
    /// `None` is a stranger, or automation.
    pub member: Option<MemberRecord>,
}

/// The member's part of a standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub state: MemberState,
    /// The id of the member's role in the account's model.
    pub role: String,
    /// Whether the member holds a seat. Roles that use none never do.
    pub seat: bool,
}
