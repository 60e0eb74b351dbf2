//! Ids and tokens. All randomness comes from the operating system.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use usher_domain::secret::Secret;

use crate::error::Error;

/// The length of a token as text: 256 bits in base64url.
pub const TOKEN_LENGTH: usize = 43;

/// # Errors
/// When the operating system has no randomness to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no randomness: {e}")))?;
    Ok(bytes)
}

/// A token of 256 random bits.
///
/// # Errors
/// As [`bytes`].
pub fn token() -> Result<Secret<String>, Error> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes::<32>()?)))
}

/// An id that sorts by the time it was made: `prefix_` and a UUIDv7.
pub fn id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// Any number that is unlikely to come twice.
///
/// # Errors
/// As [`bytes`].
pub fn nonce() -> Result<i64, Error> {
    Ok(i64::from_be_bytes(bytes()?))
}
