//! The opaque strings that callers carry for us: consistency tokens and page tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The longest token that is looked at, in bytes.
const TOKEN_LENGTH_MAX: usize = 2048;

/// The text of (epoch, account, revision). It proves nothing: it binds only the request that
/// presents it, and a revision that does not exist is an error.
pub fn consistency(epoch: &str, account: &str, revision: i64) -> String {
    // Every check answers with one, so the text is laid out on the stack, and without `write!`, which takes
    // as long as a decision.
    let mut text = [0; 256];
    let mut length = 0;
    let mut number = itoa::Buffer::new();
    for part in ["1 ", epoch, " ", account, " ", number.format(revision)] {
        let end = length + part.len();
        // No epoch and id are so long.
        let Some(place) = text.get_mut(length..end) else { return String::new() };
        place.copy_from_slice(part.as_bytes());
        length = end;
    }
    URL_SAFE_NO_PAD.encode(&text[..length])
}

/// The revision that a consistency token of this account asks for.
///
/// # Errors
/// `ConsistencyTokenInvalid` when it is not one, or of another epoch (a database restored since);
/// `ConsistencyTokenOfOtherAccount`.
pub fn read_consistency(token: &str, epoch: &str, account: &str) -> Result<i64, Error> {
    let text = decode(token).ok_or(Error::ConsistencyTokenInvalid)?;
    let text = String::from_utf8(text).map_err(|_| Error::ConsistencyTokenInvalid)?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [version, of_epoch, of_account, revision] = parts[..] else {
        return Err(Error::ConsistencyTokenInvalid);
    };
    let revision: i64 = revision.parse().map_err(|_| Error::ConsistencyTokenInvalid)?;
    if version != "1" || of_epoch != epoch || revision < 1 {
        return Err(Error::ConsistencyTokenInvalid);
    }
    if of_account != account {
        return Err(Error::ConsistencyTokenOfOtherAccount);
    }
    Ok(revision)
}

/// Makes and reads page tokens. They are bound to the list, account and filter that they continue,
/// and authenticated, so that one from elsewhere is refused and never restarts a list.
#[derive(Clone)]
pub struct PageTokens {
    key: [u8; 32],
}

const MAC_LENGTH: usize = 16;

impl PageTokens {
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A token for going on after `place`, in the list that `bound` describes.
    pub fn make(&self, bound: &str, place: &[String]) -> String {
        let body = serde_json::to_vec(place).unwrap_or_default();
        let mut token = self.mac(bound, &body);
        token.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The place that a token made for the same `bound` goes on after; `None` for the empty token.
    ///
    /// # Errors
    /// `PageTokenInvalid`.
    pub fn read<const N: usize>(&self, bound: &str, token: &str) -> Result<Option<[String; N]>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = decode(token).ok_or(Error::PageTokenInvalid)?;
        let (mac, body) = bytes.split_at_checked(MAC_LENGTH).ok_or(Error::PageTokenInvalid)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(mac, self.mac(bound, body).as_slice())) {
            return Err(Error::PageTokenInvalid);
        }
        let place: Vec<String> = serde_json::from_slice(body).map_err(|_| Error::PageTokenInvalid)?;
        place.try_into().map(Some).map_err(|_| Error::PageTokenInvalid)
    }

    fn mac(&self, bound: &str, body: &[u8]) -> Vec<u8> {
        // A key of any length is a key for HMAC, so `new_from_slice` cannot fail on 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return Vec::new() };
        mac.update(&Sha256::digest(bound.as_bytes()));
        mac.update(body);
        mac.finalize().into_bytes()[..MAC_LENGTH].to_vec()
    }
}

fn decode(token: &str) -> Option<Vec<u8>> {
    if token.len() > TOKEN_LENGTH_MAX {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_consistency_token_binds_epoch_and_account() {
        let token = consistency("e1", "acme", 7);
        assert_eq!(read_consistency(&token, "e1", "acme").unwrap(), 7);
        assert!(matches!(
            read_consistency(&token, "e1", "other"),
            Err(Error::ConsistencyTokenOfOtherAccount)
        ));
        assert!(matches!(read_consistency(&token, "e2", "acme"), Err(Error::ConsistencyTokenInvalid)));
    }

    #[test]
    fn a_page_token_goes_on_only_where_it_came_from() {
        let tokens = PageTokens::new([7; 32]);
        let token = tokens.make("members/acme/", &["a@b".into(), "u1".into()]);
        assert_eq!(tokens.read("members/acme/", &token).unwrap(), Some(["a@b".to_owned(), "u1".to_owned()]));
        assert_eq!(tokens.read::<2>("members/acme/", "").unwrap(), None);
        for (bound, token) in
            [("members/other/", token.as_str()), ("members/acme/", &token[1..]), ("members/acme/", "x")]
        {
            assert!(
                matches!(tokens.read::<2>(bound, token), Err(Error::PageTokenInvalid)),
                "{bound} {token}"
            );
        }
        assert!(matches!(tokens.read::<1>("members/acme/", &token), Err(Error::PageTokenInvalid)));
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let tokens = PageTokens::new([7; 32]);
        let token = URL_SAFE_NO_PAD.decode(tokens.make("b", &["place".into()])).unwrap();
        for bit in 0..token.len() * 8 {
            let mut bytes = token.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(tokens.read::<1>("b", &URL_SAFE_NO_PAD.encode(bytes)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,200}") {
            let _ = read_consistency(&text, "e", "acme");
            let _ = PageTokens::new([0; 32]).read::<2>("b", &text);
        }
    }
}
