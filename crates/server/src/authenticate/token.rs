//! The parts of a JWT that are judged without any key, and the claims behind the signature.
//!
//! What may be trusted comes from the configuration, never from the token: `alg` must be one of the
//! issuer's and fit the key, `kid` only chooses among the issuer's keys, and `jwk`, `jku`, `x5u` and
//! `x5c` are not looked at. Times are judged here and not by `jsonwebtoken`, which reads the system
//! clock and let a textual `nbf` pass once (CVE-2026-25537).

use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Deserializer, de};

/// The longest subject, in bytes; OpenID Connect allows no more.
const SUBJECT_BYTES_MAX: usize = 255;
/// 9999-12-31T23:59:59Z. What lies beyond is a mistake.
const TIME_MAX: u64 = 253_402_300_799;

/// What is wrong with a token; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot be read")]
    Malformed,
    #[error("is of an issuer that is not configured")]
    Issuer,
    #[error("names an algorithm that its issuer may not use")]
    Algorithm,
    #[error("has a critical header that is not understood")]
    Critical,
    #[error("names a key that its issuer does not have")]
    Key,
    #[error("has a wrong signature")]
    Signature,
    #[error("lacks a claim or has one of the wrong form")]
    Claims,
    #[error("is for another audience")]
    Audience,
    #[error("has expired")]
    Expired,
    #[error("is not valid yet")]
    NotYet,
}

/// What a verified token proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) subject: String,
    /// Seconds since 1970, the leeway included.
    pub(super) expires: u64,
}

/// Who the token says made it, before anything is verified; only chooses the issuer to verify with.
pub(super) fn claimed_issuer(token: &str) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    let claimed: Claimed =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Fault::Malformed)?;
    Ok(claimed.iss)
}

/// The header, once its algorithm is one of `allowed`.
pub(super) fn header(token: &str, allowed: &[Algorithm]) -> Result<Header, Fault> {
    // An algorithm that the library does not know, `none` among them, fails here.
    let header = jsonwebtoken::decode_header(token).map_err(|_| Fault::Malformed)?;
    match () {
        () if !allowed.contains(&header.alg) => Err(Fault::Algorithm),
        () if header.crit.is_some() => Err(Fault::Critical),
        () => Ok(header),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: NumericDate,
    nbf: Option<NumericDate>,
}

impl Claims {
    pub(super) fn judge(
        self,
        issuer: &str,
        audiences: &[String],
        now: u64,
        leeway: u64,
    ) -> Result<Proof, Fault> {
        if self.iss != issuer {
            return Err(Fault::Issuer);
        }
        let ours = match &self.aud {
            Audience::One(one) => audiences.contains(one),
            Audience::Many(many) => many.iter().any(|one| audiences.contains(one)),
        };
        if !ours {
            return Err(Fault::Audience);
        }
        let expires = self.exp.0 + leeway;
        if expires <= now {
            return Err(Fault::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf.0 > now + leeway) {
            return Err(Fault::NotYet);
        }
        let fits =
            (1..=SUBJECT_BYTES_MAX).contains(&self.sub.len()) && !self.sub.chars().any(char::is_control);
        if fits { Ok(Proof { subject: self.sub, expires }) } else { Err(Fault::Claims) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Seconds since 1970; RFC 7519 allows a fraction, and nothing but a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl de::Visitor<'_> for Seconds {
            type Value = NumericDate;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("seconds since 1970")
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<NumericDate, E> {
                if seconds <= TIME_MAX { Ok(NumericDate(seconds)) } else { Err(E::custom("too far away")) }
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
                if (0.0..=TIME_MAX as f64).contains(&seconds) {
                    Ok(NumericDate(seconds as u64))
                } else {
                    Err(E::custom("too far away"))
                }
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(change: Value) -> Result<Proof, Fault> {
        let mut claims = json!({ "iss": "i", "sub": "s", "aud": "us", "exp": 1_000 });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Claims = serde_json::from_value(claims).map_err(|_| Fault::Claims)?;
        claims.judge("i", &["us".to_owned(), "them".to_owned()], 900, 10)
    }

    #[test]
    fn claims_are_judged_one_by_one() {
        let good = Ok(Proof { subject: "s".to_owned(), expires: 1_010 });
        for change in [
            json!({}),
            json!({ "aud": ["x", "them"] }),
            json!({ "nbf": 910 }),
            json!({ "exp": 1_000.9 }),
            json!({ "nbf": null }),
            json!({ "more": { "a": 1 } }),
        ] {
            assert_eq!(judged(change.clone()), good, "{change}");
        }
        for (change, fault) in [
            (json!({ "iss": "j" }), Fault::Issuer),
            (json!({ "iss": ["i"] }), Fault::Claims),
            (json!({ "aud": "x" }), Fault::Audience),
            (json!({ "aud": [] }), Fault::Audience),
            (json!({ "aud": null }), Fault::Claims),
            (json!({ "exp": 890 }), Fault::Expired),
            (json!({ "exp": 0 }), Fault::Expired),
            (json!({ "exp": "1000" }), Fault::Claims),
            (json!({ "exp": null }), Fault::Claims),
            (json!({ "exp": -1 }), Fault::Claims),
            (json!({ "exp": 1e30 }), Fault::Claims),
            (json!({ "exp": u64::MAX }), Fault::Claims),
            (json!({ "nbf": 911 }), Fault::NotYet),
            (json!({ "nbf": "0" }), Fault::Claims),
            (json!({ "nbf": "99999999999" }), Fault::Claims),
            (json!({ "nbf": [0] }), Fault::Claims),
            (json!({ "sub": "" }), Fault::Claims),
            (json!({ "sub": "a\nb" }), Fault::Claims),
            (json!({ "sub": "x".repeat(256) }), Fault::Claims),
            (json!({ "sub": 7 }), Fault::Claims),
        ] {
            assert_eq!(judged(change.clone()), Err(fault), "{change}");
        }
    }

    #[test]
    fn a_claim_may_not_be_left_out_or_said_twice() {
        let parse = |text: &str| serde_json::from_str::<Claims>(text).is_ok();
        assert!(parse(r#"{"iss":"i","sub":"s","aud":"a","exp":1}"#));
        for missing in [
            r#"{"sub":"s","aud":"a","exp":1}"#,
            r#"{"iss":"i","aud":"a","exp":1}"#,
            r#"{"iss":"i","sub":"s","exp":1}"#,
            r#"{"iss":"i","sub":"s","aud":"a"}"#,
            r#"{"iss":"i","sub":"s","aud":"a","exp":1,"exp":9999999999}"#,
        ] {
            assert!(!parse(missing), "{missing}");
        }
    }
}
