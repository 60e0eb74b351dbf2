//! Following an invitation's link: what the page shows, who may accept, and what is refused.

use tonic::Code;
use usher_tests::cast::{inviting, joining};
use usher_tests::harness::{ISSUER, START};
use usher_tests::person::{
    OTHER_PASSWORD, PASSWORD, accepting, identity, linking, new_password, password, signed_in, token_of,
};
use usher_tests::{Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, pb, refused};

use crate::changes::{figures, lapse_at};
use crate::invite::invite;

both_engines!(
    a_new_person_sets_a_password_and_signs_in_with_it,
    a_mailed_link_leads_in,
    a_link_is_used_once,
    each_end_of_an_invitation_has_its_own_reason,
    the_page_shows_what_stands_behind_the_link,
    who_exists_proves_a_login_instead_of_setting_one,
    an_identity_accepts_for_a_new_person_and_for_a_known_one,
    accepting_needs_no_spare_seat,
    the_sponsor_must_still_have_the_right,
    passwords_have_rules_of_their_own,
    who_is_a_member_already_is_told_so,
    an_account_that_may_not_be_used_takes_nobody_in,
    the_platforms_own_id_comes_true_at_acceptance,
    the_request_id_of_an_acceptance_is_in_its_events,
);

async fn look_up(usher: &Usher, token: &str) -> pb::LookUpInvitationResponse {
    let request = pb::LookUpInvitationRequest { token: token.to_owned() };
    usher.members().look_up_invitation(request).await.unwrap().into_inner()
}

async fn a_new_person_sets_a_password_and_signs_in_with_it(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let (invitation, token) = usher.link("acme", Actor(&admin), "Ivy@People.example", "editor").await;
    let (_, before) = figures(&usher, "acme").await;
    let request = pb::AcceptInvitationRequest {
        display_name: "Ivy".to_owned(),
        ..accepting(&token, new_password(PASSWORD))
    };
    let answer = usher.members().accept_invitation(request).await.unwrap().into_inner();
    assert_eq!((answer.already_accepted, answer.revision), (false, before + 1));
    let member = answer.member.unwrap();
    assert_eq!((member.account_id.as_str(), member.role.as_str()), ("acme", "editor"));
    assert_eq!((member.display_name.as_str(), member.email.as_str()), ("Ivy", "Ivy@People.example"));
    assert_eq!((member.state(), member.seat()), (pb::MemberState::Active, pb::SeatState::Held));
    assert!(member.email_verified, "the link went to the address");
    assert_eq!(member.invited_by, admin);
    let read = usher.invitation("acme", &invitation.id).await;
    assert_eq!((read.state(), read.reserves_seat), (pb::InvitationState::Accepted, false));
    assert_eq!(read.accepted_user_id, member.user_id);

    // Whatever the case of the address.
    let signed_in = usher.verify(" ivy@people.EXAMPLE ", PASSWORD).await.unwrap().into_inner();
    assert_eq!(signed_in.user_id, member.user_id);
    let listed: Vec<_> = signed_in.memberships.iter().map(|m| (&*m.account_id, &*m.role)).collect();
    assert_eq!(listed, [("acme", "editor")]);
    // The same letters from another keyboard: `ü` as `u` and its dots apart.
    let decomposed = PASSWORD.replace('ü', "u\u{308}");
    assert_ne!(decomposed, PASSWORD);
    assert_eq!(
        usher.verify("ivy@people.example", &decomposed).await.unwrap().into_inner().user_id,
        member.user_id
    );
    for (email, password) in [("ivy@people.example", OTHER_PASSWORD), ("nobody@people.example", PASSWORD)] {
        refused(usher.verify(email, password).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    }
    let check = crate::reasons::check("acme", &member.user_id, "job.run", None);
    assert_eq!(crate::reasons::answer(&usher, check).await.reason(), pb::DecisionReason::RoleGrants);
    usher.stop().await;
}

async fn a_mailed_link_leads_in(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", DATAIMPORTER).await;
    invite(&usher, inviting("acme", Platform, "ivy@people.example", "user")).await;
    let letter = usher.mailbox.wait_for("ivy@people.example").await;
    let member = usher.accept(letter.token(), new_password(PASSWORD)).await.unwrap().into_inner().member;
    assert_eq!(member.unwrap().role, "user");
    usher.verify("ivy@people.example", PASSWORD).await.unwrap();
    usher.stop().await;
}

async fn a_link_is_used_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, token) = usher.link("acme", Platform, "ivy@people.example", "editor").await;
    let first = usher.accept(&token, new_password(PASSWORD)).await.unwrap().into_inner();
    let ivy = first.member.unwrap().user_id;
    // A new password is no proof of anything, not even the same one again.
    for secret in [PASSWORD, OTHER_PASSWORD] {
        let again = usher.accept(&token, new_password(secret)).await;
        refused(again, Code::FailedPrecondition, "INVITATION_ACCEPTED");
    }
    // The same person, with proof, is answered as before.
    for proof in [password(PASSWORD), signed_in(&ivy)] {
        let again = usher.accept(&token, proof).await.unwrap().into_inner();
        assert_eq!((again.already_accepted, again.revision), (true, first.revision));
        assert_eq!(again.member.unwrap().user_id, ivy);
    }
    let other = usher.accept(&token, signed_in("acme-reader")).await;
    refused(other, Code::FailedPrecondition, "INVITATION_ACCEPTED");
    refused(
        usher.accept(&token, password(OTHER_PASSWORD)).await,
        Code::PermissionDenied,
        "WRONG_CREDENTIALS",
    );
    // Once removed they are no member, and the old link brings nobody back.
    usher.remove("acme", Platform, &ivy).await.unwrap();
    let back = usher.accept(&token, signed_in(&ivy)).await;
    refused(back, Code::FailedPrecondition, "INVITATION_ACCEPTED");
    usher.verify("ivy@people.example", PASSWORD).await.unwrap();
    usher.stop().await;
}

