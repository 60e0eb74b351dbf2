//! Members come, change, are suspended, go, and come back; and what becomes of open invitations.

use tonic::{Code, Response, Status};
use usher_tests::cast::{inviting, joining};
use usher_tests::lookup::{self, check_chain};
use usher_tests::person::{PASSWORD, new_password, password, token_of};
use usher_tests::{
    Actor, By, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::changes::{figures, manage, set_seats};
use crate::invite::invite;

both_engines!(
    a_role_changes_within_the_ceiling_and_never_ones_own,
    a_suspended_member_frees_the_seat_and_needs_one_to_come_back,
    invitations_go_with_their_sponsor_unless_kept,
    an_expired_invitation_outlives_its_sponsor,
    a_member_is_removed_and_comes_back_as_the_same_person,
    anybody_may_leave_but_the_last_holder,
    a_member_is_renamed_by_others,
    an_open_invitation_is_changed,
    sending_again_ends_older_links_and_revives,
    revoking_ends_an_invitation_for_good,
);

async fn suspend(
    usher: &Usher,
    by: By<'_>,
    user: &str,
    keep_invitations: bool,
) -> Result<Response<pb::SuspendMemberResponse>, Status> {
    let request = pb::SuspendMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        user_id: user.to_owned(),
        keep_invitations,
        ..Default::default()
    };
    usher.members().suspend_member(request).await
}

async fn reactivate(
    usher: &Usher,
    by: By<'_>,
    user: &str,
) -> Result<Response<pb::ReactivateMemberResponse>, Status> {
    let request = pb::ReactivateMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        user_id: user.to_owned(),
        ..Default::default()
    };
    usher.members().reactivate_member(request).await
}

fn resending(by: By<'_>, id: &str) -> pb::ResendInvitationRequest {
    pb::ResendInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        invitation_id: id.to_owned(),
        delivery: Some(pb::Delivery::ReturnLink.into()),
        ..Default::default()
    }
}

async fn a_role_changes_within_the_ceiling_and_never_ones_own(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (admin, editor) = (cast.member("admin"), cast.member("editor"));
    let (_, before) = figures(&usher, "acme").await;
    let changed = usher.change_role("acme", Actor(&admin), &editor, "reader").await.unwrap().into_inner();
    assert_eq!((changed.member.unwrap().role.as_str(), changed.revision), ("reader", before + 1));
    let again = usher.change_role("acme", Actor(&admin), &editor, "reader").await.unwrap().into_inner();
    assert_eq!(again.revision, before + 1, "a repetition changes nothing");
    let check = crate::reasons::check("acme", &editor, "job.run", None);
    assert_ne!(crate::reasons::answer(&usher, check).await.reason(), pb::DecisionReason::RoleGrants);
    refused(
        usher.change_role("acme", Actor(&admin), &admin, "reader").await,
        Code::PermissionDenied,
        "OWN_MEMBERSHIP",
    );
    refused(suspend(&usher, Actor(&admin), &admin, false).await, Code::PermissionDenied, "OWN_MEMBERSHIP");
    refused(
        usher.change_role("acme", Actor(&admin), &editor, "captain").await,
        Code::InvalidArgument,
        "ROLE_UNKNOWN",
    );
    refused(
        usher.change_role("acme", Actor(&admin), "nobody", "reader").await,
        Code::NotFound,
        "MEMBER_UNKNOWN",
    );
    suspend(&usher, Platform, &editor, false).await.unwrap();
    refused(
        usher.change_role("acme", Actor(&admin), &editor, "editor").await,
        Code::FailedPrecondition,
        "MEMBER_NOT_ACTIVE",
    );
    usher.stop().await;
}

