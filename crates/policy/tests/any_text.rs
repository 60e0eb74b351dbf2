//! No text makes the loader panic, and what it accepts can be used.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod fixture;

use fixture::SMALL;
use proptest::prelude::*;
use usher_policy::{RoleModel, render};

const SHIPPED: &str = include_str!("../models/dataimporter.toml");

/// Reads `text`; if it is a model, uses all of it.
fn survives(text: &str) {
    match RoleModel::from_source("any.toml", text) {
        Ok(model) => {
            assert_eq!(model.digest().len(), 64);
            assert!(model.changed_cells(&model.matrix()).is_empty());
            assert!(!render(&model).is_empty());
        }
        Err(errors) => {
            for error in errors.iter() {
                assert!(
                    error.line.is_none_or(|line| line >= 1 && line <= text.lines().count() + 1),
                    "{error}"
                );
                assert!(!error.to_string().contains('\n'), "{error:?}");
            }
            assert!(errors.iter().count() > 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in "\\PC*") {
        survives(&text);
    }

    #[test]
    fn text_of_the_right_characters(text in "[a-z=.\\[\\]\"\n {},#'0-9\\\\-]{0,200}") {
        survives(&text);
    }

    /// A valid file with a piece cut out, doubled or replaced.
    #[test]
    fn mutated_models(
        shipped in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        length in 0usize..60,
        put in prop_oneof![Just(String::new()), "\\PC{0,8}", "[\\[\\]=\"\n.a-z]{0,8}"],
        twice in any::<bool>(),
    ) {
        let whole = if shipped { SHIPPED } else { SMALL };
        let characters: Vec<char> = whole.chars().collect();
        let start = cut.index(characters.len());
        let end = (start + length).min(characters.len());
        let piece: String = characters[start..end].iter().collect();
        let middle = if twice { format!("{piece}{put}{piece}") } else { put };
        let text: String =
            characters[..start].iter().copied().chain(middle.chars()).chain(characters[end..].iter().copied()).collect();
        survives(&text);
    }

    /// Whole lines taken out, so that many files stay TOML and the rules are reached.
    #[test]
    fn models_without_some_lines(drop in proptest::collection::vec(0usize..90, 1..4)) {
        let lines: Vec<&str> = SMALL.lines().enumerate().filter(|(i, _)| !drop.contains(i)).map(|(_, l)| l).collect();
        survives(&lines.join("\n"));
    }
}

#[test]
fn deep_and_long_texts_end() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(50_000)),
        format!("a = {}", "{b = ".repeat(50_000)),
        format!("{} = 1", vec!["a"; 50_000].join(".")),
        "a = 1\n".repeat(50_000),
        format!("[actions]\nx = [{}]", "\"y\",".repeat(100_000)),
        format!(
            "{SMALL}\n[permissions.x]\ntitle = \"X\"\nactions = [{}]",
            (0..50_000).map(|i| format!("\"thing.v{i}\",")).collect::<String>()
        ),
    ] {
        survives(&text);
    }
}
