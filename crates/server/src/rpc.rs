//! The wire. Only this room names generated types: messages become commands here, and outcomes
//! become messages. Every call takes one path, [`Api::serve`]; the checks take a shorter one beside
//! it, because they are asked for on every request of every sibling.

mod account;
mod audit;
mod authorization;
pub(crate) mod client;
mod convert;
mod invitation;
mod license;
mod member;
mod ownership;
pub(crate) mod parse;
mod sign_in;
pub mod status;
mod user;

use std::future::Future;

use tokio::runtime::Handle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_domain::caller::Caller;
use usher_domain::id::AccountId;

use crate::app::App;
use crate::error::Error;
use crate::guard::Guard;
use crate::token;
use parse::{Parse, Parser};

/// All services of the contract, on one app.
#[derive(Clone)]
pub struct Api {
    app: App,
    /// Where use cases run. Apart from the connection's own task, so that a client that goes away
    /// cuts no change in two, and slow work does not hold up checks.
    work: Handle,
}

/// The contract's services that are served.
pub const SERVICES: [&str; 7] = [
    "usher.v1.AuthorizationService",
    "usher.v1.MemberService",
    "usher.v1.LicenseService",
    "usher.v1.AccountService",
    "usher.v1.SignInService",
    "usher.v1.UserService",
    "usher.v1.AuditService",
];

/// All services, with the contract's descriptors in both versions of the reflection protocol if they
/// are wanted: several tools still speak the older.
///
/// # Errors
/// When the descriptors cannot be read.
pub fn routes(api: Api, reflection: bool) -> Result<Routes, String> {
    let mut routes = Routes::default()
        .add_service(pb::authorization_service_server::AuthorizationServiceServer::new(api.clone()))
        .add_service(pb::member_service_server::MemberServiceServer::new(api.clone()))
        .add_service(pb::license_service_server::LicenseServiceServer::new(api.clone()))
        .add_service(pb::account_service_server::AccountServiceServer::new(api.clone()))
        .add_service(pb::sign_in_service_server::SignInServiceServer::new(api.clone()))
        .add_service(pb::user_service_server::UserServiceServer::new(api.clone()))
        .add_service(pb::audit_service_server::AuditServiceServer::new(api));
    if reflection {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(usher_contract::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // So that grpcurl prints the details of errors.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let failed = |e| format!("the contract's descriptors cannot be served: {e}");
        routes = routes
            .add_service(builder().build_v1().map_err(failed)?)
            .add_service(builder().build_v1alpha().map_err(failed)?);
    }
    Ok(routes)
}

/// An answer that an outcome becomes.
pub(crate) trait Answer<Outcome> {
    /// `account` is the account that the request named.
    fn answer(app: &App, account: &str, outcome: Outcome) -> Self;
}

impl Api {
    pub fn new(app: App, work: Handle) -> Self {
        Self { app, work }
    }

    /// The one path of a call: prove the caller, parse, run the use case, map its result or error.
    async fn serve<Q, Outcome, R, Fut>(
        &self,
        guard: &'static Guard,
        request: Request<Q>,
        use_case: impl FnOnce(App, Caller, Q::Command) -> Fut,
    ) -> Result<Response<R>, Status>
    where
        Q: Parse,
        R: Answer<Outcome>,
        Outcome: Send + 'static,
        Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let account = request.get_ref().account().to_owned();
        let outcome = async {
            let (caller, message) = admit(guard, request)?;
            let mut parser = Parser::of(&message);
            let command = message.parse(&mut parser);
            let command = parser.finish(command)?;
            let done = self.work.spawn(use_case(self.app.clone(), caller, command));
            done.await.map_err(|e| Error::Internal(format!("a use case ended early: {e}")))?
        };
        match outcome.await {
            Ok(outcome) => Ok(Response::new(R::answer(&self.app, &account, outcome))),
            Err(error) => {
                tracing::info!(rpc = guard.rpc, error = %Redacted(&error), "refused");
                Err(status::status(&error, &account))
            }
        }
    }
}

/// Proves the caller and what it may: its scopes, and the account that the message names. That comes
/// before anything is read, so an account that a caller may not reach looks like any other.
fn admit<Q: Parse>(guard: &Guard, request: Request<Q>) -> Result<(Caller, Q), Error> {
    let caller = request.extensions().get::<Caller>().cloned().ok_or(Error::Unauthenticated)?;
    require_scope(guard, &caller)?;
    let message = request.into_inner();
    require_account(&caller, message.account())?;
    Ok((caller, message))
}

fn require_scope(guard: &Guard, caller: &Caller) -> Result<(), Error> {
    match guard.scopes {
        scopes if scopes.iter().any(|scope| caller.scopes.contains(*scope)) => Ok(()),
        [first, ..] => Err(Error::ScopeMissing(*first)),
        [] => Err(Error::Internal(format!("`{}` names no scope", guard.rpc))),
    }
}

fn require_account(caller: &Caller, account: &str) -> Result<(), Error> {
    if caller.accounts.is_none() {
        return Ok(());
    }
    match AccountId::parse(account) {
        Ok(account) if !caller.may_reach(&account) => Err(Error::AccountNotAllowed),
        // What is no id is said by the parser, with the field's name.
        _ => Ok(()),
    }
}

/// An error for the log: the kind of thing that was wrong, without what the caller sent.
struct Redacted<'a>(&'a Error);

impl std::fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(status::name(status::reason(self.0)))
    }
}

/// The consistency token beside a revision; empty when there is no such account.
fn token_of(app: &App, account: &str, revision: i64) -> String {
    match AccountId::parse(account) {
        Ok(account) if revision > 0 => token::consistency(&app.epoch, &account, revision),
        _ => String::new(),
    }
}
