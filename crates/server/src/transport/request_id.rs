//! A name for every call, the caller's own if it is fit for a log line.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

/// The header that carries it, both ways.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The longest that is taken over, in characters.
pub const REQUEST_ID_LENGTH_MAX: usize = 128;

/// The id of this call; among the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Makes ids: a random prefix for the process and a counter, so that making one needs neither a
/// clock nor the random source.
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        Self { prefix: getrandom::u64().unwrap_or(u64::from(std::process::id())), next: AtomicU64::new(1) }
    }

    /// Prefix and number in hex, laid out by hand: every call has one.
    fn text(&self, number: u64) -> [u8; 33] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 33];
        for at in 0..16 {
            let shift = 60 - at * 4;
            text[at] = DIGITS[(self.prefix >> shift) as usize & 15];
            text[at + 17] = DIGITS[(number >> shift) as usize & 15];
        }
        text
    }

    /// The caller's id, or a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        match headers.get(REQUEST_ID_HEADER) {
            Some(value) if is_fit(value.as_bytes()) => RequestId(value.clone()),
            _ => {
                let text = self.text(self.next.fetch_add(1, Ordering::Relaxed));
                RequestId(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown")))
            }
        }
    }
}

fn is_fit(id: &[u8]) -> bool {
    (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken_over() {
        let ids = RequestIds::new();
        let id = |text: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(REQUEST_ID_HEADER),
                HeaderValue::from_str(text).unwrap(),
            )]);
            ids.of(&headers).as_str().to_owned()
        };
        for good in ["a", "018f-A.b:c_d", &"x".repeat(128)] {
            assert_eq!(id(good), good);
        }
        for bad in ["", "a b", "a\"b", "a/b", "{}", &"x".repeat(129)] {
            assert_ne!(id(bad), bad);
        }
        let (one, two) = (ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
        assert_ne!(one.as_str(), two.as_str());
        assert!(is_fit(one.as_str().as_bytes()));
    }
}
