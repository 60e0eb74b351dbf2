//! AccountService.

use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::account::AccountView;
use usher_domain::caller::Acting;
use usher_domain::invitation::ExternalUsername;
use usher_domain::text::{NAME_LENGTH_MAX, NOTE_LENGTH_MAX, username};

use super::convert::{account, licenses, member};
use super::license::{parse_subscription, purchased_seats};
use super::parse::{Parse, Parser, party};
use super::{Answer, Api, token_of};
use crate::app::App;
use crate::app::account_state::{
    AccountOutcome, UpdateAccount, close_account, reactivate_account, suspend_account, update_account,
};
use crate::app::change::{Change, Changed};
use crate::app::create_account::{
    CreateAccount, CreateAccountOutcome, Founder, create_account, new_account_id,
};
use crate::app::get_account::get_account;
use crate::app::members::Read;
use crate::app::ownership::{
    approve_ownership_transfer, cancel_ownership_transfer, get_ownership_transfer, list_ownership_transfers,
    open_ownership_transfer,
};
use crate::guard;

#[tonic::async_trait]
impl pb::account_service_server::AccountService for Api {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        self.serve(&guard::CREATE_ACCOUNT, request, create_account).await
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        self.serve(&guard::GET_ACCOUNT, request, get_account).await
    }
    async fn update_account(
        &self,
        request: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::UpdateAccountResponse>, Status> {
        self.serve(&guard::UPDATE_ACCOUNT, request, update_account).await
    }

    async fn suspend_account(
        &self,
        request: Request<pb::SuspendAccountRequest>,
    ) -> Result<Response<pb::SuspendAccountResponse>, Status> {
        self.serve(&guard::SUSPEND_ACCOUNT, request, suspend_account).await
    }

    async fn reactivate_account(
        &self,
        request: Request<pb::ReactivateAccountRequest>,
    ) -> Result<Response<pb::ReactivateAccountResponse>, Status> {
        self.serve(&guard::REACTIVATE_ACCOUNT, request, reactivate_account).await
    }

    async fn close_account(
        &self,
        request: Request<pb::CloseAccountRequest>,
    ) -> Result<Response<pb::CloseAccountResponse>, Status> {
        self.serve(&guard::CLOSE_ACCOUNT, request, close_account).await
    }

    async fn open_ownership_transfer(
        &self,
        request: Request<pb::OpenOwnershipTransferRequest>,
    ) -> Result<Response<pb::OpenOwnershipTransferResponse>, Status> {
        self.serve(&guard::OPEN_OWNERSHIP_TRANSFER, request, open_ownership_transfer).await
    }

    async fn approve_ownership_transfer(
        &self,
        request: Request<pb::ApproveOwnershipTransferRequest>,
    ) -> Result<Response<pb::ApproveOwnershipTransferResponse>, Status> {
        self.serve(&guard::APPROVE_OWNERSHIP_TRANSFER, request, approve_ownership_transfer).await
    }

    async fn cancel_ownership_transfer(
        &self,
        request: Request<pb::CancelOwnershipTransferRequest>,
    ) -> Result<Response<pb::CancelOwnershipTransferResponse>, Status> {
        self.serve(&guard::CANCEL_OWNERSHIP_TRANSFER, request, cancel_ownership_transfer).await
    }

    async fn get_ownership_transfer(
        &self,
        request: Request<pb::GetOwnershipTransferRequest>,
    ) -> Result<Response<pb::GetOwnershipTransferResponse>, Status> {
        self.serve(&guard::GET_OWNERSHIP_TRANSFER, request, get_ownership_transfer).await
    }

    async fn list_ownership_transfers(
        &self,
        request: Request<pb::ListOwnershipTransfersRequest>,
    ) -> Result<Response<pb::ListOwnershipTransfersResponse>, Status> {
        self.serve(&guard::LIST_OWNERSHIP_TRANSFERS, request, list_ownership_transfers).await
    }
}

