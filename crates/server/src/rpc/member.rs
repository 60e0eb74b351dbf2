//! MemberService.

use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::invitation::{Delivery, LIFETIME_MAX, LIFETIME_MIN};
use usher_domain::member::MemberState;
use usher_domain::text::NAME_LENGTH_MAX;

use super::account::external_username;
use super::convert::{from_delivery, from_invitation_state, invitation, licenses, member};
use super::parse::{Parse, Parser, party};
use super::{Answer, Api, token_of};
use crate::app::App;
use crate::app::change::Changed;
use crate::app::invitations::{GetInvitation, ListInvitations, get_invitation, list_invitations};
use crate::app::invite_user::{InviteOutcome, InviteUser, invite_user};
use crate::app::members::{GetMember, ListMembers, Listed, Seat, get_member, list_members};
use crate::app::view::{InvitationView, MemberView};
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
}

impl Parse for pb::InviteUserRequest {
    type Command = InviteUser;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<InviteUser> {
        let acting = party!(self.acting, invite_user_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let email = parser.email("email", &self.email);
        let display_name = parser.line("display_name", &self.display_name, NAME_LENGTH_MAX);
        let role = parser.word("role", &self.role);
        let has_identity = self.identity.is_some();
        let identity = match &self.identity {
            Some(identity) => external_username(parser, "identity", identity).map(Some),
            None => Some(None),
        };
        let delivery = match self.delivery {
            None if has_identity => Some(Delivery::None),
            None => Some(Delivery::Email),
            Some(value) => delivery(parser, value, has_identity),
        };
        let lifetime = parser.span("lifetime", self.lifetime, (LIFETIME_MIN, LIFETIME_MAX));
        if has_identity && self.lifetime.is_some() {
            parser.fail::<()>("lifetime", "has no meaning with `identity`: the person is a member at once");
        }
        let language = parser.language(&self.language);
        let new_user_id = parser.user_opt("new_user_id", &self.new_user_id);
        Some(InviteUser {
            change: change?,
            email: email?,
            display_name: display_name?,
            role: role?,
            identity: identity?,
            delivery: delivery?,
            lifetime: lifetime?,
            language: language?,
            new_user_id: new_user_id?,
        })
    }
}

fn delivery(parser: &mut Parser, value: i32, has_identity: bool) -> Option<Delivery> {
    let delivery = parser.choice::<pb::Delivery>("delivery", value).and_then(from_delivery)?;
    match (delivery, has_identity) {
        (Delivery::None, false) => {
            parser.fail("delivery", "can be NONE only with `identity`: nobody would learn of the invitation")
        }
        (Delivery::ReturnLink, true) => {
            parser.fail("delivery", "cannot be RETURN_LINK with `identity`: there is nothing to accept")
        }
        _ => Some(delivery),
    }
}

impl Parse for pb::GetInvitationRequest {
    type Command = GetInvitation;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<GetInvitation> {
        let read = parser.read(&self.account_id, party!(self.acting, get_invitation_request));
        let invitation_id = parser.invitation(&self.invitation_id);
        Some(GetInvitation { read: read?, invitation_id: invitation_id? })
    }
}

/// The words of a filter.
fn words(parser: &mut Parser, field: &str, words: &[String]) -> Option<Vec<String>> {
    if words.len() > FILTER_VALUES_MAX {
        return parser.fail(field, format!("holds more than {FILTER_VALUES_MAX} values"));
    }
    let parsed = words.iter().enumerate();
    let parsed: Vec<_> =
        parsed.map(|(index, word)| parser.word(&format!("{field}[{index}]"), word)).collect();
    parsed.into_iter().collect()
}

/// The values of an enum filter.
fn choices<E, T>(
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

impl Parse for pb::ListInvitationsRequest {
    type Command = ListInvitations;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListInvitations> {
        let read = parser.read(&self.account_id, party!(self.acting, list_invitations_request));
        let page = parser.page(self.page_size, &self.page_token);
        let states = choices(parser, "states", &self.states, from_invitation_state);
        let roles = words(parser, "roles", &self.roles);
        let email = parser.email_opt("email", &self.email);
        Some(ListInvitations { read: read?, page: page?, states: states?, roles: roles?, email: email? })
    }
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

impl Answer<Changed<InviteOutcome>> for pb::InviteUserResponse {
    fn answer(app: &App, account: &str, changed: Changed<InviteOutcome>) -> Self {
        let done = changed.outcome;
        let outcome = match (done.invitation, done.member) {
            (Some(view), _) => Some(pb::invite_user_response::Outcome::Invitation(invitation(view))),
            (None, Some(view)) => Some(pb::invite_user_response::Outcome::Member(member(view))),
            (None, None) => None,
        };
        Self {
            outcome,
            already_open: done.already_open,
            accept_link_withheld: done.wants_link && done.accept_link.is_none(),
            accept_link: done.accept_link.map(|link| link.into_exposed()).unwrap_or_default(),
            licenses: Some(licenses(done.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<(InvitationView, i64)> for pb::GetInvitationResponse {
    fn answer(app: &App, account: &str, (view, revision): (InvitationView, i64)) -> Self {
        let consistency_token = token_of(app, account, revision);
        Self { invitation: Some(invitation(view)), revision, consistency_token }
    }
}

impl Answer<Listed<InvitationView>> for pb::ListInvitationsResponse {
    fn answer(app: &App, account: &str, listed: Listed<InvitationView>) -> Self {
        Self {
            invitations: listed.items.into_iter().map(invitation).collect(),
            next_page_token: listed.next_page_token,
            total_size: Some(listed.total_size),
            revision: listed.revision,
            consistency_token: token_of(app, account, listed.revision),
        }
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
