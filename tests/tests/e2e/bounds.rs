//! The bounds of lists, ids, addresses, names and times, from both sides.

use usher_tests::cast::{founding, inviting};
use usher_tests::pb::{self, license_change::Change};
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines};

use crate::bad_input::{paths, trace};
use crate::changes::{manage, set_seats};

both_engines!(lists_of_changes_are_bounded, ids_emails_and_names_have_bounds, times_and_spans_have_bounds,);

async fn lists_of_changes_are_bounded(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let before = trace(&usher).await;
    let many = |count: u32| {
        let mut request = manage("acme", Platform, []);
        request.changes = (0..count).map(|n| pb::LicenseChange { change: Some(set_seats(20 + n)) }).collect();
        request
    };
    for count in [0, 101, 5_000] {
        paths(usher.licenses().manage_licenses(many(count)).await, &["changes"]);
    }
    assert_eq!(trace(&usher).await, before);
    let most = usher.licenses().manage_licenses(many(100)).await.unwrap().into_inner();
    assert_eq!((most.results.len(), most.licenses.unwrap().purchased), (100, Some(119)));
    let request = pb::ListMembersRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        roles: vec!["reader".to_owned(); 101],
        ..Default::default()
    };
    paths(usher.members().list_members(request).await, &["roles"]);
    let request = pb::ListPermissionsRequest {
        account_id: "acme".to_owned(),
        subject: crate::matrix::user("acme-owner"),
        resource_types: vec!["job".to_owned(); 101],
        ..Default::default()
    };
    paths(usher.authorization().list_permissions(request).await, &["resource_types"]);
    usher.stop().await;
}

async fn ids_emails_and_names_have_bounds(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 50).await;
    let id = |length: usize| format!("a{}", "-".repeat(length - 1));
    let mut longest = founding("globex", DATAIMPORTER, 1);
    longest.account_id = id(128);
    usher.accounts().create_account(longest).await.unwrap();
    let invite = async |change: &dyn Fn(&mut pb::InviteUserRequest)| {
        let mut request = inviting("acme", Platform, "a@x.example", "reader");
        change(&mut request);
        usher.members().invite_user(request).await
    };
    for bad in [&id(129)[..], "-a", ".a", "_a", "a b", "a@b", "a/b", "ä", "a\u{0}", "a\n"] {
        paths(invite(&|r| r.new_user_id = bad.to_owned()).await, &["new_user_id"]);
        paths(invite(&|r| r.account_id = bad.to_owned()).await, &["account_id"]);
    }
    let before = trace(&usher).await;
    let domain = format!("{}.{}.{}.example", "d".repeat(60), "d".repeat(60), "d".repeat(60));
    let local = |total: usize| format!("{}@{domain}", "l".repeat(total - domain.len() - 1));
    let bad_emails = [
        &local(255)[..],
        "a",
        "@x.example",
        "a@",
        "a@b@c",
        "a b@x.example",
        "a@x..example",
        "a@-x.example",
        "\"a\"@x.example",
        "a@x.example\r\nBcc: b@x.example",
        "<a@x.example>",
        "a@x.example, b@x.example",
    ];
    for bad in bad_emails {
        paths(invite(&|r| r.email = bad.to_owned()).await, &["email"]);
    }
    for (bad, field) in [("n".repeat(201), "display_name"), ("a\u{2028}b".to_owned(), "display_name")] {
        paths(invite(&|r| r.display_name = bad.clone()).await, &[field]);
    }
    for bad in ["r".repeat(129), "a b".to_owned(), "a\u{7f}".to_owned(), "é".to_owned()] {
        paths(invite(&|r| r.request_id = bad.clone()).await, &["request_id"]);
    }
    assert_eq!(trace(&usher).await, before);
    // The longest that are right; characters are counted, not bytes.
    invite(&|r| r.email = local(254)).await.unwrap();
    invite(&|r| {
        r.display_name = "李".repeat(200);
        r.request_id = "~".repeat(128);
        r.email = "b@x.example".to_owned();
    })
    .await
    .unwrap();
    usher.stop().await;
}

async fn times_and_spans_have_bounds(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.found("acme", INTEGRATE_IO, 50).await;
    let life = async |seconds, nanos| {
        let request = pb::InviteUserRequest {
            lifetime: Some(prost_types::Duration { seconds, nanos }),
            ..inviting("acme", Platform, &format!("l{seconds}@x.example"), "reader")
        };
        usher.members().invite_user(request).await
    };
    let month = 30 * 24 * 3600;
    let bad = [
        (3599, 999_999_999),
        (month, 1),
        (month + 1, 0),
        (0, 0),
        (-3600, 0),
        (i64::MAX, 0),
        (i64::MIN, i32::MIN),
    ];
    for (seconds, nanos) in bad {
        paths(life(seconds, nanos).await, &["lifetime"]);
    }
    life(3600, 0).await.unwrap();
    life(month, 0).await.unwrap();
    let subscribe = async |expire: (i64, i32), grace: Option<(i64, i32)>| {
        let time = |(seconds, nanos)| prost_types::Timestamp { seconds, nanos };
        let subscription = pb::Subscription {
            plan: "team".to_owned(),
            expire_time: Some(time(expire)),
            grace_end_time: grace.map(time),
            ..Default::default()
        };
        let change = pb::UpdateSubscription { subscription: Some(subscription), as_of_time: None };
        usher.licenses().manage_licenses(manage("acme", Platform, [Change::UpdateSubscription(change)])).await
    };
    let path = |field: &str| format!("changes[0].update_subscription.subscription.{field}");
    let year_10000 = 253_402_300_800;
    for bad in [(-1, 0), (year_10000, 0), (i64::MAX, 0), (0, -1), (0, 1_000_000_000)] {
        paths(subscribe(bad, None).await, &[&path("expire_time")]);
    }
    paths(subscribe((200, 0), Some((199, 0))).await, &[&path("grace_end_time")]);
    // The last moment there is: grace ends no later than that.
    let last =
        subscribe((year_10000 - 1, 999_999_000), None).await.unwrap().into_inner().subscription.unwrap();
    assert_eq!(last.expire_time.unwrap().seconds, year_10000 - 1);
    assert!(last.grace_end_time.unwrap().seconds < year_10000, "{:?}", last.grace_end_time);
    usher.stop().await;
}
