//! Callers of every kind: configured as an operator would, and proving themselves for real.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::json;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use usher_domain::caller::Scope;
use usher_domain::secret::token_hash;
use usher_server::authenticate::config::{CallerConfig, IssuerConfig, JwtConfig, Operators};
use usher_server::config::Config;
use usher_server::transport::tls::ClientCertificates;

const ISSUER: &str = "https://cluster.example";
const SPIFFE: &str = "spiffe://example.com/everything";
const SUBJECT: &str = "system:serviceaccount:etl:everything";

/// A caller with all scopes who shows a certificate.
pub const BY_CERTIFICATE: &str = "all-mtls";
/// A caller with all scopes who brings a signed token.
pub const BY_JWT: &str = "all-jwt";

/// Keys, certificates and tokens of a server's callers.
pub struct Callers {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    signer: EncodingKey,
}

impl Callers {
    /// # Panics
    /// When they cannot be made.
    pub fn make() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
        let pair = KeyPair::generate().expect("a key");
        let signer = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a signing key");
        let callers = Self { folder: TempDir::new().expect("a directory"), authority, signer };
        callers.write_files();
        callers
    }

    fn write_files(&self) {
        let (certificate, key) = self.issue(SanType::DnsName("localhost".try_into().expect("a name")));
        self.write("ca.pem", &self.authority.pem());
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
        let mut jwk = Jwk::from_encoding_key(&self.signer, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some("one".to_owned());
        self.write("jwks.json", &json!({ "keys": [jwk] }).to_string());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// Where `tls.crt`, `tls.key`, `ca.pem` and `jwks.json` are.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }

    fn issue(&self, name: SanType) -> (String, String) {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![name];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Lets in, over TLS: [`BY_CERTIFICATE`], [`BY_JWT`], and who is given, by static tokens.
    pub fn configure(&self, config: &mut Config, others: impl IntoIterator<Item = CallerConfig>) {
        let everything = |name: &str| with_scopes(name, Scope::ALL.iter().map(|scope| scope.name()));
        let jwt = JwtConfig { issuer: "cluster".to_owned(), subject: Some(SUBJECT.to_owned()) };
        config.callers = vec![
            CallerConfig { spiffe: vec![SPIFFE.to_owned()], ..everything(BY_CERTIFICATE) },
            CallerConfig { jwt: Some(jwt), ..everything(BY_JWT) },
        ];
        config.callers.extend(others.into_iter().map(|caller| CallerConfig {
            token_sha256: vec![token_hash(&static_token(&caller.name))],
            ..caller
        }));
        config.issuers = vec![IssuerConfig {
            name: "cluster".to_owned(),
            issuer: ISSUER.to_owned(),
            audiences: vec!["usher".to_owned()],
            algorithms: vec!["ES256".to_owned()],
            jwks_url: None,
            jwks_file: Some(self.path("jwks.json")),
            ca_file: None,
            bearer_token_file: None,
            refresh_min_interval_seconds: 10,
            leeway_seconds: 30,
        }];
        config.tls.certificate_file = Some(self.path("tls.crt"));
        config.tls.key_file = Some(self.path("tls.key"));
        config.tls.client_ca_file = Some(self.path("ca.pem"));
        config.tls.client_certificates = Some(ClientCertificates::Optional);
    }

    /// A connection without a certificate.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(&self, port: u16) -> Channel {
        connect(port, self.tls()).await
    }

    /// A connection with the certificate of [`BY_CERTIFICATE`].
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect_with_certificate(&self, port: u16) -> Channel {
        let (certificate, key) = self.issue(SanType::URI(SPIFFE.try_into().expect("a URI")));
        connect(port, self.tls().identity(Identity::from_pem(certificate, key))).await
    }

    fn tls(&self) -> ClientTlsConfig {
        let authority = Certificate::from_pem(self.authority.pem());
        ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost")
    }

    /// What [`BY_JWT`] brings.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn jwt(&self, now_seconds: i64) -> String {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = json!({ "iss": ISSUER, "sub": SUBJECT, "aud": "usher", "exp": now_seconds + 3_600 });
        jsonwebtoken::encode(&header, &claims, &self.signer).expect("a token")
    }
}

async fn connect(port: u16, tls: ClientTlsConfig) -> Channel {
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).expect("a url");
    endpoint.tls_config(tls).expect("TLS").connect().await.expect("a server that listens")
}

/// A caller with these scopes, who still needs a way to prove itself.
pub fn with_scopes<'a>(name: &str, scopes: impl IntoIterator<Item = &'a str>) -> CallerConfig {
    let scopes: Vec<String> = scopes.into_iter().map(str::to_owned).collect();
    let vouches = scopes.iter().any(|scope| scope == "support");
    let operators = if vouches { Operators::Named } else { Operators::None };
    CallerConfig { name: name.to_owned(), scopes, operators, ..Default::default() }
}

/// What a caller of [`Callers::configure`] brings.
pub fn static_token(name: &str) -> String {
    format!("static-token-of-{name}")
}
