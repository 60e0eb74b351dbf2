//! Which people a caller that is limited to some accounts may know of: the members of these accounts.
//! Anybody else is to it no different from somebody who does not exist, and so are their tokens.
//!
//! How a person signs in is one thing for all accounts. On its own word alone such a caller may change that
//! only for people who are members of its accounts and of no other: else it could make a login of its own
//! into somebody else's account.

use std::collections::BTreeSet;

use usher_domain::caller::Caller;
use usher_domain::id::{AccountId, UserId};
use usher_storage::Tx;

use crate::error::{Error, Missing};

/// Whether the caller may know of this person.
///
/// # Errors
/// Those of the store.
pub async fn knows(tx: &Tx, caller: &Caller, user: &UserId) -> Result<bool, Error> {
    let Some(reach) = caller.accounts.as_deref() else { return Ok(true) };
    Ok(tx.member_accounts(user).await?.iter().any(|account| reach.contains(account)))
}

/// Whether the caller may change how this person signs in without a proof of theirs.
///
/// # Errors
/// Those of the store.
pub async fn answers_for(tx: &Tx, caller: &Caller, user: &UserId) -> Result<bool, Error> {
    let Some(reach) = caller.accounts.as_deref() else { return Ok(true) };
    let accounts = tx.member_accounts(user).await?;
    Ok(!accounts.is_empty() && accounts.iter().all(|account| reach.contains(account)))
}

/// The accounts that the caller is limited to.
pub fn limits(caller: &Caller) -> Option<&BTreeSet<AccountId>> {
    caller.accounts.as_deref()
}

/// To a limited caller nothing that is missing differs from what is another account's.
pub fn hide<T>(caller: &Caller, found: Result<T, Error>) -> Result<T, Error> {
    match found {
        Err(error) if caller.accounts.is_some() && is_hidden(&error) => Err(Error::AccountNotAllowed),
        found => found,
    }
}

fn is_hidden(error: &Error) -> bool {
    match error {
        Error::With { source, .. } => is_hidden(source),
        Error::Missing(what) => {
            matches!(what, Missing::Invitation | Missing::Token | Missing::User | Missing::Identity)
        }
        _ => false,
    }
}
