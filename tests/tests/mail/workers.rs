//! Workers that die, hang, or are several: each mail leaves at least once, and never from two at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use usher_server::clock::Clock;
use usher_server::config::MailConfig;
use usher_server::lifecycle::build_app;
use usher_tests::cast::inviting;
use usher_tests::pb::DeliveryState::{Queued, Sent};
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::{Engine, Platform, SmtpServer, Usher, acting, both_engines, pb};

use super::{WAIT_MAX, Worker, delivered, delivery, invite, plain, start};

both_engines!(
    a_worker_killed_before_it_notes_a_mail_sends_it_again,
    a_server_that_hangs_holds_up_neither_other_mails_nor_the_stop,
    a_mail_taken_back_while_in_hand_stays_so,
    two_workers_send_no_mail_twice,
);

async fn look_up(usher: &Usher, token: &str) -> Result<pb::InvitationState, tonic::Code> {
    let mut members = MemberServiceClient::new(usher.channel.clone());
    let answer = members.look_up_invitation(pb::LookUpInvitationRequest { token: token.into() }).await;
    answer.map(|answer| answer.into_inner().state()).map_err(|refused| refused.code())
}

async fn accept(usher: &Usher, token: &str) -> Result<(), tonic::Status> {
    let request = pb::AcceptInvitationRequest {
        token: token.into(),
        proof: Some(pb::accept_invitation_request::Proof::NewPassword("a long enough phrase".into())),
        ..Default::default()
    };
    usher.members().accept_invitation(request).await.map(drop)
}

async fn a_worker_killed_before_it_notes_a_mail_sends_it_again(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({ "data": ["hang"] })) else { return };
    let usher = start(engine).await;
    let killed = Worker::start(&usher.app, &plain(server.port));
    let id = invite(&usher, "ivy@people.example").await;
    let first = server.next().await;
    killed.kill().await;
    let heir = Worker::start(&usher.app, &plain(server.port));
    // Until the claim ends nobody else sends it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.try_next().is_none());
    usher.set_seconds(600);
    let second = server.next().await;
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_ne!(first.letter.token(), second.letter.token(), "a token is drawn for each attempt");
    delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    for letter in [&first.letter, &second.letter] {
        assert_eq!(look_up(&usher, letter.token()).await, Ok(pb::InvitationState::Pending));
    }
    accept(&usher, first.letter.token()).await.unwrap();
    assert!(accept(&usher, second.letter.token()).await.is_err());
    heir.stop().await;
    usher.stop().await;
}

async fn a_server_that_hangs_holds_up_neither_other_mails_nor_the_stop(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({ "data": ["hang", "250 OK", "hang"] })) else { return };
    let usher = start(engine).await;
    let config = MailConfig { smtp_timeout_seconds: 3, ..plain(server.port) };
    let worker = Worker::start(&usher.app, &config);
    let hung = invite(&usher, "ivy@people.example").await;
    server.next().await;
    let other = invite(&usher, "jon@people.example").await;
    delivered(&usher, &other, |delivery| delivery.state() == Sent).await;
    assert!(delivery(&usher, &hung).await.failure.is_empty(), "still in hand");
    let late = delivered(&usher, &hung, |delivery| !delivery.failure.is_empty()).await;
    assert_eq!((late.state(), late.failure.as_str()), (Queued, "the mail server did not answer in time"));
    server.next().await;
    // The next attempt hangs as well, and does not hold up the stop.
    usher.set_seconds(60);
    server.next().await;
    tokio::time::timeout(Duration::from_secs(15), worker.stop()).await.expect("a stop in time");
    usher.stop().await;
}

async fn a_mail_taken_back_while_in_hand_stays_so(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({ "data": ["hang"] })) else { return };
    let usher = start(engine).await;
    let config = MailConfig { smtp_timeout_seconds: 3, ..plain(server.port) };
    let worker = Worker::start(&usher.app, &config);
    let id = invite(&usher, "ivy@people.example").await;
    let older = server.next().await;
    let resend = pb::ResendInvitationRequest {
        account_id: "acme".into(),
        acting: acting(Platform),
        invitation_id: id.clone(),
        ..Default::default()
    };
    usher.members().resend_invitation(resend).await.unwrap();
    let newer = server.next().await;
    assert_ne!(older.header("Message-ID"), newer.header("Message-ID"));
    assert_eq!(look_up(&usher, older.letter.token()).await, Err(tonic::Code::NotFound));
    assert_eq!(look_up(&usher, newer.letter.token()).await, Ok(pb::InvitationState::Pending));
    delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    // The older attempt fails now, which changes nothing and is not repeated.
    tokio::time::sleep(Duration::from_secs(4)).await;
    usher.set_seconds(600);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.try_next().is_none());
    let still = delivery(&usher, &id).await;
    assert_eq!((still.state(), still.failure.as_str(), still.sends), (Sent, "", 1));
    worker.stop().await;
    usher.stop().await;
}

async fn two_workers_send_no_mail_twice(engine: Engine) {
    const MAILS: u32 = 100;
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let mut founding = usher_tests::cast::founding("big", usher_tests::DATAIMPORTER, 2 * MAILS);
    founding.name = "Big".into();
    usher.accounts().create_account(founding).await.unwrap();
    for number in 0..MAILS {
        let email = format!("person{number}@people.example");
        usher.members().invite_user(inviting("big", Platform, &email, "user")).await.unwrap();
    }
    // Another server on the same database; on SQLite, which has one, another worker of the same.
    let other = match engine {
        Engine::Postgres => build_app(&usher.config, Clock::manual(usher.clock.now())).await.unwrap(),
        Engine::Sqlite => usher.app.clone(),
    };
    let workers =
        [Worker::start(&usher.app, &plain(server.port)), Worker::start(&other, &plain(server.port))];
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let all = async {
        while seen.len() < MAILS as usize {
            let mail = server.next().await;
            *seen.entry(mail.header("Message-ID").to_owned()).or_default() += 1;
        }
    };
    tokio::time::timeout(2 * WAIT_MAX, all).await.expect("all mails");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.try_next().is_none(), "one more than there are");
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    for worker in workers {
        worker.stop().await;
    }
    usher.stop().await;
}
