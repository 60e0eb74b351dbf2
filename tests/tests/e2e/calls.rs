//! One call of each RPC that an actor's action guards.

use tonic::Status;
use usher_tests::{By, Cast, Usher, samples};

/// Guards the reading of ownership tickets, in a model with a role that changes by support alone.
pub(crate) const TICKETS: &str = "ownership_transfer.view";

/// The calls and the action that guards each.
pub(crate) const CALLS: &[(&str, &str)] = &[
    ("MemberService/InviteUser", "member.invite"),
    ("MemberService/UpdateInvitation", "invitation.resend"),
    ("MemberService/ResendInvitation", "invitation.resend"),
    ("MemberService/RevokeInvitation", "invitation.revoke"),
    ("MemberService/GetInvitation", "invitation.view"),
    ("MemberService/ListInvitations", "invitation.list"),
    ("MemberService/ListMembers", "member.list"),
    ("MemberService/GetMember", "member.view"),
    ("MemberService/UpdateMember", "member.update"),
    ("MemberService/ChangeRole", "member.change_role"),
    ("MemberService/SuspendMember", "member.suspend"),
    ("MemberService/ReactivateMember", "member.reactivate"),
    ("MemberService/RemoveMember", "member.remove"),
    ("LicenseService/GetLicenses", "license.view"),
    ("AccountService/GetAccount", "account.view"),
    ("AccountService/UpdateAccount", "account.update"),
    ("AccountService/GetOwnershipTransfer", TICKETS),
    ("AccountService/ListOwnershipTransfers", TICKETS),
    ("AuditService/ListEvents", "audit.view"),
    ("set purchased seats", "license.update"),
    ("update subscription", "subscription.update"),
    ("assign seat", "license.assign"),
    ("release seat", "license.release"),
];

/// Makes one of [`CALLS`]. What it names does not exist where that is possible, and nothing is changed by it
/// but an invitation and a name: the right is looked at first, so a right that is missing and a thing that
/// is missing look different.
pub(crate) async fn call(usher: &Usher, cast: &Cast, rpc: &str, by: By<'_>) -> Result<(), Status> {
    samples::call(&usher.channel, rpc, &cast.account, by, None).await
}