async fn a_suspended_member_frees_the_seat_and_needs_one_to_come_back(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", DATAIMPORTER, 2).await;
    invite(&usher, joining("acme", Platform, "uma", "user")).await;
    let admin = "acme-admin";
    let suspended = suspend(&usher, Actor(admin), "uma", false).await.unwrap().into_inner();
    let member = suspended.member.unwrap();
    assert_eq!((member.state(), member.seat()), (pb::MemberState::Suspended, pb::SeatState::None));
    assert_eq!(suspended.licenses.unwrap().available, Some(1));
    let again = suspend(&usher, Actor(admin), "uma", false).await.unwrap().into_inner();
    assert_eq!(again.revision, suspended.revision);
    let check = crate::reasons::check("acme", "uma", "member.view", None);
    assert_eq!(crate::reasons::answer(&usher, check).await.reason(), pb::DecisionReason::MemberSuspended);
    let (open, _) = usher.link("acme", Platform, "ivy@people.example", "user").await;
    refused(reactivate(&usher, Actor(admin), "uma").await, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
    usher.revoke("acme", &open.id).await.unwrap();
    let back = reactivate(&usher, Actor(admin), "uma").await.unwrap().into_inner();
    let member = back.member.unwrap();
    assert_eq!((member.state(), member.seat()), (pb::MemberState::Active, pb::SeatState::Held));
    assert!(member.suspend_time.is_none());
    assert_eq!(figures(&usher, "acme").await.0, (Some(2), 2, 0, Some(0), 0));
    // The last Admin is needed.
    refused(suspend(&usher, Platform, admin, false).await, Code::FailedPrecondition, "LAST_HOLDER");
    usher.stop().await;
}

async fn invitations_go_with_their_sponsor_unless_kept(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, admin) = (cast.founder(), cast.member("admin"));
    let (kept, kept_token) = usher.link("acme", Actor(&admin), "a@people.example", "reader").await;
    let answer = suspend(&usher, Actor(&owner), &admin, true).await.unwrap().into_inner();
    assert_eq!(answer.revoked_invitation_ids, Vec::<String>::new());
    assert_eq!(usher.invitation("acme", &kept.id).await.sponsor_id, owner);
    usher.accept(&kept_token, new_password(PASSWORD)).await.unwrap();

    reactivate(&usher, Actor(&owner), &admin).await.unwrap();
    let (lost, lost_token) = usher.link("acme", Actor(&admin), "b@people.example", "reader").await;
    let (other, _) = usher.link("acme", Actor(&owner), "c@people.example", "reader").await;
    let reserved = figures(&usher, "acme").await.0.2;
    let answer = suspend(&usher, Actor(&owner), &admin, false).await.unwrap().into_inner();
    assert_eq!(answer.revoked_invitation_ids, std::slice::from_ref(&lost.id));
    assert_eq!(figures(&usher, "acme").await.0.2, reserved - 1, "its seat is free again");
    refused(
        usher.accept(&lost_token, new_password(PASSWORD)).await,
        Code::FailedPrecondition,
        "INVITATION_REVOKED",
    );
    assert_eq!(usher.invitation("acme", &other.id).await.state(), pb::InvitationState::Pending);
    reactivate(&usher, Actor(&owner), &admin).await.unwrap();
    let (third, _) = usher.link("acme", Actor(&admin), "b@people.example", "reader").await;
    let removed = usher.remove("acme", Actor(&owner), &admin).await.unwrap().into_inner();
    assert_eq!(removed.revoked_invitation_ids, [third.id]);
    usher.stop().await;
}

