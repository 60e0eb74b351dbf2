//! InviteUser: what it makes, what it refuses, and what a repetition answers.

use std::time::Duration;

use tonic::Code;
use usher_tests::cast::{inviting, joining, username};
use usher_tests::harness::ISSUER;
use usher_tests::lookup::{events, mails_of_invitation};
use usher_tests::pb::{self, invite_user_response::Outcome};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, refused,
};

use crate::changes::{figures, shown};

both_engines!(
    an_invitation_reserves_a_seat_and_is_mailed_with_a_link,
    an_address_has_one_open_invitation,
    who_is_a_member_is_not_invited,
    with_a_username_the_person_is_a_member_at_once,
    the_last_seat_is_given_once,
    a_link_is_returned_once_and_never_stored,
    a_request_id_answers_its_first_answer_again,
    an_expired_invitation_frees_its_seat_by_itself,
    mails_of_an_account_are_bounded,
    names_of_any_script_come_back_and_into_the_mail,
    who_joins_by_username_is_told_when_asked_for,
);

pub(crate) async fn invite(usher: &Usher, request: pb::InviteUserRequest) -> pb::InviteUserResponse {
    usher.members().invite_user(request).await.unwrap().into_inner()
}

fn invitation(response: &pb::InviteUserResponse) -> &pb::Invitation {
    let Some(Outcome::Invitation(invitation)) = &response.outcome else { panic!("no invitation") };
    invitation
}

fn member(response: &pb::InviteUserResponse) -> &pb::Member {
    let Some(Outcome::Member(member)) = &response.outcome else { panic!("no member") };
    member
}

async fn an_invitation_reserves_a_seat_and_is_mailed_with_a_link(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let (_, before) = figures(&usher, "acme").await;
    let request = pb::InviteUserRequest {
        display_name: "Ivy".to_owned(),
        ..inviting("acme", Actor(&admin), "Ivy@People.example", "editor")
    };
    let answer = invite(&usher, request).await;
    let made = invitation(&answer).clone();
    assert_eq!(shown(answer.licenses.unwrap()), (Some(20), 5, 1, Some(14), 0));
    assert_eq!(
        (answer.revision, answer.already_open, answer.accept_link_withheld),
        (before + 1, false, false)
    );
    assert!(answer.accept_link.is_empty());
    assert_eq!((made.email.as_str(), made.display_name.as_str()), ("Ivy@People.example", "Ivy"));
    assert_eq!((made.role.as_str(), made.role_title.as_str()), ("editor", "Editor"));
    assert_eq!((made.state(), made.reserves_seat), (pb::InvitationState::Pending, true));
    assert_eq!((made.invited_by.as_str(), made.invited_by_name.as_str()), (&*admin, &*admin));
    let life = made.expire_time.unwrap().seconds - made.create_time.unwrap().seconds;
    assert_eq!(life, 7 * 24 * 3600);

    let letter = usher.mailbox.wait_for("Ivy@People.example").await;
    assert_eq!(letter.token().len(), 43, "256 bits: {}", letter.link());
    assert!(letter.text.contains("acme & Söhne") && letter.text.contains("Editor"), "{}", letter.text);
    let read = sent(&usher, &made.id).await;
    assert_eq!(read.delivery.unwrap().sends, 1);
    // The token is nowhere but in the mail.
    let log = format!("{:?}", events(&usher.app.store, "acme").await);
    assert!(!log.contains(letter.token()) && log.contains("invitation.created"));
    let (_, after) = figures(&usher, "acme").await;
    assert_eq!(after, before + 1, "a delivered mail is no revision");
    usher.stop().await;
}

