//! Whether this server can answer, said as `grpc.health.v1`: to Kubernetes, to clients that balance
//! themselves, and to `usher health`.
//!
//! `""`, `readiness` and each service say whether calls would be answered; `liveness` says only that
//! the process makes progress, and knows nothing of the database: a restart would not bring that back.
//! Why a server is not ready stands in the log and, for `usher health`, in the answer's metadata.

mod readiness;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub use readiness::keep_watch;

use crate::rpc;

/// What asks whether calls would be answered, besides the empty name and the services.
pub const READINESS: &str = "readiness";
/// What asks whether the process makes progress.
pub const LIVENESS: &str = "liveness";
/// The metadata that says why a server is not ready.
pub const REASON_HEADER: &str = "usher-health-reason";

/// How often the process shows that it makes progress, and how long it may fail to.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const BEAT_MAX: Duration = Duration::from_secs(20);
/// How often a watched service is looked at when nothing says that it changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why calls would not be answered; `None` if they would.
type Problem = Option<Arc<str>>;

/// The state of this server, and the service that tells it. Clones share it.
#[derive(Clone)]
pub struct Health(Arc<Shared>);

struct Shared {
    problem: watch::Sender<Problem>,
    /// Ready never comes after it.
    stopping: CancellationToken,
    /// Ends those who watch, so that they do not hold up the end.
    closing: CancellationToken,
    born: Instant,
    /// Milliseconds from `born` to the last beat.
    beat: AtomicU64,
}

impl Health {
    /// `closing` ends those who watch.
    pub fn new(closing: CancellationToken) -> Self {
        let problem = watch::Sender::new(Some("it is starting".into()));
        let stopping = CancellationToken::new();
        Self(Arc::new(Shared { problem, stopping, closing, born: Instant::now(), beat: AtomicU64::new(0) }))
    }

    pub fn service(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }

    /// Calls are answered from now on, or they are not.
    pub fn set(&self, problem: Option<&str>) {
        if !self.0.stopping.is_cancelled() {
            self.tell(problem);
        }
    }

    /// Not ready any more, for good.
    pub fn stop(&self) {
        self.0.stopping.cancel();
        self.tell(Some("it is stopping"));
    }

    fn tell(&self, problem: Option<&str>) {
        let changed = self.0.problem.send_if_modified(|known| {
            let changed = known.as_deref() != problem;
            if changed {
                *known = problem.map(Arc::from);
            }
            changed
        });
        match problem {
            _ if !changed => {}
            None => tracing::info!("ready"),
            Some(reason) => tracing::warn!(reason, "not ready"),
        }
    }

    /// Shows that tasks of this runtime get their turn. Never ends.
    pub async fn beat(self) {
        loop {
            self.0.beat.store(self.age_ms(), Ordering::Relaxed);
            tokio::time::sleep(BEAT_EVERY).await;
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// `None` when there is no such service.
    fn of(&self, service: &str) -> Option<Problem> {
        match service {
            LIVENESS => {
                let silent = self.age_ms().saturating_sub(self.0.beat.load(Ordering::Relaxed));
                let is_stuck = Duration::from_millis(silent) > BEAT_MAX;
                Some(is_stuck.then(|| "tasks get no turn".into()))
            }
            "" | READINESS => Some(self.0.problem.borrow().clone()),
            service if rpc::SERVICES.contains(&service) => Some(self.0.problem.borrow().clone()),
            _ => None,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn status_of(problem: &Problem) -> ServingStatus {
    if problem.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        let problem = self.of(service).ok_or_else(|| Status::not_found("no such service"))?;
        let mut told = Response::new(response(status_of(&problem)));
        if let Some(reason) = problem.and_then(|reason| MetadataValue::try_from(&*reason).ok()) {
            told.metadata_mut().insert(REASON_HEADER, reason);
        }
        Ok(told)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher {
            health: self.clone(),
            service: request.into_inner().service,
            changes: self.0.problem.subscribe(),
            told: None,
        };
        Ok(Response::new(Box::pin(stream::unfold(watcher, Watcher::next))))
    }
}

struct Watcher {
    health: Health,
    service: String,
    changes: watch::Receiver<Problem>,
    told: Option<ServingStatus>,
}

impl Watcher {
    /// The status at first, and each other one after that.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            self.changes.mark_unchanged();
            let problem = self.health.of(&self.service);
            let status = problem.map_or(ServingStatus::ServiceUnknown, |problem| status_of(&problem));
            if self.told.replace(status) != Some(status) {
                return Some((Ok(response(status)), self));
            }
            let closing = &self.health.0.closing;
            tokio::select! {
                biased;
                () = closing.cancelled() => return None,
                _ = self.changes.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use health_server::Health as _;
    use tokio_stream::StreamExt;

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    async fn status(health: &Health, service: &str) -> ServingStatus {
        health.check(ask(service)).await.unwrap().into_inner().status()
    }

    #[tokio::test]
    async fn readiness_follows_and_liveness_does_not() {
        let health = Health::new(CancellationToken::new());
        assert_eq!(status(&health, "").await, ServingStatus::NotServing);
        assert_eq!(status(&health, LIVENESS).await, ServingStatus::Serving);
        health.set(None);
        for service in ["", READINESS].into_iter().chain(rpc::SERVICES) {
            assert_eq!(status(&health, service).await, ServingStatus::Serving, "{service}");
        }
        health.set(Some("a reason"));
        let told = health.check(ask(READINESS)).await.unwrap();
        assert_eq!(told.metadata().get(REASON_HEADER).unwrap(), "a reason");
        assert_eq!(health.check(ask("nobody")).await.unwrap_err().code(), tonic::Code::NotFound);
        health.stop();
        health.set(None);
        assert_eq!(status(&health, "").await, ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn who_watches_hears_each_change_once_and_the_end() {
        let closing = CancellationToken::new();
        let health = Health::new(closing.clone());
        let mut watching = health.watch(ask("")).await.unwrap().into_inner();
        let mut unknown = health.watch(ask("nobody")).await.unwrap().into_inner();
        assert_eq!(unknown.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
        assert_eq!(watching.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        health.set(Some("another reason"));
        health.set(None);
        assert_eq!(watching.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        health.stop();
        assert_eq!(watching.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        closing.cancel();
        assert!(watching.next().await.is_none() && unknown.next().await.is_none());
    }
}
