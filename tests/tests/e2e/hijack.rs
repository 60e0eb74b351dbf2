//! Two accounts, one address: no path binds a login across accounts.

use tonic::Code;
use usher_tests::cast::{inviting, joining, username};
use usher_tests::person::{OTHER_PASSWORD, PASSWORD, identity, new_password, password, signed_in};
use usher_tests::{Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, pb, refused};

use crate::invite::invite;

both_engines!(
    who_squats_an_address_never_reaches_the_next_account,
    a_known_person_is_not_bound_by_another_accounts_invitation,
    a_foreign_username_binds_nobody_but_its_owner,
    a_login_of_one_account_is_no_login_of_another,
    a_contact_address_finds_nobody,
    a_contact_address_matches_nobody_who_has_a_login,
);

/// Waits for the mail that resets a password and uses it.
async fn reset(usher: &Usher, email: &str, password: &str) -> String {
    let request = pb::RequestPasswordResetRequest { email: email.to_owned(), language: String::new() };
    usher.sign_in().request_password_reset(request).await.unwrap();
    let letter = usher.mailbox.wait_for(email).await;
    let request =
        pb::ResetPasswordRequest { token: letter.token().to_owned(), new_password: password.to_owned() };
    usher.sign_in().reset_password(request).await.unwrap().into_inner().user_id
}

