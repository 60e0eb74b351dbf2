//! Values that must never be seen: passwords, tokens, links that carry one.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A value that prints as `***` and must be asked for by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }

    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The SHA-256 of a secret token, in lower-case hex: what is stored instead of it. Tokens are 256
/// random bits, so a plain hash is enough (OWASP ASVS 5, 6.5.2).
pub fn token_hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Whether two hashes are equal, in a time that does not tell where they differ.
pub fn hash_equal(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }

    #[test]
    fn a_hash_tells_tokens_apart() {
        assert!(hash_equal(&token_hash("a"), &token_hash("a")));
        assert!(!hash_equal(&token_hash("a"), &token_hash("b")));
        assert!(!hash_equal(&token_hash("a"), &token_hash("a")[..10]));
    }
}
