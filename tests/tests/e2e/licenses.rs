//! ManageLicenses: several changes, in order, all or none.

use tonic::Code;
use usher_tests::pb::{self, license_change::Change, set_purchased_seats::Purchased};
use usher_tests::{Actor, By, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, refused};

use crate::changes::{assign, at, figures, manage, release, set, set_seats, shown, update_subscription};

both_engines!(
    changes_apply_in_order_with_one_revision_and_an_event_each,
    all_or_none_and_the_refused_change_is_named,
    validate_only_tells_and_writes_nothing,
    conditions_on_revision_and_number_are_kept,
    a_late_message_of_the_payment_system_is_harmless,
    seats_in_use_cannot_be_taken_away_unasked,
    over_the_limit_nothing_takes_a_seat,
    over_the_limit_more_can_be_bought_also_too_few,
    past_the_end_of_over_limit_nobody_comes_in,
    assigning_and_releasing_can_be_repeated,
    the_last_holder_keeps_the_seat,
    a_role_without_a_seat_gets_none,
);

async fn change(usher: &Usher, request: pb::ManageLicensesRequest) -> pb::ManageLicensesResponse {
    usher.licenses().manage_licenses(request).await.unwrap().into_inner()
}

async fn changes_apply_in_order_with_one_revision_and_an_event_each(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (editor, reader) = (cast.member("editor"), cast.member("reader"));
    let (_, before) = figures(&usher, "acme").await;
    // Five seats are in use, so the number can only be lowered after two are free, and one of the two can
    // only be given back after the number is raised again.
    let changes = [
        release(&editor),
        release(&reader),
        set_seats(3),
        set_seats(4),
        assign(&reader),
        update_subscription("business"),
    ];
    let request =
        pb::ManageLicensesRequest { note: "order 7 ✔".to_owned(), ..manage("acme", Platform, changes) };
    let answer = change(&usher, request).await;
    assert!(answer.results.iter().all(|result| result.applied && result.reason == 0));
    assert_eq!((answer.revision, answer.events, answer.results.len()), (before + 1, 6, 6));
    assert_eq!(shown(answer.licenses.unwrap()), (Some(4), 4, 0, Some(0), 0));
    assert_eq!(answer.subscription.unwrap().plan, "business");
    let events = usher_tests::lookup::events(&usher.app.store, "acme").await;
    let kinds: Vec<(i64, u32, &str, &str)> = events
        .iter()
        .filter(|row| row.event.revision == answer.revision)
        .map(|row| (row.event.revision - before, row.event.index, &*row.event.kind, &*row.event.note))
        .collect();
    let note = "order 7 ✔";
    assert_eq!(
        kinds,
        [
            (1, 0, "seat.released", note),
            (1, 1, "seat.released", note),
            (1, 2, "license.purchased_changed", note),
            (1, 3, "license.purchased_changed", note),
            (1, 4, "seat.assigned", note),
            (1, 5, "subscription.updated", note),
        ]
    );
    usher_tests::lookup::check_chain(&usher_tests::lookup::account(&usher.app.store, "acme").await, &events);
    usher.stop().await;
}

