//! Rows as sea-orm sees them: no logic, and never outside this crate. Times are microseconds since
//! 1970, words are the serde names of domain enums, facts are JSON; one shape for both engines.
#![expect(unreachable_pub, reason = "sea-orm's derive writes `pub`, and this module is private")]

pub mod account;
pub mod event;
pub mod identity;
pub mod invitation;
pub mod invitation_token;
pub mod member;
pub mod member_identity;
pub mod meta;
pub mod outbox;
pub mod ownership_transfer;
pub mod request;
pub mod role_model;
pub mod sign_in_failure;
pub mod user;
pub mod user_token;
