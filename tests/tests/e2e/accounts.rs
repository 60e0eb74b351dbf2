//! CreateAccount and GetAccount.

use tonic::Code;
use usher_tests::cast::{founding, joining, username};
use usher_tests::harness::ISSUER;
use usher_tests::lookup::{self, check_chain};
use usher_tests::pb::{self, create_account_request::Purchased, founder::Way};
use usher_tests::person::{PASSWORD, new_password};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, refused,
};

use crate::changes::{figures, shown};
use crate::reasons::{answer, check};

both_engines!(
    a_request_id_is_of_one_account,
    a_founder_by_identity_can_act_at_once,
    a_founder_by_email_gets_a_mail_to_set_a_password,
    a_founder_by_id_must_exist,
    what_is_taken_or_unknown_is_refused,
    seats_are_bought_within_bounds,
    creating_can_be_repeated_by_request_id,
    an_account_without_an_id_gets_one,
    accounts_know_nothing_of_each_other,
    an_account_is_renamed_suspended_taken_back_and_closed,
);

async fn create(usher: &Usher, request: pb::CreateAccountRequest) -> pb::CreateAccountResponse {
    usher.accounts().create_account(request).await.unwrap().into_inner()
}

fn founded_by(way: Way) -> pb::CreateAccountRequest {
    let founder = pb::Founder { way: Some(way), ..Default::default() };
    pb::CreateAccountRequest { founder: Some(founder), ..founding("acme", INTEGRATE_IO, 3) }
}

async fn a_founder_by_identity_can_act_at_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in usher_tests::cast::MODELS {
        let made = create(&usher, founding(model.id, model, 1)).await;
        let (account, founder) = (made.account.unwrap(), made.member.unwrap());
        assert_eq!((account.account_id.as_str(), account.model.as_str()), (model.id, model.id));
        assert_eq!((account.state(), made.revision), (pb::AccountState::Active, 1));
        assert_eq!((founder.role.as_str(), founder.seat()), (model.founder, pb::SeatState::Held));
        assert_eq!(founder.identities[0].issuer, ISSUER);
        assert!(!founder.email_verified && founder.invited_by.is_empty());
        assert_eq!(shown(made.licenses.unwrap()), (Some(1), 1, 0, Some(0), 0));
        let request = pb::GetAccountRequest {
            account_id: account.account_id.clone(),
            acting: acting(Actor(&founder.user_id)),
        };
        let read = usher.accounts().get_account(request).await.unwrap().into_inner();
        assert_eq!((read.account, read.revision), (Some(account), 1));
        assert_eq!(read.consistency_token, made.consistency_token);
    }
    assert!(usher.mailbox.letters().is_empty(), "who logs in elsewhere needs no mail");
    usher.stop().await;
}

async fn a_founder_by_email_gets_a_mail_to_set_a_password(engine: Engine) {
    let usher = Usher::start(engine).await;
    let made = create(&usher, founded_by(Way::Email("Boss@acme.example".to_owned()))).await;
    let founder = made.member.unwrap();
    assert_eq!((founder.email.as_str(), founder.email_verified), ("Boss@acme.example", false));
    let letter = usher.mailbox.wait_for("Boss@acme.example").await;
    assert!(letter.link().starts_with("http://localhost:8080/passwords/"), "{}", letter.link());
    usher.stop().await;
}

async fn a_founder_by_id_must_exist(engine: Engine) {
    let usher = Usher::start(engine).await;
    let unknown = usher.accounts().create_account(founded_by(Way::UserId("nobody".to_owned()))).await;
    assert_eq!(refused(unknown, Code::NotFound, "USER_UNKNOWN").meta("user_id"), "nobody");
    let globex = usher.found("globex", DATAIMPORTER, 1).await;
    let made = create(&usher, founded_by(Way::UserId(globex.founder()))).await;
    assert_eq!(made.member.unwrap().user_id, globex.founder());
    usher.stop().await;
}

