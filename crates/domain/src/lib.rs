//! The rules of Usher as plain functions over values.
//!
//! Deliberately absent: input and output, clocks, randomness, generated types, sea-orm, tokio.
//! A rule is told the time and what is known, and says what happens.

pub mod account;
pub mod caller;
pub mod chain;
pub mod email;
pub mod event;
pub mod id;
pub mod import;
pub mod invitation;
pub mod license;
pub mod member;
pub mod ownership;
pub mod password;
pub mod refusal;
pub mod secret;
pub mod standing;
pub mod text;
pub mod time;
