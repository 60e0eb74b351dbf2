//! Who may call what: each RPC's caller scope and the action of the actor behind it, in one place.
//! A test compares this table with the contract's descriptors.

use usher_domain::caller::Scope;

/// What an RPC asks of its caller and of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// `Service/Method`.
    pub rpc: &'static str,
    /// A caller with any one of these may call.
    pub scopes: &'static [Scope],
    /// The action for which a check of the actor must allow; `None` where no actor is involved, or
    /// where each change in the request has its own.
    pub action: Option<&'static str>,
}

macro_rules! guards {
    ($($name:ident = $rpc:literal, [$($scope:ident),+], $action:expr;)*) => {
        $(pub const $name: Guard = Guard { rpc: $rpc, scopes: &[$(Scope::$scope),+], action: $action };)*
        /// Every RPC of the contract.
        pub const ALL: &[Guard] = &[$($name),*];
    };
}

guards! {
    CHECK_PERMISSION = "AuthorizationService/CheckPermission", [Check], None;
    CHECK_PERMISSIONS = "AuthorizationService/CheckPermissions", [Check], None;
    LIST_PERMISSIONS = "AuthorizationService/ListPermissions", [Check], None;
    LIST_ROLES = "AuthorizationService/ListRoles", [Check], None;
    INVITE_USER = "MemberService/InviteUser", [Members], Some("member.invite");
    GET_INVITATION = "MemberService/GetInvitation", [Members], Some("invitation.view");
    LIST_INVITATIONS = "MemberService/ListInvitations", [Members], Some("invitation.list");
    LIST_MEMBERS = "MemberService/ListMembers", [Members], Some("member.list");
    GET_MEMBER = "MemberService/GetMember", [Members], Some("member.view");
    MANAGE_LICENSES = "LicenseService/ManageLicenses", [Licenses, Billing], None;
    GET_LICENSES = "LicenseService/GetLicenses", [Licenses], Some("license.view");
    CREATE_ACCOUNT = "AccountService/CreateAccount", [Platform], None;
    GET_ACCOUNT = "AccountService/GetAccount", [Accounts], Some("account.view");
}

/// The changes of `ManageLicenses`, each guarded by itself.
pub mod license_change {
    use super::{Guard, Scope};

    const fn guard(scope: &'static [Scope], action: &'static str) -> Guard {
        Guard { rpc: super::MANAGE_LICENSES.rpc, scopes: scope, action: Some(action) }
    }

    pub const SET_PURCHASED_SEATS: Guard = guard(&[Scope::Billing], "license.update");
    pub const UPDATE_SUBSCRIPTION: Guard = guard(&[Scope::Billing], "subscription.update");
    pub const ASSIGN_SEAT: Guard = guard(&[Scope::Licenses], "license.assign");
    pub const RELEASE_SEAT: Guard = guard(&[Scope::Licenses], "license.release");
}

/// What an actor needs to see the subscription beside the seat figures.
pub const SUBSCRIPTION_VIEW: &str = "subscription.view";
