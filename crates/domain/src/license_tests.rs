use proptest::prelude::*;

use super::*;

fn seats(purchased: u32, active: u32, reserved: u32) -> Seats {
    Seats { purchased: Some(purchased), active, reserved }
}

fn license(purchased: u32) -> License {
    License {
        purchased: Some(purchased),
        subscription: Subscription::new("team".into(), None, None).unwrap(),
        over_limit: false,
        over_limit_end_time: None,
        seats_as_of: None,
        subscription_as_of: None,
    }
}

fn set(purchased: u32) -> SetPurchasedSeats {
    SetPurchasedSeats {
        purchased: Some(purchased),
        expected_seats: None,
        allow_over_limit: false,
        over_limit_end_time: None,
        as_of_time: None,
    }
}

fn at(seconds: i64) -> Time {
    Time::from_seconds(seconds)
}

#[test]
fn pending_invitations_count_as_seats() {
    assert!(seats(10, 7, 2).require_spare().is_ok());
    assert_eq!(seats(10, 7, 3).require_spare(), Err(Refusal::NoSeatAvailable(seats(10, 7, 3))));
    assert_eq!(seats(10, 7, 3).available(), Some(0));
}

#[test]
fn an_expired_invitation_frees_its_seat() {
    // Expiry is a matter of counting: the store counts only invitations that are open now.
    assert!(seats(10, 7, 3 - 1).require_spare().is_ok());
}

#[test]
fn over_limit_nothing_takes_a_seat_and_it_is_said_how_far() {
    let over = seats(5, 6, 1);
    assert_eq!((over.over_limit_by(), over.available()), (2, Some(0)));
    assert_eq!(over.require_spare(), Err(Refusal::OverLimit(over)));
}

#[test]
fn unlimited_never_runs_out() {
    let unlimited = Seats { purchased: None, active: 4_000_000_000, reserved: 500_000_000 };
    assert!(unlimited.require_spare().is_ok());
    assert_eq!((unlimited.available(), unlimited.over_limit_by()), (None, 0));
}

#[test]
fn lowering_below_use_is_refused_and_says_what_is_in_use() {
    let mut license = license(10);
    assert_eq!(license.set_purchased(&set(5), seats(10, 4, 2)), Err(Refusal::SeatsInUse(seats(10, 4, 2))));
    assert_eq!(license.purchased, Some(10), "nothing changed");
    assert_eq!(license.set_purchased(&set(6), seats(10, 4, 2)), Ok(ChangeOutcome::Applied));
}

#[test]
fn lowering_below_use_can_be_allowed_with_an_end() {
    let mut license = license(10);
    let change = SetPurchasedSeats { allow_over_limit: true, over_limit_end_time: Some(at(99)), ..set(3) };
    assert_eq!(license.set_purchased(&change, seats(10, 4, 2)), Ok(ChangeOutcome::Applied));
    assert_eq!(license.over_limit_end_time, Some(at(99)));
    // Buying enough again clears the end.
    assert_eq!(license.set_purchased(&set(6), seats(3, 4, 2)), Ok(ChangeOutcome::Applied));
    assert_eq!(license.over_limit_end_time, None);
}

#[test]
fn who_is_over_the_limit_may_buy_too_few_but_not_go_further_below() {
    let mut license = License { over_limit: true, over_limit_end_time: Some(at(99)), ..license(12) };
    let used = |license: &License| license.seats(15, 2);
    assert_eq!(license.set_purchased(&set(12), used(&license)), Ok(ChangeOutcome::Unchanged));
    assert_eq!(license.set_purchased(&set(15), used(&license)), Ok(ChangeOutcome::Applied));
    assert_eq!((license.over_limit, license.over_limit_end_time), (true, Some(at(99))), "as it was allowed");
    assert_eq!(
        license.set_purchased(&set(14), used(&license)),
        Err(Refusal::SeatsInUse(used(&license))),
        "lower again needs leave again"
    );
    let no_end = SetPurchasedSeats { allow_over_limit: true, ..set(14) };
    assert_eq!(license.set_purchased(&no_end, used(&license)), Ok(ChangeOutcome::Applied));
    assert_eq!(license.over_limit_end_time, None);
    assert_eq!(license.set_purchased(&set(17), used(&license)), Ok(ChangeOutcome::Applied));
    assert!(!license.over_limit);
}

