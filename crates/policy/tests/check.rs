//! The order of the reasons, what the clock changes, and that all ways of asking agree.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use proptest::prelude::*;
use usher_domain::standing::{AccountState, MemberRecord, MemberState, StandingRecord};
use usher_domain::time::Time;
use usher_policy::{
    Ask, Catalogue, Decision, GrantKind, PartKind, Reason, RoleModel, Standing, Subject, UnknownPart, Who,
    actor_may, decide, decide_resolved, explain, permissions,
};

const NOW: Time = Time::MIN;

fn at(seconds: i64) -> Time {
    Time::from_seconds(seconds)
}

fn member(role: &str, seat: bool) -> Option<MemberRecord> {
    Some(MemberRecord { state: MemberState::Active, role: role.to_owned(), seat })
}

/// An account in order, with a member who holds a seat.
fn record(model: &str, role: &str) -> StandingRecord {
    StandingRecord {
        revision: 7,
        account_state: AccountState::Active,
        model: model.to_owned(),
        expire_time: None,
        lapse_time: None,
        over_limit: false,
        over_limit_end_time: None,
        over_limit_clear_time: None,
        member: member(role, true),
    }
}

fn ask<'a>(action: &'a str, owner: Option<&'a str>) -> Ask<'a> {
    let (resource_type, action) = action.split_once('.').unwrap();
    Ask { subject: Subject::User("alice"), resource_type, action, owner }
}

fn automation(action: &str) -> Ask<'_> {
    Ask { subject: Subject::Automation, ..ask(action, None) }
}

fn answer(record: &StandingRecord, now: Time, ask: &Ask<'_>) -> Decision {
    let catalogue = Catalogue::shipped();
    decide(&catalogue, Some(&catalogue.standing(record)), now, ask).unwrap()
}

fn failing(record: &StandingRecord, now: Time, ask: &Ask<'_>) -> Vec<PartKind> {
    let catalogue = Catalogue::shipped();
    let parts = explain(&catalogue, Some(&catalogue.standing(record)), now, ask).unwrap();
    parts.into_iter().filter(|part| !part.holds).map(|part| part.part).collect()
}

#[test]
fn a_member_of_an_account_in_order_is_answered_by_role() {
    let decision = answer(&record("dataimporter", "user"), NOW, &ask("job.create", None));
    assert_eq!(decision.reason, Reason::RoleGrants);
    assert!(decision.allows() && !decision.depends_on_owner && decision.permission.is_some());
    let cases = [
        (Some("alice"), Reason::RoleGrantsOwn, true),
        (Some("bob"), Reason::NotOwner, false),
        (None, Reason::OwnerRequired, false),
    ];
    for (owner, reason, allows) in cases {
        let decision = answer(&record("dataimporter", "user"), NOW, &ask("job.run", owner));
        assert_eq!((decision.reason, decision.allows()), (reason, allows));
        assert!(decision.depends_on_owner && decision.role.is_some());
        assert_eq!(decision.permission.is_some(), allows, "a denial has no granting permission");
    }
    let decision = answer(&record("dataimporter", "user"), NOW, &ask("member.list", None));
    assert_eq!((decision.reason, decision.permission), (Reason::RoleLacksPermission, None));
    let decision = answer(&record("dataimporter", "admin"), NOW, &ask("job.view", Some("bob")));
    assert_eq!((decision.reason, decision.depends_on_owner), (Reason::RoleGrants, false));
}

/// What can be wrong, in the order of the reasons. The owner is last.
const FAULTS: [(Reason, PartKind); 7] = [
    (Reason::AccountSuspended, PartKind::Account),
    (Reason::MemberSuspended, PartKind::Member),
    (Reason::SubscriptionLapsed, PartKind::Subscription),
    (Reason::OverLimitEnded, PartKind::OverLimit),
    (Reason::NoSeat, PartKind::Seat),
    (Reason::RoleLacksPermission, PartKind::Role),
    (Reason::NotOwner, PartKind::Owner),
];