async fn a_member_is_removed_and_comes_back_as_the_same_person(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (admin, editor) = (cast.member("admin"), cast.member("editor"));
    let ivy = usher.join("acme", "ivy@people.example", "editor").await;
    let removing = |successor: &str| pb::RemoveMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(&admin)),
        user_id: ivy.clone(),
        successor_id: successor.to_owned(),
        ..Default::default()
    };
    let reader = cast.member("reader");
    suspend(&usher, Platform, &reader, false).await.unwrap();
    let call = usher.members().remove_member(removing(&reader)).await;
    refused(call, Code::FailedPrecondition, "MEMBER_NOT_ACTIVE");
    refused(usher.members().remove_member(removing("nobody")).await, Code::NotFound, "MEMBER_UNKNOWN");
    refused(usher.members().remove_member(removing(&ivy)).await, Code::InvalidArgument, "INVALID_FIELD");
    let seats = figures(&usher, "acme").await.0.1;
    usher.members().remove_member(removing(&editor)).await.unwrap();
    assert_eq!(figures(&usher, "acme").await.0.1, seats - 1);
    let events = lookup::events(&usher.app.store, "acme").await;
    let last = &events.last().unwrap().event;
    assert_eq!((last.kind.as_str(), last.after["successor_id"].as_str()), ("member.removed", Some(&*editor)));
    check_chain(&lookup::account(&usher.app.store, "acme").await, &events);
    refused(usher.remove("acme", Actor(&admin), &ivy).await, Code::NotFound, "MEMBER_UNKNOWN");
    assert_eq!(usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner().memberships, []);

    let (_, token) = usher.link("acme", Actor(&admin), "ivy@people.example", "reader").await;
    let back = usher.accept(&token, password(PASSWORD)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((back.user_id, back.role.as_str()), (ivy, "reader"));
    usher.stop().await;
}

async fn anybody_may_leave_but_the_last_holder(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", DATAIMPORTER).await;
    let (admin, user) = (cast.member("admin"), cast.member("user"));
    refused(
        usher.remove("acme", Actor(&user), &admin).await,
        Code::PermissionDenied,
        "ACTOR_LACKS_PERMISSION",
    );
    for by in [Actor(&admin), Platform] {
        refused(usher.remove("acme", by, &admin).await, Code::FailedPrecondition, "LAST_HOLDER");
        let demoted = usher.change_role("acme", Platform, &admin, "user").await;
        refused(demoted, Code::FailedPrecondition, "LAST_HOLDER");
    }
    let keeping = pb::RemoveMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(&user)),
        user_id: user.clone(),
        keep_invitations: true,
        ..Default::default()
    };
    refused(usher.members().remove_member(keeping).await, Code::InvalidArgument, "INVALID_FIELD");
    usher.remove("acme", Actor(&user), &user).await.unwrap();
    // A suspended Admin holds nothing: the other stays needed.
    invite(&usher, joining("acme", Platform, "ada", "admin")).await;
    suspend(&usher, Platform, &admin, false).await.unwrap();
    refused(usher.remove("acme", Actor("ada"), "ada").await, Code::FailedPrecondition, "LAST_HOLDER");
    usher.stop().await;
}

async fn a_member_is_renamed_by_others(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let ivy = usher.join("acme", "ivy@people.example", "reader").await;
    let request = pb::UpdateMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(&admin)),
        user_id: ivy.clone(),
        display_name: Some("Ivy Lane".to_owned()),
        email: Some("office@acme.example".to_owned()),
        ..Default::default()
    };
    let first = usher.members().update_member(request.clone()).await.unwrap().into_inner();
    let member = first.member.unwrap();
    assert_eq!((&*member.display_name, &*member.email), ("Ivy Lane", "office@acme.example"));
    assert!(!member.email_verified);
    let again = usher.members().update_member(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.revision, first.revision);
    // The login is the person's.
    assert_eq!(usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner().user_id, ivy);
    let own = pb::UpdateMemberRequest { user_id: admin.clone(), ..request.clone() };
    refused(usher.members().update_member(own).await, Code::PermissionDenied, "OWN_MEMBERSHIP");
    let nothing = pb::UpdateMemberRequest { display_name: None, email: None, ..request };
    refused(usher.members().update_member(nothing).await, Code::InvalidArgument, "INVALID_FIELD");
    usher.stop().await;
}

async fn an_open_invitation_is_changed(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (open, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let admin = cast.member("admin");
    let request = pb::UpdateInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(&admin)),
        invitation_id: open.id.clone(),
        role: Some("editor".to_owned()),
        ..Default::default()
    };
    let first = usher.members().update_invitation(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.invitation.unwrap().role, "editor");
    let again = usher.members().update_invitation(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.revision, first.revision);
    let nothing = pb::UpdateInvitationRequest { role: None, ..request.clone() };
    refused(usher.members().update_invitation(nothing).await, Code::InvalidArgument, "INVALID_FIELD");
    // The link stays.
    let member = usher.accept(&token, new_password(PASSWORD)).await.unwrap().into_inner().member.unwrap();
    assert_eq!(member.role, "editor");
    let late = usher.members().update_invitation(request).await;
    refused(late, Code::FailedPrecondition, "INVITATION_ACCEPTED");
    usher.stop().await;
}

