//! The database is away, or silent: what is still answered, for how long, and that everything heals.

use std::process::Child;
use std::time::{Duration, Instant};

use tonic::{Code, Status};
use usher_tests::cluster::Cluster;
use usher_tests::harness::channel;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::process::usher;
use usher_tests::proxy::{Proxy, Whom};
use usher_tests::{INTEGRATE_IO, Platform, Process, Refused, acting, cast, pb};

use crate::ready;

/// One server on a PostgreSQL of its own, behind a network of its own.
struct Alone {
    // First, so that it ends before its database.
    server: Process,
    network: Proxy,
    cluster: Cluster,
    channel: tonic::transport::Channel,
    _directory: tempfile::TempDir,
}

/// Longer than anything here takes to heal on a busy machine.
const HEAL_MAX: Duration = Duration::from_secs(60);

impl Alone {
    async fn start(settings: &[&str]) -> Self {
        let cluster = Cluster::start(&[]);
        let network = Proxy::start(([127, 0, 0, 1], cluster.port()).into()).await;
        let directory = tempfile::TempDir::new().unwrap();
        let url = format!("postgres://postgres@{}/postgres", network.address);
        let mails = format!("mail.directory={}", directory.path().display());
        let mut arguments = vec!["serve", "--migrate", "--listen", "127.0.0.1:0", "--database-url", &url];
        for setting in ["oauth.issuers=https://login.example", &mails].iter().chain(settings) {
            arguments.extend(["--set", setting]);
        }
        let server = Process::start(&arguments);
        let channel = channel(&server.url).await;
        cast::fill(&channel, "acme", INTEGRATE_IO, 20).await;
        Self { server, network, cluster, channel, _directory: directory }
    }