/// An account and a question with the faults whose bits are set.
fn faulty(faults: usize) -> (StandingRecord, Ask<'static>) {
    let has = |reason: Reason| {
        FAULTS.iter().position(|(fault, _)| *fault == reason).is_some_and(|i| faults >> i & 1 == 1)
    };
    let mut record = record("dataimporter", "user");
    let member = record.member.as_mut().unwrap();
    member.seat = !has(Reason::NoSeat);
    if has(Reason::MemberSuspended) {
        member.state = MemberState::Suspended;
    }
    if has(Reason::AccountSuspended) {
        record.account_state = AccountState::Suspended;
    }
    record.lapse_time = has(Reason::SubscriptionLapsed).then_some(NOW);
    record.over_limit_end_time = has(Reason::OverLimitEnded).then_some(NOW);
    let action = if has(Reason::RoleLacksPermission) { "audit.view" } else { "job.run" };
    (record, ask(action, Some(if has(Reason::NotOwner) { "bob" } else { "alice" })))
}

#[test]
fn the_first_fault_is_the_reason_and_explain_lists_them_all() {
    for faults in 0..1usize << FAULTS.len() {
        let (record, ask) = faulty(faults);
        let mut present: Vec<_> =
            (0..FAULTS.len()).filter(|i| faults >> i & 1 == 1).map(|i| FAULTS[i]).collect();
        if present.contains(&FAULTS[5]) {
            // Whoever's it is does not matter when the role does not grant it.
            present.retain(|fault| *fault != FAULTS[6]);
        }
        let expected = present.first().map_or(Reason::RoleGrantsOwn, |(reason, _)| *reason);
        assert_eq!(answer(&record, NOW, &ask).reason, expected, "{present:?}");
        let parts: Vec<PartKind> = present.iter().map(|(_, part)| *part).collect();
        assert_eq!(failing(&record, NOW, &ask), parts, "{present:?}");
    }
}

#[test]
fn a_stranger_is_told_so_before_the_subscription_is_looked_at() {
    let mut record = record("dataimporter", "user");
    record.member = None;
    record.lapse_time = Some(NOW);
    assert_eq!(answer(&record, NOW, &ask("job.run", None)).reason, Reason::NotAMember);
    assert_eq!(answer(&record, NOW, &ask("job.run", None)).role, None);
    let parts = failing(&record, NOW, &ask("job.run", None));
    assert_eq!(parts, [PartKind::Member, PartKind::Subscription, PartKind::Seat, PartKind::Role]);
}

#[test]
fn an_unknown_and_a_closed_account_are_the_same() {
    let catalogue = Catalogue::shipped();
    let closed = StandingRecord { account_state: AccountState::Closed, ..record("dataimporter", "admin") };
    let closed = catalogue.standing(&closed);
    for question in [ask("job.run", Some("alice")), ask("no.such", None), automation("job.run")] {
        let unknown = decide(&catalogue, None, NOW, &question).unwrap();
        assert_eq!(unknown.reason, Reason::AccountUnknown);
        assert_eq!(decide(&catalogue, Some(&closed), NOW, &question).unwrap(), unknown);
        assert_eq!(
            explain(&catalogue, None, NOW, &question).unwrap(),
            explain(&catalogue, Some(&closed), NOW, &question).unwrap()
        );
    }
}

#[test]
fn an_unknown_action_is_an_error_unless_the_account_is_not_usable() {
    let catalogue = Catalogue::shipped();
    let question = ask("job.execute", None);
    let standing = |change: fn(&mut StandingRecord)| {
        let mut record = record("integrate-io", "reader");
        change(&mut record);
        catalogue.standing(&record)
    };
    let suspended = standing(|record| record.account_state = AccountState::Suspended);
    assert_eq!(
        decide(&catalogue, Some(&suspended), NOW, &question).unwrap().reason,
        Reason::AccountSuspended
    );
    assert!(explain(&catalogue, Some(&suspended), NOW, &question).is_ok());
    for standing in [
        standing(|_| {}),
        standing(|record| record.member = None),
        standing(|record| record.lapse_time = Some(NOW)),
        standing(|record| record.member.as_mut().unwrap().state = MemberState::Suspended),
        standing(|record| record.member.as_mut().unwrap().role = "poet".to_owned()),
    ] {
        let error = decide(&catalogue, Some(&standing), NOW, &question).unwrap_err();
        assert_eq!(error.to_string(), "unknown action `job.execute`: did you mean `job.run`?");
        assert_eq!(error.part(), UnknownPart::Verb);
        assert_eq!(explain(&catalogue, Some(&standing), NOW, &question).unwrap_err(), error);
    }
}

