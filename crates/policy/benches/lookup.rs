//! What a decision costs: the bare table, the names of an action, and a whole check.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use usher_domain::standing::{AccountState, MemberRecord, MemberState, StandingRecord};
use usher_domain::time::Time;
use usher_policy::{Ask, Catalogue, OwnerFact, Standing, Subject, Who, decide, decide_resolved};

fn standing(catalogue: &Catalogue, model: &str, role: &str) -> Standing {
    catalogue.standing(&StandingRecord {
        revision: 1,
        account_state: AccountState::Active,
        model: model.to_owned(),
        expire_time: None,
        lapse_time: Some(Time::from_seconds(2_000_000_000)),
        over_limit: false,
        over_limit_end_time: None,
        over_limit_clear_time: None,
        member: Some(MemberRecord { state: MemberState::Active, role: role.to_owned(), seat: true }),
    })
}

fn lookup(c: &mut Criterion) {
    let catalogue = Catalogue::shipped();
    let (_, model) = catalogue.get("integrate-io").expect("it ships");
    let role = model.role("editor").expect("it has the role");
    let action = model.action("job", "run").expect("it has the action");
    let now = Time::from_seconds(1_800_000_000);

    c.bench_function("grant, role and action known", |b| {
        b.iter(|| model.grant(black_box(role), black_box(action)))
    });
    c.bench_function("grant, action by its two words", |b| {
        b.iter(|| {
            model
                .action(black_box("job"), black_box("run"))
                .map(|action| model.grant(black_box(role), action))
        });
    });
    c.bench_function("grant, the longest two words", |b| {
        b.iter(|| {
            let action = model.action(black_box("ownership_transfer"), black_box("view"));
            action.map(|action| model.grant(black_box(role), action))
        });
    });
    let editor = standing(&catalogue, "integrate-io", "editor");
    let ask = Ask { subject: Subject::User("usr_alice"), resource_type: "job", action: "run", owner: None };
    c.bench_function("decide", |b| {
        b.iter(|| decide(&catalogue, Some(black_box(&editor)), now, black_box(&ask)))
    });
    let user = standing(&catalogue, "dataimporter", "user");
    let own = Ask { owner: Some("usr_alice"), ..ask };
    c.bench_function("decide, on what one owns", |b| {
        b.iter(|| decide(&catalogue, Some(black_box(&user)), now, black_box(&own)));
    });
    let who = Who::Member(OwnerFact::NotNamed);
    c.bench_function("decide, names resolved", |b| {
        b.iter(|| decide_resolved(model, Some(black_box(&editor)), now, black_box(who), black_box(action)));
    });
}

criterion_group!(benches, lookup);
criterion_main!(benches);
