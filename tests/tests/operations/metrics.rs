//! `/metrics` says what happened, to the call.

use std::net::TcpListener;
use std::time::Duration;

use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use usher_server::clock::Clock;
use usher_tests::cast::inviting;
use usher_tests::{Actor, Engine, INTEGRATE_IO, Usher, both_engines, pb};

use crate::check;
use crate::page::{Page, ask};

both_engines!(what_is_counted_is_what_was_called, only_the_page_is_served);

const CALLS: &str = "rpc_server_call_duration_seconds_count";
const CHECK: &str = "usher.v1.AuthorizationService/CheckPermission";
const CHECKS: &str = "usher.v1.AuthorizationService/CheckPermissions";

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn start(engine: Engine) -> (Usher, String) {
    let address = free_address();
    let listen = address.parse().unwrap();
    let configure = |config: &mut usher_server::config::Config| config.server.metrics_listen = Some(listen);
    let usher = Usher::start_with(engine, Clock::system(), configure).await;
    let listening = async {
        while ask(&address, "GET", "/").await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listening).await.expect("the page is served");
    (usher, address)
}

/// A call of a method that nobody has, with a name that somebody made up.
async fn call_unknown(usher: &Usher, path: &'static str) {
    let mut client = tonic::client::Grpc::new(usher.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::CheckPermissionRequest, pb::CheckPermissionResponse>::default();
    let path = PathAndQuery::from_static(path);
    let refused = client.unary(tonic::Request::new(check("x", "run")), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

async fn what_is_counted_is_what_was_called(engine: Engine) {
    let (usher, address) = start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let before = Page::read(&address).await;
    for _ in 0..7 {
        usher.authorization().check_permission(check("acme-editor", "run")).await.unwrap();
    }
    for _ in 0..3 {
        usher.authorization().check_permission(check("acme-reader", "run")).await.unwrap();
    }
    for _ in 0..2 {
        usher.authorization().check_permission(check("acme-editor", "execute")).await.unwrap_err();
    }
    let item = |action: &str| pb::Check {
        action: action.to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let batch = pb::CheckPermissionsRequest {
        account_id: "acme".to_owned(),
        subject: check("acme-reader", "run").subject,
        checks: vec![item("view"), item("run"), item("view"), item("nonsense")],
        ..Default::default()
    };
    usher.authorization().check_permissions(batch).await.unwrap();
    usher
        .members()
        .invite_user(inviting("acme", Actor("acme-admin"), "ivy@x.example", "editor"))
        .await
        .unwrap();
    usher
        .members()
        .invite_user(inviting("acme", Actor("acme-reader"), "jo@x.example", "editor"))
        .await
        .unwrap_err();
    call_unknown(&usher, "/made.up.Service/WithAName").await;
    call_unknown(&usher, "/usher.v1.MemberService/Another").await;
    let after =
        Page::until(&address, |page| page.sum("usher_mails_total", &[("result", "sent")]) >= 1.0).await;
    let grew = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let ended = |method, code| grew(CALLS, &[("rpc_method", method), ("rpc_response_status_code", code)]);
    assert_eq!(ended(CHECK, "OK"), 10.0, "{}", after.text);
    assert_eq!(ended(CHECK, "INVALID_ARGUMENT"), 2.0);
    assert_eq!(ended(CHECKS, "OK"), 1.0);
    assert_eq!(ended("usher.v1.MemberService/InviteUser", "OK"), 1.0);
    assert_eq!(ended("usher.v1.MemberService/InviteUser", "PERMISSION_DENIED"), 1.0);
    assert_eq!(ended("_OTHER", "UNIMPLEMENTED"), 2.0);
    assert_eq!(grew(CALLS, &[("error_type", "UNIMPLEMENTED")]), 2.0);
    assert_eq!(grew(CALLS, &[]), grew(CALLS, &[("rpc_system_name", "grpc")]));
    assert!(grew("rpc_server_call_duration_seconds_sum", &[("rpc_method", CHECK)]) > 0.0);
    assert_eq!(
        grew("rpc_server_call_duration_seconds_bucket", &[("rpc_method", CHECK), ("le", "+Inf")]),
        12.0
    );

    let decided = |reason| grew("usher_decisions_total", &[("reason", reason)]);
    assert_eq!((decided("ROLE_GRANTS"), decided("ROLE_LACKS_PERMISSION")), (7.0 + 2.0, 3.0 + 1.0));
    assert_eq!(grew("usher_decisions_total", &[("decision", "ALLOW")]), 9.0);
    assert_eq!(grew("usher_calls_refused_total", &[("reason", "ACTION_UNKNOWN")]), 2.0);
    assert_eq!(grew("usher_calls_refused_total", &[("reason", "ACTOR_LACKS_PERMISSION")]), 1.0);
    assert_eq!(grew("usher_mails_total", &[("result", "sent")]), 1.0);
    let reads = |source| grew("usher_cache_reads_total", &[("source", source)]);
    // The first check of each of two members is read; what follows comes from memory.
    assert!(reads("memory") >= 9.0 && reads("load") >= 2.0, "{} {}", reads("memory"), reads("load"));
    the_rest_is_there(&after, engine);
    nobody_chose_a_label(&after);
    usher.stop().await;
}

fn the_rest_is_there(page: &Page, engine: Engine) {
    for name in [
        "usher_build_info",
        "usher_cache_standings",
        "usher_cache_floors",
        "usher_passwords_waiting",
        "usher_database_connections",
        "usher_database_connections_max",
        "usher_outbox_mails",
        "usher_outbox_oldest_seconds",
        "usher_seats",
        "usher_connections",
        "usher_connections_accepted_total",
        "usher_panics_total",
        "usher_cache_polls_total",
        "usher_cache_poll_time_seconds_total",
        "target_info",
    ] {
        assert!(page.has(name), "{name} in {}", page.text);
    }
    let polls = page.sum("usher_cache_polls_total", &[("result", "ok")]);
    match engine {
        Engine::Sqlite => assert!(polls == 0.0 && !page.has("usher_cache_lease_age_seconds")),
        Engine::Postgres => assert!(polls > 0.0 && page.sum("usher_cache_lease_age_seconds", &[]) < 60.0),
    }
    assert_eq!(page.sum("usher_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(page.sum("usher_connections", &[]) >= 1.0);
}

fn nobody_chose_a_label(page: &Page) {
    for chosen in ["acme", "made.up", "WithAName", "Another", "ivy", "x.example", "editor", "nonsense"] {
        assert!(!page.text.contains(chosen), "`{chosen}` in {}", page.text);
    }
    for method in page.values("rpc_method") {
        assert!(
            method == "_OTHER" || method.starts_with("usher.v1.") || method.starts_with("grpc."),
            "{method}"
        );
    }
}

async fn only_the_page_is_served(engine: Engine) {
    let (usher, address) = start(engine).await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/metrics/x", 404),
        ("POST", "/metrics", 405),
        ("GET", "/metrics?x=y", 200),
    ] {
        assert_eq!(ask(&address, method, path).await.unwrap().0, status, "{method} {path}");
    }
    usher.stop().await;
    assert!(ask(&address, "GET", "/metrics").await.is_none(), "the port is closed");
}
