//! `usher roles check FILE` and `usher roles show MODEL`: role models without a server.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use usher_policy::{Catalogue, Grant, RoleModel, render};

use super::output::Output;
use super::say;
use crate::lifecycle::StartError;

#[derive(Subcommand)]
pub(super) enum Roles {
    /// Check a role model file: every mistake with its line and what was probably meant.
    Check {
        /// The TOML file.
        file: PathBuf,
    },
    /// Show a role model as a table: who may do what.
    Show {
        /// The model's id: `integrate-io`, `dataimporter`, or one of the directory's.
        model: String,
        /// A directory of role models that replace or add to the shipped ones.
        #[arg(long, value_name = "DIR")]
        role_models: Option<PathBuf>,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

pub(super) fn roles(command: &Roles) -> Result<(), StartError> {
    match command {
        Roles::Check { file } => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| StartError(format!("cannot read `{}`: {e}", file.display())))?;
            let model = RoleModel::from_source(&file.display().to_string(), &text)
                .map_err(|e| StartError(e.to_string()))?;
            say(&format!(
                "{}: the role model `{}` is right: {} roles, {} permissions, {} actions",
                file.display(),
                model.id(),
                model.roles().len(),
                model.permissions().len(),
                model.actions().len()
            ));
            Ok(())
        }
        Roles::Show { model, role_models, output } => {
            let catalogue = Catalogue::load(role_models.as_deref()).map_err(|e| StartError(e.to_string()))?;
            let known: Vec<String> =
                catalogue.models().iter().map(|model| format!("`{}`", model.id())).collect();
            let (_, model) = catalogue.get(model).ok_or_else(|| {
                StartError(format!("there is no role model `{model}`; there are {}", known.join(", ")))
            })?;
            match output {
                Output::Text => say(render(model).trim_end()),
                Output::Json => say(&shown(model).to_string()),
            }
            Ok(())
        }
    }
}

/// The model for scripts: each role's actions, with `ALWAYS` or `WHEN_OWN`.
fn shown(model: &RoleModel) -> Value {
    let granted = |role| {
        let actions = model.action_indices().filter_map(|action| {
            let name = model.action_at(action)?.name().to_owned();
            match model.grant(role, action) {
                Grant::Always(_) => Some((name, json!("ALWAYS"))),
                Grant::WhenOwn(_) => Some((name, json!("WHEN_OWN"))),
                Grant::Never => None,
            }
        });
        Value::Object(actions.collect())
    };
    let roles = model.role_indices().filter_map(|index| {
        let role = model.role_at(index)?;
        let permissions = role.permissions.iter().filter_map(|p| model.permission_at(*p));
        let permissions: Vec<&str> = permissions.map(|permission| &*permission.id).collect();
        Some(json!({
            "id": &*role.id,
            "title": &*role.title,
            "uses_seat": role.uses_seat,
            "permissions": permissions,
            "actions": granted(index),
        }))
    });
    let actions: Vec<&str> = model.actions().iter().map(|action| action.name()).collect();
    json!({
        "id": model.id(),
        "title": model.title(),
        "digest": model.digest(),
        "actions": actions,
        "roles": roles.collect::<Vec<_>>(),
    })
}
