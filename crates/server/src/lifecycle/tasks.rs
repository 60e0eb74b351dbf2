//! What runs beside the server, by name: a part that ends by itself ends the whole, because a server
//! whose mails or polls have silently stopped is worse than one that is started again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::StartError;

/// Named tasks.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the first that ends, which none should before it is told to.
    pub(super) async fn first_end(&mut self) -> StartError {
        let ended = match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => format!("the task `{}` ended by itself", self.name(id)),
            Some(Err(error)) => format!("the task `{}` broke: {error}", self.name(error.id())),
            None => std::future::pending().await,
        };
        StartError(ended)
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("unknown")
    }

    /// Waits for those that were told to stop; cuts what goes on for longer than `limit`.
    pub(super) async fn finish(mut self, limit: Duration) {
        let finishing = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                if let Some(error) = ended.err().filter(JoinError::is_panic) {
                    tracing::error!(task = self.name(error.id()), %error, "a task broke while it stopped");
                }
            }
        };
        if tokio::time::timeout(limit, finishing).await.is_err() {
            tracing::warn!("tasks did not stop in time and are cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("patient", std::future::pending());
        tasks.spawn("hasty", async {});
        assert_eq!(tasks.first_end().await.0, "the task `hasty` ended by itself");
        tasks.spawn("fragile", async { panic!("as the test wants it") });
        assert!(tasks.first_end().await.0.starts_with("the task `fragile` broke"));
        tasks.finish(Duration::from_millis(10)).await;
    }
}
