//! Callers proven by a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use usher_domain::caller::{Caller, Operator};
use usher_server::authenticate::Authenticator;
use usher_server::authenticate::config::CallersConfig;

use crate::support::{Hands, NOW, install_provider};

const ISSUER: &str = "https://cluster.test";
const GATEWAY: &str = "system:serviceaccount:etl:gateway";

/// A key of the issuer.
struct Signer {
    kid: &'static str,
    pair: KeyPair,
    key: EncodingKey,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { kid, pair, key }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) }
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

fn claims(change: Value) -> Value {
    let mut claims =
        json!({ "iss": ISSUER, "sub": GATEWAY, "aud": ["usher"], "exp": NOW + 600, "nbf": NOW - 60 });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
        if value == "MISSING" {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims
}

/// A key server that can be down, slow or talkative.
struct KeyServer {
    url: String,
    body: Arc<Mutex<String>>,
    down: Arc<AtomicBool>,
    delay_ms: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    async fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let server = Self {
            url,
            body: Arc::new(Mutex::new(body)),
            down: Arc::default(),
            delay_ms: Arc::default(),
            asked: Arc::default(),
        };
        let (body, down) = (Arc::clone(&server.body), Arc::clone(&server.down));
        let (asked, delay) = (Arc::clone(&server.asked), Arc::clone(&server.delay_ms));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                if down.load(Ordering::SeqCst) {
                    continue;
                }
                let _ = socket.read(&mut [0; 4_096]).await;
                tokio::time::sleep(Duration::from_millis(delay.load(Ordering::SeqCst) as u64)).await;
                let body = body.lock().clone();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        server
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn config(source: &str) -> CallersConfig {
    let hash = usher_domain::secret::token_hash("static-token");
    toml::from_str(&format!(
        r#"
        [[callers]]
        name = "gateway"
        scopes = ["check"]
        jwt = {{ issuer = "cluster", subject = "{GATEWAY}" }}

        [[callers]]
        name = "help-desk"
        scopes = ["support"]
        jwt = {{ issuer = "people" }}
        operators = "token-subject"

        [[callers]]
        name = "small"
        scopes = ["support"]
        token_sha256 = ["{hash}"]
        operators = "named"
        requests_per_second = 5

        [[issuers]]
        name = "cluster"
        issuer = "{ISSUER}"
        audiences = ["usher", "usher-old"]
        algorithms = ["ES256", "RS256"]
        refresh_min_interval_seconds = 1
        {source}

        [[issuers]]
        name = "people"
        issuer = "https://people.test"
        audiences = ["usher"]
        algorithms = ["ES256"]
        refresh_min_interval_seconds = 1
        {source}
        "#
    ))
    .unwrap()
}

/// Keys from a file, for the tests that are not about fetching.
fn with_file(signer: &Signer, hands: &Hands) -> Authenticator {
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, set(&[signer])).unwrap();
    config(&format!("jwks_file = {path:?}"))
        .compile(hands.clock())
        .unwrap_or_else(|found| panic!("{found:?}"))
}

fn with_server(server: &KeyServer, hands: &Hands) -> Authenticator {
    install_provider();
    config(&format!("jwks_url = {:?}", server.url))
        .compile(hands.clock())
        .unwrap_or_else(|found| panic!("{found:?}"))
}

async fn present(authenticator: &Authenticator, token: &str) -> Result<Arc<Caller>, Status> {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    authenticator.authenticate(&HeaderMap::from_iter([(AUTHORIZATION, value)]), None).await
}

async fn name(authenticator: &Authenticator, token: &str) -> Result<String, Code> {
    let known = present(authenticator, token).await;
    known.map(|caller| caller.name.to_string()).map_err(|status| status.code())
}

fn gateway() -> Result<String, Code> {
    Ok("gateway".to_owned())
}

const REFUSED: Result<String, Code> = Err(Code::Unauthenticated);

#[tokio::test]
async fn claims_decide() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    for change in [
        json!({}),
        json!({ "aud": "usher-old" }),
        json!({ "aud": ["other", "usher"] }),
        json!({ "exp": NOW - 20 }),
        json!({ "nbf": NOW + 20 }),
        json!({ "nbf": "MISSING" }),
    ] {
        assert_eq!(name(&authenticator, &signer.sign(&claims(change.clone()))).await, gateway(), "{change}");
    }
    for change in [
        json!({ "iss": "https://cluster.test/" }),
        json!({ "iss": "https://people.test", "aud": "elsewhere" }),
        json!({ "iss": [ISSUER] }),
        json!({ "aud": "other" }),
        json!({ "aud": [] }),
        json!({ "exp": NOW - 31 }),
        json!({ "exp": "4102444800" }),
        json!({ "exp": 1e300 }),
        json!({ "nbf": NOW + 31 }),
        json!({ "nbf": "99999999999" }),
        json!({ "nbf": "0" }),
        json!({ "sub": "system:serviceaccount:etl:other" }),
        json!({ "sub": "" }),
        json!({ "iss": "MISSING" }),
        json!({ "sub": "MISSING" }),
        json!({ "aud": "MISSING" }),
        json!({ "exp": "MISSING" }),
    ] {
        assert_eq!(name(&authenticator, &signer.sign(&claims(change.clone()))).await, REFUSED, "{change}");
    }
}

