//! What a service is told that asks about an action which does not exist.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use usher_policy::{Catalogue, UnknownPart};

fn message(model: &str, resource_type: &str, verb: &str) -> String {
    let catalogue = Catalogue::shipped();
    catalogue.get(model).unwrap().1.action(resource_type, verb).unwrap_err().to_string()
}

#[test]
fn a_suggestion_says_what_was_meant() {
    let cases = [
        ("integrate-io", "job", "execute", "unknown action `job.execute`: did you mean `job.run`?"),
        (
            "integrate-io",
            "cluster",
            "terminate",
            "unknown action `cluster.terminate`: did you mean `cluster.delete`?",
        ),
        (
            "integrate-io",
            "schedule",
            "enable",
            "unknown action `schedule.enable`: did you mean `schedule.update`?",
        ),
        ("integrate-io", "job", "rnu", "unknown action `job.rnu`: did you mean `job.run`?"),
        ("integrate-io", "package", "read", "unknown action `package.read`: did you mean `package.view`?"),
        (
            "integrate-io",
            "jobs",
            "run",
            "unknown resource type `jobs` in `jobs.run`: did you mean `job.run`?",
        ),
        (
            "integrate-io",
            "user",
            "add",
            "unknown resource type `user` in `user.add`: did you mean `member.invite`?",
        ),
        (
            "integrate-io",
            "connection",
            "use",
            "unknown resource type `connection` in `connection.use`: did you mean `connector.use`?",
        ),
        (
            "dataimporter",
            "connector",
            "test",
            "unknown resource type `connector` in `connector.test`: did you mean `connection.update`?",
        ),
        ("integrate-io", "job", "job.run", "unknown action `job.job.run`: did you mean `job.run`?"),
        ("integrate-io", "usage", "frobnicate", "unknown action `usage.frobnicate`: `usage` has `view`"),
        ("integrate-io", "Job", "run", "unknown resource type `Job` in `Job.run`: did you mean `job.run`?"),
    ];
    for (model, resource_type, verb, expected) in cases {
        assert_eq!(message(model, resource_type, verb), expected);
    }
}

#[test]
fn a_stranger_gets_the_list() {
    let text = message("dataimporter", "spaceship", "launch");
    assert!(
        text.starts_with(
            "unknown resource type `spaceship` in `spaceship.launch`: the model has `job`, `inst"
        ),
        "{text}"
    );
}

#[test]
fn which_part_is_unknown_is_said() {
    let catalogue = Catalogue::shipped();
    let model = catalogue.get("integrate-io").unwrap().1;
    assert_eq!(model.action("job", "x").unwrap_err().part(), UnknownPart::Verb);
    assert_eq!(model.action("x", "run").unwrap_err().part(), UnknownPart::ResourceType);
    assert!(model.has_resource_type("job") && !model.has_resource_type("x"));
}

#[test]
fn the_words_of_a_stranger_are_cut_and_harmless() {
    let text = message("integrate-io", "job", &"x\u{1b}[2J".repeat(100_000));
    assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
    for (resource_type, verb) in
        [("", ""), ("job", ""), ("", "run"), ("jobr", "un"), ("job.run", ""), ("jo", "brun")]
    {
        assert!(
            message("integrate-io", resource_type, verb).starts_with("unknown"),
            "{resource_type} {verb}"
        );
    }
}
