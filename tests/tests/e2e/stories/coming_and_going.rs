//! How people come into an account, what is done about them there, and how they go.

use tonic::Code;
use usher_tests::cast::{inviting, joining};
use usher_tests::person::{OTHER_PASSWORD, PASSWORD, linking, new_password, password, signed_in};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::changes::{figures, manage, set_seats};
use crate::invite::invite;
use crate::reasons::{answer, check};

both_engines!(
    story_3_4_members_page_of_integrate_io,
    story_3_5_set_password_landing_page,
    story_3_6_oauth_first_login_with_username,
    story_3_11_an_employee_leaves,
);

const WEEK: i64 = 7 * 24 * 3600;

async fn story_3_4_members_page_of_integrate_io(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let admin = acme.member("admin");
    let by = Actor(&admin);
    let open = invite(&usher, inviting("acme", by, "ivy@people.example", "reader")).await.outcome;
    let Some(pb::invite_user_response::Outcome::Invitation(open)) = open else { panic!("no invitation") };
    usher.mailbox.wait_for("ivy@people.example").await;
    // One table from two lists, both by address.
    let members = async || {
        let request = pb::ListMembersRequest {
            account_id: "acme".to_owned(),
            acting: acting(by),
            ..Default::default()
        };
        usher.members().list_members(request).await.unwrap().into_inner().members
    };
    let rows = members().await;
    let emails: Vec<&str> = rows.iter().map(|member| member.email.as_str()).collect();
    assert!(emails.is_sorted() && emails.len() == 5, "{emails:?}");
    let row = |user: &str| rows.iter().find(|member| member.user_id == user).unwrap().clone();
    let editor = row(&acme.member("editor"));
    assert_eq!((&*editor.role_title, editor.seat()), ("Editor", pb::SeatState::Held));
    assert!(editor.join_time.is_some());
    // Each row says what this actor may do with it, so that no page copies the rules.
    let may = editor.actor_may.unwrap();
    assert!(may.change_role.unwrap().allowed && may.suspend.unwrap().allowed && may.remove.unwrap().allowed);
    assert_eq!(may.assignable_roles, ["admin", "operator", "reader"], "all but the present one");
    let owners = row(&acme.founder()).actor_may.unwrap();
    assert_eq!(owners.remove.unwrap().reason(), pb::ErrorReason::RoleChangesBySupportOnly);
    let own = row(&admin).actor_may.unwrap();
    assert_eq!(own.change_role.unwrap().reason(), pb::ErrorReason::OwnMembership);
    let request = pb::ListRolesRequest { account_id: "acme".to_owned(), actor_id: admin.clone() };
    let roles = usher.authorization().list_roles(request).await.unwrap().into_inner().roles;
    let assignable = |id: &str| roles.iter().find(|role| role.id == id).unwrap().assignable_by_actor;
    assert_eq!((assignable("owner"), assignable("editor")), (Some(false), Some(true)));
    // The invitation's row: when it ends, that it was sent, and what may be done.
    let listed = async |states: Vec<pb::InvitationState>| {
        let request = pb::ListInvitationsRequest {
            account_id: "acme".to_owned(),
            acting: acting(by),
            states: states.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        usher.members().list_invitations(request).await.unwrap().into_inner().invitations
    };
    let sent = async {
        loop {
            let invitation = listed(vec![pb::InvitationState::Pending]).await.remove(0);
            let delivery = invitation.delivery.clone().unwrap();
            if delivery.state() == pb::DeliveryState::Sent {
                return (invitation, delivery);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let sent = tokio::time::timeout(std::time::Duration::from_secs(30), sent).await.unwrap();
    assert_eq!((sent.0.id.as_str(), sent.1.sends), (open.id.as_str(), 1));
    assert_eq!(sent.0.invited_by_name, "acme-admin");
    assert!(sent.0.actor_may.unwrap().resend.unwrap().allowed);
    // Another role for a pending person, with the same link and seat.
    let update = pb::UpdateInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        invitation_id: open.id.clone(),
        role: Some("operator".to_owned()),
        ..Default::default()
    };
    let updated = usher.members().update_invitation(update).await.unwrap().into_inner();
    let updated = updated.invitation.unwrap();
    assert_eq!((&*updated.role, updated.reserves_seat), ("operator", true));
    // Expired, it can be sent again, unless its seat has gone.
    usher.set_seconds(WEEK);
    let expired = listed(vec![pb::InvitationState::Expired]).await;
    assert_eq!(expired[0].id, open.id);
    usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(5)])).await.unwrap();
    let resend = || pb::ResendInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        invitation_id: open.id.clone(),
        ..Default::default()
    };
    let full = usher.members().resend_invitation(resend()).await;
    refused(full, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
    usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(6)])).await.unwrap();
    usher.members().resend_invitation(resend()).await.unwrap();
    // Update other users, and remove one.
    let rename = pb::UpdateMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        user_id: editor.user_id.clone(),
        display_name: Some("Edith".to_owned()),
        ..Default::default()
    };
    usher.members().update_member(rename).await.unwrap();
    usher.remove("acme", by, &acme.member("reader")).await.unwrap();
    let rows = members().await;
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().any(|member| member.display_name == "Edith"));
    usher.stop().await;
}

