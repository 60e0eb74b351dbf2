//! The wire. Only this room names generated types: messages become commands here, and outcomes
//! become messages. Every call takes one path, [`Api::serve`]; the checks take a shorter one beside
//! it, because they are asked for on every request of every sibling.

mod account;
mod audit;
mod authorization;
mod check;
pub(crate) mod client;
mod convert;
mod explanation;
mod invitation;
mod license;
mod member;
mod ownership;
pub(crate) mod parse;
mod services;
mod sign_in;
pub mod status;
mod user;

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinError;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tracing::{Instrument, Span};
use usher_contract::{v1 as pb, wire};
use usher_domain::caller::{Caller, Scope};
use usher_domain::id::AccountId;

use crate::app::App;
use crate::authenticate::Authenticator;
use crate::error::Error;
use crate::guard::{self, Guard};
use crate::telemetry::CallSpan;
use crate::transport::guarded::Connection;
use crate::transport::limits::Limits;
use crate::transport::outcome::Method;
use crate::transport::request_id::RequestId;
use crate::{telemetry, token};
use check::Ask;
use parse::{Parse, Parser};
pub use services::Services;

/// All services of the contract, on one app.
#[derive(Clone)]
pub struct Api {
    app: App,
    authenticator: Arc<Authenticator>,
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

/// All services and `health`, with the contract's descriptors in both versions of the reflection protocol if they
/// are wanted: several tools still speak the older.
///
/// # Errors
/// When the descriptors cannot be read.
pub fn services(
    api: Api,
    limits: &Limits,
    reflection: bool,
    health: HealthServer<impl Health>,
) -> Result<Services, String> {
    /// A service within the limits of its messages.
    macro_rules! service {
        ($messages:ident, $module:ident, $server:ident) => {
            $messages::$module::$server::new(api.clone())
                .max_decoding_message_size(limits.request_bytes)
                .max_encoding_message_size(limits.response_bytes)
        };
    }
    let checks = service!(wire, authorization_service_server, AuthorizationServiceServer);
    let mut routes = Routes::default()
        .add_service(health)
        .add_service(service!(pb, member_service_server, MemberServiceServer))
        .add_service(service!(pb, license_service_server, LicenseServiceServer))
        .add_service(service!(pb, account_service_server, AccountServiceServer))
        .add_service(service!(pb, sign_in_service_server, SignInServiceServer))
        .add_service(service!(pb, user_service_server, UserServiceServer))
        .add_service(service!(pb, audit_service_server, AuditServiceServer));
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
    Ok(Services::new(checks, routes))
}

/// Every method that is served, for the layer that counts and bounds calls.
pub fn methods() -> impl Iterator<Item = Method> {
    let checks = [guard::CHECK_PERMISSION.rpc, guard::CHECK_PERMISSIONS.rpc, guard::LIST_PERMISSIONS.rpc];
    let ours = guard::ALL.iter().map(move |guard| Method {
        name: guard.method,
        streaming: guard.rpc == guard::WATCH_EVENTS.rpc,
        logged: !checks.contains(&guard.rpc),
    });
    let others = [
        ("grpc.health.v1.Health/Check", false),
        ("grpc.health.v1.Health/Watch", true),
        ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true),
    ];
    ours.chain(others.map(|(name, streaming)| Method { name, streaming, logged: false }))
}

/// An answer that an outcome becomes.
pub(crate) trait Answer<Outcome> {
    /// `account` is the account that the request named.
    fn answer(app: &App, account: &str, outcome: Outcome) -> Self;
}

impl Api {
    /// `work` is the runtime of use cases, not one of those that serve.
    pub fn new(app: App, authenticator: Arc<Authenticator>, work: Handle) -> Self {
        Self { app, authenticator, work }
    }

    /// Who calls, proven by certificate or token.
    async fn caller<Q>(&self, request: &Request<Q>) -> Result<Arc<Caller>, Status> {
        let connection = request.extensions().get::<Connection>();
        let headers = request.metadata().as_ref();
        let caller = match self.authenticator.recognise(headers, connection) {
            Some(known) => known,
            // In a box: the waiting for keys would make the future of every call large, and futures are
            // copied.
            None => Box::pin(self.authenticator.authenticate(headers, connection)).await,
        };
        caller.inspect_err(|status| {
            let reason = match status.code() {
                Code::ResourceExhausted => pb::ErrorReason::RateLimited,
                _ => pb::ErrorReason::CallerUnauthenticated,
            };
            self.app.counters.refused(reason.into());
        })
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
        let request_id = request.extensions().get::<RequestId>().map_or("", RequestId::as_str);
        let CallSpan { span, trace_id } =
            telemetry::call_span(guard.method, request.metadata().as_ref(), request_id);
        let answer = self.call(guard, request, &trace_id, use_case).instrument(span.clone()).await;
        telemetry::call_ended(&span, code_of(&answer));
        answer
    }

