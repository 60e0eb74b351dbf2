//! The bare server that Usher is compared with: the same messages through the same library, and a
//! constant for an answer.

use std::error::Error;
use std::io::Write;
use std::net::TcpListener;

use prost::Message;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_server::{AuthorizationService, AuthorizationServiceServer};

/// Where the answers lie that it gives: one message each, as Usher gave them.
pub(crate) const CHECK: &str = "ECHO_CHECK";
pub(crate) const CHECKS: &str = "ECHO_CHECKS";

/// Gives the same answers again and again.
#[derive(Clone)]
pub(crate) struct Echo {
    check: pb::CheckPermissionResponse,
    checks: pb::CheckPermissionsResponse,
}

/// The service, with the answers that the environment names.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn service() -> Result<AuthorizationServiceServer<Echo>, Box<dyn Error + Send + Sync>> {
    let read = |name: &str| -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(std::fs::read(std::env::var_os(name).ok_or_else(|| format!("`{name}` is not set"))?)?)
    };
    let check = pb::CheckPermissionResponse::decode(read(CHECK)?.as_slice())?;
    let checks = pb::CheckPermissionsResponse::decode(read(CHECKS)?.as_slice())?;
    Ok(AuthorizationServiceServer::new(Echo { check, checks }))
}

/// Listens on a free port and says which on stdout.
///
/// # Errors
/// When it cannot.
pub(crate) fn listen() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "serving {address}")?;
    out.flush()?;
    Ok(listener)
}

/// Serves on tokio's multi-thread runtime, as tonic's own examples do, until it is killed.
///
/// # Errors
/// When it cannot.
pub(crate) fn run_multi_thread() -> Result<(), Box<dyn Error + Send + Sync>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        let incoming = incoming.map(|socket| socket.inspect(|socket| drop(socket.set_nodelay(true))));
        Server::builder().add_service(service()?).serve_with_incoming(incoming).await?;
        Ok(())
    })
}

#[tonic::async_trait]
impl AuthorizationService for Echo {
    async fn check_permission(
        &self,
        _: Request<pb::CheckPermissionRequest>,
    ) -> Result<Response<pb::CheckPermissionResponse>, Status> {
        Ok(Response::new(self.check.clone()))
    }

    async fn check_permissions(
        &self,
        _: Request<pb::CheckPermissionsRequest>,
    ) -> Result<Response<pb::CheckPermissionsResponse>, Status> {
        Ok(Response::new(self.checks.clone()))
    }

    async fn list_permissions(
        &self,
        _: Request<pb::ListPermissionsRequest>,
    ) -> Result<Response<pb::ListPermissionsResponse>, Status> {
        Err(Status::unimplemented("only checks"))
    }

    async fn list_roles(
        &self,
        _: Request<pb::ListRolesRequest>,
    ) -> Result<Response<pb::ListRolesResponse>, Status> {
        Err(Status::unimplemented("only checks"))
    }
}