#[test]
fn a_late_older_message_changes_nothing() {
    let mut license = license(10);
    let at_time = |purchased, time| SetPurchasedSeats { as_of_time: Some(at(time)), ..set(purchased) };
    assert_eq!(license.set_purchased(&at_time(15, 100), seats(10, 1, 0)), Ok(ChangeOutcome::Applied));
    assert_eq!(license.set_purchased(&at_time(12, 200), seats(15, 1, 0)), Ok(ChangeOutcome::Applied));
    assert_eq!(license.set_purchased(&at_time(15, 100), seats(12, 1, 0)), Ok(ChangeOutcome::OlderThanLast));
    assert_eq!(license.purchased, Some(12));
    assert_eq!(license.set_purchased(&at_time(12, 200), seats(12, 1, 0)), Ok(ChangeOutcome::Unchanged));
}

#[test]
fn compare_and_set_on_the_number_itself() {
    let mut license = license(10);
    let change = SetPurchasedSeats { expected_seats: Some(10), ..set(15) };
    assert_eq!(license.set_purchased(&change, seats(10, 1, 0)), Ok(ChangeOutcome::Applied));
    assert_eq!(
        license.set_purchased(&change, seats(15, 1, 0)),
        Err(Refusal::ExpectedSeatsDiffer { purchased: Some(15) })
    );
}

#[test]
fn subscription_goes_from_active_over_grace_to_lapsed() {
    let subscription = Subscription::new("team".into(), Some(at(100)), Some(at(200))).unwrap();
    let states = [99, 100, 199, 200].map(|s| subscription.state(at(s)));
    use SubscriptionState::{Active, InGrace, Lapsed};
    assert_eq!(states, [Active, InGrace, InGrace, Lapsed]);
    assert_eq!(Subscription::new("x".into(), None, None).unwrap().state(Time::MAX), Active);
    let default = Subscription::new("x".into(), Some(at(100)), None).unwrap();
    assert_eq!(default.grace_end_time, Some(at(100) + GRACE_DEFAULT));
    assert!(Subscription::new("x".into(), Some(at(100)), Some(at(99))).is_err());
    assert!(Subscription::new("x".into(), None, Some(at(99))).is_err());
}

#[test]
fn over_limit_can_clear_by_expiring_invitations() {
    let expiries = [at(30), at(10), at(20)];
    assert_eq!(
        over_limit_clear_time(seats(5, 4, 3), &expiries),
        Some(at(20)),
        "over by two: the second expiry"
    );
    assert_eq!(over_limit_clear_time(seats(2, 6, 3), &expiries), None, "members alone are over");
    assert_eq!(over_limit_clear_time(seats(9, 6, 3), &expiries), None, "not over");
}

proptest! {
    /// Whatever the figures: a seat can be taken exactly when that keeps the invariant.
    #[test]
    fn a_seat_is_taken_exactly_when_it_fits(purchased in 0u32..50, active in 0u32..50, reserved in 0u32..50) {
        let now = seats(purchased, active, reserved);
        let fits = active + reserved < purchased;
        prop_assert_eq!(now.require_spare().is_ok(), fits);
        prop_assert_eq!(now.available(), Some(purchased.saturating_sub(active + reserved)));
        prop_assert!(now.available() == Some(0) || now.over_limit_by() == 0);
    }

    /// A sequence of changes without leave to go over never ends over the limit.
    #[test]
    fn purchased_never_falls_below_use_by_itself(targets in prop::collection::vec(0u32..30, 1..20), active in 0u32..10, reserved in 0u32..10) {
        let mut license = license(25);
        for target in targets {
            let now = license.seats(active, reserved);
            let _ = license.set_purchased(&set(target), now);
            prop_assert_eq!(license.seats(active, reserved).over_limit_by(), 0);
        }
    }
}
