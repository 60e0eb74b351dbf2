//! A founder who was named by an address is its person, whichever mail proves it first.

use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;
use usher_domain::caller::Scope;
use usher_server::authenticate::config::CallerConfig;
use usher_tests::callers::{Callers, static_token, with_scopes};
use usher_tests::cast::{founding, inviting};
use usher_tests::pb::founder::Way;
use usher_tests::person::{OTHER_PASSWORD, PASSWORD, identity, new_password, password, signed_in};
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, any_call, both_engines, pb, refused};

use crate::invite::invite;

both_engines!(
    two_accounts_for_one_address_have_one_founder,
    an_invitation_that_was_mailed_proves_the_founder,
    a_link_in_an_answer_does_not,
    nobody_else_comes_to_have_the_founders_address,
    a_limited_caller_makes_no_login_for_people_of_other_accounts,
);

const BOSS: &str = "boss@acme.example";

/// Founds an account for the address; the founder's user id.
async fn founded(usher: &Usher, account: &str) -> String {
    let founder = pb::Founder { way: Some(Way::Email(BOSS.to_owned())), ..Default::default() };
    let request = pb::CreateAccountRequest { founder: Some(founder), ..founding(account, INTEGRATE_IO, 5) };
    usher.accounts().create_account(request).await.unwrap().into_inner().member.unwrap().user_id
}

