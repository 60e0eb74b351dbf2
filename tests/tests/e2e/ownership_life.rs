//! Ownership by support ticket, and every ordinary path that must not touch the Owner.

use tonic::Code;
use usher_domain::event::Stream;
use usher_tests::cast::{inviting, joining};
use usher_tests::lookup::{self, check_chain};
use usher_tests::{
    Actor, By, DATAIMPORTER, Engine, INTEGRATE_IO, Nobody, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::changes::{manage, release};
use crate::invite::invite;

both_engines!(
    two_operators_hand_the_ownership_over,
    a_ticket_is_one_at_a_time_and_ends_once,
    a_ticket_expires,
    who_gets_a_role_by_ticket_must_be_able_to_hold_it,
    operators_are_named,
    a_locked_out_account_gets_an_admin_back,
    no_ordinary_path_touches_the_owner,
    members_read_tickets_where_the_model_lets_them,
    there_is_one_owner_at_every_revision,
);

const FORTNIGHT: i64 = 14 * 24 * 3600;

pub(crate) fn opening(account: &str, new_owner: &str, operator: &str) -> pb::OpenOwnershipTransferRequest {
    pb::OpenOwnershipTransferRequest {
        account_id: account.to_owned(),
        new_owner_id: new_owner.to_owned(),
        ticket_ref: "CASE-7".to_owned(),
        operator_id: operator.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn approving(account: &str, id: &str, operator: &str) -> pb::ApproveOwnershipTransferRequest {
    pb::ApproveOwnershipTransferRequest {
        account_id: account.to_owned(),
        transfer_id: id.to_owned(),
        operator_id: operator.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn cancelling(account: &str, id: &str, operator: &str) -> pb::CancelOwnershipTransferRequest {
    pb::CancelOwnershipTransferRequest {
        account_id: account.to_owned(),
        transfer_id: id.to_owned(),
        operator_id: operator.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn open(
    usher: &Usher,
    account: &str,
    new_owner: &str,
    operator: &str,
) -> pb::OwnershipTransfer {
    let request = opening(account, new_owner, operator);
    usher.accounts().open_ownership_transfer(request).await.unwrap().into_inner().transfer.unwrap()
}

async fn role(usher: &Usher, account: &str, user: &str) -> String {
    usher.member(account, user).await.unwrap().role
}

async fn read(usher: &Usher, by: By<'_>, id: &str) -> Result<pb::OwnershipTransfer, tonic::Status> {
    let request = pb::GetOwnershipTransferRequest {
        account_id: "acme".to_owned(),
        acting: acting(by),
        transfer_id: id.to_owned(),
    };
    Ok(usher.accounts().get_ownership_transfer(request).await?.into_inner().transfer.unwrap())
}

async fn two_operators_hand_the_ownership_over(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, editor) = (cast.founder(), cast.member("editor"));
    let request = pb::OpenOwnershipTransferRequest {
        requested_by: "the owner, by telephone".to_owned(),
        note: "called back".to_owned(),
        ..opening("acme", &editor, "sam")
    };
    let opened = usher.accounts().open_ownership_transfer(request).await.unwrap().into_inner();
    let ticket = opened.transfer.unwrap();
    assert_eq!(ticket.state(), pb::OwnershipTransferState::Open);
    assert_eq!((&*ticket.role, &*ticket.successor_role), ("owner", "admin"));
    assert_eq!((&*ticket.present_owner_id, &*ticket.new_owner_id), (&*owner, &*editor));
    assert_eq!((&*ticket.opened_by, &*ticket.ended_by, &*ticket.ticket_ref), ("sam", "", "CASE-7"));
    assert_eq!(ticket.expire_time.unwrap().seconds - ticket.open_time.unwrap().seconds, FORTNIGHT);
    // Both people hear of it, and nothing has changed yet.
    for person in [&owner, &editor] {
        usher.mailbox.wait_for(&format!("{person}@people.example")).await;
    }
    assert_eq!(role(&usher, "acme", &owner).await, "owner");

    let alone = usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "sam")).await;
    refused(alone, Code::PermissionDenied, "SECOND_OPERATOR_REQUIRED");
    let approve = approving("acme", &ticket.id, "pat");
    let approved = usher.accounts().approve_ownership_transfer(approve.clone()).await.unwrap().into_inner();
    assert_eq!(approved.revision, opened.revision + 1, "one transaction");
    let ended = approved.transfer.unwrap();
    assert_eq!((ended.state(), &*ended.ended_by), (pb::OwnershipTransferState::Approved, "pat"));
    assert_eq!(role(&usher, "acme", &editor).await, "owner");
    assert_eq!(role(&usher, "acme", &owner).await, "admin");
    let again = usher.accounts().approve_ownership_transfer(approve).await.unwrap().into_inner();
    assert_eq!(again.revision, approved.revision, "a repetition changes nothing");
    usher.stop().await;
}

async fn a_ticket_is_one_at_a_time_and_ends_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let ticket = open(&usher, "acme", &admin, "sam").await;
    for new_owner in [admin.clone(), cast.member("reader")] {
        let second = usher.accounts().open_ownership_transfer(opening("acme", &new_owner, "pat")).await;
        let told = refused(second, Code::AlreadyExists, "OWNERSHIP_TRANSFER_OPEN");
        assert_eq!(told.meta("transfer_id"), ticket.id);
    }
    // Whoever opened it may cancel it.
    let cancel = cancelling("acme", &ticket.id, "sam");
    let cancelled = usher.accounts().cancel_ownership_transfer(cancel.clone()).await.unwrap().into_inner();
    assert_eq!(cancelled.transfer.unwrap().state(), pb::OwnershipTransferState::Cancelled);
    let again = usher.accounts().cancel_ownership_transfer(cancel).await.unwrap().into_inner();
    assert_eq!(again.revision, cancelled.revision);
    let late = usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "pat")).await;
    refused(late, Code::FailedPrecondition, "OWNERSHIP_TRANSFER_ENDED");
    let second = open(&usher, "acme", &admin, "sam").await;
    usher.accounts().approve_ownership_transfer(approving("acme", &second.id, "pat")).await.unwrap();
    let late = usher.accounts().cancel_ownership_transfer(cancelling("acme", &second.id, "pat")).await;
    refused(late, Code::FailedPrecondition, "OWNERSHIP_TRANSFER_ENDED");
    let unknown = usher.accounts().approve_ownership_transfer(approving("acme", "tkt_none", "pat")).await;
    refused(unknown, Code::NotFound, "OWNERSHIP_TRANSFER_UNKNOWN");
    let unknown = usher.accounts().cancel_ownership_transfer(cancelling("acme", "tkt_none", "pat")).await;
    refused(unknown, Code::NotFound, "OWNERSHIP_TRANSFER_UNKNOWN");
    // Another account's ticket is none here.
    usher.cast("globex", INTEGRATE_IO).await;
    let foreign = usher.accounts().approve_ownership_transfer(approving("globex", &second.id, "kim")).await;
    refused(foreign, Code::NotFound, "OWNERSHIP_TRANSFER_UNKNOWN");
    usher.stop().await;
}

async fn a_ticket_expires(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let ticket = open(&usher, "acme", &admin, "sam").await;
    usher.set_seconds(FORTNIGHT);
    let late = usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "pat")).await;
    refused(late, Code::FailedPrecondition, "OWNERSHIP_TRANSFER_ENDED");
    let late = usher.accounts().cancel_ownership_transfer(cancelling("acme", &ticket.id, "pat")).await;
    refused(late, Code::FailedPrecondition, "OWNERSHIP_TRANSFER_ENDED");
    assert_eq!(read(&usher, Nobody, &ticket.id).await.unwrap().state(), pb::OwnershipTransferState::Expired);
    // The account is free for the next.
    let next = open(&usher, "acme", &admin, "sam").await;
    usher.set_seconds(2 * FORTNIGHT - 1);
    usher.accounts().approve_ownership_transfer(approving("acme", &next.id, "pat")).await.unwrap();
    assert_eq!(role(&usher, "acme", &admin).await, "owner");
    usher.stop().await;
}