/// The invitation, once its mail is noted as sent.
async fn sent(usher: &Usher, id: &str) -> pb::Invitation {
    let reading = async {
        loop {
            let request = pb::GetInvitationRequest {
                account_id: "acme".to_owned(),
                acting: acting(Platform),
                invitation_id: id.to_owned(),
            };
            let read =
                usher.members().get_invitation(request).await.unwrap().into_inner().invitation.unwrap();
            if read.delivery.as_ref().unwrap().state() == pb::DeliveryState::Sent {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), reading).await.unwrap()
}

async fn an_address_has_one_open_invitation(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let first = invite(&usher, inviting("acme", Platform, "ivy@people.example", "editor")).await;
    // Addresses are the same whatever the case.
    for by in [Platform, Actor(&cast.founder())] {
        let again = invite(&usher, inviting("acme", by, " IVY@people.EXAMPLE ", "editor")).await;
        assert!(again.already_open);
        assert_eq!(
            (invitation(&again).id.as_str(), again.revision),
            (&*invitation(&first).id, first.revision)
        );
    }
    let other_role =
        usher.members().invite_user(inviting("acme", Platform, "ivy@people.example", "reader")).await;
    let told = refused(other_role, Code::AlreadyExists, "INVITATION_OPEN_WITH_OTHER_ROLE");
    assert_eq!((told.meta("invitation_id"), told.meta("role")), (&*invitation(&first).id, "editor"));
    assert_eq!(mails_of_invitation(&usher.app.store, &invitation(&first).id).await, 1);
    // Another account knows nothing of it.
    usher.cast("globex", DATAIMPORTER).await;
    let elsewhere = invite(&usher, inviting("globex", Platform, "ivy@people.example", "user")).await;
    assert!(!elsewhere.already_open);
    usher.stop().await;
}

async fn who_is_a_member_is_not_invited(engine: Engine) {
    let usher = Usher::start(engine).await;
    // A founder named by email is a member whose address counts from the start.
    let founded = pb::CreateAccountRequest {
        founder: Some(pb::Founder {
            way: Some(pb::founder::Way::Email("boss@acme.example".to_owned())),
            ..Default::default()
        }),
        ..usher_tests::cast::founding("acme", INTEGRATE_IO, 9)
    };
    let boss = usher.accounts().create_account(founded).await.unwrap().into_inner().member.unwrap();
    let known = usher.members().invite_user(inviting("acme", Platform, "Boss@acme.example", "reader")).await;
    assert_eq!(refused(known, Code::AlreadyExists, "ALREADY_MEMBER").meta("user_id"), boss.user_id);

    invite(&usher, joining("acme", Platform, "uma", "reader")).await;
    let named = usher.members().invite_user(joining("acme", Platform, "uma", "reader")).await;
    assert_eq!(refused(named, Code::AlreadyExists, "USERNAME_TAKEN_IN_ACCOUNT").meta("user_id"), "uma");
    // Login names are matched without regard to case.
    let request = pb::InviteUserRequest {
        identity: Some(username("UMA")),
        ..joining("acme", Platform, "uma", "reader")
    };
    refused(usher.members().invite_user(request).await, Code::AlreadyExists, "USERNAME_TAKEN_IN_ACCOUNT");
    usher.suspend_member("acme", "uma").await;
    let suspended = usher.members().invite_user(joining("acme", Platform, "uma", "reader")).await;
    assert_eq!(refused(suspended, Code::AlreadyExists, "MEMBER_SUSPENDED_REACTIVATE").meta("user_id"), "uma");
    // An address that was only given as a contact matches nobody: it was never proven.
    let contact = invite(&usher, inviting("acme", Platform, "uma@people.example", "reader")).await;
    assert!(!contact.already_open);
    usher.stop().await;
}

async fn with_a_username_the_person_is_a_member_at_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let answer = invite(&usher, joining("acme", Actor(&admin), "uma", "editor")).await;
    let made = member(&answer);
    assert_eq!(
        (made.user_id.as_str(), made.role.as_str(), made.invited_by.as_str()),
        ("uma", "editor", &*admin)
    );
    assert_eq!((made.state(), made.seat()), (pb::MemberState::Active, pb::SeatState::Held));
    assert!(!made.email_verified, "an address that an admin typed is proven by nobody");
    assert_eq!(
        made.identities,
        [pb::MemberIdentity { issuer: ISSUER.into(), username: "uma".into(), bound: false }]
    );
    assert_eq!(shown(answer.licenses.unwrap()), (Some(20), 6, 0, Some(14), 0));
    let check = crate::reasons::check("acme", "uma", "job.run", None);
    assert_eq!(crate::reasons::answer(&usher, check).await.reason(), pb::DecisionReason::RoleGrants);
    // The invitation is on record, as accepted, and nothing is mailed.
    let request = pb::ListInvitationsRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        email: "uma@people.example".to_owned(),
        ..Default::default()
    };
    let listed = usher.members().list_invitations(request).await.unwrap().into_inner().invitations;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].state(), listed[0].reserves_seat), (pb::InvitationState::Accepted, false));
    assert_eq!(
        (listed[0].accepted_user_id.as_str(), listed[0].delivery.as_ref().unwrap().state()),
        ("uma", pb::DeliveryState::NotNeeded)
    );
    // The same login in another account is the same person, whatever id is wished for.
    usher.cast("globex", DATAIMPORTER).await;
    let wished = pb::InviteUserRequest {
        new_user_id: "other".to_owned(),
        ..joining("globex", Platform, "uma", "user")
    };
    assert_eq!(member(&invite(&usher, wished).await).user_id, "uma");
    let taken =
        pb::InviteUserRequest { new_user_id: "uma".to_owned(), ..joining("globex", Platform, "ugo", "user") };
    refused(usher.members().invite_user(taken).await, Code::AlreadyExists, "USER_ID_TAKEN");
    usher.stop().await;
}