#[test]
fn what_pays_and_frees_a_seat_survives_a_lapse() {
    for (lapse, over) in [(Some(NOW), None), (None, Some(NOW)), (Some(NOW), Some(NOW))] {
        let record = |role| StandingRecord {
            expire_time: None,
            lapse_time: lapse,
            over_limit: false,
            over_limit_end_time: over,
            ..record("integrate-io", role)
        };
        let denied = if lapse.is_some() { Reason::SubscriptionLapsed } else { Reason::OverLimitEnded };
        let reason = |role, action| answer(&record(role), NOW, &ask(action, None)).reason;
        assert_eq!(reason("owner", "subscription.update"), Reason::AvailableAfterLapse);
        assert_eq!(reason("owner", "job.run"), denied);
        assert_eq!(reason("owner", "member.invite"), denied);
        assert_eq!(reason("admin", "member.remove"), Reason::AvailableAfterLapse);
        assert_eq!(reason("admin", "subscription.update"), Reason::RoleLacksPermission);
        let mut seatless = record("owner");
        seatless.member = member("owner", false);
        assert_eq!(answer(&seatless, NOW, &ask("subscription.update", None)).reason, Reason::NoSeat);
    }
}

#[test]
fn automation_needs_the_account_and_the_subscription_and_no_member() {
    let mut record = record("integrate-io", "owner");
    record.member = None;
    let reason = |record: &StandingRecord, action| answer(record, NOW, &automation(action)).reason;
    assert_eq!(reason(&record, "job.run"), Reason::Automation);
    assert_eq!(reason(&record, "job.stop"), Reason::AutomationLacksPermission);
    assert_eq!(failing(&record, NOW, &automation("job.stop")), [PartKind::Automation]);
    let lapsed = StandingRecord { lapse_time: Some(NOW), ..record.clone() };
    for action in ["job.run", "job.stop", "subscription.update"] {
        assert_eq!(reason(&lapsed, action), Reason::SubscriptionLapsed, "nothing survives: {action}");
    }
    let over = StandingRecord { over_limit_end_time: Some(NOW), ..record.clone() };
    assert_eq!(reason(&over, "job.run"), Reason::OverLimitEnded);
    let suspended = StandingRecord { account_state: AccountState::Suspended, ..record.clone() };
    assert_eq!(reason(&suspended, "job.run"), Reason::AccountSuspended);
    let dataimporter = StandingRecord { model: "dataimporter".to_owned(), ..record };
    assert_eq!(reason(&dataimporter, "job.run"), Reason::AutomationLacksPermission);
}

#[test]
fn a_model_or_role_that_is_not_here_denies() {
    for record in [record("no-such-model", "owner"), record("integrate-io", "no-such-role")] {
        let decision = answer(&record, NOW, &ask("job.view", Some("alice")));
        assert_eq!((decision.reason, decision.role), (Reason::RoleLacksPermission, None));
        assert_eq!(failing(&record, NOW, &ask("job.view", Some("alice"))), [PartKind::Role]);
        let mut suspended = record.clone();
        suspended.member.as_mut().unwrap().state = MemberState::Suspended;
        assert_eq!(answer(&suspended, NOW, &ask("job.view", None)).reason, Reason::MemberSuspended);
    }
    let record = record("no-such-model", "owner");
    assert_eq!(answer(&record, NOW, &automation("job.run")).reason, Reason::AutomationLacksPermission);
    let lapsed = StandingRecord { lapse_time: Some(at(5)), ..record };
    assert_eq!(answer(&lapsed, NOW, &ask("job.view", None)).valid_until, Some(at(5)));
    assert_eq!(answer(&lapsed, at(5), &ask("job.view", None)).reason, Reason::SubscriptionLapsed);
}