async fn all_or_none_and_the_refused_change_is_named(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (owner, admin, editor) = (cast.founder(), cast.member("admin"), cast.member("editor"));
    let before = figures(&usher, "acme").await;
    let refuse = async |by: By<'_>, changes: [Change; 2], code, reason: &str, field: &str| {
        let told = refused(usher.licenses().manage_licenses(manage("acme", by, changes)).await, code, reason);
        assert_eq!(told.meta("field"), field, "{told:?}");
        assert_eq!(figures(&usher, "acme").await, before, "{reason}: something was written");
        told
    };
    let raise = || set_seats(30);
    refuse(Platform, [raise(), assign("nobody")], Code::NotFound, "MEMBER_UNKNOWN", "changes[1]").await;
    let told =
        refuse(Platform, [raise(), set_seats(4)], Code::FailedPrecondition, "SEATS_IN_USE", "changes[1]")
            .await;
    assert_eq!((told.meta("in_use"), told.meta("lowest_possible")), ("5", "5"));
    let told = refuse(
        Actor(&admin),
        [release(&editor), raise()],
        Code::PermissionDenied,
        "ACTOR_LACKS_PERMISSION",
        "changes[1]",
    )
    .await;
    assert_eq!(told.meta("action"), "license.update");
    // Rights come before everything else, so the second change's missing right hides the first's mistake.
    refuse(
        Actor(&admin),
        [assign("nobody"), raise()],
        Code::PermissionDenied,
        "ACTOR_LACKS_PERMISSION",
        "changes[1]",
    )
    .await;
    let no_room = [set_seats(5), assign(&editor)];
    change(&usher, manage("acme", Platform, [release(&editor), set_seats(4)])).await;
    let before = figures(&usher, "acme").await;
    let told = refused(
        usher
            .licenses()
            .manage_licenses(manage("acme", Actor(&owner), [update_subscription("x"), assign(&editor)]))
            .await,
        Code::ResourceExhausted,
        "NO_SEAT_AVAILABLE",
    );
    assert_eq!((told.meta("field"), told.quotas.len()), ("changes[1]", 1));
    assert_eq!((told.meta("purchased"), told.meta("active"), told.meta("reserved")), ("4", "4", "0"));
    assert_eq!(figures(&usher, "acme").await, before);
    change(&usher, manage("acme", Actor(&owner), no_room)).await;
    usher.stop().await;
}

async fn validate_only_tells_and_writes_nothing(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let before = figures(&usher, "acme").await;
    let preview = pb::ManageLicensesRequest {
        validate_only: true,
        request_id: "order-1".to_owned(),
        ..manage("acme", Platform, [set_seats(50), release(&cast.member("reader"))])
    };
    let told = change(&usher, preview.clone()).await;
    assert_eq!(shown(told.licenses.unwrap()), (Some(50), 4, 0, Some(46), 0));
    assert_eq!((told.revision, told.results.len()), (before.1, 2));
    assert_eq!(figures(&usher, "acme").await, before);
    // The purchase itself may come under the same request id: a preview is no first answer.
    let bought = change(&usher, pb::ManageLicensesRequest { validate_only: false, ..preview }).await;
    assert_eq!(
        (bought.revision, shown(bought.licenses.unwrap())),
        (before.1 + 1, (Some(50), 4, 0, Some(46), 0))
    );
    let impossible =
        pb::ManageLicensesRequest { validate_only: true, ..manage("acme", Platform, [set_seats(1)]) };
    refused(usher.licenses().manage_licenses(impossible).await, Code::FailedPrecondition, "SEATS_IN_USE");
    usher.stop().await;
}

async fn conditions_on_revision_and_number_are_kept(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let (_, revision) = figures(&usher, "acme").await;
    let when = |expected_revision| pb::ManageLicensesRequest {
        expected_revision: Some(expected_revision),
        ..manage("acme", Platform, [set_seats(21)])
    };
    let told = refused(
        usher.licenses().manage_licenses(when(revision - 1)).await,
        Code::Aborted,
        "REVISION_CHANGED",
    );
    assert_eq!(told.meta("revision"), revision.to_string());
    assert_eq!(change(&usher, when(revision)).await.revision, revision + 1);
    let buy = |from, to| {
        let five_more = pb::SetPurchasedSeats { expected_seats: Some(from), ..set(to) };
        manage("acme", Platform, [Change::SetPurchasedSeats(five_more)])
    };
    // Two people click "+5" at once: the second is told that the number is another now.
    change(&usher, buy(21, 26)).await;
    let told = refused(
        usher.licenses().manage_licenses(buy(21, 26)).await,
        Code::FailedPrecondition,
        "EXPECTED_SEATS_DIFFER",
    );
    assert_eq!((told.meta("purchased"), told.meta("field")), ("26", "changes[0]"));
    let unlimited =
        pb::SetPurchasedSeats { purchased: Some(Purchased::Unlimited(true)), ..Default::default() };
    let answer = change(&usher, manage("acme", Platform, [Change::SetPurchasedSeats(unlimited)])).await;
    assert_eq!(shown(answer.licenses.unwrap()), (None, 5, 0, None, 0));
    let told = refused(
        usher.licenses().manage_licenses(buy(26, 31)).await,
        Code::FailedPrecondition,
        "EXPECTED_SEATS_DIFFER",
    );
    assert_eq!(told.meta("purchased"), "unlimited");
    usher.stop().await;
}