async fn what_is_taken_or_unknown_is_refused(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 1).await;
    let refuse = async |request: pb::CreateAccountRequest, code, reason: &str| {
        refused(usher.accounts().create_account(request).await, code, reason)
    };
    let told = refuse(founding("acme", DATAIMPORTER, 1), Code::AlreadyExists, "ACCOUNT_EXISTS").await;
    assert_eq!(told.meta("account_id"), "acme");
    let mut id_taken = founding("globex", DATAIMPORTER, 1);
    id_taken.founder.as_mut().unwrap().new_user_id = "acme-owner".to_owned();
    refuse(id_taken, Code::AlreadyExists, "USER_ID_TAKEN").await;
    let model =
        pb::CreateAccountRequest { model: "integrate.io".to_owned(), ..founding("globex", DATAIMPORTER, 1) };
    let told = refuse(model, Code::InvalidArgument, "MODEL_UNKNOWN").await;
    assert_eq!((told.paths(), told.meta("suggestion")), (vec!["model"], "integrate-io"));
    let elsewhere = pb::ExternalUsername { issuer: "https://other.example".to_owned(), ..username("x") };
    let told = refuse(
        pb::CreateAccountRequest {
            account_id: "globex".to_owned(),
            ..founded_by(Way::Identity(elsewhere.clone()))
        },
        Code::InvalidArgument,
        "ISSUER_UNKNOWN",
    )
    .await;
    assert_eq!(told.paths(), ["founder.identity.issuer"]);
    let invited =
        pb::InviteUserRequest { identity: Some(elsewhere), ..joining("acme", Platform, "x", "reader") };
    let told = refused(usher.members().invite_user(invited).await, Code::InvalidArgument, "ISSUER_UNKNOWN");
    assert_eq!(told.paths(), ["identity.issuer"]);
    // Nothing of all that left an account behind, and a closed one's id is not given again.
    let request = pb::GetAccountRequest { account_id: "globex".to_owned(), acting: acting(Platform) };
    refused(usher.accounts().get_account(request).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    usher.close_account("acme").await;
    refuse(founding("acme", INTEGRATE_IO, 1), Code::AlreadyExists, "ACCOUNT_EXISTS").await;
    usher.stop().await;
}

