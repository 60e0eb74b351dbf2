//! The actions that Usher itself asks about, and those that no role can ever grant.
//!
//! A call on behalf of a member is guarded by an action of the account's role model, so each model
//! must have all of them. What the platform and its support do is a scope of the calling service; a
//! model that named it would promise something that no check is ever asked.

/// The actions that guard Usher's own calls; each model has them all, and grants them without a condition.
pub const GUARD_ACTIONS: &[&str] = &[
    "member.view",
    "member.list",
    "member.invite",
    "member.update",
    "member.change_role",
    "member.suspend",
    "member.reactivate",
    "member.remove",
    "invitation.view",
    "invitation.list",
    "invitation.resend",
    "invitation.revoke",
    "license.view",
    "license.update",
    "license.assign",
    "license.release",
    "subscription.view",
    "subscription.update",
    "account.view",
    "account.update",
    "audit.view",
];

/// Guards reading the tickets of ownership. Only a model with a role that changes by support has it;
/// elsewhere only support reads tickets.
pub const TRANSFER_VIEW: &str = "ownership_transfer.view";

/// What belongs to the scope of a calling service, with the name of the scope.
pub const SCOPE_ACTIONS: &[(&str, &str)] = &[
    ("account.create", "platform"),
    ("account.suspend", "platform"),
    ("account.reactivate", "platform"),
    ("account.close", "platform"),
    ("user.erase", "platform"),
    ("ownership_transfer.open", "support"),
    ("ownership_transfer.approve", "support"),
    ("ownership_transfer.cancel", "support"),
];

/// The scope that `action` belongs to, when no role can grant it.
pub fn scope_of(action: &str) -> Option<&'static str> {
    SCOPE_ACTIONS.iter().find(|(name, _)| *name == action).map(|(_, scope)| *scope)
}
