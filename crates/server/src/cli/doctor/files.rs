//! Files: certificates that fit and last, secrets that nobody else can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::clock::Clock;
use crate::config::{Config, SETTINGS, variable};
use crate::transport::tls::{EXPIRY_WARNING_DAYS, Tls};

const DAY_SECONDS: u64 = 86_400;

/// The server's certificate: that it fits its key, and how long it lasts.
pub(super) fn certificates(config: &Config, clock: &Clock) -> Option<Finding> {
    const PART: &str = "certificates";
    let files = match config.tls.files() {
        Ok(Some(files)) => files,
        Ok(None) => return None,
        Err(problem) => return Some(Finding::problem(PART, problem)),
    };
    let tls = match Tls::load(files, clock.wall()) {
        Ok(tls) => tls,
        Err(error) => return Some(Finding::problem(PART, error.to_string())),
    };
    let left = tls.not_after().saturating_sub((clock.wall())());
    let days = left / DAY_SECONDS;
    Some(match left {
        0 => Finding::problem(PART, "one has expired: renew it, the server takes the new one by itself"),
        _ if days < EXPIRY_WARNING_DAYS => {
            Finding::warning(PART, format!("fit; the first expires in {days} days: renew it"))
        }
        _ => Finding::ok(PART, format!("fit; the first expires in {days} days")),
    })
}

/// Whether secrets can be read, by the server and by nobody else.
pub(super) fn examine(config: &Config, config_file: Option<&Path>) -> Vec<Finding> {
    const PART: &str = "secrets";
    let files = secrets(config, config_file);
    let found: Vec<Finding> = files.iter().filter_map(|file| look(PART, file)).collect();
    match (files.len(), found.is_empty()) {
        (0, _) => Vec::new(),
        (count, true) => vec![Finding::ok(PART, format!("{count} files are for their owner alone"))],
        _ => found,
    }
}

fn look(part: &'static str, file: &Path) -> Option<Finding> {
    let shown = file.display();
    if let Err(error) = fs::File::open(file) {
        return Some(Finding::problem(part, format!("`{shown}` cannot be read: {error}")));
    }
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let is_open = mode & 0o007 != 0;
    is_open.then(|| Finding::warning(part, format!("everybody can read `{shown}`: `chmod o-rwx {shown}`")))
}

fn secrets(config: &Config, config_file: Option<&Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.tls.key_file.iter().cloned().collect();
    files.extend(config.issuers.iter().filter_map(|issuer| issuer.bearer_token_file.clone()));
    let by_variable = SETTINGS.iter().filter(|setting| is_secret(setting.path));
    files.extend(by_variable.filter_map(|setting| {
        std::env::var_os(format!("{}_FILE", variable(setting.path))).map(PathBuf::from)
    }));
    files.extend(config_file.filter(|file| holds_secret(file)).map(Path::to_owned));
    files
}

fn is_secret(path: &str) -> bool {
    matches!(path, "database.url" | "mail.smtp_password")
}

/// Whether a password stands in the file itself.
fn holds_secret(file: &Path) -> bool {
    let table = fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let text = |section: &str, key: &str| Some(table.as_ref()?.get(section)?.get(key)?.as_str()?.to_owned());
    let has_password =
        |url: String| url.split_once('@').is_some_and(|(user, _)| user.matches(':').count() > 1);
    text("mail", "smtp_password").is_some() || text("database", "url").is_some_and(has_password)
}