async fn a_late_message_of_the_payment_system_is_harmless(engine: Engine) {
    use pb::ChangeResultReason as R;
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let paid = async |seats, second| {
        let change = pb::SetPurchasedSeats { as_of_time: at(second), ..set(seats) };
        let request = manage("acme", Platform, [Change::SetPurchasedSeats(change)]);
        let answer = usher.licenses().manage_licenses(request).await.unwrap().into_inner();
        (
            answer.results[0].applied,
            answer.results[0].reason(),
            answer.licenses.unwrap().purchased,
            answer.revision,
        )
    };
    let (applied, reason, purchased, first) = paid(12, 100).await;
    assert_eq!((applied, reason, purchased), (true, R::Unspecified, Some(12)));
    // Older than the last: not applied, and not an error, or the sender would repeat it for ever.
    assert_eq!(paid(15, 99).await, (false, R::OlderThanLast, Some(12), first));
    assert_eq!(paid(12, 100).await, (false, R::Unchanged, Some(12), first));
    // The same number of a later time is no change, but what is older than that is late.
    assert_eq!(paid(12, 110).await, (false, R::Unchanged, Some(12), first));
    assert_eq!(paid(15, 105).await, (false, R::OlderThanLast, Some(12), first));
    assert_eq!(paid(14, 111).await, (true, R::Unspecified, Some(14), first + 1));
    let plan = |plan: &str, second| {
        let subscription = pb::Subscription { plan: plan.to_owned(), ..Default::default() };
        let update = pb::UpdateSubscription { subscription: Some(subscription), as_of_time: at(second) };
        manage("acme", Platform, [Change::UpdateSubscription(update)])
    };
    assert!(
        change(&usher, plan("business", 50)).await.results[0].applied,
        "seats and plan have a clock each"
    );
    let late = change(&usher, plan("team", 49)).await;
    assert_eq!(
        (late.results[0].reason(), late.subscription.unwrap().plan),
        (R::OlderThanLast, "business".to_owned())
    );
    usher.stop().await;
}

async fn seats_in_use_cannot_be_taken_away_unasked(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let invite = usher_tests::cast::inviting("acme", Platform, "new@people.example", "reader");
    usher.members().invite_user(invite).await.unwrap();
    // Five active and one reserved: the boundary from both sides.
    let told = refused(
        usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(5)])).await,
        Code::FailedPrecondition,
        "SEATS_IN_USE",
    );
    assert_eq!((told.meta("in_use"), told.meta("field")), ("6", "changes[0]"));
    for (seats, available) in [(6, 0), (7, 1)] {
        let answer = change(&usher, manage("acme", Platform, [set_seats(seats)])).await;
        assert_eq!(shown(answer.licenses.unwrap()), (Some(seats), 5, 1, Some(available), 0));
    }
    for seats in [1_000_000, 6] {
        change(&usher, manage("acme", Platform, [set_seats(seats)])).await;
    }
    usher.stop().await;
}

