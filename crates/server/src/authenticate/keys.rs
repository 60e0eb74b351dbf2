//! A set of public keys (RFC 7517), of which only those that can verify a signature are kept.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// Keys of one issuer that are kept; real sets have one to four.
const KEYS_MAX: usize = 64;

/// A key and what it may be used for.
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads a set. Keys that we cannot use (secrets, encryption, unknown curves, algorithms that
    /// the issuer may not use) are left out; a set without any is an error.
    pub(super) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| format!("is not a key set: {error}"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("has more than {KEYS_MAX} keys"));
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(|value| usable(value, allowed)).collect();
        if keys.is_empty() { Err("has no key that could be used".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The key that a token's header asks for. A token without `kid` is verified by the only key
    /// that fits, never by trying.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        });
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn usable(value: serde_json::Value, allowed: &[Algorithm]) -> Option<Key> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|r#use| *r#use != PublicKeyUse::Signature) {
        return None;
    }
    if jwk
        .common
        .key_operations
        .as_ref()
        .is_some_and(|operations| !operations.contains(&KeyOperations::Verify))
    {
        return None;
    }
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        // A secret must never lie in a public set, and HS256 with a public key is the oldest trick.
        _ => return None,
    };
    let only = match jwk.common.key_algorithm {
        Some(named) => Some(Algorithm::try_from(named).ok()?),
        None => None,
    };
    let fits =
        |algorithm: &&Algorithm| allowed.contains(algorithm) && only.is_none_or(|only| only == **algorithm);
    let algorithms: Vec<_> = fitting.iter().filter(fits).copied().collect();
    if algorithms.is_empty() {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { kid: jwk.common.key_id, algorithms, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{ES256, RS256, RS512};

    const P256: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn parse(keys: &[&str], allowed: &[Algorithm]) -> Result<Keys, String> {
        Keys::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), allowed)
    }

    #[test]
    fn only_keys_that_verify_are_kept() {
        let ec = format!(r#"{{{P256},"kid":"a"}}"#);
        let set =
            parse(&[&ec, r#"{"kty":"oct","k":"c2VjcmV0","kid":"b"}"#, r#"{"kty":"new"}"#, "7"], &[ES256]);
        let set = set.unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(Some("a"), ES256).is_some());
        assert!(set.find(Some("b"), ES256).is_none());
        assert!(set.find(Some("a"), RS256).is_none());
        for unusable in [
            format!(r#"{{{P256},"use":"enc"}}"#),
            format!(r#"{{{P256},"key_ops":["encrypt"]}}"#),
            format!(r#"{{{P256},"alg":"ES384"}}"#),
            format!(r#"{{{P256},"alg":"HS256"}}"#),
        ] {
            assert!(parse(&[&unusable], &[ES256]).is_err(), "{unusable}");
        }
        assert!(parse(&[&ec], &[RS256, RS512]).is_err(), "the issuer may not use it");
        assert!(Keys::parse(b"{}", &[ES256]).is_err());
        assert!(Keys::parse(b"<html>", &[ES256]).is_err());
    }

    #[test]
    fn without_a_kid_there_must_be_no_choice() {
        let (a, b) = (format!(r#"{{{P256},"kid":"a"}}"#), format!(r#"{{{P256},"kid":"b"}}"#));
        assert!(parse(&[&a], &[ES256]).unwrap().find(None, ES256).is_some());
        assert!(parse(&[&a, &b], &[ES256]).unwrap().find(None, ES256).is_none());
    }
}
