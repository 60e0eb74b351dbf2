//! What nobody would write: no bytes make the server panic or lose its way, whatever they are said to be.
//!
//! Each target first takes the inputs of `__fuzz__`, those that once failed among them, then random ones for
//! a second or a few, or for minutes with `USHER_TEST_LONG`. A failure prints its seed; it comes again with
//! `BOLERO_RANDOM_SEED`. The targets are bolero's, so that `cargo bolero` can drive them with a fuzzer that learns
//! from coverage.

mod mutate;

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bolero::check;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Status};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::text;
use usher_policy::RoleModel;
use usher_server::authenticate::Authenticator;
use usher_server::config::Config;
use usher_server::rpc::{self, Api};
use usher_server::token::{self, PageTokens};
use usher_server::transport::limits::Limits;
use usher_tests::callers::{Callers, static_token, with_scopes};
use usher_tests::samples::{self, SAMPLES};
use usher_tests::{Actor, Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, any_call};

/// Longer than any call may take.
const CALL_MAX: Duration = Duration::from_secs(60);

/// How long a target gets beside its stored inputs.
fn time(seconds: u64) -> Duration {
    let factor = if std::env::var_os("USHER_TEST_LONG").is_some() { 60 } else { 1 };
    Duration::from_secs(seconds * factor)
}