#[test]
fn being_over_the_limit_ends_and_may_clear_by_itself() {
    let mut record = record("dataimporter", "user");
    record.over_limit_end_time = Some(at(10));
    record.over_limit_clear_time = Some(at(20));
    let question = ask("job.create", None);
    let expected = [
        (at(9), Reason::RoleGrants, Some(at(10))),
        (at(10), Reason::OverLimitEnded, Some(at(20))),
        (at(19), Reason::OverLimitEnded, Some(at(20))),
        (at(20), Reason::RoleGrants, None),
    ];
    for (now, reason, valid_until) in expected {
        let decision = answer(&record, now, &question);
        assert_eq!((decision.reason, decision.valid_until), (reason, valid_until), "{now:?}");
    }
    record.over_limit_clear_time = Some(at(10));
    assert_eq!(answer(&record, NOW, &question).valid_until, None, "it clears before it ends");
}

#[test]
fn guards_ask_the_same_table() {
    let catalogue = Catalogue::shipped();
    let may = |model, role, action| {
        actor_may(&catalogue, Some(&catalogue.standing(&record(model, role))), NOW, action).reason
    };
    assert_eq!(may("integrate-io", "admin", "member.invite"), Reason::RoleGrants);
    assert_eq!(may("integrate-io", "editor", "member.invite"), Reason::RoleLacksPermission);
    assert_eq!(may("integrate-io", "admin", "ownership_transfer.view"), Reason::RoleGrants);
    assert_eq!(may("dataimporter", "admin", "ownership_transfer.view"), Reason::RoleLacksPermission);
    assert_eq!(may("dataimporter", "admin", "nonsense"), Reason::RoleLacksPermission);
    assert_eq!(actor_may(&catalogue, None, NOW, "member.invite").reason, Reason::AccountUnknown);
}

#[test]
fn explanations_are_for_people() {
    let catalogue = Catalogue::shipped();
    let mut record = record("dataimporter", "user");
    record.lapse_time = Some(at(86_400));
    let details = |now, question: &Ask<'_>| -> Vec<String> {
        let parts = explain(&catalogue, Some(&catalogue.standing(&record)), now, question).unwrap();
        parts.into_iter().map(|part| part.detail).collect()
    };
    assert_eq!(
        details(NOW, &ask("job.run", Some("bob"))),
        [
            "the account is active",
            "`alice` is an active member",
            "the subscription lapses at 1970-01-02T00:00:00Z",
            "being over the limit denies nothing",
            "a seat is held",
            "role `user` grants `job.run` on what one owns, by permission Work",
            "owner `bob` is not the subject `alice`",
        ]
    );
    let later = details(at(90_000), &ask("audit.view", None));
    assert_eq!(later[2], "the subscription has lapsed since 1970-01-02T00:00:00Z");
    assert_eq!(later[5], "role `user` does not grant `audit.view`");
    let survives = details(at(90_000), &ask("billing.view", None));
    assert_eq!(
        survives[2],
        "the subscription has lapsed since 1970-01-02T00:00:00Z, but `billing.view` stays available"
    );
}