async fn story_3_5_set_password_landing_page(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let page = async |token: &str| {
        let request = pb::LookUpInvitationRequest { token: token.to_owned() };
        usher.members().look_up_invitation(request).await.map(tonic::Response::into_inner)
    };
    invite(&usher, inviting("acme", Actor(&acme.member("admin")), "ivy@people.example", "editor")).await;
    let token = usher.mailbox.wait_for("ivy@people.example").await.token().to_owned();
    let shown = page(&token).await.unwrap();
    assert_eq!((&*shown.account_name, &*shown.role_title), ("acme & Söhne", "Editor"));
    assert_eq!((&*shown.email, &*shown.invited_by_name), ("ivy@people.example", "acme-admin"));
    assert_eq!(shown.state(), pb::InvitationState::Pending);
    assert_eq!((shown.requires_password, shown.password_min_length), (true, 15));
    assert_eq!(shown.issuers, [usher_tests::harness::ISSUER]);
    // The answer carries all that a session needs.
    let accepted = usher.accept(&token, new_password(PASSWORD)).await.unwrap().into_inner();
    let member = accepted.member.unwrap();
    assert_eq!((&*member.account_id, &*member.role), ("acme", "editor"));
    assert_eq!(page(&token).await.unwrap().state(), pb::InvitationState::Accepted);
    // Who has a login is asked for that, and an invitation is never a new password.
    let (_, second) = usher.link("globex", Platform, "ivy@people.example", "user").await;
    assert!(!page(&second).await.unwrap().requires_password);
    let reset = usher.accept(&second, new_password(OTHER_PASSWORD)).await;
    refused(reset, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
    refused(
        usher.accept(&second, password("not the right one")).await,
        Code::PermissionDenied,
        "WRONG_CREDENTIALS",
    );
    usher.accept(&second, signed_in(&member.user_id)).await.unwrap();
    usher.verify("ivy@people.example", PASSWORD).await.unwrap();
    // Too late: the page says who can send it again.
    let (_, late) = usher.link("acme", Actor(&acme.member("admin")), "joe@people.example", "reader").await;
    usher.set_seconds(WEEK);
    let expired = page(&late).await.unwrap();
    assert_eq!((expired.state(), &*expired.invited_by_name), (pb::InvitationState::Expired, "acme-admin"));
    refused(
        usher.accept(&late, new_password(PASSWORD)).await,
        Code::FailedPrecondition,
        "INVITATION_EXPIRED",
    );
    assert_eq!(page("nothing").await.unwrap_err().code(), Code::NotFound);
    usher.stop().await;
}

async fn story_3_6_oauth_first_login_with_username(engine: Engine) {
    let usher = Usher::start(engine).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let admin = globex.founder();
    let invited = invite(&usher, joining("globex", Actor(&admin), "uma", "user")).await;
    let Some(pb::invite_user_response::Outcome::Member(member)) = invited.outcome else {
        panic!("no member")
    };
    assert_eq!((member.seat(), member.first_sign_in_time), (pb::SeatState::Held, None));
    assert!(!member.identities[0].bound, "the members page shows who has not come yet");
    assert_eq!(
        answer(&usher, check("globex", "uma", "job.create", None)).await.decision(),
        pb::Decision::Allow
    );
    assert!(usher.mailbox.letters_to("uma@people.example").is_empty(), "no password is needed");
    let link = pb::InviteUserRequest {
        delivery: Some(pb::Delivery::ReturnLink.into()),
        ..joining("globex", Actor(&admin), "ugo", "user")
    };
    refused(usher.members().invite_user(link).await, Code::InvalidArgument, "INVALID_FIELD");
    let first = usher.resolve("sub-1", "uma").await.unwrap().into_inner();
    assert_eq!((&*first.user_id, first.bound_now, first.memberships.len()), ("uma", true, 1));
    assert!(usher.member("globex", "uma").await.unwrap().first_sign_in_time.is_some());
    // From then on only the provider's own id counts.
    let renamed = usher.resolve("sub-1", "uma-miller").await.unwrap().into_inner();
    assert_eq!((&*renamed.user_id, renamed.bound_now), ("uma", false));
    refused(usher.resolve("sub-2", "uma").await, Code::FailedPrecondition, "USERNAME_BOUND_TO_ANOTHER");
    // A typo is mended by removing and inviting again.
    invite(&usher, joining("globex", Actor(&admin), "hugo", "user")).await;
    usher.remove("globex", Actor(&admin), "hugo").await.unwrap();
    invite(&usher, joining("globex", Actor(&admin), "hugo2", "user")).await;
    usher.stop().await;
}

async fn story_3_11_an_employee_leaves(engine: Engine) {
    let usher = Usher::start(engine).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let admin = globex.founder();
    usher.change_role("globex", Actor(&admin), "globex-user", "admin").await.unwrap();
    invite(&usher, joining("globex", Actor(&admin), "uma", "user")).await;
    let (open, token) = usher.link("globex", Actor("globex-user"), "ivy@people.example", "user").await;
    let (before, at) = figures(&usher, "globex").await;
    // Out at once, and the seat is free at once.
    usher.suspend_member("globex", "uma").await;
    let denied = answer(&usher, check("globex", "uma", "job.create", None)).await;
    assert_eq!(denied.reason(), pb::DecisionReason::MemberSuspended);
    assert_eq!(figures(&usher, "globex").await.0.1, before.1 - 1);
    // Gone: what they sent out ends with them, and who takes over what they owned is in the log.
    let remove = pb::RemoveMemberRequest {
        account_id: "globex".to_owned(),
        acting: acting(Actor(&admin)),
        user_id: "globex-user".to_owned(),
        successor_id: admin.clone(),
        ..Default::default()
    };
    let removed = usher.members().remove_member(remove).await.unwrap().into_inner();
    assert_eq!(removed.revoked_invitation_ids, [open.id]);
    refused(
        usher.accept(&token, new_password(PASSWORD)).await,
        Code::FailedPrecondition,
        "INVITATION_REVOKED",
    );
    let request = pb::ListEventsRequest {
        account_id: "globex".to_owned(),
        acting: acting(Actor(&admin)),
        kinds: vec!["member.removed".to_owned()],
        ..Default::default()
    };
    let events = usher.audit().list_events(request).await.unwrap().into_inner().events;
    let after = events[0].after.clone().unwrap();
    let successor = after.fields["successor_id"].kind.clone();
    assert_eq!(successor, Some(prost_types::value::Kind::StringValue(admin.clone())));
    assert!(events[0].revision > at);
    // The last admin stays, whoever asks; promoting another first helps.
    refused(usher.remove("globex", Actor(&admin), &admin).await, Code::FailedPrecondition, "LAST_HOLDER");
    let erase = pb::EraseUserRequest { user_id: admin.clone(), ..Default::default() };
    refused(usher.users().erase_user(erase.clone()).await, Code::FailedPrecondition, "LAST_HOLDER");
    invite(&usher, linking("globex", Platform, "joe@people.example", "user")).await;
    invite(&usher, joining("globex", Platform, "ada", "admin")).await;
    usher.remove("globex", Actor(&admin), &admin).await.unwrap();
    usher.users().erase_user(erase).await.unwrap();
    usher.stop().await;
}
