//! Who may call what: each RPC's caller scope and the action of the actor behind it, in one place.
//! A test compares this table with the contract's descriptors.

use usher_domain::caller::Scope;

/// What an RPC asks of its caller and of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// `Service/Method`, for logs and remembered requests.
    pub rpc: &'static str,
    /// The full name, `usher.v1.Service/Method`.
    pub method: &'static str,
    /// A caller with any one of these may call.
    pub scopes: &'static [Scope],
    /// The action for which a check of the actor must allow; `None` where no actor is involved, or
    /// where each change in the request has its own.
    pub action: Option<&'static str>,
}

impl Guard {
    /// Whether the call changes something, so that it leaves a line in the log.
    pub fn changes(&self) -> bool {
        let verb = self.rpc.split_once('/').map_or("", |(_, verb)| verb);
        !["Check", "List", "Get", "LookUp", "Watch", "Verify"].iter().any(|read| verb.starts_with(read))
    }
}

macro_rules! guards {
    ($($name:ident = $rpc:literal, [$($scope:ident),+], $action:expr;)*) => {
        $(pub const $name: Guard = Guard { rpc: $rpc, method: concat!("usher.v1.", $rpc), scopes: &[$(Scope::$scope),+], action: $action };)*
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
    UPDATE_INVITATION = "MemberService/UpdateInvitation", [Members], Some("invitation.resend");
    RESEND_INVITATION = "MemberService/ResendInvitation", [Members], Some("invitation.resend");
    REVOKE_INVITATION = "MemberService/RevokeInvitation", [Members], Some("invitation.revoke");
    LOOK_UP_INVITATION = "MemberService/LookUpInvitation", [SignIn], None;
    ACCEPT_INVITATION = "MemberService/AcceptInvitation", [SignIn], None;
    GET_INVITATION = "MemberService/GetInvitation", [Members], Some("invitation.view");
    LIST_INVITATIONS = "MemberService/ListInvitations", [Members], Some("invitation.list");
    LIST_MEMBERS = "MemberService/ListMembers", [Members], Some("member.list");
    GET_MEMBER = "MemberService/GetMember", [Members], Some("member.view");
    UPDATE_MEMBER = "MemberService/UpdateMember", [Members], Some("member.update");
    CHANGE_ROLE = "MemberService/ChangeRole", [Members], Some("member.change_role");
    SUSPEND_MEMBER = "MemberService/SuspendMember", [Members], Some("member.suspend");
    REACTIVATE_MEMBER = "MemberService/ReactivateMember", [Members], Some("member.reactivate");
    REMOVE_MEMBER = "MemberService/RemoveMember", [Members], Some("member.remove");
    MANAGE_LICENSES = "LicenseService/ManageLicenses", [Licenses, Billing], None;
    GET_LICENSES = "LicenseService/GetLicenses", [Licenses], Some("license.view");
    CREATE_ACCOUNT = "AccountService/CreateAccount", [Platform], None;
    GET_ACCOUNT = "AccountService/GetAccount", [Accounts], Some("account.view");
    UPDATE_ACCOUNT = "AccountService/UpdateAccount", [Accounts], Some("account.update");
    SUSPEND_ACCOUNT = "AccountService/SuspendAccount", [Platform], None;
    REACTIVATE_ACCOUNT = "AccountService/ReactivateAccount", [Platform], None;
    CLOSE_ACCOUNT = "AccountService/CloseAccount", [Platform], None;
    OPEN_OWNERSHIP_TRANSFER = "AccountService/OpenOwnershipTransfer", [Support], None;
    APPROVE_OWNERSHIP_TRANSFER = "AccountService/ApproveOwnershipTransfer", [Support], None;
    CANCEL_OWNERSHIP_TRANSFER = "AccountService/CancelOwnershipTransfer", [Support], None;
    GET_OWNERSHIP_TRANSFER = "AccountService/GetOwnershipTransfer", [Support, Members], Some("ownership_transfer.view");
    LIST_OWNERSHIP_TRANSFERS = "AccountService/ListOwnershipTransfers", [Support, Members], Some("ownership_transfer.view");
    VERIFY_PASSWORD = "SignInService/VerifyPassword", [SignIn], None;
    RESOLVE_IDENTITY = "SignInService/ResolveIdentity", [SignIn], None;
    REQUEST_PASSWORD_RESET = "SignInService/RequestPasswordReset", [SignIn], None;
    RESET_PASSWORD = "SignInService/ResetPassword", [SignIn], None;
    REQUEST_EMAIL_CHANGE = "SignInService/RequestEmailChange", [SignIn], None;
    CHANGE_EMAIL = "SignInService/ChangeEmail", [SignIn], None;
    LIST_MEMBERSHIPS = "SignInService/ListMemberships", [SignIn], None;
    GET_USER = "UserService/GetUser", [Platform], None;
    ERASE_USER = "UserService/EraseUser", [Platform], None;
    LIST_EVENTS = "AuditService/ListEvents", [Audit], Some("audit.view");
    WATCH_EVENTS = "AuditService/WatchEvents", [Audit], None;
}

/// The changes of `ManageLicenses`, each guarded by itself.
pub mod license_change {
    use super::{Guard, Scope};

    const fn guard(scope: &'static [Scope], action: &'static str) -> Guard {
        Guard {
            rpc: super::MANAGE_LICENSES.rpc,
            method: super::MANAGE_LICENSES.method,
            scopes: scope,
            action: Some(action),
        }
    }

    pub const SET_PURCHASED_SEATS: Guard = guard(&[Scope::Billing], "license.update");
    pub const UPDATE_SUBSCRIPTION: Guard = guard(&[Scope::Billing], "subscription.update");
    pub const ASSIGN_SEAT: Guard = guard(&[Scope::Licenses], "license.assign");
    pub const RELEASE_SEAT: Guard = guard(&[Scope::Licenses], "license.release");
}

/// What an actor needs to see the subscription beside the seat figures.
pub const SUBSCRIPTION_VIEW: &str = "subscription.view";
