//! What the mails say, to whom, and what they keep to themselves.

use serde_json::json;
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use usher_server::worker::housekeeping;
use usher_tests::cast::{fill, inviting};
use usher_tests::harness::channel;
use usher_tests::pb::DeliveryState::Sent;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::sign_in_service_client::SignInServiceClient;
use usher_tests::{
    Certificates, Engine, INTEGRATE_IO, Platform, Process, SmtpServer, Usher, both_engines, pb,
};

use super::{ORIGIN, PASSWORD, Worker, delivered, invite, plain, start};

both_engines!(
    names_are_text_and_the_language_is_the_invitations,
    a_link_leads_where_the_configuration_says,
    both_people_hear_of_an_ownership_ticket,
    a_new_password_is_offered_to_the_proven_address_alone,
    a_token_is_nowhere_but_in_its_mail,
);

const PASSPHRASE: &str = "a long enough phrase";

async fn names_are_text_and_the_language_is_the_invitations(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let mut founding = usher_tests::cast::founding("odd", INTEGRATE_IO, 9);
    founding.name = "<a href=\"https://evil.example\">Acme</a>".into();
    usher.accounts().create_account(founding).await.unwrap();
    let worker = Worker::start(&usher.app, &plain(server.port));
    let request = pb::InviteUserRequest {
        language: "de-AT".into(),
        ..inviting("odd", Platform, "ivy@people.example", "editor")
    };
    usher.members().invite_user(request).await.unwrap();
    let seen = server.next().await;
    assert_eq!(seen.header("Subject"), "Einladung zu <a href=\"https://evil.example\">Acme</a>");
    assert_eq!(seen.header("Auto-Submitted"), "auto-generated");
    assert!(!seen.raw.to_lowercase().contains("\nbcc"));
    let (_, html) = seen.raw.split_once("text/html").unwrap();
    assert!(html.contains("&lt;a href") && !html.contains("<a href=3D\"https://evil"), "{html}");
    worker.stop().await;
    usher.stop().await;
}

async fn a_link_leads_where_the_configuration_says(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    // The authority of every request on this connection.
    let endpoint = Endpoint::from_shared(usher.url.clone()).unwrap();
    let endpoint = endpoint.origin("https://canary.example".parse().unwrap());
    let mut members = MemberServiceClient::new(endpoint.connect().await.unwrap());
    let mut request = tonic::Request::new(inviting("acme", Platform, "ivy@people.example", "editor"));
    for name in ["x-forwarded-host", "x-forwarded-proto", "forwarded", "x-original-host"] {
        request.metadata_mut().insert(name, MetadataValue::from_static("host=canary.example"));
    }
    members.invite_user(request).await.unwrap();
    let seen = server.next().await;
    assert_eq!(seen.letter.link(), format!("{ORIGIN}{}", seen.letter.token()));
    assert!(!seen.raw.contains("canary"), "{}", seen.raw);
    assert!(seen.raw.contains(&format!("\r\n{}\r\n", seen.letter.link())), "on one line");
    worker.stop().await;
    usher.stop().await;
}

async fn both_people_hear_of_an_ownership_ticket(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    let request = pb::OpenOwnershipTransferRequest {
        account_id: "acme".into(),
        new_owner_id: "acme-admin".into(),
        ticket_ref: "HELP-7".into(),
        operator_id: "operator-1".into(),
        ..Default::default()
    };
    AccountServiceClient::new(usher.channel.clone()).open_ownership_transfer(request).await.unwrap();
    let mut to = Vec::new();
    for _ in 0..2 {
        let seen = server.next().await;
        let text = &seen.letter.text;
        assert!(text.contains("HELP-7") && text.contains("acme-admin") && text.contains("Owner"), "{text}");
        to.extend(seen.recipients);
    }
    to.sort_unstable();
    assert_eq!(to, ["acme-admin@people.example", "acme-owner@people.example"]);
    worker.stop().await;
    usher.stop().await;
}

/// A member who followed the link in an invitation.
async fn accepted(usher: &Usher, server: &SmtpServer, email: &str) -> String {
    invite(usher, email).await;
    let request = pb::AcceptInvitationRequest {
        token: server.next().await.letter.token().to_owned(),
        proof: Some(pb::accept_invitation_request::Proof::NewPassword(PASSPHRASE.into())),
        ..Default::default()
    };
    usher.members().accept_invitation(request).await.unwrap().into_inner().member.unwrap().user_id
}

