//! `usher roles check FILE` and `usher roles show MODEL`: role models without a server.

use std::path::PathBuf;

use clap::Subcommand;
use usher_policy::{Catalogue, RoleModel, render};

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
        Roles::Show { model, role_models } => {
            let catalogue = Catalogue::load(role_models.as_deref()).map_err(|e| StartError(e.to_string()))?;
            let known: Vec<String> =
                catalogue.models().iter().map(|model| format!("`{}`", model.id())).collect();
            let (_, model) = catalogue.get(model).ok_or_else(|| {
                StartError(format!("there is no role model `{model}`; there are {}", known.join(", ")))
            })?;
            say(render(model).trim_end());
            Ok(())
        }
    }
}