async fn who_gets_a_role_by_ticket_must_be_able_to_hold_it(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, reader) = (cast.founder(), cast.member("reader"));
    let try_open = async |new_owner: &str, role: &str| {
        let request =
            pb::OpenOwnershipTransferRequest { role: role.to_owned(), ..opening("acme", new_owner, "sam") };
        usher.accounts().open_ownership_transfer(request).await
    };
    let held = refused(try_open(&owner, "").await, Code::AlreadyExists, "ROLE_ALREADY_HELD");
    assert_eq!((held.meta("user_id"), held.meta("role")), (&*owner, "owner"));
    refused(try_open("nobody", "").await, Code::NotFound, "MEMBER_UNKNOWN");
    refused(try_open(&reader, "captain").await, Code::InvalidArgument, "ROLE_UNKNOWN");
    refused(try_open(&reader, "editor").await, Code::PermissionDenied, "ROLE_NOT_ASSIGNABLE");
    usher.licenses().manage_licenses(manage("acme", Platform, [release(&reader)])).await.unwrap();
    refused(try_open(&reader, "").await, Code::FailedPrecondition, "MEMBER_NOT_ACTIVE");
    let admin = cast.member("admin");
    let ticket = open(&usher, "acme", &admin, "sam").await;
    usher.suspend_member("acme", &admin).await;
    let approve = approving("acme", &ticket.id, "pat");
    let suspended = usher.accounts().approve_ownership_transfer(approve.clone()).await;
    refused(suspended, Code::FailedPrecondition, "MEMBER_NOT_ACTIVE");
    // It stays open, and the Owner the Owner.
    assert_eq!(read(&usher, Nobody, &ticket.id).await.unwrap().state(), pb::OwnershipTransferState::Open);
    assert_eq!(role(&usher, "acme", &owner).await, "owner");
    usher.suspend_account("acme").await;
    let account = usher.accounts().approve_ownership_transfer(approve.clone()).await;
    refused(account, Code::FailedPrecondition, "ACCOUNT_SUSPENDED");
    usher.reactivate_account("acme").await;
    usher.remove("acme", Platform, &admin).await.unwrap();
    let gone = usher.accounts().approve_ownership_transfer(approve).await;
    assert_eq!(refused(gone, Code::FailedPrecondition, "MEMBER_NOT_ACTIVE").meta("user_id"), admin);
    usher.stop().await;
}

