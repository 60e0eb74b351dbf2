//! MemberService.

use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::member::MemberState;
use usher_domain::text::NAME_LENGTH_MAX;

use super::convert::{licenses, member};
use super::parse::{Parse, Parser, party};
use super::{Answer, Api, token_of};
use crate::app::App;
use crate::app::accept_invitation::{accept_invitation, look_up_invitation};
use crate::app::change::Changed;
use crate::app::change_role::{ChangeRole, MemberOutcome, change_role};
use crate::app::invitations::{get_invitation, list_invitations};
use crate::app::invite_user::invite_user;
use crate::app::members::{GetMember, ListMembers, Listed, Seat, get_member, list_members};
use crate::app::remove_member::{RemoveMember, RemoveMemberOutcome, remove_member};
use crate::app::revise_invitation::{resend_invitation, revoke_invitation, update_invitation};
use crate::app::suspend_member::{ReactivateMember, SuspendMember, reactivate_member, suspend_member};
use crate::app::update_member::{UpdateMember, UpdateMemberOutcome, update_member};
use crate::app::view::MemberView;
use crate::guard;

/// The most values of one filter of a list.
const FILTER_VALUES_MAX: usize = 100;

#[tonic::async_trait]
impl pb::member_service_server::MemberService for Api {
    async fn invite_user(
        &self,
        request: Request<pb::InviteUserRequest>,
    ) -> Result<Response<pb::InviteUserResponse>, Status> {
        self.serve(&guard::INVITE_USER, request, invite_user).await
    }

    async fn get_invitation(
        &self,
        request: Request<pb::GetInvitationRequest>,
    ) -> Result<Response<pb::GetInvitationResponse>, Status> {
        self.serve(&guard::GET_INVITATION, request, get_invitation).await
    }

    async fn list_invitations(
        &self,
        request: Request<pb::ListInvitationsRequest>,
    ) -> Result<Response<pb::ListInvitationsResponse>, Status> {
        self.serve(&guard::LIST_INVITATIONS, request, list_invitations).await
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        self.serve(&guard::LIST_MEMBERS, request, list_members).await
    }

    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        self.serve(&guard::GET_MEMBER, request, get_member).await
    }
    async fn update_invitation(
        &self,
        request: Request<pb::UpdateInvitationRequest>,
    ) -> Result<Response<pb::UpdateInvitationResponse>, Status> {
        self.serve(&guard::UPDATE_INVITATION, request, update_invitation).await
    }

    async fn resend_invitation(
        &self,
        request: Request<pb::ResendInvitationRequest>,
    ) -> Result<Response<pb::ResendInvitationResponse>, Status> {
        self.serve(&guard::RESEND_INVITATION, request, resend_invitation).await
    }

    async fn revoke_invitation(
        &self,
        request: Request<pb::RevokeInvitationRequest>,
    ) -> Result<Response<pb::RevokeInvitationResponse>, Status> {
        self.serve(&guard::REVOKE_INVITATION, request, revoke_invitation).await
    }

    async fn look_up_invitation(
        &self,
        request: Request<pb::LookUpInvitationRequest>,
    ) -> Result<Response<pb::LookUpInvitationResponse>, Status> {
        self.serve(&guard::LOOK_UP_INVITATION, request, look_up_invitation).await
    }

    async fn accept_invitation(
        &self,
        request: Request<pb::AcceptInvitationRequest>,
    ) -> Result<Response<pb::AcceptInvitationResponse>, Status> {
        self.serve(&guard::ACCEPT_INVITATION, request, accept_invitation).await
    }

    async fn update_member(
        &self,
        request: Request<pb::UpdateMemberRequest>,
    ) -> Result<Response<pb::UpdateMemberResponse>, Status> {
        self.serve(&guard::UPDATE_MEMBER, request, update_member).await
    }

    async fn change_role(
        &self,
        request: Request<pb::ChangeRoleRequest>,
    ) -> Result<Response<pb::ChangeRoleResponse>, Status> {
        self.serve(&guard::CHANGE_ROLE, request, change_role).await
    }

    async fn suspend_member(
        &self,
        request: Request<pb::SuspendMemberRequest>,
    ) -> Result<Response<pb::SuspendMemberResponse>, Status> {
        self.serve(&guard::SUSPEND_MEMBER, request, suspend_member).await
    }

    async fn reactivate_member(
        &self,
        request: Request<pb::ReactivateMemberRequest>,
    ) -> Result<Response<pb::ReactivateMemberResponse>, Status> {
        self.serve(&guard::REACTIVATE_MEMBER, request, reactivate_member).await
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        self.serve(&guard::REMOVE_MEMBER, request, remove_member).await
    }
}

/// The words of a filter.
pub(super) fn words(parser: &mut Parser, field: &str, words: &[String]) -> Option<Vec<String>> {
    if words.len() > FILTER_VALUES_MAX {
        return parser.fail(field, format!("holds more than {FILTER_VALUES_MAX} values"));
    }
    let parsed = words.iter().enumerate();
    let parsed: Vec<_> =
        parsed.map(|(index, word)| parser.word(&format!("{field}[{index}]"), word)).collect();
    parsed.into_iter().collect()
}

/// The values of an enum filter.
pub(super) fn choices<E, T>(
    parser: &mut Parser,
    field: &str,
    values: &[i32],
    from: impl Fn(E) -> Option<T>,
) -> Option<Vec<T>>
where
    E: TryFrom<i32> + Default + PartialEq,
{
    if values.len() > FILTER_VALUES_MAX {
        return parser.fail(field, format!("holds more than {FILTER_VALUES_MAX} values"));
    }
    let parsed = values.iter().enumerate();
    let parsed: Vec<_> = parsed
        .map(|(index, value)| parser.choice::<E>(&format!("{field}[{index}]"), *value).and_then(&from))
        .collect();
    parsed.into_iter().collect()
}

