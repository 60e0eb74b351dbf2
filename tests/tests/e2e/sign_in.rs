//! Signing in, and what a person may change of their login; erasing a person.

use tonic::Code;
use usher_tests::cast::joining;
use usher_tests::lookup::{self, check_chain};
use usher_tests::person::{OTHER_PASSWORD, PASSWORD};
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, pb, refused};

use crate::invite::invite;

both_engines!(
    the_first_sign_in_binds_the_providers_own_id,
    a_new_password_comes_by_mail,
    an_address_changes_when_its_link_is_followed,
    failures_slow_down_known_and_unknown_addresses_alike,
    an_erased_person_leaves_an_id_and_a_chain_that_holds,
);

async fn the_first_sign_in_binds_the_providers_own_id(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    invite(&usher, joining("acme", Platform, "uma", "reader")).await;
    refused(usher.resolve("sub-1", "nobody").await, Code::NotFound, "IDENTITY_UNKNOWN");
    let first = usher.resolve("sub-1", "UMA").await.unwrap().into_inner();
    assert_eq!((first.user_id.as_str(), first.bound_now), ("uma", true));
    let again = usher.resolve("sub-1", "renamed").await.unwrap().into_inner();
    assert_eq!((again.user_id.as_str(), again.bound_now), ("uma", false));
    refused(usher.resolve("sub-2", "uma").await, Code::FailedPrecondition, "USERNAME_BOUND_TO_ANOTHER");
    assert!(usher.member("acme", "uma").await.unwrap().identities[0].bound);
    usher.stop().await;
}

