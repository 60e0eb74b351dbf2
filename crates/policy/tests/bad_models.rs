//! What can be wrong with the words of a role model file, with the line and the message that it gets.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod fixture;
#[path = "fixture/spoil.rs"]
mod spoil;

use fixture::SMALL;
use spoil::{errors, run, spoilt};
use usher_policy::RoleModel;

#[test]
fn the_small_model_is_good() {
    assert_eq!(errors(SMALL), Vec::<String>::new());
}

#[test]
fn syntax() {
    run(&[
        (
            "title = \"Small\"",
            "title = ",
            &["2: not TOML: string values must be quoted, expected literal string"],
        ),
        ("[permissions.make]", "[permissions.work]", &["19: not TOML: duplicate key `work`"]),
        ("[roles.maker]", "[roles.chief]", &["45: not TOML: duplicate key `chief`"]),
        ("audit = [\"view\"]", "account = [\"view\"]", &["11: not TOML: duplicate key `account`"]),
        ("[automation]", "[automation", &["56: not TOML: unclosed table, expected `]`"]),
    ]);
}

#[test]
fn keys_and_types() {
    run(&[
        (
            "uses_seat = false",
            "use_seat = false",
            &["43: unknown key `use_seat` in role `chief`; did you mean `uses_seat`?"],
        ),
        (
            "when = \"own\"",
            "condition = \"own\"",
            &["16: unknown key `condition` in permission `work`; there are `title`, `when`, `actions`"],
        ),
        (
            "[automation]",
            "[automaton]",
            &["56: unknown key `automaton` in the file; did you mean `automation`?"],
        ),
        (
            "uses_seat = false",
            "uses_seat = \"no\"",
            &["43: `uses_seat` of role `chief` must be true or false"],
        ),
        (
            "when = \"own\"",
            "when = \"mine\"",
            &["16: unknown `when` `mine` in permission `work`; there is `own`"],
        ),
        (
            "holders = \"any\"",
            "holders = \"some\"",
            &["49: unknown `holders` `some` in role `maker`; there is `exactly_one`, `at_least_one`, `any`"],
        ),
        (
            "title = \"Make\"\n",
            "",
            &["19: permission `make` has no `title`; add `title = \"…\"`, the name that people see"],
        ),
        ("title = \"Make\"", "title = \"\"", &["20: the title of permission `make` is empty"]),
        ("title = \"Make\"", "title = 7", &["20: `title` of permission `make` must be a text in quotes"]),
        (
            "title = \"Make\"",
            "title = \"a\\nb\"",
            &["20: `title` of permission `make` has line breaks or control characters"],
        ),
        (
            "actions = [\"thing.create\"]\n\n[permissions.run]",
            "[permissions.run]",
            &[
                "5: no permission grants `thing.create`; add it to a permission or remove it",
                "19: permission `make` has no `actions`; add `actions = [\"…\"]`",
            ],
        ),
        (
            "permissions = [\"make\", \"work\"]",
            "permissions = \"make\"",
            &["48: `permissions` of role `maker` must be a list; write `[\"…\", \"…\"]`"],
        ),
        (
            "audit = [\"view\"]",
            "audit = [\"view\", 7]",
            &["11: each of the verbs of `audit` must be a text in quotes"],
        ),
        (
            "id = \"small\"\n",
            "",
            &["1: the file has no `id`; add `id = \"…\"`, the name that accounts are created with"],
        ),
    ]);
}

#[test]
fn ids() {
    run(&[
        (
            "id = \"small\"",
            "id = \"Small\"",
            &["1: model id `Small` is malformed; it starts with a-z and holds only a-z, 0-9, `_`, `-`"],
        ),
        (
            "[automation]\nactions = [\"thing.create\"]",
            "[automation]\nactions = []\n[roles.1st]\ntitle = \"x\"",
            &["58: role `1st` is malformed; it starts with a-z and holds only a-z, 0-9, `_`, `-`"],
        ),
        (
            "audit = [\"view\"]",
            "audit = [\"view\"]\n\"my-thing\" = [\"go\"]",
            &["12: resource type `my-thing` is malformed; it starts with a-z and holds only a-z, 0-9, `_`"],
        ),
        (
            "audit = [\"view\"]",
            "audit = [\"view\", \"re-do\"]",
            &["11: verb `re-do` is malformed; it starts with a-z and holds only a-z, 0-9, `_`"],
        ),
    ]);
    let long = SMALL.replace("id = \"small\"", &format!("id = \"{}\"", "a".repeat(65)));
    assert_eq!(
        errors(&long),
        [format!("small.toml:1: model id `{}…` has more than 64 characters", "a".repeat(64))]
    );
}

