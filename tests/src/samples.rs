//! One request of every RPC that is right in form. It names nobody and nothing that exists where that is
//! possible, so that whoever the guard lets through changes nothing but an invitation and two names.

use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::acting::By;
use crate::any_call;

/// The RPC and its request, without account and acting party. `ManageLicenses` is there once for each
/// change, because each has a guard of its own.
pub const SAMPLES: &[(&str, &str)] = &[
    (
        "AuthorizationService/CheckPermission",
        r#"{"subject": {"user_id": "nobody"}, "action": "run", "resource": {"type": "job"}}"#,
    ),
    (
        "AuthorizationService/CheckPermissions",
        r#"{"subject": {"user_id": "nobody"}, "checks": [{"action": "run", "resource": {"type": "job"}}]}"#,
    ),
    ("AuthorizationService/ListPermissions", r#"{"subject": {"user_id": "nobody"}}"#),
    ("AuthorizationService/ListRoles", r#"{}"#),
    ("MemberService/InviteUser", r#"{"email": "somebody@people.example", "role": "admin"}"#),
    ("MemberService/UpdateInvitation", r#"{"invitation_id": "inv_none", "display_name": "Other"}"#),
    ("MemberService/ResendInvitation", r#"{"invitation_id": "inv_none"}"#),
    ("MemberService/RevokeInvitation", r#"{"invitation_id": "inv_none"}"#),
    ("MemberService/LookUpInvitation", r#"{"token": "none"}"#),
    ("MemberService/AcceptInvitation", r#"{"token": "none", "signed_in_user_id": "nobody"}"#),
    ("MemberService/GetInvitation", r#"{"invitation_id": "inv_none"}"#),
    ("MemberService/ListInvitations", r#"{}"#),
    ("MemberService/ListMembers", r#"{}"#),
    ("MemberService/GetMember", r#"{"user_id": "nobody"}"#),
    ("MemberService/UpdateMember", r#"{"user_id": "nobody", "display_name": "Other"}"#),
    ("MemberService/ChangeRole", r#"{"user_id": "nobody", "role": "admin"}"#),
    ("MemberService/SuspendMember", r#"{"user_id": "nobody"}"#),
    ("MemberService/ReactivateMember", r#"{"user_id": "nobody"}"#),
    ("MemberService/RemoveMember", r#"{"user_id": "nobody"}"#),
    (
        "set purchased seats",
        r#"{"validate_only": true, "changes": [{"set_purchased_seats": {"seats": 30}}]}"#,
    ),
    (
        "update subscription",
        r#"{"validate_only": true, "changes": [{"update_subscription": {"subscription": {"plan": "other"}}}]}"#,
    ),
    ("assign seat", r#"{"validate_only": true, "changes": [{"assign_seat": {"user_id": "nobody"}}]}"#),
    ("release seat", r#"{"validate_only": true, "changes": [{"release_seat": {"user_id": "nobody"}}]}"#),
    ("LicenseService/GetLicenses", r#"{}"#),
    (
        "AccountService/CreateAccount",
        r#"{"name": "New", "model": "integrate-io", "seats": 1, "subscription": {"plan": "team"},
            "founder": {"user_id": "nobody"}}"#,
    ),
    ("AccountService/GetAccount", r#"{}"#),
    ("AccountService/UpdateAccount", r#"{"name": "Other"}"#),
    ("AccountService/SuspendAccount", r#"{"account_id": "nowhere"}"#),
    ("AccountService/ReactivateAccount", r#"{}"#),
    ("AccountService/CloseAccount", r#"{"account_id": "nowhere"}"#),
    (
        "AccountService/OpenOwnershipTransfer",
        r#"{"new_owner_id": "nobody", "ticket_ref": "T-1", "operator_id": "anna"}"#,
    ),
    ("AccountService/ApproveOwnershipTransfer", r#"{"transfer_id": "tkt_none", "operator_id": "anna"}"#),
    ("AccountService/CancelOwnershipTransfer", r#"{"transfer_id": "tkt_none", "operator_id": "anna"}"#),
    ("AccountService/GetOwnershipTransfer", r#"{"transfer_id": "tkt_none"}"#),
    ("AccountService/ListOwnershipTransfers", r#"{}"#),
    ("SignInService/VerifyPassword", r#"{"email": "nobody@people.example", "password": "wrong"}"#),
    ("SignInService/ResolveIdentity", r#"{"issuer": "https://login.example", "subject": "nobody"}"#),
    ("SignInService/RequestPasswordReset", r#"{"email": "nobody@people.example"}"#),
    ("SignInService/ResetPassword", r#"{"token": "none", "new_password": "gravel orbit lantern"}"#),
    ("SignInService/RequestEmailChange", r#"{"user_id": "nobody", "new_email": "else@people.example"}"#),
    ("SignInService/ChangeEmail", r#"{"token": "none"}"#),
    ("SignInService/ListMemberships", r#"{"user_id": "nobody"}"#),
    ("UserService/GetUser", r#"{"user_id": "nobody"}"#),
    ("UserService/EraseUser", r#"{"user_id": "nobody"}"#),
    ("AuditService/ListEvents", r#"{}"#),
    ("AuditService/WatchEvents", r#"{}"#),
];

/// The RPC that a sample is of.
pub fn rpc(sample: &str) -> &str {
    if sample.contains('/') { sample } else { "LicenseService/ManageLicenses" }
}

/// The fields of a sample, about this account where the request has one and the sample names none.
///
/// # Panics
/// When there is no such sample.
pub fn fields(sample: &str, account: &str, by: By<'_>) -> Value {
    let found = SAMPLES.iter().find(|(name, _)| *name == sample);
    let (_, text) = found.unwrap_or_else(|| panic!("no sample of `{sample}`; write one"));
    let mut fields: Value = serde_json::from_str(text).expect("a sample is JSON");
    let about_account = any_call::method(rpc(sample)).input().get_field_by_name("account_id").is_some();
    if about_account && fields.get("account_id").is_none() {
        fields["account_id"] = json!(account);
    }
    any_call::on_behalf(rpc(sample), fields, by)
}

/// Makes the call.
///
/// # Errors
/// As the server answers.
pub async fn call(
    channel: &Channel,
    sample: &str,
    account: &str,
    by: By<'_>,
    bearer: Option<&str>,
) -> Result<(), Status> {
    let request = any_call::request(rpc(sample), &fields(sample, account, by));
    any_call::call(channel, rpc(sample), &request, bearer).await.map(drop)
}
