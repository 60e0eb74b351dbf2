//! The callers and issuers of the configuration file, as they are written there.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// Who may call, and whose tokens prove it.
///
/// ```toml
/// [[callers]]
/// name = "gateway"
/// scopes = ["check", "members"]
/// jwt = { issuer = "cluster", subject = "system:serviceaccount:etl:gateway" }
///
/// [[issuers]]
/// name = "cluster"
/// issuer = "https://kubernetes.default.svc.cluster.local"
/// audiences = ["usher"]
/// algorithms = ["RS256"]
/// jwks_url = "https://kubernetes.default.svc/openid/v1/jwks"
/// ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
/// bearer_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallersConfig {
    pub callers: Vec<CallerConfig>,
    pub issuers: Vec<IssuerConfig>,
}

impl CallersConfig {
    /// Whether nothing is configured; then [`super::Authenticator::open`] is the right one, on
    /// loopback.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty() && self.issuers.is_empty()
    }
}

/// A service that calls. It proves itself in any one of the ways listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// Stands in logs, metrics and audit events.
    pub name: String,
    pub scopes: Vec<String>,
    /// The only accounts that it reaches; all if absent.
    pub accounts: Option<Vec<String>>,
    /// SPIFFE ids of its client certificates, one or several.
    #[serde(default, deserialize_with = "one_or_many")]
    pub spiffe: Vec<String>,
    /// DNS names of its client certificates, one or several.
    #[serde(default, deserialize_with = "one_or_many")]
    pub dns: Vec<String>,
    /// The tokens of an issuer with this subject.
    pub jwt: Option<JwtConfig>,
    /// The SHA-256 of a static token, in hex; two while it is being replaced.
    #[serde(default, deserialize_with = "one_or_many")]
    pub token_sha256: Vec<String>,
    /// How it says which person of the help desk stands behind an ownership ticket.
    #[serde(default)]
    pub operators: Operators,
    /// Its calls per second, of which one second's worth may come at once; unlimited if absent.
    pub requests_per_second: Option<u32>,
}

/// Which tokens of an issuer prove a caller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The `name` of an issuer.
    pub issuer: String,
    /// The `sub` of the token. Absent, every subject of the issuer that is no other caller's; only
    /// with `operators = "token-subject"`, for people who bring tokens of their own.
    pub subject: Option<String>,
}

/// See [`usher_domain::caller::Operator`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operators {
    /// Nobody stands behind it.
    #[default]
    None,
    /// The verified `sub` of the token that came with the call.
    TokenSubject,
    /// Whom it names in the request: it vouches for its people.
    Named,
}

/// Somebody who signs tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// How callers refer to it.
    pub name: String,
    /// The `iss` of its tokens, exactly.
    #[serde(default)]
    pub issuer: String,
    /// A token must be meant for one of these.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// `RS256`, `ES256`, ...; none with a shared secret.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Where its keys are. `https`, or `http` on loopback.
    pub jwks_url: Option<String>,
    /// A file with its keys instead.
    pub jwks_file: Option<PathBuf>,
    /// The authorities of `jwks_url`'s certificate, in PEM; those of the system if absent.
    pub ca_file: Option<PathBuf>,
    /// A token that `jwks_url` wants, as Kubernetes does.
    pub bearer_token_file: Option<PathBuf>,
    /// The shortest time between two fetches of keys.
    #[serde(default = "refresh_min_interval_seconds")]
    pub refresh_min_interval_seconds: u64,
    /// How far its clock and ours may differ.
    #[serde(default = "leeway_seconds")]
    pub leeway_seconds: u64,
}

fn refresh_min_interval_seconds() -> u64 {
    10
}

fn leeway_seconds() -> u64 {
    30
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