#[test]
fn a_seatless_role_needs_no_seat() {
    let text =
        include_str!("../models/dataimporter.toml").replacen("uses_seat = true", "uses_seat = false", 1);
    let model = RoleModel::from_source("x", &text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.toml"), &text).unwrap();
    let catalogue = Catalogue::load(Some(dir.path())).unwrap();
    let mut record = record("dataimporter", "user");
    record.member = member("user", false);
    let standing = catalogue.standing(&record);
    let decision = decide(&catalogue, Some(&standing), NOW, &ask("job.create", None)).unwrap();
    assert_eq!(decision.reason, Reason::RoleGrants);
    assert!(!model.role_at(model.role("user").unwrap()).unwrap().uses_seat);
}

prop_compose! {
    fn any_record()(
        model in prop_oneof![4 => Just("integrate-io"), 4 => Just("dataimporter"), 1 => Just("none")],
        account_state in prop_oneof![
            8 => Just(AccountState::Active), 1 => Just(AccountState::Suspended), 1 => Just(AccountState::Closed)
        ],
        times in proptest::array::uniform3(proptest::option::of(0i64..6)),
        role in prop_oneof![
            Just("owner"), Just("admin"), Just("operator"), Just("editor"), Just("reader"), Just("user"), Just("none")
        ],
        member in prop_oneof![1 => Just(None), 1 => Just(Some(MemberState::Suspended)), 6 => Just(Some(MemberState::Active))],
        seat in prop::bool::weighted(0.8),
    ) -> StandingRecord {
        let [lapse_time, over_limit_end_time, over_limit_clear_time] = times.map(|time| time.map(at));
        let member = member.map(|state| MemberRecord { state, role: role.to_owned(), seat });
        StandingRecord {
            revision: 1, account_state, model: model.to_owned(), expire_time: None, lapse_time,
            over_limit: over_limit_end_time.is_some(), over_limit_end_time, over_limit_clear_time, member,
        }
    }
}

/// What of a decision may not change before `valid_until`.
fn lasting(decision: Decision) -> Decision {
    Decision { valid_until: None, ..decision }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// For one subject, at each moment and for each action: an answer allows exactly if all its parts
    /// hold, holds until it says so and not longer, and is the same whichever way it is asked.
    #[test]
    fn all_ways_of_asking_agree(record in any_record(), owner in prop_oneof![Just(None), Just(Some("alice")), Just(Some("bob"))], by_automation: bool) {
        let catalogue = Catalogue::shipped();
        let standing = catalogue.standing(&record);
        let model = catalogue.by_index(standing.model().unwrap_or(catalogue.get("integrate-io").unwrap().0)).unwrap();
        for index in model.action_indices() {
            let name = model.action_at(index).unwrap().name();
            let subject = if by_automation { Subject::Automation } else { Subject::User("alice") };
            let question = Ask { subject, ..ask(name, owner) };
            let answer = |now| decide(&catalogue, Some(&standing), now, &question).unwrap();
            for now in (0..8).map(at) {
                let decision = answer(now);
                let parts = explain(&catalogue, Some(&standing), now, &question).unwrap();
                prop_assert_eq!(decision.allows(), parts.iter().all(|part| part.holds), "{}: {:?} {:?}", name, decision, parts);
                let next = (now.seconds() + 1..9).map(at).find(|later| lasting(answer(*later)) != lasting(decision));
                prop_assert_eq!(decision.valid_until, next, "{} at {:?}: {:?}", name, now, decision);
                if standing.model().is_some() {
                    prop_assert_eq!(decide_resolved(model, Some(&standing), now, question.who(), index), decision);
                    agrees_with_listing(model, &standing, now, question.who(), &decision, index)?;
                }
            }
        }
    }
}

fn agrees_with_listing(
    model: &RoleModel,
    standing: &Standing,
    now: Time,
    who: Who,
    decision: &Decision,
    index: usher_policy::ActionIndex,
) -> Result<(), TestCaseError> {
    let listing = permissions(model, Some(standing), now, who == Who::Automation);
    let entry = listing.entries[index.position()];
    let as_asked = match entry.grant {
        GrantKind::Always => true,
        GrantKind::WhenOwn => who == Who::Member(usher_policy::OwnerFact::Subject),
        GrantKind::Never => false,
    };
    prop_assert_eq!(as_asked, decision.allows(), "{:?} {:?}", entry, decision);
    prop_assert_eq!(listing.role, decision.role);
    prop_assert!(decision.permission.is_none() || entry.permission == decision.permission);
    if let Some(blocked) = listing.blocked {
        let left = model.available_after_lapse(index);
        prop_assert!(decision.reason == blocked || left, "{:?} {:?}", blocked, decision);
    }
    // Whatever changes an answer changes the list no later.
    if let Some(until) = decision.valid_until {
        prop_assert!(listing.valid_until.is_some_and(|whole| whole <= until));
    }
    Ok(())
}
