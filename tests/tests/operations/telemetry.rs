//! What leaves the process: spans and metrics to a collector, lines to the log.

mod collector;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::Request;
use usher_tests::cast::{fill, inviting};
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::{Actor, Engine, INTEGRATE_IO, Process, both_engines, pb};

use crate::check;
use collector::{Collector, text};

both_engines!(one_invitation_is_traced_as_its_caller_asked);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const INVITE: &str = "usher.v1.MemberService/InviteUser";
const CHECK: &str = "usher.v1.AuthorizationService/CheckPermission";
const EMAIL: &str = "ivy@somewhere.example";

/// A server that sends to this collector, quickly.
fn serve(database: &str, collector: &Collector, more: &[(&str, &str)]) -> Process {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    Process::serve_with(database, &[], &[&variables[..], more].concat())
}

fn within<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request
}

fn is_server(span: &&Span) -> bool {
    span.kind == i32::from(SpanKind::Server)
}

async fn one_invitation_is_traced_as_its_caller_asked(engine: Engine) {
    let collector = Collector::start().await;
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    // Without a parent nothing is traced, so that all spans are those of the call below.
    let server = serve(&database.url, &collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let connection = channel(&server.url).await;
    fill(&connection, "acme", INTEGRATE_IO, 20).await;
    let mut members = MemberServiceClient::new(connection.clone());
    let invitation = inviting("acme", Actor("acme-admin"), EMAIL, "editor");
    members.invite_user(within(invitation.clone(), &format!("00-{TRACE}-{PARENT}-01"))).await.unwrap();
    // Its caller does not trace, and so do we.
    let other = "1af7651916cd43dd8448eb211c80319c";
    members.invite_user(within(invitation, &format!("00-{other}-{PARENT}-00"))).await.unwrap();

    let spans = collector.spans_until(|spans| spans.iter().any(|span| span.name == INVITE)).await;
    let calls: Vec<&Span> = spans.iter().filter(is_server).collect();
    assert_eq!(calls.len(), 1, "{calls:#?}");
    let call = calls[0];
    assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    let attribute = |key| text(&call.attributes, key);
    assert_eq!(attribute("rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(attribute("rpc.method").as_deref(), Some(INVITE));
    assert_eq!(attribute("rpc.response.status_code").as_deref(), Some("OK"));
    assert_eq!(attribute("error.type"), None);
    for retired in ["rpc.system", "rpc.service", "rpc.grpc.status_code"] {
        assert_eq!(attribute(retired), None);
    }
    the_database_is_below_and_tells_no_value(&spans, call);
    let resource = collector.resource();
    assert_eq!(text(&resource, "service.name").as_deref(), Some("usher"));
    assert_eq!(text(&resource, "deployment.environment.name").as_deref(), Some("test"));

    collector.metric_until("rpc.server.call.duration", INVITE).await;
    collector.metric_until("usher.decisions", "ROLE_GRANTS").await;
    assert_eq!(server.terminate(), Some(0));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn the_database_is_below_and_tells_no_value(spans: &[Span], call: &Span) {
    let below: Vec<&Span> =
        spans.iter().filter(|span| span.trace_id == call.trace_id && *span != call).collect();
    assert!(!below.is_empty(), "{spans:#?}");
    for span in below {
        assert_eq!(span.kind, i32::from(SpanKind::Client), "{span:#?}");
        let told = format!("{span:?}");
        for value in [EMAIL, "acme", "editor", "ivy"] {
            assert!(!told.contains(value), "`{value}` in {told}");
        }
    }
}

/// Checks leave no line; changes and refusals leave one each, with the trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_each_change_and_each_refusal() {
    let collector = Collector::start().await;
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Sqlite, directory.path());
    let server = serve(&database.url, &collector, &[("OTEL_TRACES_SAMPLER", "always_on")]);
    let connection = channel(&server.url).await;
    fill(&connection, "acme", INTEGRATE_IO, 20).await;
    let mut checks = AuthorizationServiceClient::new(connection.clone());
    for action in ["run", "run", "view"] {
        checks.check_permission(check("acme-reader", action)).await.unwrap();
    }
    checks.check_permission(check("acme-reader", "nonsense")).await.unwrap_err();
    server.logged();
    let mut members = MemberServiceClient::new(connection.clone());
    let invite = |actor| inviting("acme", Actor(actor), EMAIL, "editor");
    let mut named = within(invite("acme-admin"), &format!("00-{TRACE}-{PARENT}-00"));
    named.metadata_mut().insert("x-request-id", "call-17".parse().unwrap());
    members.invite_user(named).await.unwrap();
    members.invite_user(invite("acme-reader")).await.unwrap_err();
    let done: serde_json::Value = serde_json::from_str(&server.line("\"done\"")).unwrap();
    assert_eq!(done["span"]["request_id"], "call-17", "{done}");
    assert_eq!((&done["rpc"], &done["trace_id"]), (&"MemberService/InviteUser".into(), &TRACE.into()));
    let refused: serde_json::Value = serde_json::from_str(&server.line("\"refused\"")).unwrap();
    assert_eq!(refused["reason"], "ACTOR_LACKS_PERMISSION");
    // Not the caller's, as it named none, but that of the span.
    assert_eq!(refused["trace_id"].as_str().unwrap().len(), 32);
    for _ in 0..20 {
        checks.check_permission(check("acme-reader", "run")).await.unwrap();
    }
    let spans =
        collector.spans_until(|spans| spans.iter().filter(|span| span.name == CHECK).count() == 24).await;
    let wrong = spans.iter().filter(|span| {
        text(&span.attributes, "rpc.response.status_code").as_deref() == Some("INVALID_ARGUMENT")
    });
    assert_eq!(wrong.count(), 1);
    let (code, log) = server.terminate_and_log();
    assert_eq!(code, Some(0));
    assert!(log.iter().all(|line| !line.contains("CheckPermission") && !line.contains(EMAIL)), "{log:#?}");
}

/// Who asks for the keys of an issuer says on whose behalf.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_context_is_passed_on_to_the_issuer_of_keys() {
    let collector = Collector::start().await;
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Sqlite, directory.path());
    let config = format!(
        "[[issuers]]\nname = \"cluster\"\nissuer = \"https://cluster.example\"\naudiences = [\"usher\"]\n\
         algorithms = [\"ES256\"]\njwks_url = \"http://{}/keys\"\n\
         [[callers]]\nname = \"backend\"\nscopes = [\"accounts\"]\njwt = {{ issuer = \"cluster\", subject = \"b\" }}\n",
        issuer.local_addr().unwrap()
    );
    let file = directory.path().join("usher.toml");
    std::fs::write(&file, config).unwrap();
    let variables =
        [("USHER_CONFIG", file.to_str().unwrap()), ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)];
    let server = Process::serve_with(&database.url, &[], &variables);
    // A token by a key that is not known yet. Again and again, for keys are not fetched twice in a second.
    let claims = encoded(r#"{"iss":"https://cluster.example","sub":"b"}"#);
    let token = format!("Bearer {}.{claims}.AAAA", encoded(r#"{"alg":"ES256","kid":"k"}"#));
    let mut accounts = AccountServiceClient::new(channel(&server.url).await);
    let calls = async {
        loop {
            let mut request = within(pb::GetAccountRequest::default(), &format!("00-{TRACE}-{PARENT}-01"));
            request.metadata_mut().insert("authorization", token.parse().unwrap());
            let refused = accounts.get_account(request).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let asked = async {
        loop {
            let (mut stream, _) = issuer.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            // The server's own look, at its start, is on nobody's behalf.
            if asked.contains("traceparent") {
                return asked;
            }
        }
    };
    let asked = async {
        tokio::select! {
            () = calls => unreachable!("calls go on"),
            asked = asked => asked,
        }
    };
    let asked = timeout(Duration::from_secs(60), asked).await.expect("the issuer is asked");
    assert!(asked.contains(&format!("traceparent: 00-{TRACE}-")), "{asked}");
    assert_eq!(server.terminate(), Some(0));
}

fn encoded(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// A collector that is not there costs nobody a call, and the end is in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_collector_the_server_serves_and_stops() {
    let nobody = crate::metrics::free_address();
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(Engine::Sqlite, directory.path());
    let endpoint = format!("http://{nobody}");
    let server = Process::serve_with(&database.url, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let connection = channel(&server.url).await;
    fill(&connection, "acme", INTEGRATE_IO, 20).await;
    let ending = tokio::task::spawn_blocking(move || server.terminate());
    let code = timeout(Duration::from_secs(60), ending).await.expect("it ends in time").unwrap();
    assert_eq!(code, Some(0));
}