/// How many inputs a target has had, said at its end past the capturing of tests.
struct Count(&'static str, AtomicU64);

impl Count {
    fn of(target: &'static str) -> Self {
        Self(target, AtomicU64::new(0))
    }

    fn one_more(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let said = format!("fuzz::{}: {} inputs\n", self.0, self.1.load(Ordering::Relaxed));
        std::io::stdout().write_all(said.as_bytes()).unwrap();
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A refusal says why, and is never that the server does not know.
fn is_in_order(status: &Status) {
    // As tonic says it; the layer in front of the services, which is not here, makes it the caller's fault.
    if status.code() == Code::Internal && status.message().starts_with("failed to decode Protobuf message") {
        return;
    }
    assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss), "{status:?}");
    Refused::of(status);
}

/// Every RPC, through its real services and use cases: bytes that are no message, damaged messages, and
/// messages with every field drawn at random.
#[test]
fn requests() {
    let runtime = runtime();
    let (usher, services) = runtime.block_on(async {
        let usher = Usher::start(Engine::Sqlite).await;
        usher.cast("acme", INTEGRATE_IO).await;
        let handle = tokio::runtime::Handle::current();
        let api = Api::new(usher.app.clone(), Arc::new(Authenticator::open()), handle);
        let (_, health) = tonic_health::server::health_reporter();
        let services = rpc::services(api, &Limits::default(), false, health).unwrap();
        (usher, services)
    });
    let run = AssertUnwindSafe(|input: &[u8]| {
        let mut input = input.iter().copied();
        let mut next = || input.next().unwrap_or_default();
        let (sample, _) = SAMPLES[usize::from(next()) % SAMPLES.len()];
        let by = [Nobody, Platform, Actor("acme-owner"), Actor("acme-reader")][usize::from(next()) % 4];
        let fields = samples::fields(sample, "acme", by);
        let valid = any_call::request(samples::rpc(sample), &fields);
        let bytes = mutate::request(valid, next(), input);
        let sent = any_call::send(services.clone(), samples::rpc(sample), bytes, None);
        if let Err(status) = runtime.block_on(async { tokio::time::timeout(CALL_MAX, sent).await.unwrap() }) {
            is_in_order(&status);
        }
    });
    let count = Count::of("requests");
    check!(name = "requests").with_test_time(time(5)).for_each(move |input: &[u8]| {
        count.one_more();
        let AssertUnwindSafe(run) = &run;
        run(input);
    });
    drop(usher);
}

/// Page and consistency tokens: what is made is read, and nothing else is.
#[test]
fn tokens() {
    let tokens = PageTokens::new([7; 32]);
    let count = Count::of("tokens");
    check!(name = "tokens").with_test_time(time(1)).for_each(|input: &[u8]| {
        count.one_more();
        let text = String::from_utf8_lossy(input);
        for presented in [text.clone().into_owned(), URL_SAFE_NO_PAD.encode(input)] {
            if let Ok(revision) = token::read_consistency(&presented, "e", "acme") {
                let again = token::consistency("e", "acme", revision);
                assert_eq!(token::read_consistency(&again, "e", "acme").unwrap(), revision);
            }
            assert!(presented.is_empty() || tokens.read::<2>("list", &presented).is_err());
        }
        let place = [text.to_string(), "id".to_owned()];
        let made = tokens.make(&text, &place);
        // A token as long as the reader takes; places are emails and ids and so always fit.
        if made.len() <= 2048 {
            assert_eq!(tokens.read::<2>(&text, &made).unwrap(), Some(place));
        }
        if let Ok(account) = AccountId::parse(&text) {
            let made = token::consistency("e", account.as_str(), 7);
            assert_eq!(token::read_consistency(&made, "e", account.as_str()).unwrap(), 7);
        }
    });
}

/// What a person or a tenant is called by.
#[test]
fn names() {
    let count = Count::of("names");
    check!(name = "names").with_test_time(time(1)).for_each(|input: &[u8]| {
        count.one_more();
        let text = String::from_utf8_lossy(input);
        if let Ok(email) = EmailAddress::parse(&text) {
            let again = EmailAddress::parse(email.as_str()).unwrap();
            assert_eq!((again.as_str(), again.key()), (email.as_str(), email.key()));
            assert_eq!(EmailAddress::parse(&email.key()).unwrap().key(), email.key(), "a key is its own key");
            assert!(!email.as_str().contains(char::is_control));
        }
        if let Ok(id) = UserId::parse(&text) {
            assert_eq!(id.as_str(), text);
            assert!(id.as_str().len() <= 128 && !id.as_str().contains(['@', '/', ' ']));
        }
        if let Ok(line) = text::line(&text, 200) {
            assert_eq!(text::line(&line, 200).unwrap(), line);
        }
        if let Ok(name) = text::username(&text) {
            let key = text::username_key(&name);
            assert_eq!(text::username_key(&key), key);
        }
    });
}

/// Files of role models, whole and damaged.
#[test]
fn role_models() {
    const SHIPPED: &str = include_str!("../../../crates/policy/models/dataimporter.toml");
    let count = Count::of("role_models");
    check!(name = "role_models").with_test_time(time(2)).for_each(|input: &[u8]| {
        count.one_more();
        let damaged = mutate::bytes(SHIPPED.as_bytes().to_vec(), input.iter().copied());
        for text in [String::from_utf8_lossy(input), String::from_utf8_lossy(&damaged)] {
            match RoleModel::from_source("any.toml", &text) {
                Ok(model) => assert!(model.changed_cells(&model.matrix()).is_empty()),
                Err(errors) => assert!(errors.iter().count() > 0),
            }
        }
    });
}

/// What comes in the `authorization` header: raw, behind `Bearer`, as the parts of a JWT, and as a damaged
/// one. Nothing lets anybody in but the tokens that were given out.
#[test]
fn authorization_headers() {
    let runtime = runtime();
    let callers = Callers::make();
    let mut config = Config::default();
    callers.configure(&mut config, [with_scopes("gateway", ["check"])]);
    let clock = usher_server::clock::Clock::system();
    let authenticator = config.authenticator(&clock).unwrap();
    let good = callers.jwt(clock.now().seconds());
    let admitted = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).ok()?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let answer = runtime.block_on(authenticator.authenticate(&headers, None));
        answer.inspect_err(|status| assert_eq!(status.code(), Code::Unauthenticated)).ok()
    };
    let bearer = |token: &[u8]| [b"Bearer ", token].concat();
    assert!(admitted(&bearer(good.as_bytes())).is_some());
    assert!(admitted(&bearer(static_token("gateway").as_bytes())).is_some());
    let run = AssertUnwindSafe(|input: &[u8]| {
        assert!(admitted(input).is_none());
        assert!(admitted(&bearer(input)).is_none());
        let parts: Vec<String> =
            input.splitn(3, |byte| *byte == b'.').map(|p| URL_SAFE_NO_PAD.encode(p)).collect();
        assert!(admitted(&bearer(parts.join(".").as_bytes())).is_none());
        let (_, signed) = good.split_once('.').unwrap();
        let header = format!("{}.{signed}", URL_SAFE_NO_PAD.encode(input));
        assert!(admitted(&bearer(header.as_bytes())).is_none());
        let damaged = mutate::bytes(good.as_bytes().to_vec(), input.iter().copied());
        assert!(damaged == good.as_bytes() || admitted(&bearer(&damaged)).is_none());
    });
    let count = Count::of("authorization_headers");
    check!(name = "authorization_headers").with_test_time(time(2)).for_each(move |input: &[u8]| {
        count.one_more();
        let AssertUnwindSafe(run) = &run;
        run(input);
    });
}