async fn each_end_of_an_invitation_has_its_own_reason(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (revoked, revoked_token) = usher.link("acme", Platform, "a@people.example", "reader").await;
    usher.revoke("acme", &revoked.id).await.unwrap();
    let told = usher.accept(&revoked_token, new_password(PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "INVITATION_REVOKED");
    assert_eq!(look_up(&usher, &revoked_token).await.state(), pb::InvitationState::Revoked);

    let (late, late_token) = usher.link("acme", Platform, "b@people.example", "reader").await;
    let (in_time, in_time_token) = usher.link("acme", Platform, "c@people.example", "reader").await;
    let life = 7 * 24 * 3600;
    assert_eq!(late.expire_time.unwrap().seconds, START + life);
    usher.set_seconds(life - 1);
    usher.accept(&in_time_token, new_password(PASSWORD)).await.unwrap();
    usher.set_seconds(life);
    let told = usher.accept(&late_token, new_password(PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "INVITATION_EXPIRED");
    // Whatever is wrong with the proof: another would not help.
    for token in [&late_token, &revoked_token] {
        let reason = if *token == late_token { "INVITATION_EXPIRED" } else { "INVITATION_REVOKED" };
        for proof in [new_password("short"), password(OTHER_PASSWORD), signed_in("nobody")] {
            refused(usher.accept(token, proof).await, Code::FailedPrecondition, reason);
        }
    }
    assert_eq!(look_up(&usher, &late_token).await.state(), pb::InvitationState::Expired);
    // An invitation that was accepted in time stays so.
    assert_eq!(usher.invitation("acme", &in_time.id).await.state(), pb::InvitationState::Accepted);

    let unknown = "A".repeat(43);
    for proof in [new_password(PASSWORD), password(PASSWORD), signed_in("acme-owner")] {
        refused(usher.accept(&unknown, proof).await, Code::NotFound, "INVITATION_UNKNOWN");
    }
    let request = pb::LookUpInvitationRequest { token: unknown };
    refused(usher.members().look_up_invitation(request).await, Code::NotFound, "INVITATION_UNKNOWN");
    usher.stop().await;
}

async fn the_page_shows_what_stands_behind_the_link(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let request = pb::InviteUserRequest {
        display_name: "Ivy".to_owned(),
        ..linking("acme", Actor(&admin), "Ivy@People.example", "editor")
    };
    let answer = invite(&usher, request).await;
    let token = token_of(&answer.accept_link);
    let (_, before) = figures(&usher, "acme").await;
    let mut page = look_up(&usher, &token).await;
    assert!(page.expire_time.take().is_some());
    let expected = pb::LookUpInvitationResponse {
        account_id: "acme".to_owned(),
        account_name: "acme & Söhne".to_owned(),
        email: "Ivy@People.example".to_owned(),
        display_name: "Ivy".to_owned(),
        role_title: "Editor".to_owned(),
        invited_by_name: admin.clone(),
        state: pb::InvitationState::Pending.into(),
        expire_time: None,
        requires_password: true,
        password_min_length: 15,
        issuers: vec![ISSUER.to_owned()],
    };
    assert_eq!(page, expected);
    assert_eq!(figures(&usher, "acme").await.1, before, "looking changes nothing");
    usher.accept(&token, new_password(PASSWORD)).await.unwrap();
    let page = look_up(&usher, &token).await;
    assert_eq!((page.state(), page.requires_password), (pb::InvitationState::Accepted, false));
    // In another account the same person is asked for their login.
    usher.cast("globex", DATAIMPORTER).await;
    let (_, other) = usher.link("globex", Platform, "ivy@people.example", "user").await;
    let page = look_up(&usher, &other).await;
    assert_eq!((page.requires_password, page.invited_by_name.as_str()), (false, ""));
    usher.stop().await;
}

async fn who_exists_proves_a_login_instead_of_setting_one(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let ivy = usher.join("acme", "ivy@people.example", "editor").await;
    for (account, proof) in [("globex", password(PASSWORD)), ("initech", signed_in(&ivy))] {
        usher.cast(account, DATAIMPORTER).await;
        let (_, token) = usher.link(account, Platform, "IVY@people.example", "user").await;
        let new = usher.accept(&token, new_password(OTHER_PASSWORD)).await;
        refused(new, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
        let wrong = usher.accept(&token, password(OTHER_PASSWORD)).await;
        refused(wrong, Code::PermissionDenied, "WRONG_CREDENTIALS");
        let other = usher.accept(&token, signed_in("acme-reader")).await;
        refused(other, Code::PermissionDenied, "WRONG_CREDENTIALS");
        let nobody = usher.accept(&token, signed_in("usr_nobody")).await;
        refused(nobody, Code::PermissionDenied, "WRONG_CREDENTIALS");
        let accepted = usher.accept(&token, proof).await.unwrap().into_inner();
        assert_eq!(accepted.member.unwrap().user_id, ivy);
    }
    // Nothing of it has touched the password.
    let memberships = usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner().memberships;
    assert_eq!(memberships.len(), 3);
    refused(
        usher.verify("ivy@people.example", OTHER_PASSWORD).await,
        Code::PermissionDenied,
        "WRONG_CREDENTIALS",
    );
    // An address that nobody has can be taken by a person who is signed in.
    let (_, token) = usher.link("acme", Platform, "new@people.example", "reader").await;
    refused(usher.accept(&token, signed_in("usr_nobody")).await, Code::NotFound, "USER_UNKNOWN");
    refused(usher.accept(&token, password(PASSWORD)).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    usher.stop().await;
}

async fn an_identity_accepts_for_a_new_person_and_for_a_known_one(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    // Mailed, because a link that only its caller saw would prove no address.
    let mailed =
        pb::InviteUserRequest { delivery: None, ..linking("acme", Platform, "ivy@people.example", "editor") };
    usher.members().invite_user(mailed).await.unwrap();
    let token = usher.mailbox.wait_for("ivy@people.example").await.token().to_owned();
    let foreign = identity("sub-ivy", "ivy");
    let accepted = usher.accept(&token, foreign.clone()).await.unwrap().into_inner();
    let ivy = accepted.member.unwrap();
    assert!(ivy.email_verified);
    let ivy = ivy.user_id;
    let resolved = usher.resolve("sub-ivy", "ivy").await.unwrap().into_inner();
    assert_eq!((resolved.user_id.as_str(), resolved.bound_now), (&*ivy, false));
    assert!(usher.accept(&token, foreign.clone()).await.unwrap().into_inner().already_accepted);
    // There is no password that would be right.
    refused(usher.verify("ivy@people.example", PASSWORD).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    let (_, other) = usher.link("globex", Platform, "ivy@people.example", "user").await;
    // Another login of the same provider is somebody else, whatever it is called.
    let stranger = usher.accept(&other, identity("sub-other", "someone")).await;
    refused(stranger, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
    let renamed = usher.accept(&other, identity("sub-other", "IVY")).await;
    refused(renamed, Code::FailedPrecondition, "USERNAME_BOUND_TO_ANOTHER");
    let unknown = pb::accept_invitation_request::Proof::Identity(pb::VouchedIdentity {
        issuer: "https://evil.example".to_owned(),
        subject: "sub-ivy".to_owned(),
        username: "ivy".to_owned(),
    });
    refused(usher.accept(&other, unknown).await, Code::InvalidArgument, "ISSUER_UNKNOWN");
    let accepted = usher.accept(&other, foreign).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, ivy);
    usher.stop().await;
}

async fn accepting_needs_no_spare_seat(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 3).await;
    let (_, first) = usher.link("acme", Platform, "a@people.example", "reader").await;
    let (_, second) = usher.link("acme", Platform, "b@people.example", "reader").await;
    assert_eq!(figures(&usher, "acme").await.0, (Some(3), 1, 2, Some(0), 0));
    usher.accept(&first, new_password(PASSWORD)).await.unwrap();
    assert_eq!(figures(&usher, "acme").await.0, (Some(3), 2, 1, Some(0), 0));
    usher.accept(&second, identity("sub-b", "b")).await.unwrap();
    assert_eq!(figures(&usher, "acme").await.0, (Some(3), 3, 0, Some(0), 0));
    usher.stop().await;
}

async fn the_sponsor_must_still_have_the_right(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let (invitation, token) = usher.link("acme", Actor(&admin), "ivy@people.example", "admin").await;
    usher.change_role("acme", Platform, &admin, "reader").await.unwrap();
    let told = usher.accept(&token, new_password(PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "INVITATION_SPONSOR_LACKS_RIGHT");
    refused(usher.verify("ivy@people.example", PASSWORD).await, Code::PermissionDenied, "WRONG_CREDENTIALS");
    // The right is what counts now, not what happened between.
    usher.change_role("acme", Platform, &admin, "admin").await.unwrap();
    assert_eq!(usher.invitation("acme", &invitation.id).await.state(), pb::InvitationState::Pending);
    usher.accept(&token, new_password(PASSWORD)).await.unwrap();
    usher.stop().await;
}

async fn passwords_have_rules_of_their_own(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, token) = usher.link("acme", Platform, "ivy.lane@people.example", "reader").await;
    let many = "x".repeat(1025);
    for (secret, reason) in [
        ("äöüäöüäöüäöüßß", "PASSWORD_TOO_SHORT"),
        ("", "PASSWORD_TOO_SHORT"),
        ("passwordpassword", "PASSWORD_TOO_COMMON"),
        ("my Name Is IVY.Lane!", "PASSWORD_CONTAINS_EMAIL"),
        (&*many, "INVALID_FIELD"),
    ] {
        let told = refused(usher.accept(&token, new_password(secret)).await, Code::InvalidArgument, reason);
        assert!(secret.is_empty() || !format!("{told:?}").contains(secret), "{told:?}");
    }
    // Fifteen characters of whatever kind are enough, and a refused one uses nothing up.
    usher.accept(&token, new_password("zzz qq äöü ßwxy")).await.unwrap();
    usher.stop().await;
}

async fn who_is_a_member_already_is_told_so(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    invite(&usher, joining("acme", Platform, "uma", "reader")).await;
    let (_, token) = usher.link("acme", Platform, "uma@people.example", "reader").await;
    let told = refused(usher.accept(&token, signed_in("uma")).await, Code::AlreadyExists, "ALREADY_MEMBER");
    assert_eq!(told.meta("user_id"), "uma");
    usher.suspend_member("acme", "uma").await;
    let told = usher.accept(&token, identity("sub-uma", "uma")).await;
    refused(told, Code::AlreadyExists, "MEMBER_SUSPENDED_REACTIVATE");
    usher.stop().await;
}

async fn an_account_that_may_not_be_used_takes_nobody_in(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (_, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    usher.suspend_account("acme").await;
    let told = usher.accept(&token, new_password(PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "ACCOUNT_SUSPENDED");
    usher.reactivate_account("acme").await;
    lapse_at(&usher, &cast, 10, 20).await;
    usher.set_seconds(20);
    let told = usher.accept(&token, new_password(PASSWORD)).await;
    refused(told, Code::FailedPrecondition, "SUBSCRIPTION_LAPSED");
    lapse_at(&usher, &cast, 1000, 2000).await;
    usher.accept(&token, new_password(PASSWORD)).await.unwrap();
    usher.stop().await;
}

async fn the_platforms_own_id_comes_true_at_acceptance(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let asking = |account: &str, email: &str, id: &str| pb::InviteUserRequest {
        new_user_id: id.to_owned(),
        ..linking(account, Platform, email, if account == "acme" { "reader" } else { "user" })
    };
    let ask = async |account: &str, email: &str, id: &str| {
        token_of(&invite(&usher, asking(account, email, id)).await.accept_link)
    };
    let token = ask("acme", "ivy@people.example", "hr-1").await;
    let accepted = usher.accept(&token, new_password(PASSWORD)).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, "hr-1");
    // By a link that was mailed, and proven by a provider.
    let mailed = pb::InviteUserRequest {
        new_user_id: "hr-2".to_owned(),
        ..inviting("acme", Platform, "joe@people.example", "reader")
    };
    invite(&usher, mailed).await;
    let token = usher.mailbox.wait_for("joe@people.example").await.token().to_owned();
    let accepted = usher.accept(&token, identity("sub-joe", "joe")).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, "hr-2");
    // Another person's id is refused, also if it becomes that before acceptance.
    let taken = usher.members().invite_user(asking("globex", "kim@people.example", "hr-1")).await;
    refused(taken, Code::AlreadyExists, "USER_ID_TAKEN");
    let (one, other) =
        (ask("globex", "kim@people.example", "hr-3").await, ask("acme", "lou@people.example", "hr-3").await);
    usher.accept(&one, new_password(PASSWORD)).await.unwrap();
    refused(usher.accept(&other, new_password(PASSWORD)).await, Code::AlreadyExists, "USER_ID_TAKEN");
    // Who is known keeps their id, whatever is wanted.
    let token = ask("globex", "ivy@people.example", "hr-9").await;
    let accepted = usher.accept(&token, password(PASSWORD)).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, "hr-1");
    ask("globex", "joe@people.example", "hr-2").await;
    usher.stop().await;
}

async fn the_request_id_of_an_acceptance_is_in_its_events(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let request = pb::AcceptInvitationRequest {
        request_id: "try-1".to_owned(),
        ..accepting(&token, new_password(PASSWORD))
    };
    let first = usher.members().accept_invitation(request.clone()).await.unwrap().into_inner();
    let events = usher_tests::lookup::events(&usher.app.store, "acme").await;
    let of_it: Vec<_> = events.iter().filter(|row| row.event.revision == first.revision).collect();
    assert_eq!(of_it.len(), 2);
    assert!(of_it.iter().all(|row| row.event.request_id == "try-1" && row.event.note.is_empty()));
    // It is not remembered: the token alone says what a repetition is.
    refused(
        usher.members().accept_invitation(request).await,
        Code::FailedPrecondition,
        "INVITATION_ACCEPTED",
    );
    usher.stop().await;
}
