//! SignInService.

use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::password::PASSWORD_BYTES_MAX;
use usher_domain::secret::Secret;
use usher_domain::text::{NAME_LENGTH_MAX, username};

use super::convert::{account_state, member_state, seat_state, subscription_state};
use super::parse::{Parse, Parser};
use super::{Answer, Api};
use crate::app::App;
use crate::app::identity::Vouched;
use crate::app::sign_in::{
    ListMemberships, Membership, RequestEmailChange, RequestPasswordReset, ResetPassword, SignedIn,
    VerifyPassword, change_email, list_memberships, request_email_change, request_password_reset,
    reset_password, resolve_identity, verify_password,
};
use crate::guard;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 128;
/// The longest id of a person at an OAuth provider.
const SUBJECT_BYTES_MAX: usize = 255;

#[tonic::async_trait]
impl pb::sign_in_service_server::SignInService for Api {
    async fn verify_password(
        &self,
        request: Request<pb::VerifyPasswordRequest>,
    ) -> Result<Response<pb::VerifyPasswordResponse>, Status> {
        self.serve(&guard::VERIFY_PASSWORD, request, verify_password).await
    }

    async fn resolve_identity(
        &self,
        request: Request<pb::ResolveIdentityRequest>,
    ) -> Result<Response<pb::ResolveIdentityResponse>, Status> {
        self.serve(&guard::RESOLVE_IDENTITY, request, resolve_identity).await
    }

    async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>, Status> {
        self.serve(&guard::REQUEST_PASSWORD_RESET, request, request_password_reset).await
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        self.serve(&guard::RESET_PASSWORD, request, reset_password).await
    }

    async fn request_email_change(
        &self,
        request: Request<pb::RequestEmailChangeRequest>,
    ) -> Result<Response<pb::RequestEmailChangeResponse>, Status> {
        self.serve(&guard::REQUEST_EMAIL_CHANGE, request, request_email_change).await
    }

    async fn change_email(
        &self,
        request: Request<pb::ChangeEmailRequest>,
    ) -> Result<Response<pb::ChangeEmailResponse>, Status> {
        self.serve(&guard::CHANGE_EMAIL, request, change_email).await
    }

    async fn list_memberships(
        &self,
        request: Request<pb::ListMembershipsRequest>,
    ) -> Result<Response<pb::ListMembershipsResponse>, Status> {
        self.serve(&guard::LIST_MEMBERSHIPS, request, list_memberships).await
    }
}

/// A mailed token: any text within the bound, for what is none is simply unknown.
pub(super) fn token(parser: &mut Parser, token: String) -> Option<Secret<String>> {
    match token.len() {
        0 => parser.fail("token", "is missing"),
        1..=TOKEN_BYTES_MAX => Some(Secret::new(token)),
        _ => parser.fail("token", format!("has more than {TOKEN_BYTES_MAX} bytes")),
    }
}

/// An existing password, exactly as given.
pub(super) fn password(parser: &mut Parser, field: &str, password: String) -> Option<Secret<String>> {
    match password.len() {
        0 => parser.fail(field, "is missing"),
        1..=PASSWORD_BYTES_MAX => Some(Secret::new(password)),
        _ => parser.fail(field, format!("has more than {PASSWORD_BYTES_MAX} bytes")),
    }
}

/// What an OAuth provider vouches for.
pub(super) fn vouched(
    parser: &mut Parser,
    at: &str,
    issuer: &str,
    subject: &str,
    name: &str,
) -> Option<Vouched> {
    let issuer = parser.required_line(&format!("{at}issuer"), issuer, NAME_LENGTH_MAX);
    let field = format!("{at}subject");
    // The provider's own, as it is.
    let subject = match subject.len() {
        0 => parser.fail(field, "is missing"),
        1..=SUBJECT_BYTES_MAX if !subject.contains(char::is_control) => Some(subject.to_owned()),
        1..=SUBJECT_BYTES_MAX => parser.fail(field, "has a control character"),
        _ => parser.fail(field, format!("has more than {SUBJECT_BYTES_MAX} bytes")),
    };
    let name = if name.is_empty() {
        Some(String::new())
    } else {
        parser.take(format_args!("{at}username"), username(name))
    };
    Some(Vouched { issuer: issuer?, subject: subject?, username: name? })
}