impl Parse for pb::ListMembersRequest {
    type Command = ListMembers;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListMembers> {
        let read = parser.read(&self.account_id, party!(self.acting, list_members_request));
        let page = parser.page(self.page_size, &self.page_token);
        let roles = words(parser, "roles", &self.roles);
        let states = choices(parser, "states", &self.states, |state| match state {
            pb::MemberState::Unspecified => None,
            pb::MemberState::Active => Some(MemberState::Active),
            pb::MemberState::Suspended => Some(MemberState::Suspended),
        });
        let seats = choices(parser, "seats", &self.seats, |seat| match seat {
            pb::SeatState::Unspecified => None,
            pb::SeatState::Held => Some(Seat::Held),
            pb::SeatState::None => Some(Seat::None),
            pb::SeatState::NotNeeded => Some(Seat::NotNeeded),
        });
        let email = parser.email_opt("email", &self.email);
        Some(ListMembers {
            read: read?,
            page: page?,
            roles: roles?,
            states: states?,
            seats: seats?,
            email: email?,
        })
    }
}

impl Parse for pb::GetMemberRequest {
    type Command = GetMember;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<GetMember> {
        let read = parser.read(&self.account_id, party!(self.acting, get_member_request));
        let user_id = parser.user("user_id", &self.user_id);
        Some(GetMember { read: read?, user_id: user_id? })
    }
}

impl Answer<Listed<MemberView>> for pb::ListMembersResponse {
    fn answer(app: &App, account: &str, listed: Listed<MemberView>) -> Self {
        Self {
            members: listed.items.into_iter().map(member).collect(),
            next_page_token: listed.next_page_token,
            total_size: Some(listed.total_size),
            revision: listed.revision,
            consistency_token: token_of(app, account, listed.revision),
        }
    }
}

impl Answer<(MemberView, i64)> for pb::GetMemberResponse {
    fn answer(app: &App, account: &str, (view, revision): (MemberView, i64)) -> Self {
        let consistency_token = token_of(app, account, revision);
        Self { member: Some(member(view)), revision, consistency_token }
    }
}

impl Parse for pb::UpdateMemberRequest {
    type Command = UpdateMember;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<UpdateMember> {
        let acting = party!(self.acting, update_member_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let user_id = parser.user("user_id", &self.user_id);
        let display_name = match &self.display_name {
            Some(name) => parser.line("display_name", name, NAME_LENGTH_MAX).map(Some),
            None => Some(None),
        };
        let email = match &self.email {
            Some(email) => parser.email("email", email).map(Some),
            None => Some(None),
        };
        if self.display_name.is_none() && self.email.is_none() {
            return parser
                .fail("display_name", "must be present if `email` is not: there is nothing to change");
        }
        Some(UpdateMember { change: change?, user_id: user_id?, display_name: display_name?, email: email? })
    }
}

impl Parse for pb::ChangeRoleRequest {
    type Command = ChangeRole;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ChangeRole> {
        let acting = party!(self.acting, change_role_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let user_id = parser.user("user_id", &self.user_id);
        let role = parser.word("role", &self.role);
        Some(ChangeRole { change: change?, user_id: user_id?, role: role? })
    }
}

impl Parse for pb::SuspendMemberRequest {
    type Command = SuspendMember;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<SuspendMember> {
        let acting = party!(self.acting, suspend_member_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let user_id = parser.user("user_id", &self.user_id);
        Some(SuspendMember { change: change?, user_id: user_id?, keep_invitations: self.keep_invitations })
    }
}

impl Parse for pb::ReactivateMemberRequest {
    type Command = ReactivateMember;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ReactivateMember> {
        let acting = party!(self.acting, reactivate_member_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let user_id = parser.user("user_id", &self.user_id);
        Some(ReactivateMember { change: change?, user_id: user_id? })
    }
}

impl Parse for pb::RemoveMemberRequest {
    type Command = RemoveMember;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<RemoveMember> {
        let acting = party!(self.acting, remove_member_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let user_id = parser.user("user_id", &self.user_id);
        let successor_id = parser.user_opt("successor_id", &self.successor_id);
        Some(RemoveMember {
            change: change?,
            user_id: user_id?,
            successor_id: successor_id?,
            keep_invitations: self.keep_invitations,
        })
    }
}

impl Answer<Changed<UpdateMemberOutcome>> for pb::UpdateMemberResponse {
    fn answer(app: &App, account: &str, changed: Changed<UpdateMemberOutcome>) -> Self {
        Self {
            member: Some(member(changed.outcome.member)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<MemberOutcome>> for pb::ChangeRoleResponse {
    fn answer(app: &App, account: &str, changed: Changed<MemberOutcome>) -> Self {
        Self {
            member: Some(member(changed.outcome.member)),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<MemberOutcome>> for pb::SuspendMemberResponse {
    fn answer(app: &App, account: &str, changed: Changed<MemberOutcome>) -> Self {
        Self {
            member: Some(member(changed.outcome.member)),
            revoked_invitation_ids: changed.outcome.revoked_invitation_ids,
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<MemberOutcome>> for pb::ReactivateMemberResponse {
    fn answer(app: &App, account: &str, changed: Changed<MemberOutcome>) -> Self {
        Self {
            member: Some(member(changed.outcome.member)),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<RemoveMemberOutcome>> for pb::RemoveMemberResponse {
    fn answer(app: &App, account: &str, changed: Changed<RemoveMemberOutcome>) -> Self {
        Self {
            revoked_invitation_ids: changed.outcome.revoked_invitation_ids,
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}
