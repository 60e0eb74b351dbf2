//! A name for every call, the caller's own if it is fit for a log line.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

/// The header that carries it, both ways.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The longest that is taken over, in characters.
pub const REQUEST_ID_LENGTH_MAX: usize = 128;

/// The id of this call.
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
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        Self { prefix: getrandom::u32().unwrap_or(std::process::id()), next: AtomicU64::new(1) }
    }

    fn make(&self) -> HeaderValue {
        let mut text = [0; 32];
        let mut rest = text.as_mut_slice();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let written = write!(rest, "{:08x}-{number:x}", self.prefix);
        let length = 32 - rest.len();
        match written.ok().and_then(|()| HeaderValue::from_bytes(&text[..length]).ok()) {
            Some(mut id) => {
                // No two are the same, so none is worth a place in HPACK's table.
                id.set_sensitive(true);
                id
            }
            None => HeaderValue::from_static("unknown"),
        }
    }

    /// The caller's id, or a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        match headers.get(REQUEST_ID_HEADER) {
            Some(value) if is_fit(value.as_bytes()) => RequestId(value.clone()),
            _ => RequestId(self.make()),
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