async fn the_last_seat_is_given_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 3).await;
    invite(&usher, inviting("acme", Platform, "a@people.example", "reader")).await;
    let calls = (0..8).map(|index| {
        let mut members = usher.members();
        let request = match index % 2 {
            0 => inviting("acme", Platform, &format!("b{index}@people.example"), "reader"),
            _ => joining("acme", Platform, &format!("b{index}"), "reader"),
        };
        async move { members.invite_user(request).await }
    });
    let (given, refusals): (Vec<_>, Vec<_>) =
        futures::future::join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!(given.len(), 1);
    for call in refusals {
        let told = refused(call, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
        assert_eq!((told.meta("purchased"), told.quotas.len()), ("3", 1));
    }
    let ((purchased, active, reserved, available, _), _) = figures(&usher, "acme").await;
    assert_eq!((purchased, active + reserved, available), (Some(3), 3, Some(0)));
    let request =
        pb::GetLicensesRequest { account_id: "acme".to_owned(), acting: acting(Platform), consistency: None };
    let page = usher.licenses().get_licenses(request).await.unwrap().into_inner();
    assert_eq!(
        (page.invitations_open, page.invitations_blocked_reason()),
        (false, pb::ErrorReason::NoSeatAvailable)
    );
    usher.stop().await;
}

async fn a_link_is_returned_once_and_never_stored(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let request = pb::InviteUserRequest {
        delivery: Some(pb::Delivery::ReturnLink.into()),
        request_id: "r1".to_owned(),
        ..inviting("acme", Platform, "ivy@people.example", "reader")
    };
    let first = invite(&usher, request.clone()).await;
    assert!(first.accept_link.starts_with("http://localhost:8080/invitations/"), "{}", first.accept_link);
    assert!(!first.accept_link_withheld);
    let replayed = invite(&usher, request.clone()).await;
    let open = invite(&usher, pb::InviteUserRequest { request_id: String::new(), ..request }).await;
    for (again, already_open) in [(&replayed, false), (&open, true)] {
        assert_eq!(
            (again.accept_link.as_str(), again.accept_link_withheld, again.already_open),
            ("", true, already_open)
        );
        assert_eq!(invitation(again).id, invitation(&first).id);
    }
    assert_eq!(mails_of_invitation(&usher.app.store, &invitation(&first).id).await, 0);
    assert_eq!(invitation(&first).delivery.as_ref().unwrap().state(), pb::DeliveryState::NotNeeded);
    usher.stop().await;
}

