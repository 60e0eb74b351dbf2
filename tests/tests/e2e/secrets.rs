//! A whole story of tokens and passwords, and then a search for every one of them in all that was said: the
//! log at its most talkative, the answers and errors, the events, and the database.

use std::fmt::Debug;

use tempfile::TempDir;
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::mailbox::Mailbox;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::sign_in_service_client::SignInServiceClient;
use usher_tests::person::{accepting, linking, new_password, password, signed_in, token_of};
use usher_tests::{Engine, INTEGRATE_IO, Platform, Process, acting, both_engines, pb};

both_engines!(nothing_secret_is_said);

const FIRST: &str = "amber Quokka 77 gates";
const SECOND: &str = "violet Ocelot 31 dunes";
const WRONG: &str = "crimson Tapir 12 lakes";

/// What was said, and what must not be in it.
#[derive(Default)]
struct Heard {
    said: Vec<String>,
    secrets: Vec<String>,
}

impl Heard {
    /// An answer, or the whole of an error, as whoever logs it would print it.
    fn hear<T: Debug>(&mut self, answer: Result<tonic::Response<T>, tonic::Status>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                self.said
                    .push(format!("{status:?} {status} {:?}", String::from_utf8_lossy(status.details())));
                None
            }
        }
    }

    fn secret(&mut self, secret: &str) -> String {
        assert!(secret.len() > 8, "{secret} is no secret");
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    #[track_caller]
    fn search(&self) {
        for secret in &self.secrets {
            let found =
                self.said.iter().flat_map(|said| said.lines()).find(|line| line.contains(secret.as_str()));
            assert!(found.is_none(), "`{secret}` in {found:?}");
        }
    }
}

async fn nothing_secret_is_said(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let mails = directory.path().join("mails");
    let mailbox = Mailbox { directory: mails.clone() };
    let mail_setting = format!("mail.directory={}", mails.display());
    let process = Process::start(&[
        "serve",
        "--migrate",
        "--listen",
        "127.0.0.1:0",
        "--database-url",
        &database.url,
        "--set",
        &mail_setting,
        "--set",
        "log.filter=trace,h2=info,hyper=info",
        "--set",
        "oauth.issuers=https://login.example",
    ]);
    let channel = channel(&process.url).await;
    usher_tests::cast::fill(&channel, "acme", INTEGRATE_IO, 20).await;
    let mut members = MemberServiceClient::new(channel.clone());
    let mut sign_in = SignInServiceClient::new(channel.clone());
    let mut heard = Heard::default();
    for password in [FIRST, SECOND, WRONG] {
        heard.secret(password);
    }

    // By a link in the answer: wrong first, then right, then again.
    let invited = members.invite_user(linking("acme", Platform, "ivy@people.example", "reader")).await;
    let invited = invited.unwrap().into_inner();
    let token = heard.secret(&token_of(&invited.accept_link));
    for proof in [password(WRONG), new_password("short but secret"), signed_in("nobody"), new_password(FIRST)]
    {
        heard.hear(members.accept_invitation(accepting(&token, proof)).await);
    }
    heard.secret("short but secret");
    heard.hear(members.accept_invitation(accepting(&token, new_password(SECOND))).await);
    // By mail, sent twice.
    let mailed =
        pb::InviteUserRequest { delivery: None, ..linking("acme", Platform, "joe@people.example", "reader") };
    let mailed = members.invite_user(mailed).await.unwrap().into_inner();
    let Some(pb::invite_user_response::Outcome::Invitation(open)) = mailed.outcome else { panic!("none") };
    heard.secret(mailbox.wait_for("joe@people.example").await.token());
    let resend = pb::ResendInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        invitation_id: open.id,
        delivery: Some(pb::Delivery::ReturnLink.into()),
        ..Default::default()
    };
    let resent = members.resend_invitation(resend).await.unwrap().into_inner();
    let token = heard.secret(&token_of(&resent.accept_link));
    let look = pb::LookUpInvitationRequest { token: token.clone() };
    heard.hear(members.look_up_invitation(look).await);
    heard.hear(members.look_up_invitation(pb::LookUpInvitationRequest { token: format!("{token}x") }).await);
    // Signing in, a new password, a new address.
    let email = "ivy@people.example".to_owned();
    for password in [WRONG, FIRST] {
        let request = pb::VerifyPasswordRequest { email: email.clone(), password: password.to_owned() };
        heard.hear(sign_in.verify_password(request).await);
    }
    let request = pb::RequestPasswordResetRequest { email: email.clone(), language: String::new() };
    sign_in.request_password_reset(request).await.unwrap();
    let token = heard.secret(mailbox.wait_for(&email).await.token());
    for password in ["short", SECOND, WRONG] {
        let request = pb::ResetPasswordRequest { token: token.clone(), new_password: password.to_owned() };
        heard.hear(sign_in.reset_password(request).await);
    }
    let request = pb::VerifyPasswordRequest { email, password: SECOND.to_owned() };
    let ivy = heard.hear(sign_in.verify_password(request).await).expect("the new password").user_id;
    let request = pb::RequestEmailChangeRequest {
        user_id: ivy,
        new_email: "new@people.example".to_owned(),
        language: String::new(),
    };
    sign_in.request_email_change(request).await.unwrap();
    let token = heard.secret(mailbox.wait_for("new@people.example").await.token());
    heard.hear(sign_in.change_email(pb::ChangeEmailRequest { token: token.clone() }).await).expect("changed");
    heard.hear(sign_in.change_email(pb::ChangeEmailRequest { token }).await);

    let request = pb::ListEventsRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        page_size: 500,
        ..Default::default()
    };
    let events = AuditServiceClient::new(channel.clone()).list_events(request).await.unwrap();
    heard.said.push(format!("{:?}", events.into_inner()));
    heard.said.push(database.dump());
    drop((members, sign_in, channel));
    let log = process.logged().join("\n");
    assert!(log.contains("AcceptInvitation") && log.contains("TRACE"), "this is the log");
    heard.said.push(log);
    assert_eq!(process.terminate(), Some(0));
    assert!(heard.said.len() > 6 && heard.secrets.len() == 9, "{} {:?}", heard.said.len(), heard.secrets);
    heard.search();
}
