//! Identifiers of accounts, users and everything else that is addressed by name.
//!
//! An id is a string of 1 to 128 characters from `[A-Za-z0-9._:-]` that starts with a letter or a
//! digit. There is no `@`, so that an email address can never become an id: ids outlive the erasing
//! of a person. Ids are case-sensitive and compared byte by byte on every engine.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id, in characters (all of them one byte).
pub const ID_LENGTH_MAX: usize = 128;

/// Why a string is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("is missing")]
    Missing,
    #[error("has more than {ID_LENGTH_MAX} characters")]
    TooLong,
    #[error("must start with a letter or digit and hold only letters, digits and `.`, `_`, `:`, `-`")]
    Malformed,
}

/// Whether `text` has the form of an id.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_id(text: &str) -> Result<(), IdError> {
    let bytes = text.as_bytes();
    match bytes {
        [] => Err(IdError::Missing),
        _ if bytes.len() > ID_LENGTH_MAX => Err(IdError::TooLong),
        [first, rest @ ..]
            if first.is_ascii_alphanumeric()
                && rest.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b)) =>
        {
            Ok(())
        }
        _ => Err(IdError::Malformed),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// When `text` does not have the form of an id.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check_id(text).map(|()| Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// A map of ids is looked up in by text, without making an id first.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// A customer of the platform: the unit of tenancy, of locking and of revision.
    AccountId
}
id! {
    /// A person.
    UserId
}
id! {
    /// An invitation, unique over all accounts.
    InvitationId
}
id! {
    /// An ownership ticket, unique over all accounts.
    TransferId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_and_bounded() {
        for good in ["a", "0", "acme", "usr_018f", "A.b:c-d_e", &"x".repeat(128)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        assert_eq!(check_id(""), Err(IdError::Missing));
        assert_eq!(check_id(&"x".repeat(129)), Err(IdError::TooLong));
        for bad in ["-a", ".a", "_a", ":a", "a b", "a@b.c", "a/b", "ä", "a\0", "*", " a", "a\n"] {
            assert_eq!(check_id(bad), Err(IdError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn ids_keep_their_case() {
        assert_ne!(UserId::parse("Foo").unwrap(), UserId::parse("foo").unwrap());
    }
}
