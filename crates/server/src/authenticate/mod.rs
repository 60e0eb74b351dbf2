//! Who calls: a service proven by its certificate, a signed token or a static one.
//!
//! Every failure looks the same to the caller and is told apart in the log only, never with the
//! token. Who a caller is lives in the answer of [`Authenticator::authenticate`] and nowhere else:
//! no globals, no thread locals.
//!
//! Deliberately absent: what a scope allows (that is a table of the services), sessions, and any
//! way to change callers while the server runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, header::AUTHORIZATION};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tonic::Status;
use usher_domain::caller::{Caller, Operator};

use crate::transport::guarded::Connection;
use crate::transport::rate::Rate;
use crate::transport::{WallClock, refusal};

mod certificate;
mod compile;
pub mod config;
mod describe;
mod issuer;
mod keys;
mod token;

use config::Operators;
use issuer::Issuer;

/// The longest token that is looked at, in bytes. Those of Kubernetes have one or two thousand.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Verified tokens that are remembered.
const VERIFIED_MAX: usize = 10_000;
/// How long a verified token is believed without a look at the keys, in seconds.
const VERIFIED_SECONDS: u64 = 300;
/// Refusals that are logged per second; the others are counted.
const REFUSALS_LOGGED_PER_SECOND: u32 = 10;

/// A configured caller with its rate.
#[derive(Debug)]
pub struct Identity {
    caller: Arc<Caller>,
    operators: Operators,
    rate: Option<Rate>,
}

/// Why a call is not let in; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it brings neither a token nor a certificate")]
    Nothing,
    #[error("its certificate names no caller")]
    Certificate,
    #[error("its authorization header is not one bearer token of at most {TOKEN_BYTES_MAX} bytes")]
    Header,
    #[error("its token is neither a known one nor a JWT")]
    Token,
    #[error("its JWT {0}")]
    Jwt(token::Fault),
    #[error("no caller has the subject `{subject}` of issuer `{issuer}`")]
    Subject { issuer: String, subject: String },
}

#[derive(Clone)]
struct Verified {
    identity: Arc<Identity>,
    caller: Arc<Caller>,
    until: u64,
    /// The keys that it was verified with: a key that was taken back must not live on in here.
    generation: u64,
}

/// Knows all callers; made by [`config::CallersConfig::compile`] or [`Authenticator::open`].
pub struct Authenticator {
    mode: Mode,
}

enum Mode {
    Open(Arc<Caller>),
    Closed(Box<Closed>),
}

struct Closed {
    identities: Vec<Arc<Identity>>,
    by_spiffe: HashMap<String, usize>,
    by_dns: HashMap<String, usize>,
    by_token: Vec<([u8; 32], usize)>,
    issuers: Vec<Arc<Issuer>>,
    clock: WallClock,
    verified: Cache<[u8; 32], Verified>,
    log: Rate,
    unlogged: AtomicU64,
}

impl Authenticator {
    /// No authentication: every call is [`Caller::local`].
    pub fn open() -> Self {
        Self { mode: Mode::Open(Arc::new(Caller::local())) }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open(_))
    }

    /// Fetches the keys of all issuers once, so that the first call need not wait. Failures are
    /// logged and mended by the first call that needs them.
    pub async fn warm_up(&self) {
        if let Mode::Closed(closed) = &self.mode {
            for issuer in &closed.issuers {
                issuer.refresh(issuer.generation()).await;
            }
        }
    }

    /// As [`Authenticator::authenticate`] where nothing need be waited for, which is all but new tokens;
    /// `None` for these.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn recognise(
        &self,
        headers: &HeaderMap,
        connection: Option<&Connection>,
    ) -> Option<Result<Arc<Caller>, Status>> {
        let closed = match &self.mode {
            Mode::Open(local) => return Some(Ok(Arc::clone(local))),
            Mode::Closed(closed) => closed,
        };
        if headers.contains_key(AUTHORIZATION) {
            return None;
        }
        Some(closed.admit(closed.by_connection(connection), connection))
    }

    /// Who calls, and whether it may now. Does not wait, except for an issuer's keys when a token
    /// names one that is not known yet.
    ///
    /// A token beats a certificate; a token that is not valid is refused whatever the certificate.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a word why; `RESOURCE_EXHAUSTED` (`RATE_LIMITED`) with the time to
    /// wait.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: Option<&Connection>,
    ) -> Result<Arc<Caller>, Status> {
        let closed = match &self.mode {
            Mode::Open(local) => return Ok(Arc::clone(local)),
            Mode::Closed(closed) => closed,
        };
        let proven = match bearer(headers) {
            Ok(Some(token)) => closed.by_token(token).await,
            Ok(None) => closed.by_connection(connection),
            Err(refusal) => Err(refusal),
        };
        closed.admit(proven, connection)
    }
}

type Proven = (Arc<Identity>, Arc<Caller>);