async fn over_the_limit_nothing_takes_a_seat(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let editor = cast.member("editor");
    let over = pb::SetPurchasedSeats { allow_over_limit: true, ..set(2) };
    let answer = change(&usher, manage("acme", Platform, [Change::SetPurchasedSeats(over)])).await;
    assert_eq!(shown(answer.licenses.unwrap()), (Some(2), 5, 0, Some(0), 3));
    let invite = usher_tests::cast::inviting("acme", Actor(&cast.founder()), "new@people.example", "reader");
    let told =
        refused(usher.members().invite_user(invite.clone()).await, Code::ResourceExhausted, "OVER_LIMIT");
    assert_eq!((told.meta("over_limit_by"), told.meta("active"), told.meta("purchased")), ("3", "5", "2"));
    // Freeing goes on; taking back what was freed does not, as long as one seat is too many.
    change(&usher, manage("acme", Platform, [release(&editor), release(&cast.member("reader"))])).await;
    let told = refused(
        usher.licenses().manage_licenses(manage("acme", Platform, [assign(&editor)])).await,
        Code::ResourceExhausted,
        "OVER_LIMIT",
    );
    assert_eq!((told.meta("over_limit_by"), told.meta("field")), ("1", "changes[0]"));
    change(&usher, manage("acme", Platform, [release(&cast.member("operator"))])).await;
    refused(usher.members().invite_user(invite).await, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
    usher.stop().await;
}

async fn over_the_limit_more_can_be_bought_also_too_few(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let end = at(500);
    let over = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: end, ..set(2) };
    change(&usher, manage("acme", Platform, [Change::SetPurchasedSeats(over)])).await;
    let same = change(&usher, manage("acme", Platform, [set_seats(2)])).await;
    assert_eq!(same.results[0].reason(), pb::ChangeResultReason::Unchanged);
    let more = change(&usher, manage("acme", Platform, [set_seats(4)])).await.licenses.unwrap();
    assert_eq!(more.over_limit_end_time, end, "as it was allowed");
    assert_eq!(shown(more), (Some(4), 5, 0, Some(0), 1));
    let fewer = usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(3)])).await;
    refused(fewer, Code::FailedPrecondition, "SEATS_IN_USE");
    // An end that has passed would deny everything at once, without a warning.
    usher.set_seconds(100);
    let past = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: at(100), ..set(3) };
    let past =
        usher.licenses().manage_licenses(manage("acme", Platform, [Change::SetPurchasedSeats(past)])).await;
    let told = refused(past, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(told.paths(), ["changes[0].set_purchased_seats.over_limit_end_time"]);
    // A late message that leaves the account within its limit sets no end.
    let enough = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: at(100), ..set(9) };
    let enough = change(&usher, manage("acme", Platform, [Change::SetPurchasedSeats(enough)])).await;
    assert_eq!((enough.results[0].applied, enough.licenses.unwrap().over_limit_end_time), (true, None));
    usher.stop().await;
}

/// As after a lapse, whoever stands behind it.
async fn past_the_end_of_over_limit_nobody_comes_in(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (invitation, token) = usher.link("acme", Platform, "ivy@people.example", "reader").await;
    let over = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: at(100), ..set(2) };
    change(&usher, manage("acme", Platform, [Change::SetPurchasedSeats(over)])).await;
    usher.suspend_member("acme", &cast.member("reader")).await;
    usher.set_seconds(100);
    let ended = |call: Result<(), tonic::Status>| {
        refused(call.map(tonic::Response::new), Code::FailedPrecondition, "OVER_LIMIT_ENDED");
    };
    let proof = usher_tests::person::new_password(usher_tests::person::PASSWORD);
    ended(usher.accept(&token, proof).await.map(drop));
    let invite = usher_tests::cast::inviting("acme", Platform, "new@people.example", "reader");
    ended(usher.members().invite_user(invite).await.map(drop));
    let resend = pb::ResendInvitationRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Platform),
        invitation_id: invitation.id,
        delivery: Some(pb::Delivery::ReturnLink.into()),
        ..Default::default()
    };
    ended(usher.members().resend_invitation(resend).await.map(drop));
    let back = pb::ReactivateMemberRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Platform),
        user_id: cast.member("reader"),
        ..Default::default()
    };
    ended(usher.members().reactivate_member(back).await.map(drop));
    let (figures, _) = figures(&usher, "acme").await;
    assert_eq!(figures, (Some(2), 4, 1, Some(0), 3));
    let request = pb::GetLicensesRequest {
        account_id: "acme".to_owned(),
        acting: usher_tests::acting(Platform),
        ..Default::default()
    };
    let shown = usher.licenses().get_licenses(request).await.unwrap().into_inner();
    assert_eq!(shown.invitations_blocked_reason(), pb::ErrorReason::OverLimitEnded);
    // Buying enough is the way back.
    change(&usher, manage("acme", Platform, [set_seats(9)])).await;
    usher.stop().await;
}