impl Parse for pb::CreateAccountRequest {
    type Command = CreateAccount;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<CreateAccount> {
        let is_id_made = self.account_id.is_empty();
        let account_id = if is_id_made {
            parser.take("account_id", new_account_id())
        } else {
            parser.account(&self.account_id)
        };
        let request_id = parser.request_id(&self.request_id);
        let note = parser.line("note", &self.note, NOTE_LENGTH_MAX);
        let name = parser.required_line("name", &self.name, NAME_LENGTH_MAX);
        let model = parser.word("model", &self.model);
        let purchased = match self.purchased {
            None => parser.fail("purchased", "is not set; set `seats` or `unlimited`"),
            Some(pb::create_account_request::Purchased::Seats(seats)) => {
                purchased_seats(parser, "seats", seats, 1).map(Some)
            }
            Some(pb::create_account_request::Purchased::Unlimited(true)) => Some(None),
            Some(pb::create_account_request::Purchased::Unlimited(false)) => {
                parser.fail("unlimited", "can only be true; set `seats` instead")
            }
        };
        let subscription = parse_subscription(parser, "subscription", self.subscription);
        let founder = self.founder.unwrap_or_default();
        let way = founder_way(parser, founder.way);
        let new_user_id = parser.user_opt("founder.new_user_id", &founder.new_user_id);
        if matches!(way, Some(Founder::User(_))) && !founder.new_user_id.is_empty() {
            parser.fail::<()>("founder.new_user_id", "has no meaning with `user_id`: the person exists");
        }
        let contact_email = parser.email_opt("founder.contact_email", &founder.contact_email);
        let display_name = parser.line("founder.display_name", &founder.display_name, NAME_LENGTH_MAX);
        let language = parser.language(&self.language);
        let digest = parser.digest().to_owned();
        Some(CreateAccount {
            change: Change {
                account_id: account_id?,
                acting: Acting::Platform,
                request_id: request_id?,
                digest,
                note: note?,
            },
            is_id_made,
            name: name?,
            model: model?,
            purchased: purchased?,
            subscription: subscription?,
            founder: way?,
            new_user_id: new_user_id?,
            contact_email: contact_email?,
            display_name: display_name?,
            language: language?,
        })
    }
}

fn founder_way(parser: &mut Parser, way: Option<pb::founder::Way>) -> Option<Founder> {
    match way {
        None => parser.fail("founder", "is missing; name the person by `user_id`, `email` or `identity`"),
        Some(pb::founder::Way::UserId(id)) => parser.user("founder.user_id", &id).map(Founder::User),
        Some(pb::founder::Way::Email(email)) => parser.email("founder.email", &email).map(Founder::Email),
        Some(pb::founder::Way::Identity(identity)) => {
            external_username(parser, "founder.identity", &identity).map(Founder::Identity)
        }
    }
}

/// A username at an issuer; the issuer may be left out.
pub(super) fn external_username(
    parser: &mut Parser,
    at: &str,
    identity: &pb::ExternalUsername,
) -> Option<ExternalUsername> {
    let username = parser.take(format_args!("{at}.username"), username(&identity.username));
    let issuer = parser.line(&format!("{at}.issuer"), &identity.issuer, NAME_LENGTH_MAX);
    Some(ExternalUsername { username: username?, issuer: issuer? })
}

impl Parse for pb::GetAccountRequest {
    type Command = Read;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<Read> {
        parser.read(&self.account_id, party!(self.acting, get_account_request))
    }
}

impl Answer<Changed<CreateAccountOutcome>> for pb::CreateAccountResponse {
    fn answer(app: &App, _account: &str, changed: Changed<CreateAccountOutcome>) -> Self {
        let id = changed.outcome.account.id.to_string();
        Self {
            account: Some(account(changed.outcome.account)),
            member: Some(member(changed.outcome.member)),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            consistency_token: token_of(app, &id, changed.revision),
        }
    }
}

impl Answer<(AccountView, i64)> for pb::GetAccountResponse {
    fn answer(app: &App, id: &str, (view, revision): (AccountView, i64)) -> Self {
        Self { account: Some(account(view)), revision, consistency_token: token_of(app, id, revision) }
    }
}

impl Parse for pb::UpdateAccountRequest {
    type Command = UpdateAccount;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<UpdateAccount> {
        let acting = party!(self.acting, update_account_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let name = parser.required_line("name", self.name.as_deref().unwrap_or_default(), NAME_LENGTH_MAX);
        Some(UpdateAccount { change: change?, name: name? })
    }
}

/// A change that only the platform can ask for.
pub(super) fn by_platform(
    parser: &mut Parser,
    account: &str,
    request_id: &str,
    note: &str,
) -> Option<Change> {
    let change = parser.change_by(account, Some(Acting::Platform), request_id);
    let note = parser.line("note", note, NOTE_LENGTH_MAX);
    let mut change = change?;
    change.note = note?;
    Some(change)
}

impl Parse for pb::SuspendAccountRequest {
    type Command = Change;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<Change> {
        by_platform(parser, &self.account_id, &self.request_id, &self.note)
    }
}

impl Parse for pb::ReactivateAccountRequest {
    type Command = Change;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<Change> {
        by_platform(parser, &self.account_id, &self.request_id, &self.note)
    }
}

impl Parse for pb::CloseAccountRequest {
    type Command = Change;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<Change> {
        by_platform(parser, &self.account_id, &self.request_id, &self.note)
    }
}

/// The four changes of an account answer alike.
macro_rules! answers_with_account {
    ($($response:ident),+) => {$(
        impl Answer<Changed<AccountOutcome>> for pb::$response {
            fn answer(app: &App, id: &str, changed: Changed<AccountOutcome>) -> Self {
                Self {
                    account: Some(account(changed.outcome.account)),
                    revision: changed.revision,
                    consistency_token: token_of(app, id, changed.revision),
                }
            }
        }
    )+};
}

answers_with_account!(
    UpdateAccountResponse,
    SuspendAccountResponse,
    ReactivateAccountResponse,
    CloseAccountResponse
);
