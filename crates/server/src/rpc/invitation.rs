//! The messages of MemberService that are about invitations.

use usher_contract::v1 as pb;
use usher_domain::invitation::{Delivery, LIFETIME_MAX, LIFETIME_MIN};
use usher_domain::password::PASSWORD_LENGTH_MIN;
use usher_domain::secret::Secret;
use usher_domain::text::NAME_LENGTH_MAX;

use super::account::external_username;
use super::convert::{from_delivery, from_invitation_state, invitation, licenses, member};
use super::member::{choices, words};
use super::parse::{Parse, Parser, party};
use super::sign_in::{password, token, vouched};
use super::{Answer, token_of};
use crate::app::App;
use crate::app::accept_invitation::{AcceptInvitation, Accepted, LookedUp, Proof};
use crate::app::change::Changed;
use crate::app::invitations::{GetInvitation, ListInvitations};
use crate::app::invite_user::{InviteOutcome, InviteUser};
use crate::app::members::Listed;
use crate::app::revise_invitation::{
    InvitationOutcome, ResendInvitation, RevokeInvitation, UpdateInvitation,
};
use crate::app::view::InvitationView;

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

impl Parse for pb::UpdateInvitationRequest {
    type Command = UpdateInvitation;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<UpdateInvitation> {
        let acting = party!(self.acting, update_invitation_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let invitation_id = parser.invitation(&self.invitation_id);
        let role = match &self.role {
            Some(role) => parser.word("role", role).map(Some),
            None => Some(None),
        };
        let display_name = match &self.display_name {
            Some(name) => parser.line("display_name", name, NAME_LENGTH_MAX).map(Some),
            None => Some(None),
        };
        if self.role.is_none() && self.display_name.is_none() {
            return parser
                .fail("role", "must be present if `display_name` is not: there is nothing to change");
        }
        Some(UpdateInvitation {
            change: change?,
            invitation_id: invitation_id?,
            role: role?,
            display_name: display_name?,
        })
    }
}

impl Parse for pb::ResendInvitationRequest {
    type Command = ResendInvitation;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ResendInvitation> {
        let acting = party!(self.acting, resend_invitation_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let invitation_id = parser.invitation(&self.invitation_id);
        let delivery = match self.delivery {
            None => Some(Delivery::Email),
            Some(value) => delivery(parser, value, false),
        };
        let lifetime = parser.span("lifetime", self.lifetime, (LIFETIME_MIN, LIFETIME_MAX));
        let language = parser.language(&self.language);
        Some(ResendInvitation {
            change: change?,
            invitation_id: invitation_id?,
            delivery: delivery?,
            lifetime: lifetime?,
            language: language?,
        })
    }
}

impl Parse for pb::RevokeInvitationRequest {
    type Command = RevokeInvitation;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<RevokeInvitation> {
        let acting = party!(self.acting, revoke_invitation_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let invitation_id = parser.invitation(&self.invitation_id);
        Some(RevokeInvitation { change: change?, invitation_id: invitation_id? })
    }
}

impl Parse for pb::LookUpInvitationRequest {
    type Command = Secret<String>;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<Secret<String>> {
        token(parser, self.token)
    }
}

impl Parse for pb::AcceptInvitationRequest {
    type Command = AcceptInvitation;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<AcceptInvitation> {
        use pb::accept_invitation_request::Proof as Wire;
        let token = token(parser, self.token);
        let proof = match self.proof {
            None => parser.fail("proof", "is not set; say who the person is"),
            Some(Wire::NewPassword(new)) => {
                // Its rules are the domain's, which knows the address.
                Some(Proof::NewPassword(Secret::new(new)))
            }
            Some(Wire::Password(existing)) => password(parser, "password", existing).map(Proof::Password),
            Some(Wire::Identity(identity)) => {
                let parsed =
                    vouched(parser, "identity.", &identity.issuer, &identity.subject, &identity.username);
                parsed.map(Proof::Identity)
            }
            Some(Wire::SignedInUserId(id)) => parser.user("signed_in_user_id", &id).map(Proof::SignedIn),
        };
        let display_name = parser.line("display_name", &self.display_name, NAME_LENGTH_MAX);
        let request_id = parser.request_id(&self.request_id);
        Some(AcceptInvitation {
            token: token?,
            proof: proof?,
            display_name: display_name?,
            request_id: request_id?,
        })
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

impl Answer<Changed<InvitationOutcome>> for pb::UpdateInvitationResponse {
    fn answer(app: &App, account: &str, changed: Changed<InvitationOutcome>) -> Self {
        Self {
            invitation: Some(invitation(changed.outcome.invitation)),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<InvitationOutcome>> for pb::RevokeInvitationResponse {
    fn answer(app: &App, account: &str, changed: Changed<InvitationOutcome>) -> Self {
        Self {
            invitation: Some(invitation(changed.outcome.invitation)),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<Changed<InvitationOutcome>> for pb::ResendInvitationResponse {
    fn answer(app: &App, account: &str, changed: Changed<InvitationOutcome>) -> Self {
        let done = changed.outcome;
        Self {
            invitation: Some(invitation(done.invitation)),
            accept_link_withheld: done.wants_link && done.accept_link.is_none(),
            accept_link: done.accept_link.map(Secret::into_exposed).unwrap_or_default(),
            licenses: Some(licenses(done.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, account, changed.revision),
        }
    }
}

impl Answer<LookedUp> for pb::LookUpInvitationResponse {
    fn answer(_app: &App, _account: &str, found: LookedUp) -> Self {
        let shown = invitation(found.invitation);
        Self {
            account_id: shown.account_id,
            account_name: found.account_name,
            email: shown.email,
            display_name: shown.display_name,
            role_title: shown.role_title,
            invited_by_name: shown.invited_by_name,
            state: shown.state,
            expire_time: shown.expire_time,
            requires_password: found.requires_password,
            password_min_length: u32::try_from(PASSWORD_LENGTH_MIN).unwrap_or(u32::MAX),
            issuers: found.issuers,
        }
    }
}

impl Answer<Changed<Accepted>> for pb::AcceptInvitationResponse {
    fn answer(app: &App, _account: &str, changed: Changed<Accepted>) -> Self {
        let shown = member(changed.outcome.member);
        Self {
            consistency_token: token_of(app, &shown.account_id, changed.revision),
            member: Some(shown),
            already_accepted: changed.outcome.already_accepted,
            revision: changed.revision,
        }
    }
}