async fn a_request_id_answers_its_first_answer_again(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let other = usher.cast("globex", DATAIMPORTER).await;
    let request = pb::InviteUserRequest {
        // What any printable ASCII may be, payment systems send.
        request_id: "evt_1/a+b=?{~}".to_owned(),
        ..inviting("acme", Platform, "ivy@people.example", "reader")
    };
    let first = invite(&usher, request.clone()).await;
    invite(&usher, inviting("acme", Platform, "later@people.example", "reader")).await;
    let (now, _) = figures(&usher, "acme").await;
    let again = invite(&usher, request.clone()).await;
    assert_eq!(
        (again.revision, again.already_open),
        (first.revision, false),
        "the first answer, not a new one"
    );
    assert_eq!(again.licenses, first.licenses);
    assert_eq!(figures(&usher, "acme").await.0, now);
    // The id is this call's, this account's: elsewhere it is free.
    let changed = pb::InviteUserRequest { role: "editor".to_owned(), ..request.clone() };
    let told =
        refused(usher.members().invite_user(changed).await, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!(told.preconditions.len(), 1);
    let elsewhere =
        pb::InviteUserRequest { account_id: other.account, role: "user".to_owned(), ..request.clone() };
    invite(&usher, elsewhere).await;
    let same_id = pb::ManageLicensesRequest {
        request_id: request.request_id.clone(),
        ..crate::changes::manage("acme", Platform, [crate::changes::set_seats(33)])
    };
    usher.licenses().manage_licenses(same_id).await.unwrap();
    // A refusal is not remembered: what was missing may be there the next time.
    let refused_first =
        pb::InviteUserRequest { request_id: "r2".to_owned(), role: "rader".to_owned(), ..request.clone() };
    refused(usher.members().invite_user(refused_first.clone()).await, Code::InvalidArgument, "ROLE_UNKNOWN");
    let mended =
        pb::InviteUserRequest { role: "reader".to_owned(), email: "n@b.example".to_owned(), ..refused_first };
    invite(&usher, mended).await;
    // Remembered for seven days.
    usher.set_seconds(7 * 24 * 3600 - 1);
    assert_eq!(invite(&usher, request.clone()).await.revision, first.revision);
    usher.set_seconds(7 * 24 * 3600 + 1);
    assert!(invite(&usher, request).await.revision > first.revision, "a new invitation: the old has expired");
    usher.stop().await;
}

async fn an_expired_invitation_frees_its_seat_by_itself(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.found("acme", INTEGRATE_IO, 2).await;
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    let request = pb::InviteUserRequest {
        lifetime: Some(hour),
        ..inviting("acme", Platform, "ivy@people.example", "reader")
    };
    let first = invite(&usher, request.clone()).await;
    usher.set_seconds(3599);
    assert_eq!(figures(&usher, "acme").await.0, (Some(2), 1, 1, Some(0), 0));
    let full =
        usher.members().invite_user(inviting("acme", Platform, "other@people.example", "reader")).await;
    refused(full, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
    usher.set_seconds(3600);
    let (freed, revision) = figures(&usher, "acme").await;
    assert_eq!((freed, revision), ((Some(2), 1, 0, Some(1), 0), first.revision), "no sweep, no revision");
    // The address may be invited anew, and to another role: the expired one stays on record.
    let second = invite(&usher, pb::InviteUserRequest { role: "editor".to_owned(), ..request }).await;
    assert!(!second.already_open && invitation(&second).id != invitation(&first).id);
    let request = pb::GetInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        invitation_id: invitation(&first).id.clone(),
    };
    let old = usher.members().get_invitation(request).await.unwrap().into_inner().invitation.unwrap();
    assert_eq!((old.state(), old.reserves_seat), (pb::InvitationState::Expired, false));
    usher.stop().await;
}

async fn mails_of_an_account_are_bounded(engine: Engine) {
    let clock = usher_server::clock::Clock::manual(usher_domain::time::Time::from_seconds(
        usher_tests::harness::START,
    ));
    let usher = Usher::start_with(engine, clock, |config| config.mail.account_hourly_max = 2).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let ask = |number: u32| inviting("acme", Platform, &format!("p{number}@people.example"), "reader");
    invite(&usher, ask(1)).await;
    usher.set_seconds(60);
    invite(&usher, ask(2)).await;
    let before = figures(&usher, "acme").await;
    let told = refused(usher.members().invite_user(ask(3)).await, Code::ResourceExhausted, "MAIL_RATE");
    assert_eq!(told.retry_after, Some(Duration::from_secs(3540)));
    assert_eq!(figures(&usher, "acme").await, before);
    // What sends no mail is not held up, and waiting as long as it says helps.
    invite(&usher, joining("acme", Platform, "uma", "reader")).await;
    usher.set_seconds(3601);
    invite(&usher, ask(3)).await;
    usher.stop().await;
}

async fn names_of_any_script_come_back_and_into_the_mail(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    for (number, name) in
        ["Łukasz Żółć", "李小龍", "نور الدين", "Zoë 👩‍🚀", "O'Brien <b>\"x\"</b> & co"].into_iter().enumerate()
    {
        let email = format!("p{number}@bücher.example");
        let named = pb::InviteUserRequest {
            display_name: name.to_owned(),
            ..joining("acme", Platform, &format!("u{number}"), "admin")
        };
        let answer = invite(&usher, named).await;
        assert_eq!(member(&answer).display_name, name);
        let by = format!("u{number}");
        let invited = invite(&usher, inviting("acme", Actor(&by), &email, "reader")).await;
        assert_eq!(
            (invitation(&invited).email.as_str(), invitation(&invited).invited_by_name.as_str()),
            (&*email, name)
        );
        let request = pb::GetMemberRequest {
            account_id: "acme".to_owned(),
            acting: acting(Actor(&cast.founder())),
            user_id: by,
        };
        let read = usher.members().get_member(request).await.unwrap().into_inner().member.unwrap();
        assert_eq!(read.display_name, name);
    }
    let plain = invite(&usher, inviting("acme", Actor("u0"), "plain@people.example", "reader")).await;
    let letter = usher.mailbox.wait_for(&invitation(&plain).email).await;
    assert!(letter.text.contains("Łukasz Żółć invites you"), "{}", letter.text);
    usher.stop().await;
}

/// A notice without a link, in the language that was asked for; without `delivery` nothing is sent.
async fn who_joins_by_username_is_told_when_asked_for(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let telling = |user: &str, language: &str| pb::InviteUserRequest {
        delivery: Some(pb::Delivery::Email.into()),
        language: language.to_owned(),
        ..joining("acme", Actor(&admin), user, "editor")
    };
    let told = invite(&usher, telling("uma", "")).await;
    assert!(matches!(told.outcome, Some(Outcome::Member(_))));
    let letter = usher.mailbox.wait_for("uma@people.example").await;
    assert!(letter.text.contains("acme-admin has added you to acme & Söhne as Editor"), "{letter:?}");
    assert!(letter.text.contains("your login uma") && !letter.text.contains("http"), "{letter:?}");
    invite(&usher, joining("acme", Actor(&admin), "udo", "editor")).await;
    invite(&usher, telling("ugo", "de-AT")).await;
    let letter = usher.mailbox.wait_for("ugo@people.example").await;
    assert!(letter.text.contains("hat Sie zu acme & Söhne hinzugefügt"), "{letter:?}");
    // That one was asked for later and is here, so one to the other would be too.
    assert!(usher.mailbox.letters_to("udo@people.example").is_empty());
    usher.stop().await;
}
