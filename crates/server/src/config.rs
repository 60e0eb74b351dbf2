//! Configuration: a TOML file, then `USHER_*` variables, then flags; each wins over those before.
//!
//! [`SETTINGS`] names every single setting with its meaning. From it come the variables' names, the
//! table in `deploy/README.md` and the messages about unknown ones.

mod mail;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use mail::{MailConfig, SmtpTls};
use serde::{Deserialize, Serialize};
pub use settings::{Kind, SETTINGS, Setting};
use usher_domain::secret::Secret;

use crate::authenticate::Authenticator;
use crate::authenticate::config::{CallerConfig, CallersConfig, IssuerConfig};
use crate::clock::Clock;
use crate::error::nearest;
use crate::transport::limits::Limits;
use crate::transport::serving;
use crate::transport::tls::{ClientCertificates, TlsFiles};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub cache: CacheConfig,
    pub roles: RolesConfig,
    pub oauth: OauthConfig,
    pub mail: MailConfig,
    pub log: LogConfig,
    pub tls: TlsConfig,
    pub limits: Limits,
    /// The services that may call; without any, only loopback is served.
    #[serde(skip_serializing)]
    pub callers: Vec<CallerConfig>,
    /// Who signs callers' tokens.
    #[serde(skip_serializing)]
    pub issuers: Vec<IssuerConfig>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub client_ca_file: Option<PathBuf>,
    pub client_certificates: Option<ClientCertificates>,
}

impl TlsConfig {
    /// The files, if TLS is on.
    ///
    /// # Errors
    /// When some are named without those that they need.
    pub fn files(&self) -> Result<Option<TlsFiles>, String> {
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate_file), Some(key_file)) => Ok(Some(TlsFiles {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
                client_ca_file: self.client_ca_file.clone(),
                client_certificates: self.client_certificates,
            })),
            (None, None) if self.client_ca_file.is_none() => Ok(None),
            (None, None) => {
                Err("`tls.client_ca_file` needs `tls.certificate_file` and `tls.key_file`".into())
            }
            _ => Err("`tls.certificate_file` and `tls.key_file` need each other".into()),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub insecure: bool,
    pub reflection: bool,
    /// 0: one for each core.
    pub threads: usize,
    /// Kubernetes' gRPC probes speak plaintext alone.
    pub probe_listen: Option<SocketAddr>,
    pub metrics_listen: Option<SocketAddr>,
    pub drain_lead_seconds: u64,
    pub drain_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            insecure: false,
            reflection: true,
            threads: 0,
            probe_listen: None,
            metrics_listen: None,
            drain_lead_seconds: 0,
            drain_seconds: 20,
        }
    }
}

/// More than machines have cores.
const SERVING_THREADS_MAX: usize = 1024;

impl ServerConfig {
    /// How many threads serve.
    pub fn threads(&self) -> usize {
        if self.threads == 0 { serving::threads_default() } else { self.threads }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    pub url: String,
    pub connections_max: u32,
    pub pooler: bool,
    pub migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: "sqlite:usher.db".into(), connections_max: 10, pooler: false, migrate: false }
    }
}

