//! Role models: what each role of a product may do, and the decision made from it.
//!
//! A role model is a TOML file that a platform engineer can read and write (`models/`). At load it is
//! checked as a whole and compiled to a dense table, because a check must cost nanoseconds and because
//! a mistake in the file must stop the server and not surface as a surprising denial.
//!
//! In reading order: [`source`] reads a file and says what is wrong with it and where, [`compile`]
//! makes the table, [`table`] is the table, [`standing`] is what is known about a subject, [`check`]
//! decides. [`catalogue`] holds the models of a server.
//!
//! Deliberately absent: the names of roles (only files say them), a clock (the caller says what time
//! it is), stores and messages.

pub mod catalogue;
pub mod check;
pub mod compile;
pub mod error;
pub mod explain;
pub mod guard;
pub mod hint;
mod index;
pub mod listing;
pub mod matrix;
mod reader;
pub mod render;
mod resolve;
mod rules;
pub mod source;
pub mod standing;
pub mod table;

pub use catalogue::Catalogue;
pub use check::{Ask, Decision, Reason, Subject, Who, actor_may, decide, decide_resolved};
pub use error::{SourceError, SourceErrors};
pub use explain::{Part, PartKind, explain};
pub use hint::{UnknownAction, UnknownPart};
pub use listing::{Entry, GrantKind, Listing, permissions};
pub use render::render;
pub use standing::Standing;
pub use table::{
    Action, ActionIndex, Condition, Grant, Holders, ModelIndex, OwnerFact, Permission, PermissionIndex, Role,
    RoleIndex, RoleModel,
};