/// The token of a letter to the founder that has none of these.
async fn mailed(usher: &Usher, known: &[&str]) -> String {
    for _ in 0..1_500 {
        let letters = usher.mailbox.letters_to(BOSS);
        if let Some(new) = letters.iter().map(|letter| letter.token()).find(|token| !known.contains(token)) {
            return new.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no letter came");
}

async fn reset(
    usher: &Usher,
    token: String,
) -> Result<tonic::Response<pb::ResetPasswordResponse>, tonic::Status> {
    let new_password = PASSWORD.to_owned();
    usher.sign_in().reset_password(pb::ResetPasswordRequest { token, new_password }).await
}

async fn accounts_of(usher: &Usher) -> Vec<String> {
    let signed_in = usher.verify(BOSS, PASSWORD).await.unwrap().into_inner();
    signed_in.memberships.into_iter().map(|membership| membership.account_id).collect()
}

/// They prove their address once, for both; of two links the newer counts.
async fn two_accounts_for_one_address_have_one_founder(engine: Engine) {
    let usher = Usher::start(engine).await;
    let boss = founded(&usher, "acme").await;
    let first = mailed(&usher, &[]).await;
    assert_eq!(founded(&usher, "globex").await, boss);
    let second = mailed(&usher, &[&first]).await;
    refused(reset(&usher, first).await, Code::NotFound, "TOKEN_UNKNOWN");
    assert_eq!(reset(&usher, second).await.unwrap().into_inner().user_id, boss);
    assert_eq!(accounts_of(&usher).await, ["acme", "globex"]);
    usher.stop().await;
}

async fn an_invitation_that_was_mailed_proves_the_founder(engine: Engine) {
    for proof in [new_password(PASSWORD), identity("sub-boss", "boss")] {
        let usher = Usher::start(engine).await;
        let boss = founded(&usher, "acme").await;
        let founders = mailed(&usher, &[]).await;
        usher.cast("globex", DATAIMPORTER).await;
        invite(&usher, inviting("globex", Platform, BOSS, "user")).await;
        let token = mailed(&usher, &[&founders]).await;
        let page =
            usher.members().look_up_invitation(pb::LookUpInvitationRequest { token: token.clone() }).await;
        assert!(page.unwrap().into_inner().requires_password);
        let accepted = usher.accept(&token, proof).await.unwrap().into_inner().member.unwrap();
        assert_eq!((accepted.user_id, accepted.email_verified), (boss.clone(), true));
        assert!(usher.member("acme", &boss).await.unwrap().email_verified);
        // The founder's own link still sets a password.
        assert_eq!(reset(&usher, founders).await.unwrap().into_inner().user_id, boss);
        assert_eq!(accounts_of(&usher).await, ["acme", "globex"]);
        usher.stop().await;
    }
}

/// Whoever asked for the link may have kept it, so it makes nobody an owner.
async fn a_link_in_an_answer_does_not(engine: Engine) {
    let usher = Usher::start(engine).await;
    let boss = founded(&usher, "acme").await;
    usher.cast("globex", DATAIMPORTER).await;
    let (_, token) = usher.link("globex", Platform, BOSS, "user").await;
    let page = usher.members().look_up_invitation(pb::LookUpInvitationRequest { token: token.clone() }).await;
    assert!(!page.unwrap().into_inner().requires_password);
    let told = usher.accept(&token, new_password(OTHER_PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
    reset(&usher, mailed(&usher, &[]).await).await.unwrap();
    let accepted = usher.accept(&token, password(PASSWORD)).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, boss);
    assert_eq!(accounts_of(&usher).await, ["acme", "globex"]);
    usher.stop().await;
}

async fn nobody_else_comes_to_have_the_founders_address(engine: Engine) {
    let usher = Usher::start(engine).await;
    let boss = founded(&usher, "acme").await;
    let founders = mailed(&usher, &[]).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let somebody = usher.join("globex", "somebody@people.example", "user").await;
    let change = pb::RequestEmailChangeRequest {
        user_id: somebody.clone(),
        new_email: BOSS.to_owned(),
        language: String::new(),
    };
    usher.sign_in().request_email_change(change).await.unwrap();
    let changing = mailed(&usher, &[&founders]).await;
    let taken = usher.sign_in().change_email(pb::ChangeEmailRequest { token: changing.clone() }).await;
    refused(taken, Code::AlreadyExists, "EMAIL_TAKEN");
    // One who is signed in otherwise and follows the mailed link joins, and leaves the address to the founder.
    usher.cast("initech", DATAIMPORTER).await;
    invite(&usher, inviting("initech", Platform, BOSS, "user")).await;
    let token = mailed(&usher, &[&founders, &changing]).await;
    let admin = globex.member("admin");
    let joined = usher.accept(&token, signed_in(&admin)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((joined.user_id, joined.email_verified), (admin, false));
    assert_eq!(reset(&usher, founders).await.unwrap().into_inner().user_id, boss);
    assert_eq!(accounts_of(&usher).await, ["acme"]);
    usher.stop().await;
}

/// It may found accounts and vouch for people of its own, and tries to get hold of an owner by that.
async fn a_limited_caller_makes_no_login_for_people_of_other_accounts(engine: Engine) {
    let usher = Usher::start(engine).await;
    let boss = founded(&usher, "acme").await;
    let callers = Callers::make();
    let limited = CallerConfig {
        accounts: Some(vec!["mine".to_owned(), "mine-too".to_owned()]),
        ..with_scopes("limited", Scope::ALL.map(Scope::name))
    };
    let port = usher.second_door(|config| callers.configure(config, [limited])).await;
    let door = callers.connect(port).await;
    let call = async |rpc: &str, fields: Value| {
        any_call::call(&door, rpc, &any_call::request(rpc, &fields), Some(&static_token("limited"))).await
    };
    for account in ["mine", "mine-too"] {
        let founding = json!({
            "account_id": account, "name": "Mine", "model": "integrate-io", "seats": 5,
            "subscription": {"plan": "team"}, "founder": {"email": BOSS},
        });
        call("AccountService/CreateAccount", founding).await.unwrap();
    }
    let missing = usher.member("mine", &boss).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "the owner of another account is none of its people");

    // One whom it knows, without an address, who is a member elsewhere too.
    for account in ["acme", "mine"] {
        invite(&usher, usher_tests::cast::joining(account, Platform, "uma", "reader")).await;
    }
    let invitation = json!({
        "account_id": "mine-too", "platform": {}, "email": "mallory@people.example", "role": "reader",
    });
    call("MemberService/InviteUser", invitation).await.unwrap();
    let token = usher.mailbox.wait_for("mallory@people.example").await.token().to_owned();
    call("MemberService/AcceptInvitation", json!({"token": token, "signed_in_user_id": "uma"}))
        .await
        .unwrap();
    let request = pb::GetUserRequest { user_id: "uma".to_owned() };
    let uma = usher.users().get_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!(uma.email, "", "no login for her was made of somebody else's mail");
    usher.stop().await;
}
