//! Callers proven by their certificate.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;
use usher_server::authenticate::Authenticator;
use usher_server::authenticate::config::CallersConfig;
use usher_server::transport::limits::Limits;
use usher_server::transport::tls::ClientCertificates;

use crate::support::{
    Authority, Folder, Hands, Pair, Running, Setup, ask, ask_with_token, connect, serve, who,
};

const GATEWAY: &str = "spiffe://etl/gateway";

fn callers() -> Authenticator {
    let hash = usher_domain::secret::token_hash("static");
    let config = format!(
        r#"
        [[callers]]
        name = "gateway"
        scopes = ["check"]
        spiffe = "{GATEWAY}"

        [[callers]]
        name = "billing"
        scopes = ["billing"]
        dns = ["billing.etl"]
        token_sha256 = "{hash}"
        "#
    );
    let config: CallersConfig = toml::from_str(&config).unwrap();
    config.compile(Hands::new().clock()).unwrap()
}

async fn serve_with(authority: &Authority, wanted: Option<ClientCertificates>) -> Running {
    let folder = Folder::new(&authority.server(), Some(&authority.pem()));
    let tls = Some(folder.tls(wanted));
    serve(Setup { tls, authenticator: Some(callers()), ..Setup::default() }).await
}

/// Whom the server takes a client with `pair` for; `None` when it does not get that far.
async fn seen_as(
    server: &Running,
    authority: &Authority,
    pair: Option<&Pair>,
) -> Option<Result<String, Code>> {
    let mut client = connect(server.address, &authority.pem(), pair).await.ok()?;
    match who(&mut client, ask("")).await {
        // With TLS 1.3 a refused certificate shows at the first call, as a broken connection.
        Err(Code::Unknown | Code::Unavailable) => None,
        other => Some(other),
    }
}

#[tokio::test]
async fn certificates_prove_the_callers_that_they_name() {
    let authority = Authority::new("ours");
    let server = serve_with(&authority, None).await;
    let pair = |names: &[&str]| authority.issue(names, 2020, 2050);
    for (names, expected) in [
        (&[GATEWAY][..], Ok("gateway")),
        (&["billing.etl"], Ok("billing")),
        (&[], Err(Code::Unauthenticated)),
        (&["elsewhere.etl"], Err(Code::Unauthenticated)),
        (&["spiffe://etl/other"], Err(Code::Unauthenticated)),
        (&[GATEWAY, "billing.etl"], Err(Code::Unauthenticated)),
    ] {
        let seen = seen_as(&server, &authority, Some(&pair(names))).await;
        assert_eq!(seen, Some(expected.map(str::to_owned)), "{names:?}");
    }
}

#[tokio::test]
async fn certificates_that_do_not_hold_end_the_handshake() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let server = serve_with(&authority, None).await;
    let good = authority.issue(&[GATEWAY], 2020, 2050);
    assert_eq!(seen_as(&server, &authority, Some(&good)).await, Some(Ok("gateway".to_owned())));
    // The same name as ours does not help.
    let namesake = Authority::new("ours");
    for (what, pair) in [
        ("wrong authority", stranger.issue(&[GATEWAY], 2020, 2050)),
        ("authority of the same name", namesake.issue(&[GATEWAY], 2020, 2050)),
        ("expired", authority.issue(&[GATEWAY], 2020, 2027)),
        ("not yet valid", authority.issue(&[GATEWAY], 2028, 2050)),
    ] {
        assert_eq!(seen_as(&server, &authority, Some(&pair)).await, None, "{what}");
    }
    assert_eq!(seen_as(&server, &authority, None).await, None, "no certificate");
    assert_eq!(server.door.figures().handshakes_failed, 5);
}

#[tokio::test]
async fn optional_certificates_go_together_with_tokens() {
    let authority = Authority::new("ours");
    let server = serve_with(&authority, Some(ClientCertificates::Optional)).await;
    let gateway = authority.issue(&[GATEWAY], 2020, 2050);

    let mut bare = connect(server.address, &authority.pem(), None).await.unwrap();
    assert_eq!(who(&mut bare, ask("")).await, Err(Code::Unauthenticated));
    assert_eq!(who(&mut bare, ask_with_token("static")).await, Ok("billing".to_owned()));
    assert_eq!(who(&mut bare, ask_with_token("statik")).await, Err(Code::Unauthenticated));

    let mut certified = connect(server.address, &authority.pem(), Some(&gateway)).await.unwrap();
    assert_eq!(who(&mut certified, ask("")).await, Ok("gateway".to_owned()));
    assert_eq!(who(&mut certified, ask_with_token("static")).await, Ok("billing".to_owned()), "a token wins");
    assert_eq!(
        who(&mut certified, ask_with_token("statik")).await,
        Err(Code::Unauthenticated),
        "even a bad one"
    );

    let stranger = Authority::new("theirs").issue(&[GATEWAY], 2020, 2050);
    assert_eq!(seen_as(&server, &authority, Some(&stranger)).await, None, "optional is not unverified");
}

#[tokio::test]
async fn without_client_certificates_nobody_is_asked_for_one() {
    let authority = Authority::new("ours");
    let server = serve_with(&authority, Some(ClientCertificates::None)).await;
    let gateway = authority.issue(&[GATEWAY], 2020, 2050);
    let seen = seen_as(&server, &authority, Some(&gateway)).await;
    assert_eq!(seen, Some(Err(Code::Unauthenticated)));
}

#[tokio::test]
async fn a_handshake_that_is_never_begun_is_ended() {
    let authority = Authority::new("ours");
    let folder = Folder::new(&authority.server(), None);
    let limits = Limits { handshake_ms: 200, ..Limits::default() };
    let server = serve(Setup { limits, tls: Some(folder.tls(None)), ..Setup::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(2), silent.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!((server.door.open(), server.door.figures().handshakes_failed), (0, 1));
}
