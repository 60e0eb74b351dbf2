//! TLS whose files may change while calls run.
//!
//! Certificates live for hours or weeks and are replaced in place (cert-manager, SPIRE, a mounted
//! secret). The files are read again every few seconds and compared by content, because a mounted
//! secret changes by a link and not by its time. A new connection takes the newest settings, an old
//! one keeps its own. A file that does not fit keeps the old settings and is reported once.
//!
//! There is no session resumption: it would let a client in whose certificate has since expired or
//! whose authority has been taken out, and a gRPC client connects rarely.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::WallClock;

/// How often the files are looked at.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// When an expiry is near enough to be warned about, in days.
pub const EXPIRY_WARNING_DAYS: u64 = 14;
const DAY: u64 = 86_400;

/// Whether callers show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// They may show one; those who do not must bring a token.
    Optional,
    /// Nobody gets past the handshake without one.
    Required,
}

/// Where the server's own certificate and the authority of its callers lie, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate, then the chain up to but without the root.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The authorities that callers' certificates must come from.
    pub client_ca_file: Option<PathBuf>,
    /// By default `required` if there is a `client_ca_file`, else `none`.
    pub client_certificates: Option<ClientCertificates>,
}

impl TlsFiles {
    pub fn client_certificates(&self) -> ClientCertificates {
        self.client_certificates.unwrap_or(match self.client_ca_file {
            Some(_) => ClientCertificates::Required,
            None => ClientCertificates::None,
        })
    }
}

/// Why the files are not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{0}`: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("`{0}` holds no certificate")]
    NoCertificate(PathBuf),
    #[error("`{0}` holds no private key in PEM")]
    NoKey(PathBuf),
    #[error("`{0}` holds a certificate that cannot be read")]
    Malformed(PathBuf),
    #[error("client certificates are wanted, but there is no `client_ca_file`")]
    NoClientCa,
    #[error("the authorities of client certificates are not usable: {0}")]
    ClientCa(String),
    #[error("the server's certificate and key are not usable: {0}")]
    Rustls(#[from] rustls::Error),
}

struct Loaded {
    config: Arc<ServerConfig>,
    not_after: u64,
}

/// The settings for new connections.
pub struct Tls {
    files: TlsFiles,
    clock: WallClock,
    current: ArcSwap<Loaded>,
    /// What the last attempt read, good or bad, so that a bad file is reported once.
    seen: parking_lot::Mutex<[u8; 32]>,
}

impl Tls {
    /// # Errors
    /// When a file is missing or does not fit the others.
    pub fn load(files: TlsFiles, clock: WallClock) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&files)?;
        let loaded = contents.load(&files, &clock)?;
        let tls = Self {
            current: ArcSwap::from_pointee(loaded),
            seen: parking_lot::Mutex::new(contents.digest()),
            files,
            clock,
        };
        tls.warn_of_expiry();
        Ok(Arc::new(tls))
    }

    /// What a new connection uses.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// When the first of our own chain and the callers' authorities expires, in seconds since 1970.
    pub fn not_after(&self) -> u64 {
        self.current.load().not_after
    }

    /// Reads the files again. `true` when something new is in use, `false` when nothing changed.
    ///
    /// # Errors
    /// When a file changed and does not fit; the old settings stay. Told once per content.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.files)?;
        let digest = contents.digest();
        if std::mem::replace(&mut *self.seen.lock(), digest) == digest {
            return Ok(false);
        }
        self.current.store(Arc::new(contents.load(&self.files, &self.clock)?));
        self.warn_of_expiry();
        Ok(true)
    }

    /// Reloads every [`RELOAD_INTERVAL`], and warns daily of an expiry that comes near. Never ends.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut warned_at = (self.clock)();
        let mut unreadable = false;
        loop {
            tokio::time::sleep(every).await;
            let tls = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(true)) => tracing::info!(not_after = self.not_after(), "new TLS files are in use"),
                Ok(Ok(false)) => unreadable = false,
                Ok(Err(error @ TlsError::Read(..))) => {
                    // Between two steps of a replacement a file may be missing for a moment.
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::warn!(%error, "TLS files cannot be read, the old ones stay in use");
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "new TLS files do not fit, the old ones stay in use")
                }
                Err(_) => tracing::error!("the reload of TLS files panicked, the old ones stay in use"),
            }
            if (self.clock)().saturating_sub(warned_at) >= DAY {
                warned_at = (self.clock)();
                self.warn_of_expiry();
            }
        }
    }

    fn warn_of_expiry(&self) {
        let not_after = self.not_after();
        match not_after.saturating_sub((self.clock)()) {
            0 => tracing::error!(not_after, "a TLS certificate or authority has expired"),
            left if left < EXPIRY_WARNING_DAYS * DAY => {
                let days = left / DAY;
                tracing::warn!(not_after, days, "a TLS certificate or authority expires soon");
            }
            _ => {}
        }
    }
}

/// The files as they were at one moment.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error));
        Ok(Self {
            certificate: read(&files.certificate_file)?,
            key: read(&files.key_file)?,
            client_ca: files.client_ca_file.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
        {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn load(&self, files: &TlsFiles, clock: &WallClock) -> Result<Loaded, TlsError> {
        let chain = certificates(&self.certificate, &files.certificate_file)?;
        let mut not_after = earliest(&chain, &files.certificate_file)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|_| TlsError::NoKey(files.key_file.clone()))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = match (files.client_certificates(), &self.client_ca, &files.client_ca_file) {
            (ClientCertificates::None, ..) => WebPkiClientVerifier::no_client_auth(),
            (wanted, Some(pem), Some(path)) => {
                let mut roots = RootCertStore::empty();
                let authorities = certificates(pem, path)?;
                not_after = not_after.min(earliest(&authorities, path)?);
                for authority in authorities {
                    roots.add(authority)?;
                }
                let builder =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
                let builder = match wanted {
                    ClientCertificates::Optional => builder.allow_unauthenticated(),
                    _ => builder,
                };
                builder.build().map_err(|error| TlsError::ClientCa(error.to_string()))?
            }
            _ => return Err(TlsError::NoClientCa),
        };
        let time = Arc::new(HandedIn(Arc::clone(clock)));
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded { config: Arc::new(config), not_after })
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let parsed = parsed.map_err(|_| TlsError::Malformed(path.to_owned()))?;
    if parsed.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(parsed) }
}

fn earliest(certificates: &[CertificateDer<'_>], path: &Path) -> Result<u64, TlsError> {
    let mut earliest = u64::MAX;
    for certificate in certificates {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| TlsError::Malformed(path.to_owned()))?;
        let not_after = parsed.validity().not_after.timestamp();
        earliest = earliest.min(u64::try_from(not_after).unwrap_or(0));
    }
    Ok(earliest)
}

/// Our clock for rustls, which judges client certificates by it.
struct HandedIn(WallClock);

impl std::fmt::Debug for HandedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandedIn")
    }
}

impl TimeProvider for HandedIn {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs((self.0)())))
    }
}
