//! Three servers, writers and checkers, and everything that can fail while they run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use usher_tests::proxy::Whom;

use crate::clients::Run;
use crate::history::At;
use crate::judge::{Lag, judge, tally};
use crate::scene::{REPLICAS, Scene};
use crate::{is_long, ready};

const STALENESS_MAX: Duration = Duration::from_secs(2);
const POLLER: Whom = Whom::Saying("usher poller");

/// Waits some seconds of the schedule.
async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_allowed_after_its_revocation_whatever_fails() {
    if !ready() {
        return;
    }
    let scene = Scene::start(&[], None).await;
    let run = Run::prepare(scene, STALENESS_MAX).await;
    let clients = run.begin();
    seconds(if is_long() { 60 } else { 8 }).await;
    let quiet = 0..run.scene.now();
    println!("nothing fails: {}", Lag::of(&run.history(), quiet));

    let failing = run.scene.now();
    for _ in 0..if is_long() { 8 } else { 1 } {
        faults_at_once(&run).await;
    }
    stop_postgres(&run).await;
    println!("faults: {}", Lag::of(&run.history(), failing..At::MAX));

    settle(&run).await;
    run.end();
    for client in clients {
        client.await.unwrap();
    }
    report(&run, true);
}

/// All faults but the last, one after another and some of them together.
async fn faults_at_once(run: &Arc<Run>) {
    let scene = &run.scene;
    // An old snapshot holds the pollers' mark back for the whole time.
    let mut long =
        scene.cluster.sql_meanwhile("BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(25); COMMIT");
    // Wakes are lost.
    let listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let terminated = scene.cluster.sql(listeners).len();
    assert!(terminated >= REPLICAS, "each server listens: {terminated}");
    seconds(1).await;
    // One server hears of no change, and does not know it.
    scene.proxies[2].silence(POLLER);
    scene.proxies[1].delay(Duration::from_millis(20));
    seconds(5).await;
    scene.proxies[2].heal();
    // One ends without a word.
    scene.kill(0);
    seconds(1).await;
    scene.launch(0);
    seconds(1).await;
    // One stands still and goes on as if no time had passed.
    scene.signal(1, "STOP");
    seconds(5).await;
    scene.signal(1, "CONT");
    seconds(2).await;
    scene.proxies[1].delay(Duration::ZERO);
    kill_before_notify(run).await;
    long.kill().unwrap();
    long.wait().unwrap();
}

/// A server is killed when its change is committed: nobody is woken, and nobody has the answer.
async fn kill_before_notify(run: &Arc<Run>) {
    for grants in [false, true] {
        let told = run.scene.proxies[2].trap_commit("trapped-");
        let request_id = format!("trapped-{}", run.scene.number());
        let change = {
            let run = run.clone();
            tokio::spawn(async move { run.change_last(grants, &request_id, 2).await })
        };
        told.await.expect("the change is committed through this network");
        run.scene.kill(2);
        assert!(change.await.unwrap(), "another server acknowledges the change");
        run.scene.launch(2);
        seconds(1).await;
    }
}

async fn stop_postgres(run: &Arc<Run>) {
    // On this thread, as a cluster must be; see there.
    let cluster = &run.scene.cluster;
    cluster.stop();
    seconds(10).await;
    cluster.resume();
    seconds(2).await;
}

/// Everything heals by itself.
async fn settle(run: &Run) {
    let started = Instant::now();
    while !run.is_settled().await {
        assert!(started.elapsed() < Duration::from_secs(60), "the servers do not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Says what the judge found, and fails unless it is as expected.
fn report(run: &Run, is_right: bool) {
    let history = run.history();
    let answered = history.checks.iter().filter(|check| check.answer != crate::history::Answer::None).count();
    let acknowledged = history.changes.iter().filter(|change| change.acknowledged.is_some()).count();
    let violations = judge(&history);
    println!(
        "{} checks, {answered} answered; {acknowledged} of {} changes acknowledged; broken promises: {:?}",
        history.checks.len(),
        history.changes.len(),
        tally(&violations)
    );
    if is_right {
        assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
        assert!(answered > 500 && acknowledged > 50, "too little happened to mean anything");
        assert_eq!(acknowledged, history.changes.len(), "every change is acknowledged in the end");
    }
}

/// A server with a mistake, under the fault that brings it out: the judge must see it.
async fn is_seen(
    fault: &'static str,
    settings: &[&str],
    staleness_max: Duration,
    befall: impl AsyncFn(&Run),
) {
    if !ready() {
        return;
    }
    let scene = Scene::start(settings, Some(fault)).await;
    let run = Run::prepare(scene, staleness_max).await;
    let clients = run.begin();
    seconds(1).await;
    befall(&run).await;
    let started = Instant::now();
    while judge(&run.history()).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the judge does not see `{fault}`");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("`{fault}` is seen after {:?}", started.elapsed());
    run.end();
    for client in clients {
        client.await.unwrap();
    }
    report(&run, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_sees_a_server_without_a_lease() {
    is_seen("NoLease", &[], STALENESS_MAX, async |run| run.scene.proxies[1].silence(POLLER)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_sees_a_server_without_floors() {
    is_seen("NoFloor", &[], STALENESS_MAX, async |_| {}).await;
}

/// A token's request joins a load that began before the change, on a slow network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_sees_a_load_that_is_not_judged_again() {
    is_seen("FillUnchecked", &[], STALENESS_MAX, async |run| {
        run.scene.proxies[1].delay(Duration::from_millis(30));
    })
    .await;
}
