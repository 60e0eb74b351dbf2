//! Why a check is denied: the order of reasons, what the clock does, and what `explain` tells.

use tonic::Code;
use usher_tests::cast::{inviting, joining};
use usher_tests::harness::START;
use usher_tests::pb::{self, DecisionReason as R};
use usher_tests::{Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, refused};

use crate::changes::{at, lapse_at, manage, release, set};
use crate::matrix::{automation, user};

both_engines!(
    the_first_reason_in_order_is_the_one_reported,
    a_subscription_lapses_by_the_clock_alone,
    being_over_the_limit_denies_only_after_its_end,
    explain_lists_every_part_that_fails,
    a_typo_is_an_error_with_a_suggestion,
    what_an_unknown_account_answers,
);

/// A check, for tests to change.
pub(crate) fn check(
    account: &str,
    subject: &str,
    action: &str,
    owner: Option<&str>,
) -> pb::CheckPermissionRequest {
    let (resource_type, verb) = action.split_once('.').unwrap();
    pb::CheckPermissionRequest {
        account_id: account.to_owned(),
        subject: user(subject),
        action: verb.to_owned(),
        resource: Some(pb::Resource {
            r#type: resource_type.to_owned(),
            owner_id: owner.map(str::to_owned),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) async fn answer(
    usher: &Usher,
    request: pb::CheckPermissionRequest,
) -> pb::CheckPermissionResponse {
    usher.authorization().check_permission(request).await.unwrap().into_inner()
}

async fn reason(usher: &Usher, account: &str, subject: &str, action: &str, owner: Option<&str>) -> R {
    answer(usher, check(account, subject, action, owner)).await.reason()
}

/// Everything is wrong at first, and is put right one by one: each time the next reason shows.
async fn the_first_reason_in_order_is_the_one_reported(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    for name in ["uma", "ugo", "una"] {
        usher.members().invite_user(joining("globex", Platform, name, "user")).await.unwrap();
    }
    usher.suspend_member("globex", "uma").await;
    usher.licenses().manage_licenses(manage("globex", Platform, [release("ugo")])).await.unwrap();
    lapse_at(&usher, &cast, 100, 200).await;
    let over = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: at(150), ..set(1) };
    let change = pb::license_change::Change::SetPurchasedSeats(over);
    usher.licenses().manage_licenses(manage("globex", Platform, [change])).await.unwrap();
    usher.set_seconds(300);
    let deny = async |subject: &'static str, action: &'static str| {
        reason(&usher, "globex", subject, action, None).await
    };

    assert_eq!(reason(&usher, "nowhere", "uma", "job.run", None).await, R::AccountUnknown);
    usher.suspend_account("globex").await;
    assert_eq!(deny("uma", "job.run").await, R::AccountSuspended);
    // An account that may not be used says so before it looks at the action.
    assert_eq!(deny("uma", "job.ru").await, R::AccountSuspended);
    usher.reactivate_account("globex").await;
    refused(
        usher.authorization().check_permission(check("globex", "a-stranger", "job.ru", None)).await,
        Code::InvalidArgument,
        "ACTION_UNKNOWN",
    );
    assert_eq!(deny("a-stranger", "job.run").await, R::NotAMember);
    assert_eq!(deny("uma", "job.run").await, R::MemberSuspended);
    assert_eq!(deny("ugo", "job.run").await, R::SubscriptionLapsed);
    lapse_at(&usher, &cast, 1_000_000, 2_000_000).await;
    assert_eq!(deny("ugo", "job.run").await, R::OverLimitEnded);
    let enough = pb::license_change::Change::SetPurchasedSeats(set(20));
    usher.licenses().manage_licenses(manage("globex", Platform, [enough])).await.unwrap();
    assert_eq!(deny("ugo", "job.run").await, R::NoSeat);
    assert_eq!(deny("una", "member.invite").await, R::RoleLacksPermission);
    assert_eq!(deny("una", "job.run").await, R::OwnerRequired);
    assert_eq!(reason(&usher, "globex", "una", "job.run", Some("ugo")).await, R::NotOwner);
    assert_eq!(reason(&usher, "globex", "una", "job.run", Some("una")).await, R::RoleGrantsOwn);
    usher.stop().await;
}

async fn a_subscription_lapses_by_the_clock_alone(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    lapse_at(&usher, &cast, 100, 200).await;
    let editor = cast.member("editor");
    let owner = cast.founder();
    let steps = [
        (99, R::RoleGrants, R::RoleGrants, R::Automation),
        // In grace nothing is denied.
        (100, R::RoleGrants, R::RoleGrants, R::Automation),
        (199, R::RoleGrants, R::RoleGrants, R::Automation),
        (200, R::SubscriptionLapsed, R::AvailableAfterLapse, R::SubscriptionLapsed),
        (100_000, R::SubscriptionLapsed, R::AvailableAfterLapse, R::SubscriptionLapsed),
    ];
    for (second, runs, pays, automatic) in steps {
        usher.set_seconds(second);
        let run = answer(&usher, check("acme", &editor, "job.run", None)).await;
        assert_eq!(run.reason(), runs, "at {second}");
        // The answer says when the clock will change it, so that nobody keeps it longer.
        let ends = run.valid_until_time.map(|time| time.seconds - START);
        assert_eq!(ends, (second < 200).then_some(200), "at {second}");
        assert_eq!(reason(&usher, "acme", &owner, "billing.view", None).await, pays, "at {second}");
        let by_schedule =
            pb::CheckPermissionRequest { subject: automation(), ..check("acme", "-", "job.run", None) };
        assert_eq!(answer(&usher, by_schedule).await.reason(), automatic, "at {second}");
        in_grace_is_shown(&usher, &owner, second).await;
    }
    // A lapsed account takes nobody in, whoever asks.
    let invitation = inviting("acme", Platform, "new@people.example", "reader");
    let told = refused(
        usher.members().invite_user(invitation).await,
        Code::FailedPrecondition,
        "SUBSCRIPTION_LAPSED",
    );
    assert_eq!(told.preconditions[0].1, "subscription");
    // Paying brings everything back at once.
    lapse_at(&usher, &cast, 200_000, 300_000).await;
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::RoleGrants);
    usher.stop().await;
}

async fn in_grace_is_shown(usher: &Usher, owner: &str, second: i64) {
    let request = pb::ListPermissionsRequest {
        account_id: "acme".to_owned(),
        subject: user(owner),
        ..Default::default()
    };
    let listed = usher.authorization().list_permissions(request).await.unwrap().into_inner();
    let kinds = notices(usher, owner).await;
    let in_grace = (100..200).contains(&second);
    assert_eq!(kinds == [pb::NoticeKind::InGrace], in_grace, "at {second}: {kinds:?}");
    let lapsed = second >= 200;
    assert_eq!(listed.blocked_reason() == R::SubscriptionLapsed, lapsed, "at {second}");
    let left = listed.permissions.iter().filter(|entry| entry.grant() != pb::Grant::Never);
    let left: Vec<bool> = left.map(|entry| entry.available_after_lapse).collect();
    assert_eq!(left.len(), if lapsed { 13 } else { 66 }, "at {second}");
    assert!(!lapsed || left.iter().all(|stays| *stays));
}

async fn being_over_the_limit_denies_only_after_its_end(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let editor = cast.member("editor");
    let lower = async |end: Option<i64>| {
        let end = end.and_then(at);
        let over = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: end, ..set(3) };
        let change = pb::license_change::Change::SetPurchasedSeats(over);
        let answer = usher.licenses().manage_licenses(manage("acme", Platform, [change])).await.unwrap();
        assert_eq!(answer.into_inner().licenses.unwrap().over_limit_by, 2);
    };
    lower(None).await;
    usher.set_seconds(1_000_000);
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::RoleGrants, "there is no end");
    lower(Some(1_000_100)).await;
    usher.set_seconds(1_000_099);
    let before = answer(&usher, check("acme", &editor, "job.run", None)).await;
    assert_eq!((before.reason(), before.valid_until_time), (R::RoleGrants, at(1_000_100)));
    usher.set_seconds(1_000_100);
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::OverLimitEnded);
    assert_eq!(
        reason(&usher, "acme", &cast.founder(), "license.release", None).await,
        R::AvailableAfterLapse
    );
    refused(
        usher.members().invite_user(inviting("acme", Actor(&cast.founder()), "a@b.example", "reader")).await,
        Code::FailedPrecondition,
        "OVER_LIMIT_ENDED",
    );
    // Freeing seats is enough.
    let changes = [release(&cast.member("reader")), release(&cast.member("operator"))];
    let freed = usher.licenses().manage_licenses(manage("acme", Actor(&cast.founder()), changes)).await;
    assert_eq!(freed.unwrap().into_inner().licenses.unwrap().over_limit_by, 0);
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::RoleGrants);
    assert_eq!(notices(&usher, &editor).await, []);
    // However they are freed: suspending a member is no change of licences.
    let over = pb::SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: at(1_000_150), ..set(2) };
    let change = pb::license_change::Change::SetPurchasedSeats(over);
    usher.licenses().manage_licenses(manage("acme", Platform, [change])).await.unwrap();
    assert_eq!(notices(&usher, &editor).await, [pb::NoticeKind::OverLimit]);
    usher.set_seconds(1_000_150);
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::OverLimitEnded);
    usher.suspend_member("acme", &cast.member("admin")).await;
    assert_eq!(reason(&usher, "acme", &editor, "job.run", None).await, R::RoleGrants);
    assert_eq!(notices(&usher, &editor).await, []);
    usher.stop().await;
}

