//! Bad input: a clear error with the path of each field, all of them at once, and nothing written.

use tonic::Code;
use usher_tests::cast::{founding, inviting, username};
use usher_tests::lookup::{account, events};
use usher_tests::pb::{self, license_change::Change, set_purchased_seats::Purchased};
use usher_tests::{
    Actor, Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, acting, any_call, both_engines, refused,
};

use crate::changes::{assign, at, figures, manage, release, set, set_seats, update_subscription};
use crate::reasons::check;

/// Bytes that are no message, and a message beyond the limit: the caller's fault, and said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_the_callers_fault() {
    let usher = Usher::start(Engine::Sqlite).await;
    let not_utf8 = vec![0x0a, 2, 0xc3, 0x28];
    let too_long = [vec![0x0a, 0x80, 0x80, 0x80, 1], vec![b'x'; 2 << 20]].concat();
    for (bytes, why) in [(vec![0xff; 9], "decode"), (not_utf8, "UTF-8"), (too_long, "too large")] {
        for rpc in ["AuthorizationService/CheckPermission", "AuditService/WatchEvents"] {
            let sent = any_call::send(usher.channel.clone(), rpc, bytes.clone(), None).await;
            let told = Refused::of(&sent.unwrap_err());
            assert_eq!((told.code, told.reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{rpc}");
            assert!(told.message.contains(why), "{told:?}");
        }
    }
    usher.stop().await;
}

both_engines!(
    an_invitation_is_told_all_that_is_wrong,
    a_founding_is_told_all_that_is_wrong,
    license_changes_are_told_all_that_is_wrong,
    checks_and_reads_are_told_all_that_is_wrong,
);

/// What must not change when a request is refused.
pub(crate) async fn trace(usher: &Usher) -> impl PartialEq + std::fmt::Debug + use<> {
    let page = pb::ListMembersRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        page_size: 500,
        ..Default::default()
    };
    let members = usher.members().list_members(page).await.unwrap().into_inner().total_size;
    let page = pb::ListInvitationsRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        page_size: 500,
        ..Default::default()
    };
    let invitations = usher.members().list_invitations(page).await.unwrap().into_inner().total_size;
    let events = events(&usher.app.store, "acme").await.len();
    (figures(usher, "acme").await, members, invitations, events, account(&usher.app.store, "acme").await)
}

