//! The role models of a server: those that ship with it, and those of a directory.
//!
//! A file of the directory replaces the shipped model that has its id, or adds one. All mistakes of
//! all files are reported, because the server does not start with any.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use usher_domain::standing::StandingRecord;

use crate::error::SourceErrors;
use crate::source::SOURCE_LENGTH_MAX;
use crate::standing::Standing;
use crate::table::{ModelIndex, RoleModel};

/// The most models of a server.
pub const MODELS_MAX: usize = 1_000;

/// The files that ship, by name.
const SHIPPED: &[(&str, &str)] = &[
    ("integrate-io.toml", include_str!("../models/integrate-io.toml")),
    ("dataimporter.toml", include_str!("../models/dataimporter.toml")),
];

/// Role models by id and by index. Indices hold for this catalogue alone.
#[derive(Debug, Clone)]
pub struct Catalogue {
    models: Vec<RoleModel>,
    by_id: HashMap<Box<str>, ModelIndex>,
}

impl Catalogue {
    /// The models that ship.
    pub fn shipped() -> Self {
        let models = SHIPPED.iter().map(|(file, text)| {
            RoleModel::from_source(file, text).expect("the shipped models are read by this crate's tests")
        });
        Self::of(models.collect())
    }

    /// The models that ship, and those of `dir`: its files named `*.toml`.
    ///
    /// # Errors
    /// All mistakes of all files; a directory that cannot be read or holds no such file.
    pub fn load(dir: Option<&Path>) -> Result<Self, SourceErrors> {
        let mut models = Self::shipped().models;
        let Some(dir) = dir else { return Ok(Self::of(models)) };
        let mut errors = Vec::new();
        let mut file_of: HashMap<Box<str>, String> = HashMap::new();
        for path in model_files(dir)? {
            let file = path.display().to_string();
            let model = match read(&path, &file) {
                Ok(model) => model,
                Err(mistakes) => {
                    errors.push(mistakes);
                    continue;
                }
            };
            if let Some(other) = file_of.insert(model.id.clone(), file.clone()) {
                let message = format!("has the model id `{}` of {other}", model.id());
                errors.push(SourceErrors::of_file(&file, message));
                continue;
            }
            match models.iter_mut().find(|shipped| shipped.id == model.id) {
                Some(shipped) => *shipped = model,
                None => models.push(model),
            }
        }
        if models.len() > MODELS_MAX {
            let message = format!("there are more than {MODELS_MAX} role models");
            errors.push(SourceErrors::of_file(&dir.display().to_string(), message));
        }
        match SourceErrors::of_files(errors) {
            Some(errors) => Err(errors),
            None => Ok(Self::of(models)),
        }
    }

    fn of(models: Vec<RoleModel>) -> Self {
        let by_id =
            (0u16..).map(ModelIndex).zip(&models).map(|(index, model)| (model.id.clone(), index)).collect();
        Self { models, by_id }
    }

    pub fn get(&self, id: &str) -> Option<(ModelIndex, &RoleModel)> {
        let index = *self.by_id.get(id)?;
        Some((index, self.by_index(index)?))
    }

    /// `None` for an index of another catalogue.
    pub fn by_index(&self, index: ModelIndex) -> Option<&RoleModel> {
        self.models.get(index.position())
    }

    /// The shipped models first.
    pub fn models(&self) -> &[RoleModel] {
        &self.models
    }

    /// The small value that checks are decided from. A model or a role that is not here gives one
    /// that denies.
    pub fn standing(&self, record: &StandingRecord) -> Standing {
        Standing::new(record, self.get(&record.model))
    }

    /// The role model of the standing's account, if it is here.
    pub fn model_of(&self, standing: &Standing) -> Option<&RoleModel> {
        self.by_index(standing.model()?)
    }
}

/// The directory's `*.toml` files by name.
fn model_files(dir: &Path) -> Result<Vec<PathBuf>, SourceErrors> {
    let name = dir.display().to_string();
    let unreadable = |error: std::io::Error| SourceErrors::of_file(&name, format!("cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(SourceErrors::of_file(&name, "holds no role model, a file named `*.toml`"));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path, file: &str) -> Result<RoleModel, SourceErrors> {
    let unreadable = |error: std::io::Error| SourceErrors::of_file(file, format!("cannot be read: {error}"));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > SOURCE_LENGTH_MAX as u64 {
        return Err(SourceErrors::of_file(file, format!("has more than {SOURCE_LENGTH_MAX} bytes")));
    }
    RoleModel::from_source(file, &fs::read_to_string(path).map_err(unreadable)?)
}
