//! Two servers behind PgBouncer in transaction mode: everything works, without `LISTEN`.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use usher_storage::{ConnectOptions, Error, Store};
use usher_tests::cast::{self, inviting, joining};
use usher_tests::cluster::Cluster;
use usher_tests::harness::channel;
use usher_tests::mailbox::Mailbox;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::consistency::Requirement;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::person::{PASSWORD, accepting, new_password};
use usher_tests::pgbouncer::PgBouncer;
use usher_tests::process::usher;
use usher_tests::{INTEGRATE_IO, Platform, Process, acting, pb, refused};

use crate::ready;

/// Fewer than the servers' calls at once, so that transactions take turns on them.
const CONNECTIONS: usize = 5;
const CALLS: usize = 600;
const CALLS_AT_ONCE: usize = 24;
/// As configured by default.
const STALENESS_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_behind_a_pooler_do_all_they_do_without() {
    if !ready() {
        return;
    }
    let cluster = Cluster::start(&["log_min_error_statement=error"]);
    let Some(pooler) = PgBouncer::start(&cluster, CONNECTIONS) else { return };
    without_the_setting_it_says_what_to_do(&pooler);
    let directory = TempDir::new().unwrap();
    let mails = format!("mail.directory={}", directory.path().display());
    let serve = || Process::serve_with(&pooler.url(), &["database.pooler=true", &mails], &[]);
    // Both bring the empty database up to date at once.
    let servers = std::thread::scope(|scope| {
        let other = scope.spawn(serve);
        [serve(), other.join().unwrap()]
    });
    let channels = [channel(&servers[0].url).await, channel(&servers[1].url).await];
    cast::fill(&channels[0], "acme", INTEGRATE_IO, 1000).await;

    many_calls(&channels).await;
    changes_are_seen(&channels).await;
    let mailbox = Mailbox { directory: directory.path().to_owned() };
    people_are_invited(&channels, &mailbox).await;
    time_limits_hold(&cluster, &channels).await;

    let used: usize = cluster
        .sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'usher%'")[0]
        .parse()
        .unwrap();
    assert!((1..=CONNECTIONS).contains(&used), "{used} connections");
    for server in servers {
        let (code, said) = server.terminate_and_log();
        assert_eq!(code, Some(0), "{said:#?}");
        let is_wrong = |line: &&String| ["ERROR", "polls fail"].iter().any(|words| line.contains(words));
        let wrong: Vec<_> = said.iter().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    for log in [cluster.log(), pooler.log()] {
        assert!(!log.contains("prepared statement"), "{log}");
    }
}

/// The pooler keeps its own connections to us, whichever server it leads to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_behind_a_pooler_is_refused() {
    if !ready() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let Some(pooler) = PgBouncer::start(&cluster, CONNECTIONS) else { return };
    let mut options = ConnectOptions::new(pooler.url());
    options.pooler = true;
    let store = Store::connect(&options).await.unwrap();
    store.migrate().await.unwrap();
    store.pending_migrations().await.unwrap();
    cluster.stop();
    cluster.demote();
    cluster.resume();
    for refused in [store.pending_migrations().await.map(drop), store.migrate().await] {
        assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("standby")), "{refused:?}");
    }
}

fn without_the_setting_it_says_what_to_do(pooler: &PgBouncer) {
    let told = usher(&["migrate", "--database-url", &pooler.url()]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success() && said.contains("database.pooler"), "{said}");
}

fn check(user: &str, requirement: Requirement) -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: "acme".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(user.to_owned())) }),
        action: "update".to_owned(),
        resource: Some(pb::Resource { r#type: "package".to_owned(), ..Default::default() }),
        consistency: Some(pb::Consistency { requirement: Some(requirement) }),
        ..Default::default()
    }
}

/// Reads and changes, more of them at once than there are connections; each must succeed.
async fn many_calls(channels: &[Channel; 2]) {
    let started = Instant::now();
    let calls = futures::stream::iter(0..CALLS).map(|number| call(channels[number % 2].clone(), number));
    let answers: Vec<Result<(), Status>> = calls.buffer_unordered(CALLS_AT_ONCE).collect().await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    println!("{CALLS} calls through {CONNECTIONS} connections took {:?}", started.elapsed());
    assert!(failed.is_empty(), "{} of {CALLS} failed, the first with {:?}", failed.len(), failed[0]);
}

async fn call(channel: Channel, number: usize) -> Result<(), Status> {
    let mut members = MemberServiceClient::new(channel.clone());
    match number / 2 % 4 {
        0 => members.invite_user(joining("acme", Platform, &format!("p{number}"), "reader")).await.map(drop),
        1 => {
            let request = pb::ListMembersRequest {
                account_id: "acme".to_owned(),
                acting: acting(Platform),
                ..Default::default()
            };
            members.list_members(request).await.map(drop)
        }
        // Not from memory.
        _ => {
            let request = check("acme-editor", Requirement::FullyConsistent(true));
            AuthorizationServiceClient::new(channel).check_permission(request).await.map(drop)
        }
    }
}

/// A change on one server is seen on the other, which had the answer in memory, by polls alone.
async fn changes_are_seen(channels: &[Channel; 2]) {
    let mut worst = Duration::ZERO;
    for turn in 0..20 {
        let (role, expected) = match turn % 2 {
            0 => ("reader", pb::Decision::Deny),
            _ => ("editor", pb::Decision::Allow),
        };
        let request = pb::ChangeRoleRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            user_id: "acme-editor".to_owned(),
            role: role.to_owned(),
            ..Default::default()
        };
        MemberServiceClient::new(channels[0].clone()).change_role(request).await.unwrap();
        let changed = Instant::now();
        let mut other = AuthorizationServiceClient::new(channels[1].clone());
        loop {
            let asked = changed.elapsed();
            let request = check("acme-editor", Requirement::MinimizeLatency(true));
            if other.check_permission(request).await.unwrap().into_inner().decision() == expected {
                worst = worst.max(asked);
                break;
            }
            assert!(asked <= STALENESS_MAX, "an old answer after {asked:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("changes were seen by the other server after at most {worst:?}");
}

/// Invited on one server, mailed by either, accepted on the other.
async fn people_are_invited(channels: &[Channel; 2], mailbox: &Mailbox) {
    for number in 0..6 {
        let address = format!("ivy-{number}@people.example");
        let request = inviting("acme", Platform, &address, "reader");
        MemberServiceClient::new(channels[0].clone()).invite_user(request).await.unwrap();
        let letter = mailbox.wait_for(&address).await;
        let request = accepting(letter.token(), new_password(PASSWORD));
        MemberServiceClient::new(channels[1].clone()).accept_invitation(request).await.unwrap();
    }
}

/// Those that are set in each transaction: a change waits for the account as long as ever, not for longer.
async fn time_limits_hold(cluster: &Cluster, channels: &[Channel; 2]) {
    let mut holder = cluster.sql_meanwhile(
        "BEGIN; SELECT 1 FROM account WHERE id = 'acme' FOR UPDATE; SELECT pg_sleep(4); COMMIT",
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    let request = joining("acme", Platform, "late", "reader");
    refused(
        MemberServiceClient::new(channels[0].clone()).invite_user(request).await,
        Code::Aborted,
        "CONTENTION",
    );
    let waited = asked.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    holder.wait().unwrap();
}