impl Parse for pb::VerifyPasswordRequest {
    type Command = VerifyPassword;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<VerifyPassword> {
        let email = parser.email("email", &self.email);
        let password = password(parser, "password", self.password);
        Some(VerifyPassword { email: email?, password: password? })
    }
}

impl Parse for pb::ResolveIdentityRequest {
    type Command = Vouched;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<Vouched> {
        let parsed = vouched(parser, "", &self.issuer, &self.subject, &self.username);
        // The provider's word on an address proves nothing here; it is checked for form alone.
        parser.email_opt("email", &self.email)?;
        parsed
    }
}

impl Parse for pb::RequestPasswordResetRequest {
    type Command = RequestPasswordReset;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<RequestPasswordReset> {
        let email = parser.email("email", &self.email);
        let language = parser.language(&self.language);
        Some(RequestPasswordReset { email: email?, language: language? })
    }
}

impl Parse for pb::ResetPasswordRequest {
    type Command = ResetPassword;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<ResetPassword> {
        let token = token(parser, self.token);
        Some(ResetPassword { token: token?, new_password: Secret::new(self.new_password) })
    }
}

impl Parse for pb::RequestEmailChangeRequest {
    type Command = RequestEmailChange;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<RequestEmailChange> {
        let user_id = parser.user("user_id", &self.user_id);
        let new_email = parser.email("new_email", &self.new_email);
        let language = parser.language(&self.language);
        Some(RequestEmailChange { user_id: user_id?, new_email: new_email?, language: language? })
    }
}

impl Parse for pb::ChangeEmailRequest {
    type Command = Secret<String>;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<Secret<String>> {
        token(parser, self.token)
    }
}

impl Parse for pb::ListMembershipsRequest {
    type Command = ListMemberships;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<ListMemberships> {
        let user_id = parser.user("user_id", &self.user_id);
        let page = parser.page(self.page_size, &self.page_token);
        Some(ListMemberships { user_id: user_id?, page: page? })
    }
}

fn membership(membership: Membership) -> pb::Membership {
    let Membership { member, account, role_title, uses_seat, as_of } = membership;
    pb::Membership {
        account_id: account.id.into(),
        account_name: account.name,
        role: member.role,
        role_title,
        member_state: member_state(member.state).into(),
        seat: seat_state(uses_seat, member.seat).into(),
        account_state: account_state(account.state).into(),
        subscription_state: subscription_state(account.license.subscription.state(as_of)).into(),
    }
}

impl Answer<SignedIn> for pb::VerifyPasswordResponse {
    fn answer(_app: &App, _account: &str, signed_in: SignedIn) -> Self {
        Self {
            user_id: signed_in.user_id.into(),
            memberships: signed_in.memberships.into_iter().map(membership).collect(),
            next_page_token: signed_in.next_page_token,
        }
    }
}

impl Answer<SignedIn> for pb::ResolveIdentityResponse {
    fn answer(_app: &App, _account: &str, signed_in: SignedIn) -> Self {
        Self {
            user_id: signed_in.user_id.into(),
            bound_now: signed_in.bound_now,
            memberships: signed_in.memberships.into_iter().map(membership).collect(),
            next_page_token: signed_in.next_page_token,
        }
    }
}

impl Answer<()> for pb::RequestPasswordResetResponse {
    fn answer(_app: &App, _account: &str, (): ()) -> Self {
        Self {}
    }
}

impl Answer<()> for pb::RequestEmailChangeResponse {
    fn answer(_app: &App, _account: &str, (): ()) -> Self {
        Self {}
    }
}

impl Answer<UserId> for pb::ResetPasswordResponse {
    fn answer(_app: &App, _account: &str, user_id: UserId) -> Self {
        Self { user_id: user_id.into() }
    }
}

impl Answer<(UserId, EmailAddress)> for pb::ChangeEmailResponse {
    fn answer(_app: &App, _account: &str, (user_id, email): (UserId, EmailAddress)) -> Self {
        Self { user_id: user_id.into(), email: email.into() }
    }
}

impl Answer<(Vec<Membership>, String)> for pb::ListMembershipsResponse {
    fn answer(_app: &App, _account: &str, (listed, next_page_token): (Vec<Membership>, String)) -> Self {
        Self { memberships: listed.into_iter().map(membership).collect(), next_page_token }
    }
}