async fn notices(usher: &Usher, member: &str) -> Vec<pb::NoticeKind> {
    let request = pb::ListPermissionsRequest {
        account_id: "acme".to_owned(),
        subject: user(member),
        ..Default::default()
    };
    let listed = usher.authorization().list_permissions(request).await.unwrap().into_inner();
    listed.notices.iter().map(pb::Notice::kind).collect()
}

async fn explain_lists_every_part_that_fails(engine: Engine) {
    use pb::DecisionPart as P;
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let uma = cast.member("user");
    usher.set_seconds(50);
    usher.suspend_member("globex", &uma).await;
    lapse_at(&usher, &cast, 100, 200).await;
    usher.set_seconds(300);
    let explained =
        pb::CheckPermissionRequest { explain: true, ..check("globex", &uma, "job.run", Some("ugo")) };
    let told = answer(&usher, explained).await;
    assert_eq!((told.decision(), told.reason()), (pb::Decision::Deny, R::MemberSuspended));
    let why = told.explanation.unwrap();
    let parts: Vec<(P, bool, R)> = why.parts.iter().map(|p| (p.part(), p.holds, p.reason())).collect();
    let expected = [
        (P::Account, true, R::Unspecified),
        (P::Member, false, R::MemberSuspended),
        (P::Subscription, false, R::SubscriptionLapsed),
        (P::Limit, true, R::Unspecified),
        (P::Seat, false, R::NoSeat),
        (P::Grant, true, R::Unspecified),
        (P::Owner, false, R::NotOwner),
    ];
    assert_eq!(parts, expected);
    assert!(why.parts.iter().all(|part| !part.detail.is_empty()));
    // Suspended at 50, which took the seat; lapsed at 200; a user since the beginning.
    let since: Vec<_> = why.parts.iter().map(|part| part.since_time).collect();
    assert_eq!(since, [None, at(50), at(200), None, at(50), at(0), None]);
    assert_eq!(
        (why.roles_that_grant, why.permissions_that_grant),
        (vec!["user".to_owned(), "admin".to_owned()], vec!["Work".to_owned()])
    );
    assert_eq!((why.model.as_str(), why.model_version.len()), ("dataimporter", 64));
    assert_eq!(
        (why.member_state, why.seat_state, why.subscription_state),
        (pb::MemberState::Suspended.into(), pb::SeatState::None.into(), pb::SubscriptionState::Lapsed.into())
    );
    assert_eq!((why.expire_time, why.grace_end_time), (at(100), at(200)));
    assert!(
        why.standing_changed_revision > 0 && why.standing_changed_time == at(50),
        "{:?}",
        why.standing_changed_time
    );
    nothing_fails_when_it_is_allowed(&usher, &cast.founder()).await;
    usher.stop().await;
}