async fn a_new_password_is_offered_to_the_proven_address_alone(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    accepted(&usher, &server, "Ivy@People.example").await;
    let mut sign_in = SignInServiceClient::new(usher.channel.clone());
    let mut tokens = Vec::new();
    for email in ["nobody@people.example", "IVY@people.EXAMPLE", "ivy@people.example"] {
        let request = pb::RequestPasswordResetRequest { email: email.into(), ..Default::default() };
        sign_in.request_password_reset(request).await.unwrap();
        if !email.starts_with("nobody") {
            let seen = server.next().await;
            assert_eq!(seen.recipients, ["Ivy@People.example"], "as it was proven, not as it was typed");
            tokens.push(seen.letter.token().to_owned());
        }
    }
    let mut reset = async |token: &str| {
        let request = pb::ResetPasswordRequest { token: token.into(), new_password: PASSPHRASE.into() };
        sign_in.reset_password(request).await.map(drop).map_err(|refused| refused.code())
    };
    assert_eq!(reset(&tokens[0]).await, Err(tonic::Code::NotFound), "a newer link ends it");
    assert_eq!(reset(&tokens[1]).await, Ok(()));
    assert_eq!(reset(&tokens[1]).await, Err(tonic::Code::NotFound), "once");
    worker.stop().await;
    usher.stop().await;
}

async fn a_token_is_nowhere_but_in_its_mail(engine: Engine) {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    let usher = start(engine).await;
    let worker = Worker::start(&usher.app, &plain(server.port));
    let id = invite(&usher, "ivy@people.example").await;
    let token = server.next().await.letter.token().to_owned();
    delivered(&usher, &id, |delivery| delivery.state() == Sent).await;
    worker.stop().await;
    let contents = dump(&usher, engine);
    assert!(contents.contains("ivy@people.example"), "this is the database");
    assert!(!contents.contains(&token));
    // A month later nothing remembers the mail either.
    usher.set_seconds(40 * 24 * 3600);
    housekeeping::once(&usher.app).await.unwrap();
    if engine == Engine::Postgres {
        assert!(contents.contains("mail_") && !dump(&usher, engine).contains("mail_"));
    }
    usher.stop().await;
}

/// With a login and TLS, at the most talkative level, over the real binary.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_tells_a_token_or_a_password() {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::make(directory.path(), "localhost");
    let options = json!({ "certificate": certificates.server, "login": ["usher", PASSWORD] });
    let Some(server) = SmtpServer::start(&options) else { return };
    let database = format!("sqlite:{}", directory.path().join("usher.db").display());
    let settings = [
        "log.filter=trace".to_owned(),
        "mail.smtp_host=localhost".to_owned(),
        format!("mail.smtp_port={}", server.port),
        "mail.smtp_username=usher".to_owned(),
        format!("mail.smtp_password={PASSWORD}"),
        format!("mail.smtp_ca_file={}", certificates.authority.display()),
        "oauth.issuers=https://login.example".to_owned(),
    ];
    let mut arguments = vec!["serve", "--migrate", "--listen", "127.0.0.1:0", "--database-url", &database];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let process = Process::start(&arguments);
    let channel = channel(&process.url).await;
    fill(&channel, "acme", INTEGRATE_IO, 20).await;
    let mut members = MemberServiceClient::new(channel);
    members.invite_user(inviting("acme", Platform, "ivy@people.example", "editor")).await.unwrap();
    let token = server.next().await.letter.token().to_owned();
    let request = pb::LookUpInvitationRequest { token: token.clone() };
    members.look_up_invitation(request).await.unwrap();
    let said = process.logged().join("\n");
    assert!(said.contains("TRACE") && said.contains("InviteUser"), "this is the log");
    for (what, secret) in [("the token", token.as_str()), ("the password", PASSWORD)] {
        let line = said.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} in {line:?}");
    }
    assert_eq!(process.terminate(), Some(0));
}

/// All that the database holds.
fn dump(usher: &Usher, engine: Engine) -> String {
    if engine == Engine::Postgres {
        return usher.database.dump();
    }
    // Also what is deleted and not yet overwritten.
    let files = std::fs::read_dir(usher.directory()).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.to_string_lossy().contains("usher.db"));
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect()
}
