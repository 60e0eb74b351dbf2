//! From the configuration to an [`Authenticator`], with all mistakes named at once.
//!
//! What would let somebody in by a gap is an error and not a default: no audience, no issuer, a
//! token of any subject, a list of accounts that is empty.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use quick_cache::sync::Cache;
use usher_domain::caller::{Caller, Operator, Scope, Scopes};
use usher_domain::id::{AccountId, check_id};

use super::config::{CallerConfig, CallersConfig, IssuerConfig, Operators};
use super::issuer::{FETCH_LIMIT, Flight, Issuer, REFRESH_AGE_SECONDS, Source};
use super::keys::Keys;
use super::{Authenticator, Closed, Identity, Mode, REFUSALS_LOGGED_PER_SECOND, VERIFIED_MAX};
use crate::transport::WallClock;
use crate::transport::rate::Rate;

const LEEWAY_SECONDS_MAX: u64 = 300;

/// The algorithms that a public key verifies.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

impl CallersConfig {
    /// Checks everything and reads the files that it names. `clock` judges the times in tokens.
    ///
    /// # Errors
    /// All mistakes, one sentence each.
    pub fn compile(self, clock: WallClock) -> Result<Authenticator, Vec<String>> {
        let mut compiler = Compiler::default();
        let mut issuers: Vec<_> =
            self.issuers.iter().map(|issuer| compiler.issuer(issuer, &self.issuers, &clock)).collect();
        if self.callers.is_empty() {
            compiler.problems.push("no caller is configured, so nobody could call".to_owned());
        }
        let mut identities = Vec::new();
        for (index, caller) in self.callers.iter().enumerate() {
            identities.push(compiler.caller(index, caller, &self.callers, &self.issuers, &mut issuers));
        }
        if !compiler.problems.is_empty() {
            return Err(compiler.problems);
        }
        let closed = Closed {
            identities,
            by_spiffe: compiler.by_spiffe,
            by_dns: compiler.by_dns,
            by_token: compiler.by_token.into_iter().collect(),
            issuers: issuers.into_iter().flatten().map(Arc::new).collect(),
            clock,
            verified: Cache::new(VERIFIED_MAX),
            log: Rate::new(REFUSALS_LOGGED_PER_SECOND),
            unlogged: AtomicU64::new(0),
        };
        Ok(Authenticator { mode: Mode::Closed(Box::new(closed)) })
    }
}

#[derive(Default)]
struct Compiler {
    problems: Vec<String>,
    by_spiffe: HashMap<String, usize>,
    by_dns: HashMap<String, usize>,
    by_token: HashMap<[u8; 32], usize>,
}

impl Compiler {
    fn issuer(&mut self, config: &IssuerConfig, all: &[IssuerConfig], clock: &WallClock) -> Option<Issuer> {
        let before = self.problems.len();
        let who = format!("issuer `{}`", config.name);
        if config.name.is_empty() || all.iter().filter(|other| other.name == config.name).count() > 1 {
            self.problems.push(format!("{who}: every issuer needs a name of its own"));
        }
        if config.issuer.trim().is_empty() {
            self.problems.push(format!("{who}: `issuer` is missing, so tokens of anybody would do"));
        } else if all.iter().filter(|other| other.issuer == config.issuer).count() > 1 {
            self.problems.push(format!("{who}: `{}` is configured twice", config.issuer));
        }
        if config.audiences.is_empty() || config.audiences.iter().any(|audience| audience.trim().is_empty()) {
            self.problems.push(format!(
                "{who}: `audiences` is missing or has an empty one, so tokens meant for others would do"
            ));
        }
        if config.leeway_seconds > LEEWAY_SECONDS_MAX {
            self.problems.push(format!("{who}: `leeway_seconds` must be at most {LEEWAY_SECONDS_MAX}"));
        }
        if config.refresh_min_interval_seconds == 0 {
            self.problems.push(format!("{who}: `refresh_min_interval_seconds` must be at least 1"));
        }
        let algorithms = self.algorithms(&who, &config.algorithms);
        let source = self.source(&who, config);
        let keys = match &source {
            Some(Source::File(path)) if !algorithms.is_empty() => self.keys_in_file(&who, path, &algorithms),
            _ => Keys::default(),
        };
        let refresh_at = if keys.is_empty() { u64::MAX } else { clock() + REFRESH_AGE_SECONDS };
        (self.problems.len() == before).then_some(Issuer {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            leeway: config.leeway_seconds,
            callers: HashMap::new(),
            any_subject: None,
            algorithms,
            source: source?,
            interval: Duration::from_secs(config.refresh_min_interval_seconds),
            keys: ArcSwap::from_pointee(keys),
            clock: Arc::clone(clock),
            flight: Arc::new(tokio::sync::Mutex::new(Flight::default())),
            refresh_at: AtomicU64::new(refresh_at),
            generation: AtomicU64::new(0),
        })
    }

