//! Accounts with a member in every role, made over the wire as the platform makes them.

use tonic::transport::Channel;

use crate::acting::{By, acting};
use crate::harness::Usher;
use crate::pb;
use crate::pb::account_service_client::AccountServiceClient;
use crate::pb::member_service_client::MemberServiceClient;

/// A shipped role model as its users know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    pub id: &'static str,
    pub founder: &'static str,
    /// All roles, the founder's among them.
    pub roles: &'static [&'static str],
}

pub const INTEGRATE_IO: Model = Model {
    id: "integrate-io",
    founder: "owner",
    roles: &["owner", "admin", "operator", "editor", "reader"],
};
pub const DATAIMPORTER: Model = Model { id: "dataimporter", founder: "admin", roles: &["user", "admin"] };
pub const MODELS: [Model; 2] = [INTEGRATE_IO, DATAIMPORTER];

/// An account with a member in every role; the member in the role `editor` of `acme` is the user
/// `acme-editor`.
#[derive(Debug, Clone)]
pub struct Cast {
    pub account: String,
    pub model: Model,
}

impl Cast {
    /// The member in a role.
    pub fn member(&self, role: &str) -> String {
        user(&self.account, role)
    }

    pub fn founder(&self) -> String {
        self.member(self.model.founder)
    }
}

fn user(account: &str, role: &str) -> String {
    format!("{account}-{role}")
}

/// The request that founds an account, for tests to change.
pub fn founding(account: &str, model: Model, seats: u32) -> pb::CreateAccountRequest {
    let founder = user(account, model.founder);
    pb::CreateAccountRequest {
        account_id: account.to_owned(),
        name: format!("{account} & Söhne"),
        model: model.id.to_owned(),
        purchased: Some(pb::create_account_request::Purchased::Seats(seats)),
        subscription: Some(pb::Subscription { plan: "team".to_owned(), ..Default::default() }),
        founder: Some(pb::Founder {
            way: Some(pb::founder::Way::Identity(username(&founder))),
            new_user_id: founder.clone(),
            contact_email: format!("{founder}@people.example"),
            display_name: founder,
        }),
        ..Default::default()
    }
}

/// The request that makes somebody a member at once.
pub fn joining(account: &str, by: By<'_>, user_id: &str, role: &str) -> pb::InviteUserRequest {
    pb::InviteUserRequest {
        identity: Some(username(user_id)),
        new_user_id: user_id.to_owned(),
        display_name: user_id.to_owned(),
        ..inviting(account, by, &format!("{user_id}@people.example"), role)
    }
}

/// The request that invites an address by mail.
pub fn inviting(account: &str, by: By<'_>, email: &str, role: &str) -> pb::InviteUserRequest {
    pb::InviteUserRequest {
        account_id: account.to_owned(),
        acting: acting(by),
        email: email.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    }
}

/// A login name at the one issuer.
pub fn username(name: &str) -> pb::ExternalUsername {
    pb::ExternalUsername { username: name.to_owned(), issuer: String::new() }
}

/// Founds the account and fills every other role.
///
/// # Panics
/// When a call is refused.
pub async fn fill(channel: &Channel, account: &str, model: Model, seats: u32) -> Cast {
    let founding = founding(account, model, seats);
    AccountServiceClient::new(channel.clone()).create_account(founding).await.expect("an account");
    let mut members = MemberServiceClient::new(channel.clone());
    for role in model.roles.iter().filter(|role| **role != model.founder) {
        let joining = joining(account, By::Platform, &user(account, role), role);
        members.invite_user(joining).await.expect("a member");
    }
    Cast { account: account.to_owned(), model }
}

impl Usher {
    /// An account with a member in every role and seats to spare.
    pub async fn cast(&self, account: &str, model: Model) -> Cast {
        fill(&self.channel, account, model, 20).await
    }

    /// An account with nobody but its founder.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn found(&self, account: &str, model: Model, seats: u32) -> Cast {
        self.accounts().create_account(founding(account, model, seats)).await.expect("an account");
        Cast { account: account.to_owned(), model }
    }

    /// Suspends a member on behalf of the platform.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn suspend_member(&self, account: &str, user: &str) {
        let request = pb::SuspendMemberRequest {
            account_id: account.to_owned(),
            acting: acting(By::Platform),
            user_id: user.to_owned(),
            ..Default::default()
        };
        self.members().suspend_member(request).await.expect("a suspended member");
    }

    /// # Panics
    /// When it is refused.
    pub async fn suspend_account(&self, account: &str) {
        let account_id = account.to_owned();
        let request = pb::SuspendAccountRequest { account_id, ..Default::default() };
        self.accounts().suspend_account(request).await.expect("a suspended account");
    }

    /// # Panics
    /// When it is refused.
    pub async fn reactivate_account(&self, account: &str) {
        let account_id = account.to_owned();
        let request = pb::ReactivateAccountRequest { account_id, ..Default::default() };
        self.accounts().reactivate_account(request).await.expect("an active account");
    }

    /// # Panics
    /// When it is refused.
    pub async fn close_account(&self, account: &str) {
        let account_id = account.to_owned();
        let request = pb::CloseAccountRequest { account_id, ..Default::default() };
        self.accounts().close_account(request).await.expect("a closed account");
    }
}