#[tokio::test]
async fn the_header_decides_nothing() {
    let (signer, stranger, hands) = (Signer::new("a"), Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    let good = signer.sign(&claims(json!({})));
    assert_eq!(name(&authenticator, &good).await, gateway());
    let parts: Vec<_> = good.split('.').collect();
    let (payload, signature) = (parts[1], parts[2]);
    let raw = |header: Value| format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));

    let public = signer.pair.public_key_pem();
    let hmac = |header: Header| {
        jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(public.as_bytes()))
            .unwrap()
    };
    let hs256 = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS256) };
    let own_key = Header { jwk: Some(stranger.jwk()), ..stranger.header() };
    let own_url = Header { jku: Some("http://127.0.0.1:1/jwks".to_owned()), ..stranger.header() };
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..signer.header() };
    let encode =
        |header: &Header, key: &Signer| jsonwebtoken::encode(header, &claims(json!({})), &key.key).unwrap();
    for (what, token) in [
        ("no signature, alg none", format!("{}.", raw(json!({ "alg": "none", "kid": "a" })))),
        ("alg none in capitals", format!("{}.", raw(json!({ "alg": "NONE", "kid": "a" })))),
        ("alg none with a signature", format!("{}.{signature}", raw(json!({ "alg": "none", "kid": "a" })))),
        ("HS256 with the public key", hmac(hs256)),
        (
            "an algorithm of another family",
            format!("{}.{signature}", raw(json!({ "alg": "RS256", "kid": "a" }))),
        ),
        (
            "an algorithm that is not allowed",
            format!("{}.{signature}", raw(json!({ "alg": "ES384", "kid": "a" }))),
        ),
        ("no algorithm", format!("{}.{signature}", raw(json!({ "kid": "a" })))),
        ("signed by a stranger under our kid", stranger.sign(&claims(json!({})))),
        ("its own key in the header", encode(&own_key, &stranger)),
        ("its own key set in the header", encode(&own_url, &stranger)),
        ("a critical header", encode(&critical, &signer)),
        ("no signature", format!("{}.{payload}.", parts[0])),
        ("changed payload", format!("{}.{}A.{signature}", parts[0], payload)),
        ("four parts", format!("{good}.x")),
        ("two parts", format!("{}.{payload}", parts[0])),
        ("rubbish", "a.b.c".to_owned()),
        ("dots", "..".to_owned()),
        ("64 KiB", "x".repeat(64 << 10)),
        ("a JWT of 64 KiB", signer.sign(&claims(json!({ "more": "x".repeat(48 << 10) })))),
        ("with a line end", format!("{good}%0a")),
    ] {
        assert_eq!(name(&authenticator, &token).await, REFUSED, "{what}");
    }
}

