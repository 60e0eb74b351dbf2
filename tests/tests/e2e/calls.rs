//! One call of each RPC that an actor's action guards.

use tonic::Status;
use usher_tests::cast::inviting;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::{By, Cast, Usher, acting, pb};

use crate::changes::{assign, manage, release, set_seats, update_subscription};

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
    match rpc.split_once('/') {
        Some(("MemberService", method)) if method.contains("Invit") => {
            invitation_call(usher, cast, method, by).await
        }
        Some(("MemberService", method)) => member_call(usher, cast, method, by).await,
        Some(_) => account_call(usher, cast, rpc, by).await,
        None => {
            let change = match rpc {
                "set purchased seats" => set_seats(30),
                "update subscription" => update_subscription("other"),
                "assign seat" => assign("nobody"),
                "release seat" => release("nobody"),
                other => panic!("no call for {other}; write one"),
            };
            let request =
                pb::ManageLicensesRequest { validate_only: true, ..manage(&cast.account, by, [change]) };
            usher.licenses().manage_licenses(request).await.map(drop)
        }
    }
}

async fn invitation_call(usher: &Usher, cast: &Cast, method: &str, by: By<'_>) -> Result<(), Status> {
    let (account_id, invitation_id) = (cast.account.clone(), "inv_none".to_owned());
    let mut members = usher.members();
    match method {
        "InviteUser" => {
            let request = inviting(&account_id, by, "somebody@people.example", cast.model.roles[1]);
            members.invite_user(request).await.map(drop)
        }
        "UpdateInvitation" => {
            let display_name = Some("Other".to_owned());
            let request = pb::UpdateInvitationRequest {
                account_id,
                acting: acting(by),
                invitation_id,
                display_name,
                ..Default::default()
            };
            members.update_invitation(request).await.map(drop)
        }
        "ResendInvitation" => {
            let request = pb::ResendInvitationRequest {
                account_id,
                acting: acting(by),
                invitation_id,
                ..Default::default()
            };
            members.resend_invitation(request).await.map(drop)
        }
        "RevokeInvitation" => {
            let request = pb::RevokeInvitationRequest {
                account_id,
                acting: acting(by),
                invitation_id,
                ..Default::default()
            };
            members.revoke_invitation(request).await.map(drop)
        }
        "GetInvitation" => {
            let request = pb::GetInvitationRequest { account_id, acting: acting(by), invitation_id };
            members.get_invitation(request).await.map(drop)
        }
        "ListInvitations" => {
            let request = pb::ListInvitationsRequest { account_id, acting: acting(by), ..Default::default() };
            members.list_invitations(request).await.map(drop)
        }
        other => panic!("no call for {other}; write one"),
    }
}

async fn member_call(usher: &Usher, cast: &Cast, method: &str, by: By<'_>) -> Result<(), Status> {
    let (account_id, user_id) = (cast.account.clone(), "nobody".to_owned());
    let mut members = usher.members();
    match method {
        "ListMembers" => {
            let request = pb::ListMembersRequest { account_id, acting: acting(by), ..Default::default() };
            members.list_members(request).await.map(drop)
        }
        "GetMember" => members
            .get_member(pb::GetMemberRequest { account_id, acting: acting(by), user_id })
            .await
            .map(drop),
        "UpdateMember" => {
            let display_name = Some("Other".to_owned());
            let request = pb::UpdateMemberRequest {
                account_id,
                acting: acting(by),
                user_id,
                display_name,
                ..Default::default()
            };
            members.update_member(request).await.map(drop)
        }
        "ChangeRole" => {
            let role = cast.model.roles[1].to_owned();
            let request =
                pb::ChangeRoleRequest { account_id, acting: acting(by), user_id, role, ..Default::default() };
            members.change_role(request).await.map(drop)
        }
        "SuspendMember" => {
            let request =
                pb::SuspendMemberRequest { account_id, acting: acting(by), user_id, ..Default::default() };
            members.suspend_member(request).await.map(drop)
        }
        "ReactivateMember" => {
            let request =
                pb::ReactivateMemberRequest { account_id, acting: acting(by), user_id, ..Default::default() };
            members.reactivate_member(request).await.map(drop)
        }
        "RemoveMember" => {
            let request =
                pb::RemoveMemberRequest { account_id, acting: acting(by), user_id, ..Default::default() };
            members.remove_member(request).await.map(drop)
        }
        other => panic!("no call for {other}; write one"),
    }
}

async fn account_call(usher: &Usher, cast: &Cast, rpc: &str, by: By<'_>) -> Result<(), Status> {
    let account_id = cast.account.clone();
    let mut accounts = AccountServiceClient::new(usher.channel.clone());
    match rpc {
        "LicenseService/GetLicenses" => {
            let request = pb::GetLicensesRequest { account_id, acting: acting(by), consistency: None };
            usher.licenses().get_licenses(request).await.map(drop)
        }
        "AccountService/GetAccount" => {
            accounts.get_account(pb::GetAccountRequest { account_id, acting: acting(by) }).await.map(drop)
        }
        "AccountService/UpdateAccount" => {
            let name = Some("Other".to_owned());
            let request =
                pb::UpdateAccountRequest { account_id, acting: acting(by), name, ..Default::default() };
            accounts.update_account(request).await.map(drop)
        }
        "AccountService/GetOwnershipTransfer" => {
            let transfer_id = "otr_none".to_owned();
            let request = pb::GetOwnershipTransferRequest { account_id, acting: acting(by), transfer_id };
            accounts.get_ownership_transfer(request).await.map(drop)
        }
        "AccountService/ListOwnershipTransfers" => {
            let request =
                pb::ListOwnershipTransfersRequest { account_id, acting: acting(by), ..Default::default() };
            accounts.list_ownership_transfers(request).await.map(drop)
        }
        "AuditService/ListEvents" => {
            let request = pb::ListEventsRequest { account_id, acting: acting(by), ..Default::default() };
            AuditServiceClient::new(usher.channel.clone()).list_events(request).await.map(drop)
        }
        other => panic!("no call for {other}; write one"),
    }
}
