//! Several processes start at once.

use std::time::Instant;

use tempfile::TempDir;
use usher_tests::engine::Database;
use usher_tests::{Engine, Process};

use crate::ready;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_processes_start_at_once_on_an_empty_database() {
    if !ready() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Postgres, directory.path());
    let started = Instant::now();
    let all: Vec<_> = (0..6)
        .map(|_| {
            let (url, mails) = (database.url.clone(), directory.path().to_owned());
            // Each waits for its server on a thread of its own.
            std::thread::spawn(move || Process::serve(&url, &mails))
        })
        .collect();
    let all: Vec<Process> = all.into_iter().map(|process| process.join().unwrap()).collect();
    println!("six processes serve after {:?}", started.elapsed());
    for process in &all {
        usher_tests::harness::channel(&process.url).await;
    }
}
