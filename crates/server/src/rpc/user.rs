//! UserService.

use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::id::UserId;
use usher_domain::text::NOTE_LENGTH_MAX;

use super::convert::timestamp;
use super::parse::{Parse, Parser};
use super::{Answer, Api, token_of};
use crate::app::App;
use crate::app::users::{EraseUser, Erased, UserView, erase_user, get_user};
use crate::guard;

#[tonic::async_trait]
impl pb::user_service_server::UserService for Api {
    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        self.serve(&guard::GET_USER, request, get_user).await
    }

    async fn erase_user(
        &self,
        request: Request<pb::EraseUserRequest>,
    ) -> Result<Response<pb::EraseUserResponse>, Status> {
        self.serve(&guard::ERASE_USER, request, erase_user).await
    }
}

impl Parse for pb::GetUserRequest {
    type Command = UserId;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<UserId> {
        parser.user("user_id", &self.user_id)
    }
}

impl Parse for pb::EraseUserRequest {
    type Command = EraseUser;

    fn account(&self) -> &str {
        ""
    }

    fn parse(self, parser: &mut Parser) -> Option<EraseUser> {
        let user_id = parser.user("user_id", &self.user_id);
        let request_id = parser.request_id(&self.request_id);
        let note = parser.line("note", &self.note, NOTE_LENGTH_MAX);
        let digest = parser.digest().to_owned();
        Some(EraseUser { user_id: user_id?, request_id: request_id?, digest, note: note? })
    }
}

impl Answer<UserView> for pb::GetUserResponse {
    fn answer(_app: &App, _account: &str, view: UserView) -> Self {
        let identities = view.identities.into_iter().map(|identity| pb::UserIdentity {
            issuer: identity.issuer,
            subject: identity.subject.unwrap_or_default(),
            username: identity.username,
        });
        Self {
            user: Some(pb::User {
                user_id: view.user.id.into(),
                email: view.user.email.map(Into::into).unwrap_or_default(),
                has_password: view.user.password_hash.is_some(),
                identities: identities.collect(),
                create_time: Some(timestamp(view.user.create_time)),
                last_sign_in_time: view.last_sign_in_time.map(timestamp),
            }),
        }
    }
}

impl Answer<Erased> for pb::EraseUserResponse {
    fn answer(app: &App, _account: &str, erased: Erased) -> Self {
        let accounts = erased.accounts.into_iter().map(|one| pb::ErasedMembership {
            consistency_token: token_of(app, one.account_id.as_str(), one.revision),
            account_id: one.account_id.into(),
            revision: one.revision,
            revoked_invitation_ids: one.revoked_invitation_ids,
        });
        Self { erase_time: Some(timestamp(erased.erase_time)), accounts: accounts.collect() }
    }
}