    fn algorithms(&mut self, who: &str, names: &[String]) -> Vec<Algorithm> {
        if names.is_empty() {
            self.problems.push(format!("{who}: `algorithms` is missing"));
        }
        let mut algorithms = Vec::new();
        for name in names {
            match ALGORITHMS.iter().find(|(known, _)| known == name) {
                Some((_, algorithm)) => algorithms.push(*algorithm),
                None if name.to_ascii_uppercase().starts_with("HS") => self.problems.push(format!(
                    "{who}: `{name}` signs with a shared secret, so whoever verifies could forge; use RS256 or ES256"
                )),
                None => {
                    let suggestion = suggest(name, ALGORITHMS.iter().map(|(known, _)| *known));
                    self.problems.push(format!("{who}: unknown algorithm `{name}`{suggestion}"));
                }
            }
        }
        algorithms
    }

    fn source(&mut self, who: &str, config: &IssuerConfig) -> Option<Source> {
        let remote = config.ca_file.is_some() || config.bearer_token_file.is_some();
        match (&config.jwks_url, &config.jwks_file) {
            (Some(url), None) => {
                let source = remote_source(url, config);
                source.map_err(|problem| self.problems.push(format!("{who}: {problem}"))).ok()
            }
            (None, Some(path)) if !remote => Some(Source::File(path.clone())),
            (None, Some(_)) => {
                self.problems
                    .push(format!("{who}: `ca_file` and `bearer_token_file` go with `jwks_url` only"));
                None
            }
            _ => {
                self.problems.push(format!("{who}: give either `jwks_url` or `jwks_file`"));
                None
            }
        }
    }

    fn keys_in_file(&mut self, who: &str, path: &std::path::Path, algorithms: &[Algorithm]) -> Keys {
        let shown = path.display();
        let read = std::fs::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"));
        let keys = read.and_then(|json| {
            Keys::parse(&json, algorithms).map_err(|problem| format!("`{shown}` {problem}"))
        });
        keys.unwrap_or_else(|problem| {
            self.problems.push(format!("{who}: {problem}"));
            Keys::default()
        })
    }

    fn caller(
        &mut self,
        index: usize,
        config: &CallerConfig,
        callers: &[CallerConfig],
        issuer_configs: &[IssuerConfig],
        issuers: &mut [Option<Issuer>],
    ) -> Arc<Identity> {
        let who = format!("caller `{}`", config.name);
        if check_id(&config.name).is_err() {
            self.problems.push(format!("{who}: the name must have the form of an id"));
        }
        if callers.iter().filter(|other| other.name == config.name).count() > 1 {
            self.problems.push(format!("{who}: every caller needs a name of its own"));
        }
        let scopes = self.scopes(&who, &config.scopes);
        let accounts = self.accounts(&who, config.accounts.as_deref());
        self.certificates(&who, index, config);
        self.tokens(&who, index, config);
        self.jwt(&who, index, config, issuer_configs, issuers);
        self.operators(&who, config, scopes);
        if config.requests_per_second == Some(0) {
            self.problems.push(format!("{who}: `requests_per_second` must be at least 1"));
        }
        let nothing = config.spiffe.is_empty() && config.dns.is_empty() && config.token_sha256.is_empty();
        if nothing && config.jwt.is_none() {
            self.problems.push(format!(
                "{who}: it has no way to prove itself; give `spiffe`, `dns`, `jwt` or `token_sha256`"
            ));
        }
        let operator = match config.operators {
            Operators::Named => Operator::Named,
            Operators::None | Operators::TokenSubject => Operator::Unknown,
        };
        let caller = Caller { name: config.name.as_str().into(), scopes, accounts, operator };
        Arc::new(Identity {
            caller: Arc::new(caller),
            operators: config.operators,
            rate: config.requests_per_second.map(Rate::new),
        })
    }

    fn scopes(&mut self, who: &str, names: &[String]) -> Scopes {
        if names.is_empty() {
            self.problems.push(format!("{who}: `scopes` is empty, so it could ask for nothing"));
        }
        let mut scopes = Vec::new();
        for name in names {
            match Scope::parse(name) {
                Some(scope) if scopes.contains(&scope) => {
                    self.problems.push(format!("{who}: scope `{name}` stands there twice"));
                }
                Some(scope) => scopes.push(scope),
                None => {
                    let suggestion = suggest(name, Scope::ALL.iter().map(|scope| scope.name()));
                    self.problems.push(format!("{who}: unknown scope `{name}`{suggestion}"));
                }
            }
        }
        scopes.into_iter().collect()
    }

    fn accounts(&mut self, who: &str, ids: Option<&[String]>) -> Option<Arc<BTreeSet<AccountId>>> {
        let ids = ids?;
        if ids.is_empty() {
            self.problems
                .push(format!("{who}: `accounts` is empty, so it could reach none; leave it out for all"));
        }
        let mut accounts = BTreeSet::new();
        for id in ids {
            match AccountId::parse(id) {
                Ok(account) => {
                    if !accounts.insert(account) {
                        self.problems.push(format!("{who}: account `{id}` stands there twice"));
                    }
                }
                Err(error) => self.problems.push(format!("{who}: account id `{id}` {error}")),
            }
        }
        Some(Arc::new(accounts))
    }

