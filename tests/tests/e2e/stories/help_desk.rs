//! What the help desk is asked.

use tonic::Code;
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Nobody, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::changes::{manage, release};
use crate::ownership_life::{approving, opening};
use crate::reasons::{answer, check};

both_engines!(story_3_7_support_why_was_alice_denied, story_3_8_support_transfers_ownership);

async fn story_3_7_support_why_was_alice_denied(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("globex", DATAIMPORTER).await;
    let alice = usher.join("globex", "alice@people.example", "user").await;
    usher.suspend_member("globex", &alice).await;
    // They have an address, and no id.
    let request = pb::ListMembersRequest {
        account_id: "globex".to_owned(),
        acting: acting(Platform),
        email: "Alice@People.example".to_owned(),
        ..Default::default()
    };
    let found = usher.members().list_members(request).await.unwrap().into_inner().members;
    assert_eq!(found.iter().map(|member| &member.user_id).collect::<Vec<_>>(), [&alice]);
    // Everything that is missing, and not the first thing alone.
    let request =
        pb::CheckPermissionRequest { explain: true, ..check("globex", &alice, "billing.view", Some("bob")) };
    let why = answer(&usher, request).await;
    assert_eq!((why.reason(), &*why.role), (pb::DecisionReason::MemberSuspended, "user"));
    let explained = why.explanation.unwrap();
    let failed: Vec<_> = explained.parts.iter().filter(|part| !part.holds).map(|part| part.part()).collect();
    assert_eq!(failed, [pb::DecisionPart::Member, pb::DecisionPart::Seat, pb::DecisionPart::Grant]);
    assert_eq!(explained.roles_that_grant, ["admin"]);
    assert_eq!(explained.standing_changed_event, "member.suspended");
    assert!(explained.standing_changed_time.is_some());
    // And what happened to her, newest first.
    let request = pb::ListEventsRequest {
        account_id: "globex".to_owned(),
        acting: acting(Platform),
        subject_id: alice.clone(),
        ..Default::default()
    };
    let events = usher.audit().list_events(request).await.unwrap().into_inner().events;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["member.suspended", "member.joined"]);
    assert_eq!(events[0].revision, explained.standing_changed_revision);
    usher.stop().await;
}

async fn story_3_8_support_transfers_ownership(engine: Engine) {
    let usher = Usher::start(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, editor) = (acme.founder(), acme.member("editor"));
    let owners = async || {
        let request = pb::ListMembersRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            roles: vec!["owner".to_owned()],
            ..Default::default()
        };
        let members = usher.members().list_members(request).await.unwrap().into_inner().members;
        members.into_iter().map(|member| member.user_id).collect::<Vec<_>>()
    };
    assert_eq!(owners().await, std::slice::from_ref(&owner));
    let open = pb::OpenOwnershipTransferRequest {
        requested_by: "the owner, by letter".to_owned(),
        ..opening("acme", &editor, "sam")
    };
    let ticket = usher.accounts().open_ownership_transfer(open).await.unwrap().into_inner().transfer.unwrap();
    // Both hear of it, and those whom a forged ticket would hurt can see it.
    for person in [&owner, &editor] {
        usher.mailbox.wait_for(&format!("{person}@people.example")).await;
    }
    let queue = async |by| {
        let request = pb::ListOwnershipTransfersRequest {
            account_id: "acme".to_owned(),
            acting: acting(by),
            states: vec![pb::OwnershipTransferState::Open.into()],
            ..Default::default()
        };
        usher.accounts().list_ownership_transfers(request).await.unwrap().into_inner().transfers
    };
    assert_eq!(queue(Nobody).await[0].id, ticket.id);
    assert_eq!(queue(Actor(&owner)).await[0].requested_by, "the owner, by letter");
    let approve = async |operator: &str| {
        let request = approving("acme", &ticket.id, operator);
        usher.accounts().approve_ownership_transfer(request).await
    };
    refused(approve("sam").await, Code::PermissionDenied, "SECOND_OPERATOR_REQUIRED");
    // The new owner lost the seat meanwhile: not now, and the ticket stays open.
    usher.licenses().manage_licenses(manage("acme", Platform, [release(&editor)])).await.unwrap();
    refused(approve("pat").await, Code::FailedPrecondition, "MEMBER_NOT_ACTIVE");
    assert_eq!(queue(Nobody).await.len(), 1);
    assert_eq!(owners().await, std::slice::from_ref(&owner));
    let seat = crate::changes::assign(&editor);
    usher.licenses().manage_licenses(manage("acme", Platform, [seat])).await.unwrap();
    approve("pat").await.unwrap();
    assert_eq!(owners().await, std::slice::from_ref(&editor));
    assert_eq!(usher.member("acme", &owner).await.unwrap().role, "admin");
    assert!(queue(Nobody).await.is_empty());
    // The other product has no such role, and says so.
    usher.cast("globex", DATAIMPORTER).await;
    let none = usher.accounts().open_ownership_transfer(opening("globex", "globex-user", "sam")).await;
    refused(none, Code::FailedPrecondition, "MODEL_HAS_NO_SUPPORT_ROLE");
    usher.stop().await;
}
