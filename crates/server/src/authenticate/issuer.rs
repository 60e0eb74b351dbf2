//! An issuer of tokens and its keys, which it changes when it likes.
//!
//! Keys are fetched when a token names one that is unknown, at most once in a while, by one task
//! whatever the number of callers that wait for it; and again when they are old, behind the back of
//! the callers, so that a key that was taken back goes. A fetch that fails changes nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;
use jsonwebtoken::{Algorithm, Validation};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::Instrument;

use super::keys::Keys;
use super::token::{self, Claims, Fault, Proof};
use crate::telemetry;
use crate::transport::WallClock;

/// How long a fetch of keys may take.
pub(super) const FETCH_LIMIT: Duration = Duration::from_secs(5);
/// The largest key set.
const KEY_SET_BYTES_MAX: usize = 256 << 10;
/// The largest token of our own that is sent with a fetch.
const BEARER_BYTES_MAX: usize = 16 << 10;
/// Keys older than this are fetched again behind the callers' backs, in seconds.
pub(super) const REFRESH_AGE_SECONDS: u64 = 300;
/// As long as there are no keys at all, asking again is worth more.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// Where keys come from.
pub(super) enum Source {
    File(PathBuf),
    Url { client: reqwest::Client, url: reqwest::Url, bearer_token_file: Option<PathBuf> },
}

/// A configured issuer.
pub(super) struct Issuer {
    pub(super) name: String,
    /// The `iss` of its tokens.
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) leeway: u64,
    /// Callers by subject.
    pub(super) callers: HashMap<String, usize>,
    /// The caller that every other subject is.
    pub(super) any_subject: Option<usize>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) source: Source,
    pub(super) interval: Duration,
    pub(super) keys: ArcSwap<Keys>,
    pub(super) clock: WallClock,
    /// Whoever holds it is the one who fetches.
    pub(super) flight: Arc<Mutex<Flight>>,
    /// When the keys are old, by `clock`.
    pub(super) refresh_at: AtomicU64,
    pub(super) generation: AtomicU64,
}

/// The last fetch.
#[derive(Default)]
pub(super) struct Flight {
    begun: Option<Instant>,
    digest: Option<[u8; 32]>,
}

impl Issuer {
    /// Counts how often the keys changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) async fn verify(self: &Arc<Self>, token: &str) -> Result<Proof, Fault> {
        let header = token::header(token, &self.algorithms)?;
        let seen = self.generation();
        let kid = header.kid.as_deref();
        if self.keys.load().find(kid, header.alg).is_none() {
            self.refresh(seen).await;
        }
        let keys = self.keys.load_full();
        let key = keys.find(kid, header.alg).ok_or(Fault::Key)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &signature_only(header.alg));
        let claims = claims.map_err(|error| fault(&error))?.claims;
        claims.judge(&self.issuer, &self.audiences, (self.clock)(), self.leeway)
    }

    /// Fetches the keys, unless that happened since `seen`, or too recently.
    pub(super) async fn refresh(self: &Arc<Self>, seen: u64) {
        let flight = Arc::clone(&self.flight).lock_owned().await;
        if self.generation() == seen {
            self.fetch_in_task(flight).await;
        }
    }

    /// For every call with a token, so it costs two loads as long as the keys are young.
    pub(super) fn refresh_if_old(self: &Arc<Self>, now: u64) {
        if now < self.refresh_at.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(flight) = Arc::clone(&self.flight).try_lock_owned() {
            let issuer = Arc::clone(self);
            tokio::spawn(async move { issuer.fetch_in_task(flight).await });
        }
    }

    /// In a task of its own, so that a caller who gives up does not end it for all others.
    async fn fetch_in_task(self: &Arc<Self>, mut flight: OwnedMutexGuard<Flight>) {
        let first = self.keys.load().is_empty();
        let interval = if first { self.interval.min(FIRST_INTERVAL) } else { self.interval };
        if flight.begun.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        flight.begun = Some(Instant::now());
        self.refresh_at.store((self.clock)() + REFRESH_AGE_SECONDS, Ordering::Relaxed);
        let issuer = Arc::clone(self);
        let fetching = async move {
            match issuer.source.fetch().await {
                Ok(json) => issuer.take_in(&json, &mut flight),
                Err(error) => issuer.keep_old(&error),
            }
        };
        let _ = tokio::spawn(fetching.in_current_span()).await;
    }

    fn take_in(&self, json: &[u8], flight: &mut Flight) {
        let digest = Some(Sha256::digest(json).into());
        if flight.digest == digest {
            return;
        }
        match Keys::parse(json, &self.algorithms) {
            Ok(keys) => {
                tracing::info!(issuer = self.name, keys = keys.len(), "new keys are in use");
                flight.digest = digest;
                self.keys.store(Arc::new(keys));
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => self.keep_old(&error),
        }
    }

    fn keep_old(&self, error: &str) {
        tracing::error!(issuer = self.name, error, "cannot fetch keys, the old ones stay in use");
    }
}

impl Source {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        match tokio::time::timeout(FETCH_LIMIT, self.fetch_without_limit()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no answer within {} s", FETCH_LIMIT.as_secs())),
        }
    }

    async fn fetch_without_limit(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => read_bounded(path, KEY_SET_BYTES_MAX).await,
            Self::Url { client, url, bearer_token_file } => {
                let mut context = HeaderMap::new();
                telemetry::pass_on(&mut context);
                let mut request = client.get(url.clone()).headers(context);
                if let Some(path) = bearer_token_file {
                    // Read each time: Kubernetes replaces it every hour.
                    let token = read_bounded(path, BEARER_BYTES_MAX).await?;
                    let token =
                        String::from_utf8(token).map_err(|_| "the bearer token is not text".to_owned())?;
                    request = request.bearer_auth(token.trim());
                }
                let answer = request.send().await.and_then(reqwest::Response::error_for_status);
                let mut answer = answer.map_err(|error| chain(&error))?;
                let mut body = Vec::new();
                while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
                    if body.len() + chunk.len() > KEY_SET_BYTES_MAX {
                        return Err(format!("the key set has more than {KEY_SET_BYTES_MAX} bytes"));
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(body)
            }
        }
    }
}

async fn read_bounded(path: &PathBuf, bytes_max: usize) -> Result<Vec<u8>, String> {
    let content =
        tokio::fs::read(path).await.map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    if content.len() > bytes_max {
        return Err(format!("`{}` has more than {bytes_max} bytes", path.display()));
    }
    Ok(content)
}

/// reqwest tells the cause only to those who ask.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Everything but the signature is judged by [`Claims::judge`], with our clock.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn fault(error: &jsonwebtoken::errors::Error) -> Fault {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Fault::Signature,
        ErrorKind::InvalidAlgorithm => Fault::Algorithm,
        ErrorKind::Json(_) => Fault::Claims,
        _ => Fault::Malformed,
    }
}