    fn certificates(&mut self, who: &str, index: usize, config: &CallerConfig) {
        for id in &config.spiffe {
            if !is_spiffe_id(id) {
                self.problems
                    .push(format!("{who}: `{id}` is no SPIFFE id, such as `spiffe://domain/service`"));
            }
            let other = self.by_spiffe.insert(id.clone(), index);
            self.twice(who, id, other);
        }
        for name in &config.dns {
            if !is_dns_name(name) {
                self.problems.push(format!("{who}: `{name}` is no DNS name in lower case without wildcards"));
            }
            let other = self.by_dns.insert(name.clone(), index);
            self.twice(who, name, other);
        }
    }

    fn tokens(&mut self, who: &str, index: usize, config: &CallerConfig) {
        for text in &config.token_sha256 {
            let mut hash = [0; 32];
            if hex::decode_to_slice(text, &mut hash).is_err() {
                self.problems.push(format!(
                    "{who}: `token_sha256` must be the SHA-256 of the token in 64 hex digits, not the token"
                ));
                continue;
            }
            let other = self.by_token.insert(hash, index);
            self.twice(who, text, other);
        }
    }

    fn jwt(
        &mut self,
        who: &str,
        index: usize,
        config: &CallerConfig,
        issuer_configs: &[IssuerConfig],
        issuers: &mut [Option<Issuer>],
    ) {
        let Some(jwt) = &config.jwt else { return };
        let Some(at) = issuer_configs.iter().position(|issuer| issuer.name == jwt.issuer) else {
            let suggestion = suggest(&jwt.issuer, issuer_configs.iter().map(|issuer| issuer.name.as_str()));
            self.problems.push(format!("{who}: unknown issuer `{}`{suggestion}", jwt.issuer));
            return;
        };
        let ambiguous = match (&jwt.subject, issuers.get_mut(at).and_then(Option::as_mut)) {
            (Some(subject), _) if subject.trim().is_empty() => {
                self.problems.push(format!("{who}: the subject is empty"));
                None
            }
            (Some(subject), Some(issuer)) => issuer.callers.insert(subject.clone(), index),
            (None, _) if config.operators != Operators::TokenSubject => {
                self.problems.push(format!(
                    "{who}: without a subject every token of issuer `{}` would do; that is allowed with \
                     `operators = \"token-subject\"` only",
                    jwt.issuer
                ));
                None
            }
            (None, Some(issuer)) => issuer.any_subject.replace(index),
            (_, None) => None,
        };
        let subject = jwt.subject.as_deref().unwrap_or("any subject");
        self.twice(who, &format!("{subject} of issuer {}", jwt.issuer), ambiguous);
    }

    fn operators(&mut self, who: &str, config: &CallerConfig, scopes: Scopes) {
        if config.operators != Operators::None && !scopes.contains(Scope::Support) {
            self.problems.push(format!("{who}: `operators` needs the scope `support`"));
        }
        if config.operators == Operators::TokenSubject && config.jwt.is_none() {
            self.problems.push(format!("{who}: `operators = \"token-subject\"` needs a `jwt`"));
        }
    }

    fn twice(&mut self, who: &str, identity: &str, other: Option<usize>) {
        if other.is_some() {
            self.problems.push(format!("{who}: `{identity}` already proves a caller"));
        }
    }
}

fn remote_source(url: &str, config: &IssuerConfig) -> Result<Source, String> {
    let url = reqwest::Url::parse(url).map_err(|error| format!("`jwks_url` is no URL: {error}"))?;
    let local = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        _ => {
            return Err("`jwks_url` must be https, or whoever is on the way could choose the keys".to_owned());
        }
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`jwks_url` must not hold a password; use `bearer_token_file`".to_owned());
    }
    let builder = reqwest::Client::builder()
        .timeout(FETCH_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    let builder = match &config.ca_file {
        None => builder,
        Some(path) => {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if authorities.is_empty() {
                return Err(format!("`{shown}` holds no certificate"));
            }
            builder.tls_certs_only(authorities)
        }
    };
    let client = builder.build().map_err(|error| format!("cannot fetch from `jwks_url`: {error}"))?;
    Ok(Source::Url { client, url, bearer_token_file: config.bearer_token_file.clone() })
}

/// `spiffe://`, a trust domain and a path of plain segments, as the SPIFFE ID standard has it.
fn is_spiffe_id(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let domain_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let path_char = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let segment = |text: &str| !["", ".", ".."].contains(&text) && text.bytes().all(path_char);
    !domain.is_empty() && domain.bytes().all(domain_char) && path.split('/').all(segment)
}

fn is_dns_name(name: &str) -> bool {
    let label_char =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    name.len() <= 253
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(label_char))
}

/// `, did you mean ..?` or nothing.
fn suggest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = |right: &&str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &right.to_lowercase()) <= 2;
    known.into_iter().find(near).map(|right| format!(", did you mean `{right}`?")).unwrap_or_default()
}
