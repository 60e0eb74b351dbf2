//! What the shipped models grant, cell by cell, for a person to read in a diff.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::path::Path;

use usher_policy::guard::SCOPE_ACTIONS;
use usher_policy::{Catalogue, Grant, RoleModel, render};

const MODELS: [&str; 2] = ["integrate-io", "dataimporter"];

fn shipped(id: &str) -> RoleModel {
    Catalogue::shipped().get(id).unwrap().1.clone()
}

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (expected, actual)) in (1..).zip(expected.lines().zip(actual.lines())) {
        assert_eq!(expected, actual, "{name}, line {number}; if it is meant, run with UPDATE_GOLDEN=1");
    }
    assert!(expected == actual, "{name} has lines more or less; if it is meant, run with UPDATE_GOLDEN=1");
}

#[test]
fn the_matrices_are_the_golden_ones() {
    for id in MODELS {
        assert_golden(&format!("{id}.txt"), &shipped(id).matrix());
    }
}

#[test]
fn what_roles_show_prints_is_golden_and_fits_a_terminal() {
    for id in MODELS {
        let text = render(&shipped(id));
        assert_golden(&format!("{id}.show.txt"), &text);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

/// How many actions a role may do always, on what it owns, and never.
fn counts(model: &RoleModel, role: &str) -> (usize, usize, usize) {
    let role = model.role(role).unwrap();
    let grants: Vec<Grant> = model.action_indices().map(|action| model.grant(role, action)).collect();
    let always = grants.iter().filter(|grant| matches!(grant, Grant::Always(_))).count();
    let own = grants.iter().filter(|grant| matches!(grant, Grant::WhenOwn(_))).count();
    (always, own, grants.len() - always - own)
}

#[test]
fn the_counts_are_those_of_the_contract() {
    let integrate_io = shipped("integrate-io");
    for (role, allowed) in [("reader", 12), ("editor", 24), ("operator", 32), ("admin", 62), ("owner", 66)] {
        assert_eq!(counts(&integrate_io, role), (allowed, 0, 66 - allowed), "{role}");
    }
    let dataimporter = shipped("dataimporter");
    assert_eq!(counts(&dataimporter, "user"), (7, 26, 22));
    assert_eq!(counts(&dataimporter, "admin"), (41, 14, 0));
    for id in MODELS {
        let lapse_set = shipped(id).actions().iter().filter(|action| action.available_after_lapse()).count();
        assert_eq!(lapse_set, 13, "{id}");
    }
}

#[test]
fn both_models_leave_the_same_actions_after_a_lapse() {
    let set = |id| {
        let mut names: Vec<String> = shipped(id)
            .actions()
            .iter()
            .filter(|action| action.available_after_lapse())
            .map(|action| action.name().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(set("integrate-io"), set("dataimporter"));
}

#[test]
fn view_and_list_are_one_right() {
    for id in MODELS {
        let model = shipped(id);
        for action in model.actions().iter().filter(|action| action.verb() == "list") {
            let list = model.action(action.resource_type(), "list").unwrap();
            let view = model.action(action.resource_type(), "view").unwrap();
            for role in model.role_indices() {
                assert_eq!(model.grant(role, list), model.grant(role, view), "{id} {}", action.name());
            }
            assert_eq!(
                model.available_after_lapse(list),
                model.available_after_lapse(view),
                "{}",
                action.name()
            );
        }
    }
}

#[test]
fn no_model_grants_what_belongs_to_a_scope() {
    for id in MODELS {
        for (action, _) in SCOPE_ACTIONS {
            assert_eq!(shipped(id).action_index(action), None, "{id} {action}");
        }
    }
}

#[test]
fn automation_runs_jobs_where_nobody_owns_a_schedule() {
    let names = |id| -> Vec<String> {
        let model = shipped(id);
        let actions = model.actions().iter().filter(|action| action.automation());
        actions.map(|action| action.name().to_owned()).collect()
    };
    assert_eq!(names("integrate-io"), ["cluster.create", "cluster.delete", "job.run"]);
    assert!(names("dataimporter").is_empty());
}

#[test]
fn roles_grant_what_the_contract_says() {
    let expect = |id, table: &[(&str, &[&str])]| {
        let model = shipped(id);
        for (actor, may) in table {
            let actor = model.role(actor).unwrap();
            for (index, role) in model.role_indices().zip(model.roles()) {
                assert_eq!(
                    model.may_assign(actor, index),
                    may.contains(&&*role.id),
                    "{id} {actor:?} {}",
                    role.id
                );
            }
        }
    };
    let below_owner: &[&str] = &["admin", "operator", "editor", "reader"];
    let none: &[&str] = &[];
    expect(
        "integrate-io",
        &[
            ("owner", below_owner),
            ("admin", below_owner),
            ("operator", none),
            ("editor", none),
            ("reader", none),
        ],
    );
    expect("dataimporter", &[("admin", &["admin", "user"]), ("user", none)]);
}

#[test]
fn a_role_covers_those_below_it() {
    let model = shipped("integrate-io");
    let ladder = ["owner", "admin", "operator", "editor", "reader"];
    for (i, actor) in ladder.iter().enumerate() {
        for (j, target) in ladder.iter().enumerate() {
            let covers = model.covers(model.role(actor).unwrap(), model.role(target).unwrap());
            assert_eq!(covers, i <= j, "{actor} over {target}");
        }
    }
    let model = shipped("dataimporter");
    let (user, admin) = (model.role("user").unwrap(), model.role("admin").unwrap());
    assert!(model.covers(admin, user) && !model.covers(user, admin));
}

#[test]
fn the_roles_have_the_rules_of_the_design() {
    let model = shipped("integrate-io");
    let owner = model.role_at(model.founder_role()).unwrap();
    assert_eq!((&*owner.id, owner.holders.as_str()), ("owner", "exactly_one"));
    assert_eq!(model.support_only_role(), Some(model.founder_role()));
    assert_eq!(owner.successor, model.role("admin"));
    let model = shipped("dataimporter");
    let admin = model.role_at(model.founder_role()).unwrap();
    assert_eq!((&*admin.id, admin.holders.as_str()), ("admin", "at_least_one"));
    assert_eq!(model.support_only_role(), None);
    for id in MODELS {
        assert!(shipped(id).roles().iter().all(|role| role.uses_seat), "{id}");
    }
}

#[test]
fn the_permission_reported_is_the_unconditional_one_then_the_first() {
    let title = |id, role, action| {
        let model = shipped(id);
        let grant = model.grant(model.role(role).unwrap(), model.action_index(action).unwrap());
        grant.permission().map(|permission| model.permission_at(permission).unwrap().title.to_string())
    };
    assert_eq!(title("dataimporter", "admin", "job.view").as_deref(), Some("Oversight"));
    assert_eq!(title("dataimporter", "admin", "job.run").as_deref(), Some("Work"));
    assert_eq!(title("integrate-io", "owner", "license.view").as_deref(), Some("Billing"));
    assert_eq!(title("integrate-io", "admin", "license.view").as_deref(), Some("Manage"));
    assert_eq!(title("integrate-io", "admin", "license.update"), None);
}

#[test]
fn explanations_find_who_would_grant() {
    let model = shipped("integrate-io");
    let action = model.action_index("license.assign").unwrap();
    let roles: Vec<&str> = model.roles_that_grant(action).map(|role| &*role.id).collect();
    let permissions: Vec<&str> = model.permissions_that_grant(action).map(|p| &*p.id).collect();
    assert_eq!((roles, permissions), (vec!["owner", "admin"], vec!["Billing", "Manage"]));
}
