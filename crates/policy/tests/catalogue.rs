//! Models from a directory, and what is said when a file has changed.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::fs;
use std::path::Path;

mod fixture;

use fixture::SMALL;
use usher_policy::{Catalogue, RoleModel};

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn failure(dir: &Path) -> String {
    let errors = Catalogue::load(Some(dir)).unwrap_err().to_string();
    errors.replace(&format!("{}/", dir.display()), "")
}

const DATAIMPORTER: &str = include_str!("../models/dataimporter.toml");

#[test]
fn a_file_replaces_the_shipped_model_of_its_id_or_is_added() {
    let text = DATAIMPORTER.replace("title = \"Dataimporter\"", "title = \"Ours\"");
    let dir = directory(&[("any-name.toml", &text), ("small.toml", SMALL), ("README.md", "not a model")]);
    let catalogue = Catalogue::load(Some(dir.path())).unwrap();
    let ids: Vec<&str> = catalogue.models().iter().map(|model| model.id()).collect();
    assert_eq!(ids, ["integrate-io", "dataimporter", "small"]);
    let (index, model) = catalogue.get("dataimporter").unwrap();
    assert_eq!(model.title(), "Ours");
    assert_eq!(catalogue.by_index(index).unwrap().id(), "dataimporter");
    assert!(catalogue.get("none").is_none());
    assert_eq!(Catalogue::load(None).unwrap().models().len(), 2);
}

#[test]
fn all_mistakes_of_all_files_are_reported() {
    let bad = SMALL.replace("\"thing.view\", ", "\"thing.veiw\", ");
    let dir = directory(&[("a.toml", &bad), ("b.toml", "id = "), ("c.toml", SMALL), ("d.toml", SMALL)]);
    let text = failure(dir.path());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "a.toml:17: unknown action `thing.veiw`; did you mean `thing.view`?");
    assert!(lines[1].starts_with("b.toml:1: not TOML: "), "{text}");
    assert_eq!(lines[2], "d.toml: has the model id `small` of c.toml");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_directory_without_models_is_a_mistake() {
    let dir = directory(&[("notes.txt", "")]);
    assert!(failure(dir.path()).ends_with(": holds no role model, a file named `*.toml`"));
    assert!(failure(&dir.path().join("none")).contains("cannot be read"));
    fs::create_dir(dir.path().join("x.toml")).unwrap();
    assert!(failure(dir.path()).contains("x.toml: cannot be read"), "a directory is no model");
    let dir = directory(&[]);
    fs::write(dir.path().join("latin.toml"), b"id = \"\xe4\"").unwrap();
    assert!(failure(dir.path()).starts_with("latin.toml: cannot be read"));
}

fn model(text: &str) -> RoleModel {
    RoleModel::from_source("x.toml", text).unwrap()
}

#[test]
fn the_digest_is_of_what_decides() {
    let digest = model(SMALL).digest().to_owned();
    let same = [
        SMALL.replace("[actions]", "# a comment\n\n[ actions ]"),
        SMALL.replace("Makes things.", "Makes all the things."),
        SMALL.replace("title = \"Chief\"", "title = \"Boss\""),
        SMALL.replace("get = \"view\"", "fetch = \"view\""),
        SMALL.replace("\"thing.view\", \"thing.update\"", "\"thing.update\", \"thing.view\""),
    ];
    for text in same {
        assert_eq!(model(&text).digest(), digest);
    }
    let other = [
        SMALL.replace("when = \"own\"\n", ""),
        SMALL.replace("uses_seat = false", "uses_seat = true"),
        SMALL.replace("[\"subscription.update\"]", "[\"subscription.update\", \"license.view\"]"),
        SMALL.replace("[automation]\nactions = [\"thing.create\"]", ""),
        SMALL.replace("permissions = [\"make\", \"work\"]", "permissions = [\"make\"]"),
    ];
    for text in other {
        assert_ne!(model(&text).digest(), digest, "{text}");
    }
}

#[test]
fn changed_cells_are_named() {
    let former = model(SMALL).matrix();
    assert!(model(SMALL).changed_cells(&former).is_empty());
    let text = SMALL
        .replace("when = \"own\"\n", "")
        .replace("uses_seat = true", "uses_seat = false")
        .replace("[\"thing.create\"]\n\n[aliases", "[\"thing.create\", \"thing.view\"]\n\n[aliases")
        .replace("[\"subscription.update\"]", "[\"subscription.update\", \"license.view\"]");
    assert_eq!(
        model(&text).changed_cells(&former),
        [
            "automation thing.view: added",
            "chief license.view: `✔ run` → `✔ run L`",
            "chief thing.update: `own work` → `✔ work`",
            "chief thing.view: `own work` → `✔ work`",
            "maker thing.update: `own work` → `✔ work`",
            "maker thing.view: `own work` → `✔ work`",
            "role maker: `holders=any seat assignable_by=chief` → `holders=any seatless assignable_by=chief`",
        ]
    );
    let fewer = model(&SMALL.replace("[automation]\nactions = [\"thing.create\"]", ""));
    assert_eq!(fewer.changed_cells(&former), ["automation thing.create: removed"]);
    assert_eq!(model(SMALL).changed_cells(&fewer.matrix()), ["automation thing.create: added"]);
}
