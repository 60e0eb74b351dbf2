//! The permission matrices as their golden files say them, independent of the code that decides.

use std::path::Path;

use usher_tests::Model;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Always,
    Own,
    Never,
}

/// One cell: what a role may do with an action.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) role: String,
    pub(crate) resource_type: String,
    pub(crate) verb: String,
    pub(crate) mark: Mark,
    /// The permission that grants it; empty if none does.
    pub(crate) permission: String,
    /// Marked only where the role grants it; see [`Golden::stays`] for the action itself.
    pub(crate) after_lapse: bool,
}

impl Cell {
    pub(crate) fn action(&self) -> String {
        format!("{}.{}", self.resource_type, self.verb)
    }
}

pub(crate) struct Golden {
    pub(crate) cells: Vec<Cell>,
    pub(crate) automation: Vec<String>,
    /// A role's id and what the head of the file says about it.
    pub(crate) roles: Vec<(String, String)>,
}

impl Golden {
    pub(crate) fn of(model: Model) -> Self {
        let path = format!("../crates/policy/tests/golden/{}.txt", model.id);
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let mut golden = Self { cells: Vec::new(), automation: Vec::new(), roles: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(action) = line.strip_prefix("automation: ") {
                golden.automation.push(action.trim().to_owned());
            } else if let Some(role) = line.strip_prefix("role: ") {
                let (id, about) = role.split_once(' ').unwrap();
                golden.roles.push((id.to_owned(), about.trim().to_owned()));
            } else {
                golden.cells.push(cell(line));
            }
        }
        golden
    }

    pub(crate) fn of_role(&self, role: &str) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| cell.role == role).collect()
    }

    /// Whether an action stays available after a lapse.
    pub(crate) fn stays(&self, action: &str) -> bool {
        self.cells.iter().any(|cell| cell.after_lapse && cell.action() == action)
    }

    pub(crate) fn cell(&self, role: &str, action: &str) -> &Cell {
        self.cells.iter().find(|cell| cell.role == role && cell.action() == action).unwrap()
    }

    /// What a role may do; never, what the model does not know.
    pub(crate) fn mark(&self, role: &str, action: &str) -> Mark {
        let cell = self.cells.iter().find(|cell| cell.role == role && cell.action() == action);
        cell.map_or(Mark::Never, |cell| cell.mark)
    }
}

fn cell(line: &str) -> Cell {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [role, action, mark, rest @ ..] = &words[..] else { panic!("no cell: {line}") };
    let (resource_type, verb) = action.split_once('.').unwrap();
    let (mark, permission) = match *mark {
        "✔" => (Mark::Always, rest[0]),
        "own" => (Mark::Own, rest[0]),
        "·" => (Mark::Never, ""),
        other => panic!("no mark: {other}"),
    };
    Cell {
        role: (*role).to_owned(),
        resource_type: resource_type.to_owned(),
        verb: verb.to_owned(),
        mark,
        permission: permission.to_owned(),
        after_lapse: rest.last() == Some(&"L"),
    }
}