async fn seats_are_bought_within_bounds(engine: Engine) {
    let usher = Usher::start(engine).await;
    for (id, seats) in [("least", 1), ("most", 1_000_000)] {
        let made = create(&usher, founding(id, INTEGRATE_IO, seats)).await;
        assert_eq!(shown(made.licenses.unwrap()), (Some(seats), 1, 0, Some(seats - 1), 0));
    }
    let unlimited = pb::CreateAccountRequest {
        purchased: Some(Purchased::Unlimited(true)),
        ..founding("any", INTEGRATE_IO, 1)
    };
    assert_eq!(shown(create(&usher, unlimited).await.licenses.unwrap()), (None, 1, 0, None, 0));
    let wrong = [
        (Some(Purchased::Seats(0)), "seats"),
        (Some(Purchased::Seats(1_000_001)), "seats"),
        (Some(Purchased::Seats(u32::MAX)), "seats"),
        (Some(Purchased::Unlimited(false)), "unlimited"),
        (None, "purchased"),
    ];
    for (purchased, field) in wrong {
        let request = pb::CreateAccountRequest { purchased, ..founding("none", INTEGRATE_IO, 1) };
        let told =
            refused(usher.accounts().create_account(request).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(told.paths(), [field], "{purchased:?}");
    }
    usher.stop().await;
}

async fn creating_can_be_repeated_by_request_id(engine: Engine) {
    let usher = Usher::start(engine).await;
    let request = pb::CreateAccountRequest {
        request_id: "signup-1".to_owned(),
        ..founded_by(Way::Email("boss@acme.example".to_owned()))
    };
    for account_id in ["acme", ""] {
        let request = pb::CreateAccountRequest {
            account_id: account_id.to_owned(),
            request_id: format!("signup-{account_id}"),
            ..request.clone()
        };
        let first = create(&usher, request.clone()).await;
        let again = create(&usher, request.clone()).await;
        assert_eq!(
            (again.account, again.member, again.revision),
            (first.account, first.member, first.revision)
        );
        let other = pb::CreateAccountRequest { name: "Other".to_owned(), ..request };
        refused(usher.accounts().create_account(other).await, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    }
    usher.stop().await;
}

async fn an_account_without_an_id_gets_one(engine: Engine) {
    let usher = Usher::start(engine).await;
    let nameless = pb::CreateAccountRequest {
        account_id: String::new(),
        ..founded_by(Way::Email("boss@acme.example".to_owned()))
    };
    let made = [create(&usher, nameless.clone()).await, create(&usher, nameless).await];
    let ids = made.map(|made| {
        let (account, member) = (made.account.unwrap(), made.member.unwrap());
        assert_eq!(account.account_id, member.account_id);
        assert!(account.account_id.starts_with("acc_") && member.user_id.starts_with("usr_"), "{member:?}");
        account.account_id
    });
    assert_ne!(ids[0], ids[1]);
    usher.stop().await;
}

/// The same people, addresses and ids of things in two accounts: neither sees the other's.
async fn accounts_know_nothing_of_each_other(engine: Engine) {
    let usher = Usher::start(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let before = figures(&usher, "globex").await;
    let invited = usher_tests::cast::inviting("acme", Actor(&acme.founder()), "ivy@people.example", "reader");
    let answer = usher.members().invite_user(invited).await.unwrap().into_inner();
    let Some(pb::invite_user_response::Outcome::Invitation(made)) = answer.outcome else { panic!() };
    let request = pb::GetInvitationRequest {
        account_id: "globex".to_owned(),
        acting: acting(Actor(&globex.founder())),
        invitation_id: made.id,
    };
    refused(usher.members().get_invitation(request).await, Code::NotFound, "INVITATION_UNKNOWN");
    let request = pb::GetMemberRequest {
        account_id: "globex".to_owned(),
        acting: acting(Actor(&globex.founder())),
        user_id: acme.member("editor"),
    };
    let told = refused(usher.members().get_member(request).await, Code::NotFound, "MEMBER_UNKNOWN");
    assert_eq!(told.meta("user_id"), acme.member("editor"));
    assert_eq!(figures(&usher, "globex").await, before);
    usher.stop().await;
}

async fn an_account_is_renamed_suspended_taken_back_and_closed(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, reader) = (cast.founder(), cast.member("reader"));
    let update = async |name: Option<&str>| {
        let request = pb::UpdateAccountRequest {
            account_id: "acme".to_owned(),
            acting: acting(Actor(&owner)),
            name: name.map(str::to_owned),
            ..Default::default()
        };
        usher.accounts().update_account(request).await
    };
    for nothing in [None, Some(""), Some("  ")] {
        let told = refused(update(nothing).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(told.paths(), ["name"]);
    }
    let renamed = update(Some("Acme & Töchter")).await.unwrap().into_inner();
    assert_eq!(renamed.account.unwrap().name, "Acme & Töchter");
    assert_eq!(update(Some("Acme & Töchter")).await.unwrap().into_inner().revision, renamed.revision);

    let (open, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let ask = || check("acme", &reader, "job.view", None);
    usher.suspend_account("acme").await;
    assert_eq!(answer(&usher, ask()).await.reason(), pb::DecisionReason::AccountSuspended);
    refused(update(Some("Other")).await, Code::FailedPrecondition, "ACCOUNT_SUSPENDED");
    let accepted = usher.accept(&token, new_password(PASSWORD)).await;
    refused(accepted, Code::FailedPrecondition, "ACCOUNT_SUSPENDED");
    usher.reactivate_account("acme").await;
    assert_eq!(answer(&usher, ask()).await.decision(), pb::Decision::Allow);
    // Closed for good: as if it had never been, but the id stays taken and the log whole.
    usher.close_account("acme").await;
    assert_eq!(answer(&usher, ask()).await.reason(), pb::DecisionReason::AccountUnknown);
    refused(update(Some("Other")).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    let again = usher.accounts().create_account(founding("acme", INTEGRATE_IO, 5)).await;
    refused(again, Code::AlreadyExists, "ACCOUNT_EXISTS");
    let events = lookup::events(&usher.app.store, "acme").await;
    check_chain(&lookup::account(&usher.app.store, "acme").await, &events);
    let revoked = events.iter().find(|row| row.event.kind == "invitation.revoked").unwrap();
    assert_eq!(revoked.event.subject_id, open.id);
    usher.stop().await;
}

/// Also of accounts that are founded by it.
async fn a_request_id_is_of_one_account(engine: Engine) {
    let usher = Usher::start(engine).await;
    let found = async |account: &str| {
        let request = pb::CreateAccountRequest {
            request_id: "order-7".to_owned(),
            ..founding(account, INTEGRATE_IO, 3)
        };
        usher.accounts().create_account(request).await.unwrap().into_inner().account.unwrap().account_id
    };
    assert_eq!(found("acme").await, "acme");
    assert_eq!(found("globex").await, "globex");
    assert_eq!(found("acme").await, "acme", "as before");
    usher.stop().await;
}
