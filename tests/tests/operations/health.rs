//! Health tells the truth, while the database goes and comes.

use std::process::{Command, Output};
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use usher_tests::engine::{Database, postgres_is_there};
use usher_tests::harness::channel;
use usher_tests::process::usher;
use usher_tests::{Engine, OwnPostgres, Process, both_engines};

both_engines!(every_name_is_answered_on_both_ports, a_server_without_the_role_models_in_use_is_not_ready,);

/// Longer than three looks at a database that is away, on a busy machine.
const CHANGE_MAX: Duration = Duration::from_secs(90);

fn serve(database: &str) -> Process {
    Process::serve_with(database, &["server.probe_listen=127.0.0.1:0"], &[])
}

fn asking(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn status(channel: &Channel, service: &str) -> ServingStatus {
    HealthClient::new(channel.clone()).check(asking(service)).await.unwrap().into_inner().status()
}

fn ask(address: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = usher(&[&["health", "--address", address], more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (status.code(), text(stdout), text(stderr))
}

/// What the probe that Kubernetes users know says: its exit code, and its words. `None` where it is not installed;
/// `tests/run` installs it.
fn grpc_health_probe(address: &str, service: &str) -> Option<(Option<i32>, String)> {
    let Some(program) = std::env::var_os("USHER_TEST_GRPC_HEALTH_PROBE") else {
        assert!(std::env::var_os("USHER_TEST_REQUIRE").is_none(), "there is no grpc_health_probe");
        return None;
    };
    let arguments =
        [format!("-addr={address}"), format!("-service={service}"), "-connect-timeout=10s".to_owned()];
    let Output { status, stderr, stdout } = Command::new(program).args(arguments).output().unwrap();
    Some((status.code(), String::from_utf8([stdout, stderr].concat()).unwrap()))
}

/// Asks until it is so.
async fn becomes(channel: &Channel, service: &str, wanted: ServingStatus) {
    let becoming = async {
        while status(channel, service).await != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(CHANGE_MAX, becoming).await.unwrap_or_else(|_| panic!("`{service}` never is {wanted:?}"));
}

async fn every_name_is_answered_on_both_ports(engine: Engine) {
    let directory = tempfile::TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let server = serve(&database.url);
    let probe = server.serves("probes").to_owned();
    let main = server.url.trim_start_matches("http://").to_owned();
    for address in [&probe, &main] {
        let channel = channel(&format!("http://{address}")).await;
        becomes(&channel, "", Serving).await;
        for service in ["", "readiness", "liveness"].iter().chain(&usher_server::rpc::SERVICES) {
            assert_eq!(status(&channel, service).await, Serving, "{service}");
            assert_eq!(
                ask(address, &["--service", service]),
                (Some(0), format!("SERVING {service}").trim_end().to_owned(), String::new())
            );
        }
        if let Some((code, said)) = grpc_health_probe(address, "readiness") {
            assert!(code == Some(0) && said.contains("SERVING"), "{said}");
            assert_eq!(grpc_health_probe(address, "nobody").unwrap().0, Some(3), "the call fails");
        }
        let unknown = HealthClient::new(channel.clone()).check(asking("nobody")).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
    }
    let (code, said, _) = ask(&probe, &["--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["status"], &json["service"]), (Some(0), &"SERVING".into(), &"readiness".into()));
    let (code, said, problem) = ask(&probe, &["--service", "nobody"]);
    assert!(code == Some(2) && said.is_empty() && problem.contains("`nobody`"), "{problem}");
    let (ended, logged) = server.terminate_and_log();
    assert_eq!(ended, Some(0));
    let errors: Vec<&String> = logged.iter().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "a server that lacks nothing logs no error: {errors:#?}");
    let (code, said, problem) = ask(&probe, &[]);
    assert!(code == Some(2) && said.is_empty() && problem.contains("cannot reach"), "{problem}");
    assert_eq!(ask("no address", &[]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_the_database_and_who_watches_sees_both() {
    if !postgres_is_there() {
        return;
    }
    let mut postgres = tokio::task::spawn_blocking(OwnPostgres::start).await.unwrap();
    let server = serve(&postgres.url());
    let probe = server.serves("probes").to_owned();
    let main = channel(&server.url).await;
    becomes(&main, "readiness", Serving).await;
    let mut watching = HealthClient::new(main.clone()).watch(asking("readiness")).await.unwrap().into_inner();
    let mut next = async || {
        let told = timeout(CHANGE_MAX, watching.message()).await.expect("a change is told in time");
        told.unwrap().unwrap().status()
    };
    assert_eq!(next().await, Serving);

    tokio::task::block_in_place(|| postgres.stop());
    assert_eq!(next().await, NotServing);
    assert_eq!(status(&main, "").await, NotServing);
    assert_eq!(status(&main, "usher.v1.AuthorizationService").await, NotServing);
    assert_eq!(status(&main, "liveness").await, Serving, "a restart would not bring the database back");
    let (code, said, _) = tokio::task::block_in_place(|| ask(&probe, &[]));
    assert!(
        code == Some(1) && said.starts_with("NOT_SERVING readiness: ") && said.contains("database"),
        "{said}"
    );
    assert!(server.line("not ready").contains("the database does not answer"));

    tokio::task::block_in_place(|| postgres.begin());
    assert_eq!(next().await, Serving);
    let (code, said, _) = tokio::task::block_in_place(|| ask(&probe, &[]));
    assert_eq!((code, &*said), (Some(0), "SERVING readiness"));
    assert_eq!(server.terminate(), Some(0));
}

/// An account of a role model that this server's files lack would be denied everything: such a server is
/// not the one to ask.
async fn a_server_without_the_role_models_in_use_is_not_ready(engine: Engine) {
    let directory = tempfile::TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let server = serve(&database.url);
    let connection = channel(&server.url).await;
    usher_tests::cast::fill(&connection, "acme", usher_tests::INTEGRATE_IO, 20).await;
    assert_eq!(server.terminate(), Some(0));
    database.execute("UPDATE account SET model = 'another'");
    let server = serve(&database.url);
    let connection = channel(&server.url).await;
    let main = server.url.trim_start_matches("http://");
    let told = async {
        loop {
            let (code, said, _) = ask(main, &[]);
            assert_eq!(code, Some(1), "{said}");
            if said.contains("`another`") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(CHANGE_MAX, told).await.expect("the reason is told");
    if let Some((code, said)) = grpc_health_probe(main, "readiness") {
        assert!(code == Some(4) && said.contains("NOT_SERVING"), "{said}");
    }
    assert_eq!(status(&connection, "readiness").await, NotServing);
    assert_eq!(status(&connection, "liveness").await, Serving);
    assert_eq!(server.terminate(), Some(0));
}