/// The URL holds a password.
impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig").field("url", &Secret::new(())).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    pub standings_max: usize,
    pub staleness_max_ms: u64,
    pub poll_interval_ms: u64,
    pub outage_grace_ms: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { standings_max: 1_000_000, staleness_max_ms: 2000, poll_interval_ms: 200, outage_grace_ms: 0 }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolesConfig {
    pub directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OauthConfig {
    pub issuers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Why a configuration cannot be used; each line says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Reads the file, if one is named, and lays variables and then flags over it.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn load(
        file: Option<&Path>,
        variables: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut table = match file {
            Some(file) => read(file)?,
            None => toml::Table::new(),
        };
        let mut problems = Vec::new();
        for setting in SETTINGS {
            let name = variable(setting.path);
            match value_of(&name, &variables) {
                Ok(Some(text)) => {
                    lay(&mut table, setting, &text, &format!("the variable `{name}`"), &mut problems)
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        for (path, text) in flags {
            match SETTINGS.iter().find(|setting| setting.path == path) {
                Some(setting) => {
                    lay(&mut table, setting, text, &format!("the flag for `{path}`"), &mut problems)
                }
                None => problems.push(unknown(path)),
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let place = file.map_or("the configuration".to_owned(), |file| format!("`{}`", file.display()));
        let config: Self = toml::Value::Table(table)
            .try_into()
            .map_err(|e| ConfigError(vec![format!("{place}: {}", first_line(&e.to_string()))]))?;
        config.check()?;
        Ok(config)
    }

    /// Who may call: everybody on this machine, or the callers that are configured.
    ///
    /// # Errors
    /// All that is wrong with the callers and issuers.
    pub fn authenticator(&self, clock: &Clock) -> Result<Authenticator, ConfigError> {
        let callers = CallersConfig { callers: self.callers.clone(), issuers: self.issuers.clone() };
        if callers.is_empty() {
            return Ok(Authenticator::open());
        }
        callers.compile(clock.wall()).map_err(ConfigError)
    }

    /// A certificate that nobody asks for proves nothing.
    fn check_certificates(&self, problems: &mut Vec<String>) {
        let asked = self.tls.files().ok().flatten().map(|files| files.client_certificates());
        if !matches!(asked, None | Some(ClientCertificates::None)) {
            return;
        }
        for caller in &self.callers {
            let by_certificate = !caller.spiffe.is_empty() || !caller.dns.is_empty();
            if by_certificate && caller.jwt.is_none() && caller.token_sha256.is_empty() {
                problems.push(format!(
                    "caller `{}` is known by its certificate alone, and no caller is asked for one: \
                     set `tls.client_ca_file`",
                    caller.name
                ));
            }
        }
    }

    /// Whether callers' tokens cross a network in the clear.
    pub fn shows_tokens(&self) -> bool {
        let by_token = |caller: &CallerConfig| caller.jwt.is_some() || !caller.token_sha256.is_empty();
        let loopback = self.server.listen.ip().to_canonical().is_loopback();
        !loopback && self.tls.certificate_file.is_none() && self.callers.iter().any(by_token)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.mail.check(&mut problems);
        if self.database.connections_max == 0 {
            problems.push("`database.connections_max` is 0; the server needs at least 1".into());
        }
        if self.cache.standings_max == 0 {
            problems.push("`cache.standings_max` is 0; the server needs at least 1".into());
        }
        if self.cache.poll_interval_ms == 0 || self.cache.poll_interval_ms * 2 > self.cache.staleness_max_ms {
            problems.push(
                "`cache.poll_interval_ms` must be at least 1 and at most half of `cache.staleness_max_ms`: \
                 one poll may fail"
                    .into(),
            );
        }
        if self.server.threads > SERVING_THREADS_MAX {
            problems.push(format!("`server.threads` is more than {SERVING_THREADS_MAX}"));
        }
        problems.extend(self.tls.files().err());
        self.check_certificates(&mut problems);
        problems.extend(self.limits.problems().into_iter().map(|problem| format!("`[limits]`: {problem}")));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }
}

/// The variable of a setting: `database.url` is `USHER_DATABASE_URL`.
pub fn variable(path: &str) -> String {
    format!("USHER_{}", path.replace('.', "_").to_uppercase())
}

/// The value of a variable, or of the file that the variable with `_FILE` names: a mounted secret.
fn value_of(name: &str, variables: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    if let Some(value) = variables(name) {
        return Ok(Some(value));
    }
    let Some(file) = variables(&format!("{name}_FILE")) else { return Ok(None) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(e) => Err(format!("cannot read `{file}`, which `{name}_FILE` names: {e}")),
    }
}

fn read(file: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| ConfigError(vec![format!("cannot read `{}`: {e}", file.display())]))?;
    text.parse::<toml::Table>().map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        ConfigError(vec![format!("{}:{line}: {}", file.display(), e.message())])
    })
}

fn lay(table: &mut toml::Table, setting: &Setting, text: &str, from: &str, problems: &mut Vec<String>) {
    let value = match setting.kind {
        Kind::Text => Some(toml::Value::String(text.to_owned())),
        Kind::Number => text.parse().ok().map(toml::Value::Integer),
        Kind::Flag => text.parse().ok().map(toml::Value::Boolean),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(toml::Value::Array(parts.map(|part| toml::Value::String(part.to_owned())).collect()))
        }
    };
    let Some(value) = value else {
        let wanted = if setting.kind == Kind::Flag { "`true` or `false`" } else { "a whole number" };
        return problems.push(format!("{from} is not {wanted}"));
    };
    let Some((section, key)) = setting.path.split_once('.') else { return };
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    match section {
        toml::Value::Table(section) => {
            section.insert(key.to_owned(), value);
        }
        _ => {
            problems.push(format!("`{}` is not a table", setting.path.split('.').next().unwrap_or_default()))
        }
    }
}

fn unknown(path: &str) -> String {
    match nearest(path, SETTINGS.iter().map(|setting| setting.path)) {
        Some(near) => format!("there is no setting `{path}`: did you mean `{near}`?"),
        None => format!("there is no setting `{path}`"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn every_setting_can_be_set_and_every_default_is_a_setting() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        for (section, values) in &defaults {
            for (key, value) in values.as_table().unwrap() {
                if value.is_table() {
                    continue;
                }
                let path = format!("{section}.{key}");
                assert!(SETTINGS.iter().any(|setting| setting.path == path), "`{path}` is not in SETTINGS");
            }
        }
        for setting in SETTINGS {
            let text = match (setting.path, setting.kind) {
                ("cache.poll_interval_ms", _) => "100",
                ("cache.staleness_max_ms", _) => "3000",
                ("server.listen" | "server.probe_listen" | "server.metrics_listen", _) => "127.0.0.1:1",
                // Alone they are a mistake, which the test below looks at.
                (path, _) if path.starts_with("tls.") => continue,
                ("limits.frame_bytes", _) => "16384",
                ("limits.idle_seconds", _) => "90",
                (path, _) if path.starts_with("limits.") && path.ends_with("_bytes") => "100000",
                ("log.format", _) => "json",
                ("mail.smtp_tls", _) => "tls",
                (path, _) if path.ends_with("_url") => "https://x.test/{token}",
                (_, Kind::Text | Kind::List) => "x",
                (_, Kind::Number) => "7",
                (_, Kind::Flag) => "true",
            };
            let only = |name: &str| (name == variable(setting.path)).then(|| text.to_owned());
            Config::load(None, only, &[]).unwrap_or_else(|e| panic!("{}: {e}", setting.path));
        }
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[database]\nurl = \"sqlite:a\"\nconnections_max = 3\n").unwrap();
        let variables = |name: &str| (name == "USHER_DATABASE_URL").then(|| "sqlite:b".to_owned());
        let config = Config::load(Some(file.path()), variables, &[]).unwrap();
        assert_eq!((config.database.url.as_str(), config.database.connections_max), ("sqlite:b", 3));
        let flags = [("database.url".to_owned(), "sqlite:c".to_owned())];
        assert_eq!(Config::load(Some(file.path()), variables, &flags).unwrap().database.url, "sqlite:c");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Config::load(Some(file.path()), none, &[]).unwrap_err().to_string()
        };
        assert!(error("[database]\nurll = \"x\"\n").contains("urll"));
        assert!(error("[database\n").contains(":1: "), "{}", error("[database\n"));
        assert!(error("[mail]\ninvitation_url = \"http://a.test/\"\n").lines().count() == 2);
        let flags = [("databse.url".to_owned(), String::new())];
        assert!(
            Config::load(None, none, &flags)
                .unwrap_err()
                .to_string()
                .contains("did you mean `database.url`?")
        );
        let bad = |name: &str| (name == "USHER_SERVER_INSECURE").then(|| "yes".to_owned());
        assert!(Config::load(None, bad, &[]).unwrap_err().to_string().contains("USHER_SERVER_INSECURE"));
    }

    #[test]
    fn the_database_url_is_not_printed() {
        let mut config = Config::default();
        config.database.url = "postgres://usher:canary@db/usher".into();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
