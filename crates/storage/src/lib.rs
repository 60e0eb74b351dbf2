//! Accounts, members, invitations, licences and events, on SQLite or PostgreSQL through sea-orm.
//!
//! [`Store`] is a pool; [`Tx`] a transaction, the only thing that queries run on. Each file adds an
//! `impl Tx` block for one noun, named noun first: `member_fetch` by id, `member_find_by_email` by
//! another key, `member_insert`, `member_update`, `member_list`. Finding gives an `Option`: not
//! found is not an error of storage. Every finder of something that belongs to an account takes the
//! account first.
//!
//! Deliberately absent: rules (they are in `usher-domain`), clocks (times come as arguments), and
//! sea-orm types in any public signature.

mod account;
mod audit;
mod bulk;
mod convert;
mod entity;
mod epoch;
mod erase;
mod error;
mod event;
mod figures;
mod invitation;
mod member;
mod migration;
mod outbox;
mod ownership_transfer;
mod poll;
mod postgres;
mod presence;
mod request;
mod role_model;
mod sign_in_failure;
mod standing;
mod store;
mod user;

pub use audit::{AuditHead, AuditRow, EventPlace};
pub use bulk::WholeAccount;
pub use error::Error;
pub use event::{EventFilter, EventRow, NewEvent};
pub use figures::{PoolFigures, SeatTotals};
pub use invitation::InvitationFilter;
pub use member::{MemberFilter, SeatFilter, Stamp};
pub use outbox::{Mail, MailKind, MailResult};
pub use poll::{ChangedAccount, Polled, Poller, Wakes};
pub use request::RequestKey;
pub use role_model::SharedKey;
pub use standing::{Since, StandingFacts};
pub use store::{ConnectOptions, Engine, Store, Tx};
pub use user::{Identity, TokenPurpose, User};

/// The largest page that a list returns.
pub const PAGE_SIZE_MAX: u32 = 500;