    async fn check(&self, user: &str) -> Result<pb::CheckPermissionResponse, Status> {
        let request = pb::CheckPermissionRequest {
            account_id: "acme".to_owned(),
            subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(format!("acme-{user}"))) }),
            action: "view".to_owned(),
            resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let told = AuthorizationServiceClient::new(self.channel.clone()).check_permission(request).await;
        told.map(tonic::Response::into_inner)
    }

    async fn change_role(&self, role: &str) -> Result<i64, Status> {
        let request = pb::ChangeRoleRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            user_id: "acme-reader".to_owned(),
            role: role.to_owned(),
            ..Default::default()
        };
        let told = MemberServiceClient::new(self.channel.clone()).change_role(request).await;
        told.map(|told| told.into_inner().revision)
    }

    /// Keeps everybody else out of a table.
    async fn hold_table(&self, table: &str) -> Child {
        let hold = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
        let holder = self.cluster.sql_meanwhile(&hold);
        let started = Instant::now();
        while self.cluster.sql(&format!("SELECT count(*) {}", held(table)))[0] != "1" {
            assert!(started.elapsed() < HEAL_MAX, "the table is not locked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        holder
    }

    fn release_table(&self, table: &str) {
        self.cluster.sql(&format!("SELECT pg_terminate_backend(pid) {}", held(table)));
    }

    /// Waits until checks and changes are answered again.
    async fn heals(&self) {
        let started = Instant::now();
        loop {
            if self.check("reader").await.is_ok_and(|told| !told.stale)
                && self.change_role("reader").await.is_ok()
            {
                return;
            }
            assert!(started.elapsed() < HEAL_MAX, "it does not heal: {:#?}", self.server.logged());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn held(table: &str) -> String {
    format!("FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' AND relation = '{table}'::regclass")
}

/// Unavailable, with the time to come back.
#[track_caller]
fn is_unavailable(status: &Status) {
    let told = Refused::of(status);
    assert_eq!((told.code, told.reason.as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"), "{status:?}");
    assert!(told.retry_after.is_some(), "{status:?}");
}

/// Asks until there is no answer, and returns the last answer's age: how long after `since` it was asked for.
async fn until_unavailable(alone: &Alone, since: Instant) -> (Duration, Vec<bool>) {
    let mut last = (Duration::ZERO, Vec::new());
    loop {
        let asked = since.elapsed();
        match alone.check("reader").await {
            Ok(told) => {
                last.0 = asked;
                last.1.push(told.stale);
            }
            Err(status) => {
                is_unavailable(&status);
                return last;
            }
        }
        assert!(since.elapsed() < HEAL_MAX, "checks go on for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_memory_answers_as_long_as_promised_and_changes_fail_at_once() {
    if !ready() {
        return;
    }
    let alone = Alone::start(&[]).await;
    alone.check("reader").await.unwrap();
    let asked = Instant::now();
    alone.cluster.stop();
    let since = Instant::now();
    let (answered, stale) = until_unavailable(&alone, since).await;
    // 2 s is the bound; the last poll may have been a little before.
    assert!(answered <= Duration::from_secs(2) && !stale.contains(&true), "{answered:?}");
    // A poll begins every 0.2 s; on a busy machine, later.
    let answered = answered + (since - asked);
    assert!(answered >= Duration::from_secs(1), "memory answered for {answered:?} only");
    // What was never in memory is unavailable too, and so are all other calls.
    is_unavailable(&alone.check("nobody").await.unwrap_err());
    // It is known by now, so a change does not wait for the pool's patience.
    let asked = Instant::now();
    is_unavailable(&alone.change_role("editor").await.unwrap_err());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "a change fails at once: {took:?}");
    alone.cluster.resume();
    alone.heals().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_let_checks_go_on_and_they_say_so() {
    if !ready() {
        return;
    }
    let settings = ["cache.staleness_max_ms=1000", "cache.outage_grace_ms=2000"];
    let alone = Alone::start(&settings).await;
    alone.check("reader").await.unwrap();
    alone.cluster.stop();
    let (answered, stale) = until_unavailable(&alone, Instant::now()).await;
    assert!(answered <= Duration::from_secs(3), "{answered:?}");
    let fresh = stale.iter().take_while(|stale| !**stale).count();
    assert!(
        stale[fresh..].iter().all(|stale| *stale) && fresh < stale.len(),
        "first fresh, then stale: {stale:?}"
    );
    alone.cluster.resume();
    alone.heals().await;
}

/// Who waited for the database before memory is asked would hold a place among the calls in hand meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_memory_answers_many_at_once() {
    const AT_ONCE: usize = 200;
    if !ready() {
        return;
    }
    let alone = Alone::start(&["cache.staleness_max_ms=1000", "cache.outage_grace_ms=60000"]).await;
    alone.check("reader").await.unwrap();
    // Nobody says that the database is away: whoever asks it waits.
    alone.network.deafen(Whom::All);
    let since = Instant::now();
    while !alone.check("reader").await.is_ok_and(|told| told.stale) {
        assert!(since.elapsed() < HEAL_MAX, "the database is not missed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Until that is known, one may wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stale = async || {
        let asked = Instant::now();
        assert!(alone.check("reader").await.unwrap().stale);
        asked.elapsed()
    };
    let asked = Instant::now();
    futures::future::join_all((0..AT_ONCE).map(|_| stale())).await;
    println!("{AT_ONCE} checks at once without the database took {:?}", asked.elapsed());
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        quickest = quickest.min(stale().await);
    }
    // What a change waits for a database that is away is twice as long. Slower ones tell of this machine only.
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
    alone.network.heal();
    alone.heals().await;
}

/// Rows that cannot be read in time would be more at each poll. Here they are as long as somebody holds their table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_that_cannot_catch_up_begin_anew() {
    if !ready() {
        return;
    }
    let alone = Alone::start(&[]).await;
    alone.check("reader").await.unwrap();
    let mut holder = alone.hold_table("account").await;
    let mut said = String::new();
    let asked = Instant::now();
    while !said.contains("polls cannot catch up") {
        assert!(asked.elapsed() < HEAL_MAX, "{said}");
        said.extend(alone.server.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    alone.release_table("account");
    holder.wait().unwrap();
    alone.heals().await;
    // It polls again: what others change is seen.
    alone.cluster.sql("UPDATE member SET seat = false WHERE user_id = 'acme-reader'");
    alone.cluster.sql("UPDATE account SET revision = revision + 1, nonce = nonce + 1, chg_xid = pg_current_xact_id()::text::bigint");
    let asked = Instant::now();
    while alone.check("reader").await.unwrap().decision() == pb::Decision::Allow {
        assert!(asked.elapsed() < HEAL_MAX, "changes are not seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As when a name leads to a replica after a failover: what it answers may be of a while ago, and it says so to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_until_it_is_promoted() {
    if !ready() {
        return;
    }
    let alone = Alone::start(&[]).await;
    alone.cluster.stop();
    alone.cluster.demote();
    alone.cluster.resume();
    assert_eq!(alone.cluster.sql("SELECT count(*) > 0 FROM account"), ["t"], "it answers reads");
    until_unavailable(&alone, Instant::now()).await;
    is_unavailable(&alone.check("nobody").await.unwrap_err());
    is_unavailable(&alone.change_role("editor").await.unwrap_err());
    let refused = usher(&["migrate", "--database-url", &alone.cluster.url()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("it is a standby"), "{said}");
    alone.cluster.sql("SELECT pg_promote()");
    alone.heals().await;
}

/// Every connection of the pool waits for an answer when the network goes silent without a word, in whatever
/// stage of its use it is, those of going back to the pool among them. The calls are given up, and the pool must
/// have all of its connections again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_costs_no_connection_for_good() {
    if !ready() {
        return;
    }
    const CONNECTIONS: usize = 3;
    let alone = Alone::start(&["database.connections_max=3"]).await;
    let rounds = if crate::is_long() { 8 } else { 2 };
    for round in 0..rounds {
        let reads: Vec<_> =
            (0..CONNECTIONS * 2).map(|_| tokio::spawn(read_until_it_fails(alone.channel.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Answers are lost: the calls wait on all connections, and some changes are made all the same.
        alone.network.deafen(Whom::All);
        let calls: Vec<_> = (0..CONNECTIONS * 2)
            .map(|number| {
                let (channel, number) = (alone.channel.clone(), number + round * 100);
                tokio::spawn(async move {
                    let request = cast::joining("acme", Platform, &format!("p{number}"), "reader");
                    MemberServiceClient::new(channel).invite_user(request).await
                })
            })
            .collect();
        let mut failed = Vec::new();
        for call in calls {
            failed.push(call.await.unwrap().expect_err("nothing is acknowledged that nobody knows of"));
        }
        for read in reads {
            failed.push(read.await.unwrap());
        }
        for status in failed {
            let excused = [Code::Unavailable, Code::DeadlineExceeded];
            assert!(excused.contains(&status.code()), "{status:?}");
        }
        alone.network.heal();
        alone.heals().await;
        all_connections_work(&alone, CONNECTIONS, round).await;
    }
}

async fn read_until_it_fails(channel: tonic::transport::Channel) -> Status {
    let mut members = MemberServiceClient::new(channel);
    loop {
        let request = pb::ListMembersRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            ..Default::default()
        };
        if let Err(status) = members.list_members(request).await {
            return status;
        }
    }
}

/// While somebody holds the account's row, as many changes wait for it as the pool has connections.
async fn all_connections_work(alone: &Alone, connections: usize, round: usize) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'usher' AND wait_event_type = 'Lock'";
    let started = Instant::now();
    for attempt in 0.. {
        let mut holder = alone.cluster.sql_meanwhile(
            "BEGIN; SELECT 1 FROM account WHERE id = 'acme' FOR UPDATE; SELECT pg_sleep(1.5); COMMIT",
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
        let calls: Vec<_> = (0..connections * 2)
            .map(|number| {
                let (channel, user) = (alone.channel.clone(), format!("q{round}-{attempt}-{number}"));
                tokio::spawn(async move {
                    let request = cast::joining("acme", Platform, &user, "reader");
                    MemberServiceClient::new(channel).invite_user(request).await
                })
            })
            .collect();
        let mut most = 0;
        while most < connections && holder.try_wait().unwrap().is_none() {
            most = most.max(alone.cluster.sql(waiting)[0].parse().unwrap());
        }
        holder.wait().unwrap();
        for call in calls {
            let _ = call.await.unwrap();
        }
        if most == connections {
            return;
        }
        assert!(started.elapsed() < HEAL_MAX, "only {most} of {connections} connections are used");
    }
}

/// What memory lacks for a batch is read several at a time, and never by all connections: one batch of
/// a thousand people must not keep everybody else out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_reads_several_standings_at_a_time_and_leaves_connections_for_others() {
    const READS_AT_ONCE: usize = 4;
    if !ready() {
        return;
    }
    let alone = Alone::start(&[]).await;
    let mut holder = alone.hold_table("member").await;
    let person = |number| pb::Subject { kind: Some(pb::subject::Kind::UserId(format!("p{number}"))) };
    let checks = (0..4 * READS_AT_ONCE).map(|number| pb::Check {
        subject: Some(person(number)),
        action: "view".to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
    });
    let request = pb::CheckPermissionsRequest {
        account_id: "acme".to_owned(),
        checks: checks.collect(),
        ..Default::default()
    };
    let mut client = AuthorizationServiceClient::new(alone.channel.clone());
    let batch = tokio::spawn(async move { client.check_permissions(request).await });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%JOIN member%'";
    // Until so many wait, and a moment longer; well below the time that a read may take.
    let (asked, mut most) = (Instant::now(), 0);
    while most < READS_AT_ONCE && asked.elapsed() < Duration::from_millis(1_500) {
        most = alone.cluster.sql(waiting)[0].parse().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    most = most.max(alone.cluster.sql(waiting)[0].parse().unwrap());
    alone.release_table("member");
    holder.wait().unwrap();
    assert_eq!(most, READS_AT_ONCE);
    let told = batch.await.unwrap().unwrap().into_inner();
    assert_eq!(told.results.len(), 4 * READS_AT_ONCE);
}
