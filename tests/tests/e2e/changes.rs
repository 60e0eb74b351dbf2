//! Changes of licences, for tests to put together, and the figures that come of them.

use usher_tests::harness::START;
use usher_tests::pb::{self, license_change::Change, set_purchased_seats::Purchased};
use usher_tests::{By, Cast, Platform, Usher, acting};

/// A request with these changes, for tests to change.
pub(crate) fn manage<const N: usize>(
    account: &str,
    by: By<'_>,
    changes: [Change; N],
) -> pb::ManageLicensesRequest {
    pb::ManageLicensesRequest {
        account_id: account.to_owned(),
        acting: acting(by),
        changes: changes.into_iter().map(|change| pb::LicenseChange { change: Some(change) }).collect(),
        ..Default::default()
    }
}

pub(crate) fn set(seats: u32) -> pb::SetPurchasedSeats {
    pb::SetPurchasedSeats { purchased: Some(Purchased::Seats(seats)), ..Default::default() }
}

pub(crate) fn set_seats(seats: u32) -> Change {
    Change::SetPurchasedSeats(set(seats))
}

pub(crate) fn assign(user: &str) -> Change {
    Change::AssignSeat(pb::AssignSeat { user_id: user.to_owned() })
}

pub(crate) fn release(user: &str) -> Change {
    Change::ReleaseSeat(pb::ReleaseSeat { user_id: user.to_owned() })
}

pub(crate) fn update_subscription(plan: &str) -> Change {
    let subscription = pb::Subscription { plan: plan.to_owned(), ..Default::default() };
    Change::UpdateSubscription(pb::UpdateSubscription { subscription: Some(subscription), as_of_time: None })
}

/// A time, in seconds since the manual clock's start.
pub(crate) fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: START + seconds, nanos: 0 })
}

/// Lets the account's subscription expire and its grace end, in seconds since the clock's start.
pub(crate) async fn lapse_at(usher: &Usher, cast: &Cast, expire: i64, grace_end: i64) {
    let subscription = pb::Subscription {
        plan: "team".to_owned(),
        expire_time: at(expire),
        grace_end_time: at(grace_end),
        ..Default::default()
    };
    let change = pb::UpdateSubscription { subscription: Some(subscription), as_of_time: None };
    let request = manage(&cast.account, Platform, [Change::UpdateSubscription(change)]);
    usher.licenses().manage_licenses(request).await.unwrap();
}

/// The figures (purchased, active, reserved, available, over limit by) and the revision.
pub(crate) async fn figures(
    usher: &Usher,
    account: &str,
) -> ((Option<u32>, u32, u32, Option<u32>, u32), i64) {
    let request = pb::GetLicensesRequest {
        account_id: account.to_owned(),
        acting: acting(Platform),
        consistency: None,
    };
    let answer = usher.licenses().get_licenses(request).await.unwrap().into_inner();
    (shown(answer.licenses.unwrap()), answer.revision)
}

pub(crate) fn shown(licenses: pb::Licenses) -> (Option<u32>, u32, u32, Option<u32>, u32) {
    (licenses.purchased, licenses.active, licenses.reserved, licenses.available, licenses.over_limit_by)
}