#[test]
fn unknown_names() {
    run(&[
        (
            "\"thing.view\", \"thing.update\"",
            "\"thing.veiw\", \"thing.update\"",
            &["17: unknown action `thing.veiw`; did you mean `thing.view`?"],
        ),
        (
            "\"thing.view\", \"thing.update\"",
            "\"thing.*\", \"thing.view\", \"thing.update\"",
            &["17: unknown action `thing.*`; there are no patterns: name each action"],
        ),
        (
            "[\"subscription.update\"]",
            "[\"balloon\"]",
            &[
                "54: unknown action `balloon`; name it in `[actions]` first, and write it as `resource_type.verb`",
            ],
        ),
        (
            "[automation]\nactions = [\"thing.create\"]",
            "[automation]\nactions = [\"thing.crate\"]",
            &["57: unknown action `thing.crate`; did you mean `thing.create`?"],
        ),
        (
            "permissions = [\"make\", \"work\"]",
            "permissions = [\"made\", \"work\"]",
            &["48: unknown permission `made`; did you mean `make`?"],
        ),
        (
            "assignable_by = [\"chief\"]",
            "assignable_by = [\"boss\"]",
            &[
                "45: no role can assign `maker`, so nobody could ever have it; add `assignable_by = [\"…\"]`",
                "50: unknown role `boss`; there are `chief`, `maker`",
            ],
        ),
        (
            "successor = \"maker\"",
            "successor = \"makr\"",
            &["42: unknown role `makr`; did you mean `maker`?"],
        ),
        (
            "\"thing.make\" = \"thing.create\"",
            "\"thing.make\" = \"thing.creat\"",
            &["61: unknown action `thing.creat`; did you mean `thing.create`?"],
        ),
        (
            "\"thing.make\" = \"thing.create\"",
            "\"thing.view\" = \"thing.create\"",
            &["61: alias `thing.view` is an action already; remove it"],
        ),
        (
            "get = \"view\"",
            "get = \"look\"",
            &["60: alias `get` stands for `look`; a bare word must stand for a resource type or a verb"],
        ),
        (
            "\"thing.make\" = \"thing.create\"",
            "thing.make = \"thing.create\"",
            &["61: alias `thing` (an action with its dot goes in quotes) must be a text in quotes"],
        ),
    ]);
}

#[test]
fn duplicates() {
    run(&[
        (
            "audit = [\"view\"]",
            "audit = [\"view\", \"view\"]",
            &["11: `view` stands twice in the verbs of `audit`; remove one"],
        ),
        (
            "\"thing.view\", \"thing.update\"",
            "\"thing.view\", \"thing.update\", \"thing.view\"",
            &["17: `thing.view` stands twice in `actions` of permission `work`; remove one"],
        ),
        (
            "permissions = [\"make\", \"work\"]",
            "permissions = [\"make\", \"work\", \"make\"]",
            &["48: `make` stands twice in `permissions` of role `maker`; remove one"],
        ),
        (
            "[\"subscription.update\"]",
            "[\"subscription.update\", \"subscription.update\"]",
            &["54: `subscription.update` stands twice in `actions` of `[after_lapse]`; remove one"],
        ),
        (
            "title = \"Maker\"",
            "title = \"Chief\"",
            &["46: role `maker` has the title `Chief` of `chief`; people could not tell them apart"],
        ),
        (
            "title = \"Make\"",
            "title = \"Work\"",
            &["20: permission `make` has the title `Work` of `work`; people could not tell them apart"],
        ),
    ]);
}

#[test]
fn limits() {
    let verbs: Vec<String> = (0..513).map(|i| format!("\"v{i}\"")).collect();
    let text = SMALL.replace("[actions]\n", &format!("[actions]\nmuch = [{}]\n", verbs.join(", ")));
    assert_eq!(errors(&text), ["small.toml:5: there are more than 512 actions"]);
    let tables = |kind: &str, body: &str| -> String {
        (0..300).map(|i| format!("\n[{kind}.x{i}]\ntitle = \"X{i}\"\n{body}")).collect()
    };
    let text =
        format!("{SMALL}{}", tables("roles", "permissions = [\"make\"]\nassignable_by = [\"chief\"]\n"));
    assert_eq!(errors(&text), ["small.toml:373: there are more than 64 roles"]);
    let text = format!("{SMALL}{}", tables("permissions", "actions = [\"thing.view\"]\n"));
    assert_eq!(errors(&text), ["small.toml:307: there are more than 64 permissions"]);
    let text = format!("{SMALL}#{}", "x".repeat(1 << 20));
    assert_eq!(errors(&text), ["small.toml: has more than 1048576 bytes"]);
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_lines() {
    let text = spoilt("when = \"own\"", "when = \"mine\"")
        .replace("assignable_by = [\"chief\"]", "assignable_by = [\"cheif\"]")
        .replace("id = \"small\"", "id = \"SMALL\"");
    let lines: Vec<String> = errors(&text).iter().map(|e| e.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["small.toml:1", "small.toml:16", "small.toml:50"]);
}

#[test]
fn a_mistake_knows_its_column() {
    let errors = RoleModel::from_source(
        "f",
        &spoilt("\"thing.view\", \"thing.update\"", "\"thing.view\", \"thing.updat\""),
    )
    .unwrap_err();
    let error = errors.iter().next().unwrap();
    assert_eq!((error.line, error.column), (Some(17), Some(26)));
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `thing.update`?"));
}