async fn operators_are_named(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let unnamed = usher.accounts().open_ownership_transfer(opening("acme", &admin, "")).await;
    refused(unnamed, Code::PermissionDenied, "OPERATOR_UNPROVEN");
    let ticket = open(&usher, "acme", &admin, "sam").await;
    let unnamed = usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "")).await;
    refused(unnamed, Code::PermissionDenied, "OPERATOR_UNPROVEN");
    let unnamed = usher.accounts().cancel_ownership_transfer(cancelling("acme", &ticket.id, "")).await;
    refused(unnamed, Code::PermissionDenied, "OPERATOR_UNPROVEN");
    // The same person in another spelling is no second one.
    let same = usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "Sam")).await;
    refused(same, Code::PermissionDenied, "SECOND_OPERATOR_REQUIRED");
    usher.stop().await;
}

/// The last Admin cannot be demoted, but the person can be gone for good: a ticket names another.
async fn a_locked_out_account_gets_an_admin_back(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", DATAIMPORTER).await;
    let (admin, user) = (cast.member("admin"), cast.member("user"));
    let no_role = usher.accounts().open_ownership_transfer(opening("acme", &user, "sam")).await;
    refused(no_role, Code::FailedPrecondition, "MODEL_HAS_NO_SUPPORT_ROLE");
    let request =
        pb::OpenOwnershipTransferRequest { role: "admin".to_owned(), ..opening("acme", &user, "sam") };
    let ticket = usher.accounts().open_ownership_transfer(request).await.unwrap().into_inner();
    let ticket = ticket.transfer.unwrap();
    assert_eq!((&*ticket.role, &*ticket.present_owner_id, &*ticket.successor_role), ("admin", "", ""));
    usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "pat")).await.unwrap();
    assert_eq!(role(&usher, "acme", &user).await, "admin");
    assert_eq!(role(&usher, "acme", &admin).await, "admin", "there may be several");
    // Now the lost one can go.
    usher.remove("acme", Actor(&user), &admin).await.unwrap();
    let last = usher.remove("acme", Actor(&user), &user).await;
    refused(last, Code::FailedPrecondition, "LAST_HOLDER");
    usher.stop().await;
}

