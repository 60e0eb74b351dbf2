//! Calls that do not run to their end: given up by the caller, too late, or too many.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;
use usher_server::authenticate::config::CallerConfig;
use usher_server::clock::Clock;
use usher_tests::callers::{Callers, static_token, with_scopes};
use usher_tests::cast::inviting;
use usher_tests::lookup::{self, check_chain, mails_of_invitation};
use usher_tests::person::PASSWORD;
use usher_tests::{Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, both_engines, refused, samples};

both_engines!(what_is_given_up_is_whole_or_not_there);

const VERIFY: &str = "usher.v1.SignInService/VerifyPassword";

/// Invitations given up at every moment of their making: each is there with its seat, its event and its mail,
/// or is not there at all.
async fn what_is_given_up_is_whole_or_not_there(engine: Engine) {
    const TRIES: u32 = 120;
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 1_000).await;
    let mut given_up = 0;
    for n in 0..TRIES {
        let mut members = usher.members();
        let email = format!("given-up-{n}@people.example");
        let invite = members.invite_user(inviting("acme", Platform, &email, "editor"));
        given_up +=
            u32::from(tokio::time::timeout(Duration::from_micros(u64::from(n) * 100), invite).await.is_err());
    }
    assert!(given_up > 0, "every call was faster than it was given up");
    // A last one queues behind all that still run for the account.
    let last = inviting("acme", Platform, "last@people.example", "editor");
    usher.members().invite_user(last).await.unwrap();
    let store = &usher.app.store;
    let mut settled = lookup::account(store, "acme").await;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = lookup::account(store, "acme").await;
        if now.revision == settled.revision {
            break;
        }
        settled = now;
    }
    let events = lookup::events(store, "acme").await;
    check_chain(&settled, &events);
    let made: Vec<&str> = events
        .iter()
        .filter(|row| row.event.kind == "invitation.created")
        .map(|row| row.event.subject_id.as_str())
        .collect();
    for invitation in &made {
        assert!(usher.invitation("acme", invitation).await.reserves_seat, "{invitation}");
        assert_eq!(mails_of_invitation(store, invitation).await, 1, "{invitation}");
    }
    let seats = usher_tests::pb::GetLicensesRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Platform),
        consistency: None,
    };
    let seats = usher.licenses().get_licenses(seats).await.unwrap().into_inner().licenses.unwrap();
    assert_eq!(seats.reserved as usize, made.len());
    assert!(made.len() > TRIES as usize - given_up as usize, "{} of {TRIES}", made.len());
    usher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_is_told_so() {
    let usher = Usher::start_with(Engine::Sqlite, Clock::system(), |config| {
        config.limits.deadlines_ms = BTreeMap::from([(VERIFY.to_owned(), 1)]);
    });
    let usher = usher.await;
    let told = usher.verify("nobody@people.example", PASSWORD).await;
    refused(told, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    usher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_at_once_is_refused_with_a_time_to_come_back() {
    let usher =
        Usher::start_with(Engine::Sqlite, Clock::system(), |config| config.limits.concurrent_calls = 1);
    let usher = usher.await;
    let calls = (0..8).map(|n| {
        let email = format!("nobody-{n}@people.example");
        let (mut sign_in, password) = (usher.sign_in(), PASSWORD.to_owned());
        let request = usher_tests::pb::VerifyPasswordRequest { email, password };
        tokio::spawn(async move { sign_in.verify_password(request).await })
    });
    let mut reasons = BTreeMap::new();
    for call in calls.collect::<Vec<_>>() {
        let told = Refused::of(&call.await.unwrap().unwrap_err());
        if told.reason == "OVERLOADED" {
            assert_eq!(told.code, Code::ResourceExhausted);
            assert!(told.retry_after.is_some(), "{told:?}");
        }
        *reasons.entry(told.reason).or_insert(0) += 1;
    }
    assert!(reasons["OVERLOADED"] >= 1 && reasons["WRONG_CREDENTIALS"] >= 1, "{reasons:?}");
    usher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_asks_too_often_holds_up_itself_alone() {
    let usher = Usher::start(Engine::Sqlite).await;
    let callers = Callers::make();
    let hasty = CallerConfig { requests_per_second: Some(1), ..with_scopes("hasty", ["check"]) };
    let port =
        usher.second_door(|config| callers.configure(config, [hasty, with_scopes("other", ["check"])]));
    let channel = callers.connect(port.await).await;
    let ask = async |name: &str| {
        let token = static_token(name);
        samples::call(&channel, "AuthorizationService/CheckPermission", "acme", Nobody, Some(&token)).await
    };
    ask("hasty").await.unwrap();
    // A second at least between two: on a busy machine some may come late enough to be let in.
    let mut refusals = Vec::new();
    for _ in 0..20 {
        refusals.extend(ask("hasty").await.err());
    }
    let told = Refused::of(refusals.first().expect("twenty calls take less than twenty seconds"));
    assert_eq!((told.code, told.reason.as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert!(told.retry_after.is_some_and(|after| after > Duration::ZERO && after <= Duration::from_secs(1)));
    for _ in 0..20 {
        ask("other").await.unwrap();
    }
    usher.stop().await;
}