#[tokio::test]
async fn refusals_look_alike() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    let mut seen = Vec::new();
    for token in [
        "x",
        "a.b.c",
        &signer.sign(&claims(json!({ "exp": 0 }))),
        &signer.sign(&claims(json!({ "sub": "x" }))),
        &Signer::new("b").sign(&claims(json!({}))),
    ] {
        seen.push(present(&authenticator, token).await.unwrap_err());
    }
    seen.push(authenticator.authenticate(&HeaderMap::new(), None).await.unwrap_err());
    for status in &seen {
        assert_eq!((status.message(), status.details()), (seen[0].message(), seen[0].details()));
        assert_eq!(status.get_details_error_info().unwrap().reason, "CALLER_UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    let token = signer.sign(&claims(json!({})));
    assert_eq!(name(&authenticator, &token).await, gateway());
    hands.turn(629);
    assert_eq!(name(&authenticator, &token).await, gateway());
    hands.turn(1);
    assert_eq!(name(&authenticator, &token).await, REFUSED);
}

#[tokio::test]
async fn operators_are_as_configured() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    let person = |sub: &str| signer.sign(&claims(json!({ "iss": "https://people.test", "sub": sub })));
    for sub in ["anna", "ben", "anna"] {
        let caller = present(&authenticator, &person(sub)).await.unwrap();
        assert_eq!((&*caller.name, &caller.operator), ("help-desk", &Operator::Verified(sub.to_owned())));
    }
    let caller = present(&authenticator, "static-token").await.unwrap();
    assert_eq!((&*caller.name, &caller.operator), ("small", &Operator::Named));
    let caller = present(&authenticator, &signer.sign(&claims(json!({})))).await.unwrap();
    assert_eq!(caller.operator, Operator::Unknown);
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let authenticator = with_file(&signer, &hands);
    for _ in 0..5 {
        assert_eq!(name(&authenticator, "static-token").await, Ok("small".to_owned()));
    }
    let status = present(&authenticator, "static-token").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RATE_LIMITED");
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(delay > Duration::ZERO && delay <= Duration::from_millis(200), "{delay:?}");
    assert_eq!(
        name(&authenticator, &signer.sign(&claims(json!({})))).await,
        gateway(),
        "others are not held up"
    );
    tokio::time::sleep(delay).await;
    assert_eq!(name(&authenticator, "static-token").await, Ok("small".to_owned()));
}

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_one_and_not_too_often() {
    let (a, b, hands) = (Signer::new("a"), Signer::new("b"), Hands::new());
    let server = KeyServer::start(set(&[&a])).await;
    let authenticator = with_server(&server, &hands);
    let (by_a, by_b) = (a.sign(&claims(json!({}))), b.sign(&claims(json!({}))));
    assert_eq!(name(&authenticator, &by_a).await, gateway());
    assert_eq!(server.asked(), 1);
    for n in 0..50 {
        assert_eq!(name(&authenticator, &by_b).await, REFUSED);
        let unheard = Signer::new("c").sign(&claims(json!({ "n": n })));
        assert_eq!(name(&authenticator, &unheard).await, REFUSED);
    }
    assert_eq!(server.asked(), 1, "unknown keys do not make us ask again at once");

    *server.body.lock() = set(&[&b]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(name(&authenticator, &by_b).await, gateway());
    assert_eq!(server.asked(), 2);
    assert_eq!(name(&authenticator, &by_a).await, REFUSED, "a key that was taken back, though remembered");
}

#[tokio::test]
async fn a_key_that_was_taken_back_goes_by_itself() {
    let (a, b, hands) = (Signer::new("a"), Signer::new("b"), Hands::new());
    let server = KeyServer::start(set(&[&a, &b])).await;
    let authenticator = with_server(&server, &hands);
    let by_b = b.sign(&claims(json!({ "exp": NOW + 3_600 })));
    assert_eq!(name(&authenticator, &by_b).await, gateway());
    *server.body.lock() = set(&[&a]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(name(&authenticator, &by_b).await, gateway(), "nobody has asked yet");
    hands.turn(301);
    let begun = Instant::now();
    while name(&authenticator, &by_b).await == gateway() {
        assert!(begun.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_key_server_that_is_down_costs_nothing_that_was_known() {
    let (a, b, hands) = (Signer::new("a"), Signer::new("b"), Hands::new());
    let server = KeyServer::start(set(&[&a])).await;
    server.down.store(true, Ordering::SeqCst);
    let authenticator = with_server(&server, &hands);
    let by_a = |n: u32| a.sign(&claims(json!({ "n": n })));
    assert_eq!(name(&authenticator, &by_a(0)).await, REFUSED);
    server.down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(name(&authenticator, &by_a(1)).await, gateway(), "up again");

    server.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(name(&authenticator, &b.sign(&claims(json!({})))).await, REFUSED);
    assert_eq!(name(&authenticator, &by_a(2)).await, gateway(), "the old keys are kept");
    server.down.store(false, Ordering::SeqCst);
    for rubbish in [String::new(), "<html>".to_owned(), r#"{"keys":[]}"#.to_owned(), "x".repeat(1 << 20)] {
        *server.body.lock() = rubbish;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(name(&authenticator, &b.sign(&claims(json!({})))).await, REFUSED);
        assert_eq!(name(&authenticator, &by_a(3)).await, gateway());
    }
}

#[tokio::test]
async fn many_waiters_make_one_fetch_and_one_who_leaves_does_not_end_it() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let server = KeyServer::start(set(&[&signer])).await;
    server.delay_ms.store(300, Ordering::SeqCst);
    let authenticator = Arc::new(with_server(&server, &hands));
    let token = Arc::new(signer.sign(&claims(json!({}))));
    let impatient = tokio::time::timeout(Duration::from_millis(50), name(&authenticator, &token));
    assert!(impatient.await.is_err());
    let waiters = (0..20).map(|_| {
        let (authenticator, token) = (Arc::clone(&authenticator), Arc::clone(&token));
        tokio::spawn(async move { name(&authenticator, &token).await })
    });
    for waiter in waiters.collect::<Vec<_>>() {
        assert_eq!(waiter.await.unwrap(), gateway());
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn keys_are_there_before_the_first_call() {
    let (signer, hands) = (Signer::new("a"), Hands::new());
    let server = KeyServer::start(set(&[&signer])).await;
    let authenticator = with_server(&server, &hands);
    authenticator.warm_up().await;
    assert_eq!(server.asked(), 2, "one for each issuer");
    assert_eq!(name(&authenticator, &signer.sign(&claims(json!({})))).await, gateway());
    assert_eq!(server.asked(), 2);
}
