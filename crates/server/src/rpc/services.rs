//! All services as one. The router in front of the others makes boxes and maps for every call, which a
//! check would feel: it goes straight to its own service.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use usher_contract::wire::authorization_service_server::AuthorizationServiceServer;

use super::{Api, SERVICES};

/// Cheap to clone.
#[derive(Clone)]
pub struct Services {
    checks: AuthorizationServiceServer<Api>,
    others: Routes,
}

impl Services {
    pub(super) fn new(checks: AuthorizationServiceServer<Api>, others: Routes) -> Self {
        Self { checks, others: others.prepare() }
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <AuthorizationServiceServer<Api> as Service<Request<Body>>>::Future,
        <Routes as Service<Request<Body>>>::Future,
    >;

    /// Both are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rest = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICES[0]));
        match rest {
            Some(rest) if rest.starts_with('/') => Either::Left(self.checks.call(request)),
            _ => Either::Right(self.others.call(request)),
        }
    }
}