/// Waits until a person has this many mails, and takes the token that is not among those known.
pub(crate) async fn next_token(usher: &Usher, email: &str, known: &[String]) -> String {
    let waiting = async {
        loop {
            let letters = usher.mailbox.letters_to(email);
            let tokens = letters.iter().map(|letter| letter.token().to_owned());
            if let Some(token) = tokens.into_iter().find(|token| !known.contains(token)) {
                return token;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), waiting).await.unwrap()
}

pub(crate) async fn request_reset(usher: &Usher, email: &str) {
    let request = pb::RequestPasswordResetRequest { email: email.to_owned(), language: String::new() };
    usher.sign_in().request_password_reset(request).await.unwrap();
}

fn resetting(token: &str, password: &str) -> pb::ResetPasswordRequest {
    pb::ResetPasswordRequest { token: token.to_owned(), new_password: password.to_owned() }
}

async fn a_new_password_comes_by_mail(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let ivy = usher.join("acme", "ivy@people.example", "reader").await;
    request_reset(&usher, "nobody@people.example").await;
    request_reset(&usher, "ivy@people.example").await;
    let first = next_token(&usher, "ivy@people.example", &[]).await;
    request_reset(&usher, "IVY@people.example").await;
    let second = next_token(&usher, "ivy@people.example", std::slice::from_ref(&first)).await;
    let unknown = |token: &str| {
        let (mut sign_in, request) = (usher.sign_in(), resetting(token, OTHER_PASSWORD));
        async move { refused(sign_in.reset_password(request).await, Code::NotFound, "TOKEN_UNKNOWN") }
    };
    // A new link ends older ones.
    unknown(&first).await;
    unknown("none").await;
    // A refused password does not use the link up.
    let short = usher.sign_in().reset_password(resetting(&second, "short")).await;
    refused(short, Code::InvalidArgument, "PASSWORD_TOO_SHORT");
    let done = usher.sign_in().reset_password(resetting(&second, OTHER_PASSWORD)).await.unwrap();
    assert_eq!(done.into_inner().user_id, ivy);
    unknown(&second).await;
    usher.verify("ivy@people.example", OTHER_PASSWORD).await.unwrap();
    refused(usher.verify("ivy@people.example", PASSWORD).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    // A link lives an hour.
    request_reset(&usher, "ivy@people.example").await;
    let third = next_token(&usher, "ivy@people.example", &[first, second]).await;
    usher.set_seconds(3600);
    unknown(&third).await;
    assert!(usher.mailbox.letters_to("nobody@people.example").is_empty());
    usher.stop().await;
}

async fn an_address_changes_when_its_link_is_followed(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let ivy = usher.join("acme", "ivy@people.example", "reader").await;
    usher.join("acme", "taken@people.example", "reader").await;
    let request = async |email: &str| {
        let request = pb::RequestEmailChangeRequest {
            user_id: ivy.clone(),
            new_email: email.to_owned(),
            language: String::new(),
        };
        usher.sign_in().request_email_change(request).await.unwrap();
        next_token(&usher, email, &[]).await
    };
    let change = async |token: String| usher.sign_in().change_email(pb::ChangeEmailRequest { token }).await;
    // Whether somebody has it is said to who reads its mail, and to nobody before.
    let taken = request("taken@people.example").await;
    refused(change(taken).await, Code::AlreadyExists, "EMAIL_TAKEN");
    let dead = request("old@people.example").await;
    let token = request("lane@people.example").await;
    refused(change(dead).await, Code::NotFound, "TOKEN_UNKNOWN");
    usher.verify("ivy@people.example", PASSWORD).await.unwrap();
    let changed = change(token.clone()).await.unwrap().into_inner();
    assert_eq!((&*changed.user_id, &*changed.email), (&*ivy, "lane@people.example"));
    refused(change(token).await, Code::NotFound, "TOKEN_UNKNOWN");
    assert_eq!(usher.verify("lane@people.example", PASSWORD).await.unwrap().into_inner().user_id, ivy);
    refused(usher.verify("ivy@people.example", PASSWORD).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    // The contact address in the account is the account's.
    assert_eq!(usher.member("acme", &ivy).await.unwrap().email, "ivy@people.example");
    usher.stop().await;
}

async fn failures_slow_down_known_and_unknown_addresses_alike(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", DATAIMPORTER).await;
    usher.join("acme", "ivy@people.example", "user").await;
    let mut told = Vec::new();
    for email in ["ivy@people.example", "nobody@people.example"] {
        for _ in 0..5 {
            refused(usher.verify(email, OTHER_PASSWORD).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
        }
        // Not even the right password counts now.
        let slow = refused(usher.verify(email, PASSWORD).await, Code::ResourceExhausted, "RATE_LIMITED");
        told.push((slow.message.clone(), slow.retry_after));
    }
    assert_eq!(told[0], told[1]);
    let wait = told[0].1.unwrap().as_secs();
    assert!(wait >= 1);
    usher.set_seconds(i64::try_from(wait).unwrap());
    usher.verify("ivy@people.example", PASSWORD).await.unwrap();
    usher.stop().await;
}

async fn an_erased_person_leaves_an_id_and_a_chain_that_holds(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let ivy = usher.join("acme", "ivy.lane@people.example", "reader").await;
    let (open, _) = usher.link("globex", Platform, "ivy.lane@people.example", "user").await;
    let erase = pb::EraseUserRequest { user_id: ivy.clone(), ..Default::default() };
    let first = usher.users().erase_user(erase.clone()).await.unwrap().into_inner();
    let changed: Vec<_> = first.accounts.iter().map(|account| &*account.account_id).collect();
    assert_eq!(changed, ["acme", "globex"]);
    assert_eq!(first.accounts[1].revoked_invitation_ids, [open.id]);
    let again = usher.users().erase_user(erase).await.unwrap().into_inner();
    assert_eq!((again.erase_time, again.accounts.len()), (first.erase_time, 0));
    let read = usher.users().get_user(pb::GetUserRequest { user_id: ivy.clone() }).await;
    refused(read, Code::NotFound, "USER_UNKNOWN");
    refused(
        usher.verify("ivy.lane@people.example", PASSWORD).await,
        Code::PermissionDenied,
        "WRONG_CREDENTIALS",
    );
    for account in ["acme", "globex"] {
        let events = lookup::events(&usher.app.store, account).await;
        check_chain(&lookup::account(&usher.app.store, account).await, &events);
        assert!(!format!("{events:?}").contains("ivy.lane"), "{account}");
    }
    // The admin of an account is needed there.
    let needed = pb::EraseUserRequest { user_id: "globex-admin".to_owned(), ..Default::default() };
    let told = refused(usher.users().erase_user(needed).await, Code::FailedPrecondition, "LAST_HOLDER");
    assert_eq!(told.meta("accounts"), "globex");
    // Closed, it needs nobody.
    usher.close_account("globex").await;
    let closed = pb::SuspendAccountRequest { account_id: "globex".to_owned(), ..Default::default() };
    refused(usher.accounts().suspend_account(closed).await, Code::FailedPrecondition, "ACCOUNT_CLOSED");
    usher.stop().await;
}
