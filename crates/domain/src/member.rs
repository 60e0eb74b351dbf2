//! Members and the rules of who must hold a role.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, UserId};
use crate::refusal::Refusal;
pub use crate::standing::MemberState;
use crate::time::Time;

/// How many active members must hold a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderRule {
    ExactlyOne,
    AtLeastOne,
    Any,
}

/// What the rules need to know of a role; the role model says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleRules {
    pub uses_seat: bool,
    pub holders: HolderRule,
    /// Granted and taken through a support ticket alone.
    pub support_only: bool,
}

/// A user in one account, with one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub account_id: AccountId,
    pub user_id: UserId,
    /// For contact; proves nothing.
    pub email: String,
    /// Whether this very address is the user's proven one.
    pub email_verified: bool,
    pub display_name: String,
    pub role: String,
    pub state: MemberState,
    pub seat: bool,
    pub identities: Vec<MemberIdentity>,
    pub join_time: Time,
    pub suspend_time: Option<Time>,
    pub first_sign_in_time: Option<Time>,
    pub last_sign_in_time: Option<Time>,
    /// `None` for founders and for whom the platform invited.
    pub invited_by: Option<UserId>,
}

/// A login at an OAuth provider that this account gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIdentity {
    pub issuer: String,
    pub username: String,
    /// Whether the provider's own subject id has been bound by a first sign-in.
    pub bound: bool,
}

impl Member {
    /// An active member of whom no more is known yet.
    pub fn new(account_id: AccountId, user_id: UserId, role: String, seat: bool, join_time: Time) -> Self {
        Self {
            account_id,
            user_id,
            email: String::new(),
            email_verified: false,
            display_name: String::new(),
            role,
            state: MemberState::Active,
            seat,
            identities: Vec::new(),
            join_time,
            suspend_time: None,
            first_sign_in_time: None,
            last_sign_in_time: None,
            invited_by: None,
        }
    }

    /// A holder of a role is active and, where the role uses a seat, seated.
    pub fn holds(&self, rules: RoleRules) -> bool {
        self.state == MemberState::Active && (self.seat || !rules.uses_seat)
    }
}

/// Whether a member may stop holding a role through an ordinary call, when `holders` members hold
/// it now, the one in question included if `holds`.
///
/// # Errors
/// `RoleChangesBySupportOnly` for a role that only a ticket moves, `LastHolder` when nobody would
/// be left where somebody must be.
pub fn may_lose_role(role: &str, rules: RoleRules, holds: bool, holders: u32) -> Result<(), Refusal> {
    if rules.support_only {
        return Err(Refusal::RoleChangesBySupportOnly { role: role.to_owned() });
    }
    let left = holders.saturating_sub(u32::from(holds));
    match rules.holders {
        HolderRule::ExactlyOne | HolderRule::AtLeastOne if holds && left == 0 => {
            Err(Refusal::LastHolder { role: role.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether a member may come to hold a role through an ordinary call. A role that exactly one member
/// holds is always moved by support, or nobody could ever take it over.
///
/// # Errors
/// `RoleChangesBySupportOnly`.
pub fn may_gain_role(role: &str, rules: RoleRules) -> Result<(), Refusal> {
    if rules.support_only {
        return Err(Refusal::RoleChangesBySupportOnly { role: role.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: RoleRules =
        RoleRules { uses_seat: true, holders: HolderRule::ExactlyOne, support_only: true };
    const ADMIN: RoleRules =
        RoleRules { uses_seat: true, holders: HolderRule::AtLeastOne, support_only: false };
    const EDITOR: RoleRules = RoleRules { uses_seat: true, holders: HolderRule::Any, support_only: false };

    fn role(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn the_owner_is_out_of_reach() {
        let refused = Err(Refusal::RoleChangesBySupportOnly { role: role("owner") });
        assert_eq!(may_lose_role("owner", OWNER, true, 2), refused);
        assert_eq!(may_gain_role("owner", OWNER), refused);
    }

    #[test]
    fn the_last_admin_stays() {
        assert_eq!(may_lose_role("admin", ADMIN, true, 1), Err(Refusal::LastHolder { role: role("admin") }));
        assert_eq!(may_lose_role("admin", ADMIN, true, 2), Ok(()));
        assert_eq!(may_lose_role("admin", ADMIN, false, 1), Ok(()), "a suspended admin holds nothing");
        assert_eq!(may_lose_role("editor", EDITOR, true, 1), Ok(()));
    }
}