async fn nothing_fails_when_it_is_allowed(usher: &Usher, admin: &str) {
    usher.set_seconds(0);
    let explained =
        pb::CheckPermissionRequest { explain: true, ..check("globex", admin, "job.run", Some(admin)) };
    let told = answer(usher, explained).await;
    assert_eq!(told.reason(), R::RoleGrantsOwn);
    let parts = told.explanation.unwrap().parts;
    assert!(parts.len() == 7 && parts.iter().all(|part| part.holds), "{parts:?}");
}

async fn a_typo_is_an_error_with_a_suggestion(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let typos = [
        ("job.execute", "ACTION_UNKNOWN", "action", "job.run"),
        ("job.rnu", "ACTION_UNKNOWN", "action", "job.run"),
        ("jobb.run", "RESOURCE_TYPE_UNKNOWN", "resource.type", "job.run"),
    ];
    for (action, why, field, suggestion) in typos {
        let asked =
            usher.authorization().check_permission(check("acme", &cast.founder(), action, None)).await;
        let told = refused(asked, Code::InvalidArgument, why);
        assert_eq!(told.paths(), [field], "{action}");
        assert_eq!(told.fields[0].2, why, "{action}");
        assert_eq!(told.meta("suggestion"), suggestion, "{action}");
        assert!(told.message.contains(suggestion), "{action}: {}", told.message);
    }
    let request = pb::ListPermissionsRequest {
        account_id: "acme".to_owned(),
        subject: user(&cast.founder()),
        resource_types: vec!["job".to_owned(), "jib".to_owned()],
        ..Default::default()
    };
    let told = refused(
        usher.authorization().list_permissions(request).await,
        Code::InvalidArgument,
        "RESOURCE_TYPE_UNKNOWN",
    );
    assert_eq!(told.paths(), ["resource_types[1]"]);
    usher.stop().await;
}

/// In a check it is an answer; where there is nothing to list, an error.
async fn what_an_unknown_account_answers(engine: Engine) {
    let usher = Usher::start(engine).await;
    let told = answer(&usher, check("nowhere", "anybody", "any.thing", None)).await;
    assert_eq!((told.decision(), told.reason()), (pb::Decision::Deny, R::AccountUnknown));
    assert_eq!((told.revision, told.consistency_token.as_str(), told.role.as_str()), (0, "", ""));
    let listed = pb::ListPermissionsRequest {
        account_id: "nowhere".to_owned(),
        subject: user("anybody"),
        ..Default::default()
    };
    refused(usher.authorization().list_permissions(listed).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    let roles = pb::ListRolesRequest { account_id: "nowhere".to_owned(), actor_id: String::new() };
    refused(usher.authorization().list_roles(roles).await, Code::NotFound, "ACCOUNT_UNKNOWN");
    // A founding is seen by the very next check, although its absence was remembered.
    usher.found("nowhere", INTEGRATE_IO, 1).await;
    assert_eq!(reason(&usher, "nowhere", "nowhere-owner", "job.run", None).await, R::RoleGrants);
    usher.stop().await;
}