impl Closed {
    /// Refuses whom nothing proves, and who calls too often.
    fn admit(
        &self,
        proven: Result<Proven, Refusal>,
        connection: Option<&Connection>,
    ) -> Result<Arc<Caller>, Status> {
        let (identity, caller) = proven.map_err(|refusal| {
            self.log_refusal(&refusal, connection);
            refusal::unauthenticated()
        })?;
        match identity.rate.as_ref().map_or(Ok(()), Rate::take) {
            Ok(()) => Ok(caller),
            Err(delay) => Err(refusal::rate_limited(delay)),
        }
    }

    fn by_connection(&self, connection: Option<&Connection>) -> Result<Proven, Refusal> {
        let connection = connection.filter(|known| !known.certificates().is_empty());
        let connection = connection.ok_or(Refusal::Nothing)?;
        let identity = connection.identity(|chain| {
            let index = certificate::caller_of(chain.first()?, &self.by_spiffe, &self.by_dns)?;
            self.identities.get(index).cloned()
        });
        let identity = identity.ok_or(Refusal::Certificate)?;
        Ok((Arc::clone(identity), Arc::clone(&identity.caller)))
    }

    async fn by_token(&self, token: &str) -> Result<Proven, Refusal> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = (self.clock)();
        self.issuers.iter().for_each(|issuer| issuer.refresh_if_old(now));
        if let Some(known) = self.verified.get(&hash)
            && now < known.until
            && known.generation == self.generation()
        {
            return Ok((known.identity, known.caller));
        }
        if let Some(identity) = self.by_static_token(&hash) {
            return Ok((Arc::clone(identity), Arc::clone(&identity.caller)));
        }
        self.by_jwt(token, hash).await
    }

    /// Compares with every one, and each to its end, so that the time tells nothing.
    fn by_static_token(&self, hash: &[u8; 32]) -> Option<&Arc<Identity>> {
        let mut found = None;
        for (known, index) in &self.by_token {
            if known.ct_eq(hash).into() {
                found = Some(*index);
            }
        }
        self.identities.get(found?)
    }

    async fn by_jwt(&self, token: &str, hash: [u8; 32]) -> Result<Proven, Refusal> {
        if self.issuers.is_empty() || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(Refusal::Token);
        }
        let claimed = token::claimed_issuer(token).map_err(Refusal::Jwt)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer == claimed);
        let issuer = issuer.ok_or(Refusal::Jwt(token::Fault::Issuer))?;
        let generation = self.generation();
        let proof = issuer.verify(token).await.map_err(Refusal::Jwt)?;
        let index = issuer.callers.get(&proof.subject).copied().or(issuer.any_subject);
        let Some(identity) = index.and_then(|index| self.identities.get(index)) else {
            return Err(Refusal::Subject { issuer: issuer.name.clone(), subject: proof.subject });
        };
        let caller = match identity.operators {
            Operators::TokenSubject => {
                let operator = Operator::Verified(proof.subject);
                Arc::new(Caller { operator, ..identity.caller.as_ref().clone() })
            }
            Operators::None | Operators::Named => Arc::clone(&identity.caller),
        };
        let until = proof.expires.min((self.clock)() + VERIFIED_SECONDS);
        let identity = Arc::clone(identity);
        let verified =
            Verified { identity: Arc::clone(&identity), caller: Arc::clone(&caller), until, generation };
        self.verified.insert(hash, verified);
        Ok((identity, caller))
    }

    /// Changes whenever the keys of any issuer change.
    fn generation(&self) -> u64 {
        self.issuers.iter().map(|issuer| issuer.generation()).sum()
    }

    fn log_refusal(&self, refusal: &Refusal, connection: Option<&Connection>) {
        if self.log.take().is_err() {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = self.unlogged.swap(0, Ordering::Relaxed);
        let peer = connection.map(|known| known.peer().to_string()).unwrap_or_default();
        tracing::warn!(peer, unlogged, reason = %refusal, "a call was not authenticated");
    }
}

/// The bearer token, if there is an authorization header at all. Any other header is refused, so
/// that a typo does not silently fall back to the certificate.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::Header);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::Header)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
        return Err(Refusal::Header);
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn an_authorization_header_is_one_bearer_token_or_refused() {
        assert_eq!(bearer(&HeaderMap::new()), Ok(None));
        assert_eq!(bearer(&header("Bearer abc")), Ok(Some("abc")));
        assert_eq!(bearer(&header("bearer abc")), Ok(Some("abc")));
        for bad in ["", "abc", "Basic abc", "Bearer", "Bearer ", "Bearer a b", "Bearer  a"] {
            assert_eq!(bearer(&header(bad)), Err(Refusal::Header), "{bad:?}");
        }
        assert_eq!(bearer(&header(&format!("Bearer {}", "x".repeat(64 << 10)))), Err(Refusal::Header));
        let mut two = header("Bearer a");
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(bearer(&two), Err(Refusal::Header));
    }

    #[tokio::test]
    async fn without_authentication_everybody_is_local() {
        let caller = Authenticator::open().authenticate(&HeaderMap::new(), None).await.unwrap();
        assert_eq!(&*caller.name, "local");
    }
}