async fn sending_again_ends_older_links_and_revives(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let founder = usher.found("acme", INTEGRATE_IO, 2).await.founder();
    let (open, first) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let sent = usher.members().resend_invitation(resending(Actor(&founder), &open.id)).await.unwrap();
    let sent = sent.into_inner();
    let second = token_of(&sent.accept_link);
    assert_eq!(sent.invitation.unwrap().sponsor_id, founder);
    refused(usher.accept(&first, new_password(PASSWORD)).await, Code::NotFound, "INVITATION_UNKNOWN");
    // Expired, it holds no seat; the seat may be gone when it is revived.
    usher.set_seconds(7 * 24 * 3600);
    assert_eq!(figures(&usher, "acme").await.0.2, 0);
    invite(&usher, inviting("acme", Platform, "other@people.example", "reader")).await;
    let full = usher.members().resend_invitation(resending(Platform, &open.id)).await;
    refused(full, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
    usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(3)])).await.unwrap();
    let revived =
        usher.members().resend_invitation(resending(Platform, &open.id)).await.unwrap().into_inner();
    let invitation = revived.invitation.unwrap();
    assert_eq!((invitation.state(), invitation.reserves_seat), (pb::InvitationState::Pending, true));
    assert_eq!(figures(&usher, "acme").await.0, (Some(3), 1, 2, Some(0), 0));
    refused(usher.accept(&second, new_password(PASSWORD)).await, Code::NotFound, "INVITATION_UNKNOWN");
    usher.accept(&token_of(&revived.accept_link), new_password(PASSWORD)).await.unwrap();
    let late = usher.members().resend_invitation(resending(Platform, &open.id)).await;
    refused(late, Code::FailedPrecondition, "INVITATION_ACCEPTED");
    usher.stop().await;
}

async fn revoking_ends_an_invitation_for_good(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (open, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let revoked = usher.revoke("acme", &open.id).await.unwrap().into_inner();
    assert_eq!(revoked.invitation.unwrap().state(), pb::InvitationState::Revoked);
    assert_eq!(revoked.licenses.unwrap().reserved, 0);
    assert_eq!(usher.revoke("acme", &open.id).await.unwrap().into_inner().revision, revoked.revision);
    let again = usher.members().resend_invitation(resending(Platform, &open.id)).await;
    refused(again, Code::FailedPrecondition, "INVITATION_REVOKED");
    refused(usher.revoke("acme", "inv_none").await, Code::NotFound, "INVITATION_UNKNOWN");
    // The address is free for another.
    let (next, _) = usher.link("acme", Platform, "ivy@people.example", "editor").await;
    assert_ne!(next.id, open.id);
    refused(
        usher.accept(&token, new_password(PASSWORD)).await,
        Code::FailedPrecondition,
        "INVITATION_REVOKED",
    );
    usher.stop().await;
}

/// It holds nothing any more, and whoever sends it again becomes its sponsor.
async fn an_expired_invitation_outlives_its_sponsor(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (admin, owner) = (cast.member("admin"), cast.founder());
    let (expired, _) = usher.link("acme", Actor(&admin), "late@people.example", "reader").await;
    usher.set_seconds(7 * 24 * 3600);
    let (open, _) = usher.link("acme", Actor(&admin), "ivy@people.example", "reader").await;
    let removed = usher.remove("acme", Actor(&owner), &admin).await.unwrap().into_inner();
    assert_eq!(removed.revoked_invitation_ids, [open.id]);
    let again = usher.members().resend_invitation(resending(Actor(&owner), &expired.id)).await.unwrap();
    let again = again.into_inner().invitation.unwrap();
    assert_eq!((again.state(), again.invited_by), (pb::InvitationState::Pending, owner));
    usher.stop().await;
}