/// The refusal of a request in which these fields, and no others, are wrong.
#[track_caller]
pub(crate) fn paths<T: std::fmt::Debug>(call: Result<tonic::Response<T>, tonic::Status>, expected: &[&str]) {
    let told = refused(call, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(told.paths(), expected);
    for (path, description, reason) in &told.fields {
        assert!(!description.is_empty() && told.message.contains(path), "{path}: {description} {reason}");
    }
}

async fn an_invitation_is_told_all_that_is_wrong(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let before = trace(&usher).await;
    let wrong = pb::InviteUserRequest {
        account_id: "-acme".to_owned(),
        acting: acting(Nobody),
        request_id: "with space".to_owned(),
        email: "nobody".to_owned(),
        display_name: "a\nb".to_owned(),
        role: String::new(),
        identity: Some(pb::ExternalUsername {
            username: "white space".to_owned(),
            issuer: "i\u{202e}".to_owned(),
        }),
        delivery: Some(0),
        lifetime: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        language: "d!".to_owned(),
        new_user_id: "a@b".to_owned(),
    };
    let told = refused(usher.members().invite_user(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    let mut wrong: Vec<&str> = told.paths();
    wrong.sort_unstable();
    wrong.dedup();
    let expected = [
        "account_id",
        "acting",
        "delivery",
        "display_name",
        "email",
        "identity.issuer",
        "identity.username",
        "language",
        "lifetime",
        "new_user_id",
        "request_id",
        "role",
    ];
    assert_eq!(wrong, expected);
    // A violation that has a narrower reason says it, although the whole has several.
    assert!(told.fields.iter().any(|(path, _, reason)| path == "acting" && reason == "ACTING_MISSING"));

    let good = inviting("acme", Platform, "a@x.example", "reader");
    let identity = Some(username("ivy"));
    let hour = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let delivery = |delivery: pb::Delivery| Some(delivery.into());
    let each = [
        (pb::InviteUserRequest { delivery: delivery(pb::Delivery::Unspecified), ..good.clone() }, "delivery"),
        (pb::InviteUserRequest { delivery: Some(99), ..good.clone() }, "delivery"),
        (pb::InviteUserRequest { delivery: delivery(pb::Delivery::None), ..good.clone() }, "delivery"),
        (
            pb::InviteUserRequest {
                delivery: delivery(pb::Delivery::ReturnLink),
                identity: identity.clone(),
                ..good.clone()
            },
            "delivery",
        ),
        (pb::InviteUserRequest { lifetime: hour, identity, ..good.clone() }, "lifetime"),
        (pb::InviteUserRequest { identity: Some(username("")), ..good.clone() }, "identity.username"),
        (pb::InviteUserRequest { email: String::new(), ..good.clone() }, "email"),
        (pb::InviteUserRequest { role: String::new(), ..good.clone() }, "role"),
        (pb::InviteUserRequest { account_id: String::new(), ..good.clone() }, "account_id"),
        (pb::InviteUserRequest { acting: acting(Actor("")), ..good.clone() }, "actor_id"),
    ];
    for (request, path) in each {
        paths(usher.members().invite_user(request).await, &[path]);
    }
    let told = refused(
        usher.members().invite_user(pb::InviteUserRequest { role: "boss".to_owned(), ..good.clone() }).await,
        Code::InvalidArgument,
        "ROLE_UNKNOWN",
    );
    assert_eq!(told.paths(), ["role"]);
    assert_eq!(trace(&usher).await, before);
    usher.members().invite_user(good).await.expect("the server is unharmed");
    usher.stop().await;
}

async fn a_founding_is_told_all_that_is_wrong(engine: Engine) {
    let usher = Usher::start(engine).await;
    let wrong = pb::CreateAccountRequest {
        account_id: "a b".to_owned(),
        request_id: "ä".to_owned(),
        name: "  ".to_owned(),
        model: String::new(),
        purchased: None,
        subscription: Some(pb::Subscription { grace_end_time: at(0), ..Default::default() }),
        founder: None,
        language: "x".repeat(36),
        note: "n".repeat(501),
    };
    let told = refused(usher.accounts().create_account(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    let mut wrong = told.paths();
    wrong.sort_unstable();
    let expected = [
        "account_id",
        "founder",
        "language",
        "model",
        "name",
        "note",
        "purchased",
        "request_id",
        "subscription.plan",
    ];
    assert_eq!(wrong, expected);
    let good = founding("acme", INTEGRATE_IO, 1);
    let founder = |change: &dyn Fn(&mut pb::Founder)| {
        let mut request = good.clone();
        change(request.founder.as_mut().unwrap());
        request
    };
    let each = [
        (pb::CreateAccountRequest { subscription: None, ..good.clone() }, "subscription"),
        (founder(&|f| f.way = None), "founder"),
        (founder(&|f| f.way = Some(pb::founder::Way::Email("x".to_owned()))), "founder.email"),
        (founder(&|f| f.way = Some(pb::founder::Way::UserId("-".to_owned()))), "founder.user_id"),
        (founder(&|f| f.way = Some(pb::founder::Way::UserId("somebody".to_owned()))), "founder.new_user_id"),
        (founder(&|f| f.way = Some(pb::founder::Way::Identity(username("")))), "founder.identity.username"),
        (founder(&|f| f.contact_email = "x".to_owned()), "founder.contact_email"),
        (founder(&|f| f.new_user_id = "x@y".to_owned()), "founder.new_user_id"),
        (founder(&|f| f.display_name = "\u{7}".to_owned()), "founder.display_name"),
    ];
    for (request, path) in each {
        paths(usher.accounts().create_account(request).await, &[path]);
    }
    let request = pb::GetAccountRequest { account_id: "acme".to_owned(), acting: acting(Platform) };
    refused(usher.accounts().get_account(request).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    usher.accounts().create_account(good).await.expect("the server is unharmed");
    usher.stop().await;
}

async fn license_changes_are_told_all_that_is_wrong(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let before = trace(&usher).await;
    let seats = |change: pb::SetPurchasedSeats| Change::SetPurchasedSeats(change);
    let wrong = pb::ManageLicensesRequest {
        note: "\u{0}".to_owned(),
        ..manage(
            "acme",
            Nobody,
            [
                set_seats(1_000_001),
                seats(pb::SetPurchasedSeats::default()),
                seats(pb::SetPurchasedSeats {
                    purchased: Some(Purchased::Unlimited(false)),
                    ..Default::default()
                }),
                seats(pb::SetPurchasedSeats { over_limit_end_time: at(0), ..set(3) }),
                assign(""),
                release("a@b"),
                Change::UpdateSubscription(pb::UpdateSubscription::default()),
                update_subscription(""),
            ],
        )
    };
    let mut wrong = wrong;
    wrong.changes.push(pb::LicenseChange { change: None });
    let told = refused(usher.licenses().manage_licenses(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    let mut all = told.paths();
    all.sort_unstable();
    let expected = [
        "acting",
        "changes[0].set_purchased_seats.seats",
        "changes[1].set_purchased_seats",
        "changes[2].set_purchased_seats.unlimited",
        "changes[3].set_purchased_seats.over_limit_end_time",
        "changes[4].assign_seat.user_id",
        "changes[5].release_seat.user_id",
        "changes[6].update_subscription.subscription",
        "changes[7].update_subscription.subscription.plan",
        "changes[8]",
        "note",
    ];
    assert_eq!(all, expected);
    // One wrong change spoils the right ones beside it.
    let mixed = manage("acme", Platform, [release(&cast.member("reader")), set_seats(2_000_000)]);
    paths(usher.licenses().manage_licenses(mixed).await, &["changes[1].set_purchased_seats.seats"]);
    assert_eq!(trace(&usher).await, before);
    usher.stop().await;
}

async fn checks_and_reads_are_told_all_that_is_wrong(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let wrong = pb::CheckPermissionRequest {
        account_id: "a@b".to_owned(),
        subject: Some(pb::Subject { kind: None }),
        action: String::new(),
        resource: Some(pb::Resource {
            r#type: "no type".to_owned(),
            id: "\u{1}".to_owned(),
            owner_id: Some(String::new()),
        }),
        consistency: Some(pb::Consistency { requirement: None }),
        explain: false,
    };
    let all = [
        "account_id",
        "subject",
        "action",
        "resource.type",
        "resource.id",
        "resource.owner_id",
        "consistency",
    ];
    paths(usher.authorization().check_permission(wrong.clone()).await, &all);
    paths(
        usher.authorization().check_permission(pb::CheckPermissionRequest { explain: true, ..wrong }).await,
        &all,
    );
    let good = check("acme", "acme-owner", "job.run", None);
    use pb::consistency::Requirement;
    for (requirement, path) in [
        (Requirement::MinimizeLatency(false), "consistency.minimize_latency"),
        (Requirement::FullyConsistent(false), "consistency.fully_consistent"),
    ] {
        let consistency = Some(pb::Consistency { requirement: Some(requirement) });
        let request = pb::CheckPermissionRequest { consistency, ..good.clone() };
        paths(usher.authorization().check_permission(request).await, &[path]);
    }
    // What automation is called is for logs; leaving it out is no mistake.
    let nameless =
        pb::Subject { kind: Some(pb::subject::Kind::Automation(pb::Automation { id: String::new() })) };
    let request = pb::CheckPermissionRequest { subject: Some(nameless), ..good.clone() };
    usher.authorization().check_permission(request).await.expect("an automation without a name");
    let states = pb::ListMembersRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        states: vec![0, 1, 77],
        seats: vec![0],
        email: "x".to_owned(),
        roles: vec!["no role!".to_owned()],
        page_size: -5,
        ..Default::default()
    };
    let told = refused(usher.members().list_members(states).await, Code::InvalidArgument, "INVALID_FIELD");
    let mut all = told.paths();
    all.sort_unstable();
    assert_eq!(all, ["email", "page_size", "roles[0]", "seats[0]", "states[0]", "states[2]"]);
    usher.stop().await;
}
