//! What becomes of a mail when the mail server takes it, refuses it, or is not there.

use std::net::TcpListener;

use serde_json::json;
use tempfile::TempDir;
use usher_tests::pb::DeliveryState::{Failed, Queued, Sent};
use usher_tests::{Certificates, Engine, SmtpServer, both_engines};

use super::{PASSWORD, Worker, delivered, guarded, invite, plain, start};

both_engines!(
    a_mail_leaves_over_tls_with_a_login,
    a_mail_that_is_put_off_is_tried_again,
    a_mail_that_is_refused_fails_for_good,
    mails_wait_for_a_server_that_is_down,
    a_server_of_another_name_gets_nothing,
    a_server_without_tls_gets_nothing,
    a_wrong_login_costs_no_mail,
);

async fn a_mail_leaves_over_tls_with_a_login(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::make(directory.path(), "localhost");
    let options = json!({ "certificate": certificates.server, "login": ["usher", PASSWORD] });
    let Some(server) = SmtpServer::start(&options) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &guarded(server.port, &certificates.authority));
    let id = invite(&usher, "ivy@people.example").await;
    let seen = server.next().await;
    assert!(seen.over_tls);
    assert_eq!(seen.login.as_deref(), Some("usher"));
    assert_eq!(seen.recipients, ["ivy@people.example"]);
    let done = delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    assert_eq!((done.sends, done.failure.as_str()), (1, ""));
    // Over the kept connection.
    let second = invite(&usher, "jon@people.example").await;
    assert_eq!(server.next().await.recipients, ["jon@people.example"]);
    delivered(&usher, &second, |delivery| delivery.state() == Sent).await;
    worker.stop().await;
    usher.stop().await;
}

async fn a_mail_that_is_put_off_is_tried_again(engine: Engine) {
    let options = json!({ "rcpt": ["451 4.7.1 <ivy@people.example>: greylisted by mx.smtp.test"] });
    let Some(server) = SmtpServer::start(&options) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    let id = invite(&usher, "ivy@people.example").await;
    let waiting = delivered(&usher, &id, |delivery| !delivery.failure.is_empty()).await;
    assert_eq!((waiting.state(), waiting.sends), (Queued, 0));
    assert_eq!(waiting.failure, "refused: 451 4.7.1 … greylisted by …", "names nobody");
    assert!(waiting.next_attempt_time.is_some());
    assert!(server.try_next().is_none());
    usher.set_seconds(60);
    let done = delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    assert_eq!((done.sends, done.failure.as_str()), (1, ""));
    server.next().await;
    worker.stop().await;
    usher.stop().await;
}

async fn a_mail_that_is_refused_fails_for_good(engine: Engine) {
    let options = json!({ "rcpt": ["550 5.1.1 no such user"], "data": ["554 5.7.1 looks like spam"] });
    let Some(server) = SmtpServer::start(&options) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    for refusal in ["refused: 550 5.1.1 no such user", "refused: 554 5.7.1 looks like spam"] {
        let id = invite(&usher, &format!("ivy{}@people.example", refusal.len())).await;
        let failed = delivered(&usher, &id, |delivery| delivery.state() == Failed).await;
        assert_eq!((failed.failure.as_str(), failed.sends), (refusal, 0));
        assert!(failed.next_attempt_time.is_none());
    }
    worker.stop().await;
    usher.stop().await;
}

async fn mails_wait_for_a_server_that_is_down(engine: Engine) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(free));
    let id = invite(&usher, "ivy@people.example").await;
    let waiting = delivered(&usher, &id, |delivery| !delivery.failure.is_empty()).await;
    assert_eq!(waiting.state(), Queued);
    assert_eq!(waiting.failure, "the mail server cannot be reached: connection refused");
    let Some(server) = SmtpServer::start(&json!({ "port": free })) else { return };
    usher.set_seconds(60);
    server.next().await;
    delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    worker.stop().await;
    usher.stop().await;
}

/// A mail is not sent, for a reason that the invitation names, and stays queued.
async fn nothing_arrives(engine: Engine, name: &str, options: serde_json::Value, reason: &str) {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::make(directory.path(), name);
    let mut options = options;
    if options["open"].is_null() {
        options["certificate"] = json!(certificates.server);
    }
    let Some(server) = SmtpServer::start(&options) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &guarded(server.port, &certificates.authority));
    let id = invite(&usher, "ivy@people.example").await;
    let waiting = delivered(&usher, &id, |delivery| !delivery.failure.is_empty()).await;
    assert_eq!(waiting.state(), Queued);
    assert!(waiting.failure.contains(reason), "{}", waiting.failure);
    assert!(!waiting.failure.contains(PASSWORD) && !waiting.failure.contains("localhost"));
    assert!(server.try_next().is_none());
    worker.stop().await;
    usher.stop().await;
}

async fn a_server_of_another_name_gets_nothing(engine: Engine) {
    nothing_arrives(engine, "other.example", json!({}), "certificate is for another name").await;
}

async fn a_server_without_tls_gets_nothing(engine: Engine) {
    nothing_arrives(engine, "localhost", json!({ "open": true }), "STARTTLS is not supported").await;
}

async fn a_wrong_login_costs_no_mail(engine: Engine) {
    let options = json!({ "login": ["usher", "another password"] });
    nothing_arrives(engine, "localhost", options, "not at our service: 535").await;
}