async fn assigning_and_releasing_can_be_repeated(engine: Engine) {
    use pb::ChangeResultReason::Unchanged;
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let reader = cast.member("reader");
    let (_, revision) = figures(&usher, "acme").await;
    let held = change(&usher, manage("acme", Platform, [assign(&reader)])).await;
    assert_eq!((held.results[0].applied, held.results[0].reason()), (false, Unchanged));
    assert_eq!((held.revision, held.events), (revision, 0), "nothing happened, so nothing is told");
    let twice = change(&usher, manage("acme", Platform, [release(&reader), release(&reader)])).await;
    assert_eq!((twice.results[0].applied, twice.results[1].reason()), (true, Unchanged));
    assert_eq!((twice.revision, twice.events), (revision + 1, 1));
    // There and back again: the member holds the seat, and both steps are told.
    let round =
        change(&usher, manage("acme", Platform, [assign(&reader), release(&reader), assign(&reader)])).await;
    assert_eq!((round.revision, round.events, round.licenses.unwrap().active), (revision + 2, 3, 5));
    usher.suspend_member("acme", &reader).await;
    let told = refused(
        usher.licenses().manage_licenses(manage("acme", Platform, [assign(&reader)])).await,
        Code::FailedPrecondition,
        "MEMBER_NOT_ACTIVE",
    );
    assert_eq!((told.meta("user_id"), told.meta("field")), (reader.as_str(), "changes[0]"));
    usher.stop().await;
}

async fn the_last_holder_keeps_the_seat(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let first = cast.founder();
    for by in [Platform, Actor(&first)] {
        let told = refused(
            usher.licenses().manage_licenses(manage("globex", by, [release(&first)])).await,
            Code::FailedPrecondition,
            "LAST_HOLDER",
        );
        assert_eq!((told.meta("role"), told.meta("field")), ("admin", "changes[0]"));
        assert_eq!(told.preconditions[0].1, "globex", "the violation's subject is the account");
    }
    let second = usher_tests::cast::joining("globex", Platform, "second", "admin");
    usher.members().invite_user(second).await.unwrap();
    // Each may go, but not both at once.
    let told = refused(
        usher
            .licenses()
            .manage_licenses(manage("globex", Platform, [release("second"), release(&first)]))
            .await,
        Code::FailedPrecondition,
        "LAST_HOLDER",
    );
    assert_eq!(told.meta("field"), "changes[1]");
    change(&usher, manage("globex", Platform, [release(&first)])).await;
    // Giving the seat back first makes room for the other.
    change(&usher, manage("globex", Platform, [assign(&first), release("second")])).await;

    let cast = usher.cast("acme", INTEGRATE_IO).await;
    for by in [Platform, Actor(&cast.member("admin")), Actor(&cast.founder())] {
        let told = refused(
            usher.licenses().manage_licenses(manage("acme", by, [release(&cast.founder())])).await,
            Code::FailedPrecondition,
            "ROLE_CHANGES_BY_SUPPORT_ONLY",
        );
        assert_eq!((told.meta("role"), told.meta("field")), ("owner", "changes[0]"));
    }
    usher.stop().await;
}

async fn a_role_without_a_seat_gets_none(engine: Engine) {
    let usher = crate::workshop(engine).await;
    usher.found("shop", crate::WORKSHOP, 1).await;
    // No seat is spare, and none is needed.
    let guest = usher_tests::cast::joining("shop", Platform, "gina", "guest");
    let answer = usher.members().invite_user(guest).await.unwrap().into_inner();
    assert_eq!(shown(answer.licenses.unwrap()), (Some(1), 1, 0, Some(0), 0));
    let told = refused(
        usher.licenses().manage_licenses(manage("shop", Platform, [assign("gina")])).await,
        Code::FailedPrecondition,
        "ROLE_USES_NO_SEAT",
    );
    assert_eq!(
        (told.meta("role"), told.meta("user_id"), told.meta("field")),
        ("guest", "gina", "changes[0]")
    );
    let none = change(&usher, manage("shop", Platform, [release("gina")])).await;
    assert_eq!(none.results[0].reason(), pb::ChangeResultReason::Unchanged);
    usher.stop().await;
}