/// An admin of `acme` has the link to a stranger's address and sets a password. `globex` invites that
/// address later: only who reads its mail gets in, and with that the admin's password is dead.
async fn who_squats_an_address_never_reaches_the_next_account(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let admin = cast.member("admin");
    let (_, token) = usher.link("acme", Actor(&admin), "ivy@people.example", "reader").await;
    let squatter = usher.accept(&token, new_password(PASSWORD)).await.unwrap().into_inner();
    let squatter = squatter.member.unwrap().user_id;

    let (invitation, link) = usher.link("globex", Platform, "ivy@people.example", "user").await;
    // The squatter has a password and no link; neither the old link nor the password makes them a member.
    let old = usher.accept(&token, password(PASSWORD)).await.unwrap().into_inner();
    assert_eq!(old.member.unwrap().account_id, "acme");
    let seen = usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner();
    assert_eq!(seen.memberships.iter().map(|m| &*m.account_id).collect::<Vec<_>>(), ["acme"]);
    refused(
        usher.member("globex", &squatter).await.map(tonic::Response::new),
        Code::NotFound,
        "MEMBER_UNKNOWN",
    );

    // The owner of the address cannot set a password by the invitation, but by a mail.
    let new = usher.accept(&link, new_password(OTHER_PASSWORD)).await;
    refused(new, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
    let ivy = reset(&usher, "ivy@people.example", OTHER_PASSWORD).await;
    let accepted = usher.accept(&link, password(OTHER_PASSWORD)).await.unwrap().into_inner();
    assert_eq!(accepted.member.unwrap().user_id, ivy);
    assert_eq!(usher.invitation("globex", &invitation.id).await.accepted_user_id, ivy);
    let dead = usher.verify("ivy@people.example", PASSWORD).await;
    refused(dead, Code::PermissionDenied, "WRONG_CREDENTIALS");
    let dead = usher.accept(&token, password(PASSWORD)).await;
    refused(dead, Code::PermissionDenied, "WRONG_CREDENTIALS");
    usher.stop().await;
}

/// The person of `globex` is known; an admin of `acme` has a link to their address and no login.
async fn a_known_person_is_not_bound_by_another_accounts_invitation(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let ivy = usher.join("globex", "ivy@people.example", "user").await;
    let admin = cast.member("admin");
    let (_, token) = usher.link("acme", Actor(&admin), "ivy@people.example", "reader").await;
    for (proof, code, reason) in [
        (new_password(OTHER_PASSWORD), Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED"),
        (password(OTHER_PASSWORD), Code::PermissionDenied, "WRONG_CREDENTIALS"),
        (signed_in(&admin), Code::PermissionDenied, "WRONG_CREDENTIALS"),
        // A login of the admin's own, new to everybody.
        (identity("sub-eve", "eve"), Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED"),
        // A login of the admin's own that they have as a member.
        (identity("sub-admin", &admin), Code::PermissionDenied, "WRONG_CREDENTIALS"),
    ] {
        refused(usher.accept(&token, proof).await, code, reason);
    }
    // What was refused has bound nothing.
    refused(usher.resolve("sub-eve", "eve").await, Code::NotFound, "IDENTITY_UNKNOWN");
    assert_eq!(usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner().user_id, ivy);
    let user = usher.users().get_user(pb::GetUserRequest { user_id: ivy.clone() }).await.unwrap();
    assert!(user.into_inner().user.unwrap().identities.is_empty());
    // A username that an admin types is a person of its own, not the one whose address it is.
    let typed = pb::InviteUserRequest {
        identity: Some(username("eve")),
        ..inviting("acme", Actor(&admin), "ivy@people.example", "reader")
    };
    let answer = invite(&usher, typed).await;
    let Some(pb::invite_user_response::Outcome::Member(member)) = answer.outcome else { panic!("no member") };
    assert_ne!(member.user_id, ivy);
    assert!(!member.email_verified);
    let eve = usher.resolve("sub-eve", "eve").await.unwrap().into_inner();
    assert_eq!(eve.memberships.iter().map(|m| &*m.account_id).collect::<Vec<_>>(), ["acme"]);
    usher.stop().await;
}

/// An admin types somebody's username: the provider alone says who has it.
async fn a_foreign_username_binds_nobody_but_its_owner(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let admin = cast.member("admin");
    invite(&usher, joining("globex", Platform, "uma", "user")).await;
    assert!(usher.resolve("sub-uma", "uma").await.unwrap().into_inner().bound_now);
    // The admin's account gets the same person, and no way to be them.
    let joined = invite(&usher, joining("acme", Actor(&admin), "uma", "reader")).await;
    let Some(pb::invite_user_response::Outcome::Member(member)) = joined.outcome else { panic!("no member") };
    assert_eq!(member.user_id, "uma");
    for name in ["uma", "UMA"] {
        let other = usher.resolve("sub-admin", name).await;
        refused(other, Code::FailedPrecondition, "USERNAME_BOUND_TO_ANOTHER");
    }
    let (_, token) = usher.link("acme", Actor(&admin), "uma@people.example", "reader").await;
    let squat = usher.accept(&token, identity("sub-admin", "uma")).await;
    refused(squat, Code::FailedPrecondition, "USERNAME_BOUND_TO_ANOTHER");
    // From then on the subject counts, whatever the person is called.
    let renamed = usher.resolve("sub-uma", "uma-meier").await.unwrap().into_inner();
    assert_eq!((renamed.user_id.as_str(), renamed.bound_now), ("uma", false));
    let accounts: Vec<_> = renamed.memberships.iter().map(|m| &*m.account_id).collect();
    assert_eq!(accounts, ["acme", "globex"]);
    // A contact address in `acme` proves nothing.
    let known = usher.users().get_user(pb::GetUserRequest { user_id: "uma".to_owned() }).await.unwrap();
    assert_eq!(known.into_inner().user.unwrap().email, "");
    usher.stop().await;
}

/// The same person may be a member of two accounts; a right in one is none in the other.
async fn a_login_of_one_account_is_no_login_of_another(engine: Engine) {
    let usher = Usher::start(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let globex = usher.cast("globex", INTEGRATE_IO).await;
    let ivy = usher.join("acme", "ivy@people.example", "admin").await;
    let check = crate::reasons::check("globex", &ivy, "job.view", None);
    assert_eq!(crate::reasons::answer(&usher, check).await.reason(), pb::DecisionReason::NotAMember);
    for actor in [ivy.clone(), acme.founder()] {
        let request = inviting("globex", Actor(&actor), "x@people.example", "reader");
        let told = refused(
            usher.members().invite_user(request).await,
            Code::PermissionDenied,
            "ACTOR_LACKS_PERMISSION",
        );
        assert_eq!(told.meta("decision_reason"), "NOT_A_MEMBER");
    }
    let call = usher.remove("acme", Actor(&ivy), &globex.member("reader")).await;
    refused(call, Code::NotFound, "MEMBER_UNKNOWN");
    // Leaving one account leaves the other, and the login.
    let (_, token) = usher.link("globex", Platform, "ivy@people.example", "reader").await;
    usher.accept(&token, signed_in(&ivy)).await.unwrap();
    usher.remove("acme", Actor(&ivy), &ivy).await.unwrap();
    let left = usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner();
    let listed: Vec<_> = left.memberships.iter().map(|m| (&*m.account_id, &*m.role)).collect();
    assert_eq!(listed, [("globex", "reader")]);
    usher.stop().await;
}

/// An admin writes somebody's address into a membership: it leads to no login.
async fn a_contact_address_finds_nobody(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let request = pb::UpdateMemberRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Actor(&admin)),
        user_id: cast.member("reader"),
        email: Some("ivy@people.example".to_owned()),
        ..Default::default()
    };
    let member = usher.members().update_member(request).await.unwrap().into_inner().member.unwrap();
    assert_eq!((member.email.as_str(), member.email_verified), ("ivy@people.example", false));
    // The person of that address is new, and a password of theirs is not the member's.
    usher.cast("globex", DATAIMPORTER).await;
    let ivy = usher.join("globex", "ivy@people.example", "user").await;
    assert_ne!(ivy, cast.member("reader"));
    let seen = usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner();
    assert_eq!(seen.memberships.iter().map(|m| &*m.account_id).collect::<Vec<_>>(), ["globex"]);
    usher.stop().await;
}

/// Somebody joined by a link, and an admin typed another person's address as their contact.
async fn a_contact_address_matches_nobody_who_has_a_login(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let bob = usher.join("acme", "bob@people.example", "reader").await;
    let request = pb::UpdateMemberRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Actor(&cast.member("admin"))),
        user_id: bob.clone(),
        email: Some("ops@acme.example".to_owned()),
        ..Default::default()
    };
    usher.members().update_member(request).await.unwrap();
    let ops = usher.join("acme", "ops@acme.example", "editor").await;
    assert_ne!(ops, bob);
    // By the address that he proved he is found all the same.
    let again = usher.members().invite_user(inviting("acme", Platform, "Bob@people.example", "reader")).await;
    assert_eq!(refused(again, Code::AlreadyExists, "ALREADY_MEMBER").meta("user_id"), bob);
    usher.stop().await;
}
