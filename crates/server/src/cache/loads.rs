//! One read for all who ask for the same standing at once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::Shared;
use parking_lot::Mutex;
use usher_storage::{StandingFacts, Store};

use super::LOAD_TIMEOUT;
use super::key::Key;
use super::lease::Moment;

/// What a load read.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) facts: Option<Arc<StandingFacts>>,
    pub(super) began: Moment,
}

/// `None` when it failed: then each who waited reads for itself, and is told why.
type Load = Shared<Pin<Box<dyn Future<Output = Option<Loaded>> + Send>>>;

#[derive(Default)]
pub(super) struct Loads {
    running: Arc<Mutex<HashMap<Key, Load>>>,
}

impl Loads {
    /// Joins the load of this key, or begins it. It runs in a task of its own, so that one who gives
    /// up takes nothing from the others.
    pub(super) async fn join(&self, key: &Key, store: &Store) -> Option<Loaded> {
        let load = {
            let mut running = self.running.lock();
            match running.get(key) {
                Some(load) => load.clone(),
                None => {
                    let load = self.begin(key.clone(), store.clone());
                    running.insert(key.clone(), load.clone());
                    load
                }
            }
        };
        load.await
    }

    fn begin(&self, key: Key, store: Store) -> Load {
        let running = Arc::clone(&self.running);
        let task = tokio::spawn(async move {
            let began = Moment::now();
            let read = store.standing(&key.account, key.subject.as_ref());
            let read = tokio::time::timeout(LOAD_TIMEOUT, read).await;
            running.lock().remove(&key);
            match read {
                Ok(Ok(facts)) => Some(Loaded { facts: facts.map(Arc::new), began }),
                Ok(Err(_)) | Err(_) => None,
            }
        });
        async move { task.await.ok().flatten() }.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use usher_domain::id::{AccountId, UserId};
    use usher_storage::ConnectOptions;

    use super::*;

    #[tokio::test]
    async fn who_asks_at_once_for_the_same_shares_one_read() {
        let store = Store::connect(&ConnectOptions::new("sqlite::memory:")).await.unwrap();
        store.migrate().await.unwrap();
        let key = |user: &str| Key {
            account: AccountId::parse("acme").unwrap(),
            subject: Some(UserId::parse(user).unwrap()),
        };
        let (loads, uma) = (Loads::default(), key("uma"));
        let began = async || {
            let all = futures::future::join_all((0..50).map(|_| loads.join(&uma, &store))).await;
            let first = all[0].as_ref().unwrap().began;
            assert!(all.iter().all(|loaded| loaded.as_ref().unwrap().began == first));
            first
        };
        let first = began().await;
        let (ugo, una) = (key("ugo"), key("una"));
        let others = futures::join!(loads.join(&ugo, &store), loads.join(&una, &store));
        assert_ne!(others.0.unwrap().began, others.1.unwrap().began);
        assert!(began().await > first, "what is over is joined by nobody");
        assert!(loads.running.lock().is_empty());
    }
}