    /// The shorter path of a check. What memory knows is answered at once, in the connection's own task,
    /// and has a span only if it is traced; the rest goes where all use cases go. No line is logged.
    async fn check<Q: Ask>(
        &self,
        guard: &'static Guard,
        request: Request<Q>,
    ) -> Result<Response<Q::Response>, Status> {
        let caller = self.caller(&request).await?;
        let span = telemetry::check_span(guard.method, request.metadata().as_ref());
        let message = request.into_inner();
        let known = admit(guard, &caller, message.account())
            .and_then(|()| span.in_scope(|| message.ask_memory(&self.app)));
        let answer = match known {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Box::pin(self.read(message, span.clone())).await,
            Err(error) => Err(self.refuse(&error, message.account())),
        };
        telemetry::call_ended(&span, code_of(&answer));
        answer.map(Response::new)
    }

    async fn read<Q: Ask>(&self, message: Q, span: Span) -> Result<Q::Response, Status> {
        let account = message.account().to_owned();
        let read = self.work.spawn(message.ask_store(self.app.clone()).instrument(span)).await;
        joined(read).map_err(|error| self.refuse(&error, &account))
    }

    async fn call<Q, Outcome, R, Fut>(
        &self,
        guard: &'static Guard,
        request: Request<Q>,
        trace_id: &str,
        use_case: impl FnOnce(App, Caller, Q::Command) -> Fut,
    ) -> Result<Response<R>, Status>
    where
        Q: Parse,
        R: Answer<Outcome>,
        Outcome: Send + 'static,
        Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let caller = self.caller(&request).await?;
        let account = request.get_ref().account().to_owned();
        let outcome = async {
            admit(guard, &caller, request.get_ref().account())?;
            let message = request.into_inner();
            let mut parser = Parser::of(&message);
            let command = message.parse(&mut parser);
            require_platform(&caller, &parser)?;
            let command = parser.finish(command)?;
            let app = self.app.clone();
            let work = use_case(app.clone(), Caller::clone(&caller), command);
            // In the task, which goes on when the client is gone.
            let work = async move { work.await.inspect_err(|error| doubt(&app, error)) };
            let done = self.work.spawn(work.in_current_span());
            joined(done.await)
        };
        match outcome.await {
            Ok(outcome) => {
                if guard.changes() {
                    tracing::info!(rpc = guard.rpc, caller = %caller.name, trace_id, "done");
                }
                Ok(Response::new(R::answer(&self.app, &account, outcome)))
            }
            Err(error) => {
                let reason = status::name(status::reason(&error));
                tracing::info!(rpc = guard.rpc, caller = %caller.name, reason, trace_id, "refused");
                Err(self.refuse(&error, &account))
            }
        }
    }
}

impl Api {
    /// Counts a refusal, and says it as the wire does.
    fn refuse(&self, error: &Error, account: &str) -> Status {
        self.app.counters.refused(status::reason(error).into());
        status::status(error, account)
    }
}

/// Whether a change was made may be unknown.
fn doubt(app: &App, error: &Error) {
    if matches!(error, Error::Store(usher_storage::Error::CommitUnknown(_))) {
        app.doubt();
    }
}

/// What a task came to. Its panic goes on in the call that waits for it, where panics are counted and
/// answered.
fn joined<T>(done: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    match done.map_err(JoinError::try_into_panic) {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(ended)) => Err(Error::Internal(format!("a use case ended early: {ended}"))),
    }
}

/// What the caller may: its scopes, and the account that the message names. That comes before
/// anything is read, so an account that a caller may not reach looks like any other.
fn admit(guard: &Guard, caller: &Caller, account: &str) -> Result<(), Error> {
    require_scope(guard, caller)?;
    require_account(caller, account)
}

fn require_scope(guard: &Guard, caller: &Caller) -> Result<(), Error> {
    match guard.scopes {
        scopes if scopes.iter().any(|scope| caller.scopes.contains(*scope)) => Ok(()),
        [first, ..] => Err(Error::ScopeMissing(*first)),
        [] => Err(Error::Internal(format!("`{}` names no scope", guard.rpc))),
    }
}

/// To act as the platform takes its scope: no actor's right stands behind it.
fn require_platform(caller: &Caller, parser: &Parser) -> Result<(), Error> {
    if parser.acts_as_platform() && !caller.scopes.contains(Scope::Platform) {
        return Err(Error::ScopeMissing(Scope::Platform));
    }
    Ok(())
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

fn code_of<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// The consistency token beside a revision; empty when there is no such account.
fn token_of(app: &App, account: &str, revision: i64) -> String {
    if revision > 0 { token::consistency(&app.epoch.load(), account, revision) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_use_cases_panic_goes_on_in_its_call() {
        let done = tokio::spawn(async { Ok(7) }).await;
        assert!(matches!(joined(done), Ok(7)));
        let done: Result<Result<(), Error>, _> = tokio::spawn(async { panic!("in a use case") }).await;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| joined(done)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"in a use case"));
        let task = tokio::spawn(std::future::pending::<Result<(), Error>>());
        task.abort();
        assert!(matches!(joined(task.await), Err(Error::Internal(_))));
    }
}