async fn no_ordinary_path_touches_the_owner(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, admin) = (cast.founder(), cast.member("admin"));
    let (open, _) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let only = |call: Result<(), tonic::Status>| {
        refused(call.map(tonic::Response::new), Code::FailedPrecondition, "ROLE_CHANGES_BY_SUPPORT_ONLY");
    };
    for by in [Platform, Actor(&admin), Actor(&owner)] {
        let account_id = || "acme".to_owned();
        only(usher.change_role("acme", by, &owner, "admin").await.map(drop));
        only(usher.change_role("acme", by, &cast.member("editor"), "owner").await.map(drop));
        only(usher.remove("acme", by, &owner).await.map(drop));
        let suspend = pb::SuspendMemberRequest {
            account_id: account_id(),
            acting: acting(by),
            user_id: owner.clone(),
            ..Default::default()
        };
        only(usher.members().suspend_member(suspend).await.map(drop));
        only(usher.members().invite_user(inviting("acme", by, "o@people.example", "owner")).await.map(drop));
        only(usher.members().invite_user(joining("acme", by, "olga", "owner")).await.map(drop));
        let update = pb::UpdateInvitationRequest {
            account_id: account_id(),
            acting: acting(by),
            invitation_id: open.id.clone(),
            role: Some("owner".to_owned()),
            ..Default::default()
        };
        only(usher.members().update_invitation(update).await.map(drop));
        only(usher.licenses().manage_licenses(manage("acme", by, [release(&owner)])).await.map(drop));
    }
    let erase = pb::EraseUserRequest { user_id: owner.clone(), ..Default::default() };
    let told = refused(usher.users().erase_user(erase).await, Code::FailedPrecondition, "LAST_HOLDER");
    assert_eq!(told.meta("accounts"), "acme");
    let member = usher.member("acme", &owner).await.unwrap();
    assert_eq!((&*member.role, member.seat()), ("owner", pb::SeatState::Held));
    usher.stop().await;
}

async fn members_read_tickets_where_the_model_lets_them(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let ticket = open(&usher, "acme", &admin, "sam").await;
    assert_eq!(read(&usher, Actor(&cast.founder()), &ticket.id).await.unwrap(), ticket);
    assert_eq!(read(&usher, Nobody, &ticket.id).await.unwrap(), ticket);
    let reader = read(&usher, Actor(&cast.member("reader")), &ticket.id).await.map(tonic::Response::new);
    refused(reader, Code::PermissionDenied, "ACTOR_LACKS_PERMISSION");
    usher.accounts().cancel_ownership_transfer(cancelling("acme", &ticket.id, "kim")).await.unwrap();
    let second = open(&usher, "acme", &admin, "sam").await;
    let mut request = pb::ListOwnershipTransfersRequest {
        account_id: "acme".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let first = usher.accounts().list_ownership_transfers(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.transfers.iter().map(|t| &*t.id).collect::<Vec<_>>(), [&*second.id], "latest first");
    request.page_token = first.next_page_token;
    let rest = usher.accounts().list_ownership_transfers(request).await.unwrap().into_inner();
    assert_eq!(rest.transfers.iter().map(|t| &*t.id).collect::<Vec<_>>(), [&*ticket.id]);
    assert_eq!(rest.next_page_token, "");
    usher.stop().await;
}

/// Replays the events: after each revision exactly one member is the Owner.
async fn there_is_one_owner_at_every_revision(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    for new_owner in [cast.member("admin"), cast.member("reader"), cast.founder()] {
        let ticket = open(&usher, "acme", &new_owner, "sam").await;
        usher.accounts().approve_ownership_transfer(approving("acme", &ticket.id, "pat")).await.unwrap();
        invite(&usher, inviting("acme", Actor(&new_owner), &format!("{new_owner}@x.example"), "reader"))
            .await;
    }
    let events = lookup::events(&usher.app.store, "acme").await;
    check_chain(&lookup::account(&usher.app.store, "acme").await, &events);
    let mut owners = std::collections::BTreeSet::new();
    for (place, row) in events.iter().enumerate() {
        assert_eq!(row.event.stream, Stream::Account("acme".to_owned()));
        if let Some(role) = row.event.after.get("role").filter(|_| row.event.kind.starts_with("member.")) {
            let subject = row.event.subject_id.clone();
            if role == "owner" {
                owners.insert(subject)
            } else {
                owners.remove(&subject)
            };
        }
        let is_last = events.get(place + 1).is_none_or(|next| next.event.revision != row.event.revision);
        assert!(!is_last || owners.len() == 1, "revision {}: {owners:?}", row.event.revision);
    }
    assert!(owners.contains(&cast.founder()));
    usher.stop().await;
}
