//! Where mails go, what they say and where their links lead.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use usher_domain::secret::Secret;

/// The longest time that handing over one mail may take: well below how long the worker holds a mail.
const SMTP_TIMEOUT_SECONDS_MAX: u64 = 300;

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Begins in the open and must change to TLS before anything is said.
    StartTls,
    /// From the first byte on.
    Tls,
    /// Not at all.
    None,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    pub directory: Option<PathBuf>,
    pub smtp_host: Option<String>,
    pub smtp_port: Option<u16>,
    pub smtp_tls: SmtpTls,
    pub smtp_username: Option<String>,
    #[serde(skip_serializing, deserialize_with = "secret")]
    pub smtp_password: Option<Secret<String>>,
    pub smtp_ca_file: Option<PathBuf>,
    pub smtp_timeout_seconds: u64,
    pub templates: Option<PathBuf>,
    pub from: String,
    pub invitation_url: String,
    pub password_url: String,
    pub email_url: String,
    pub account_hourly_max: u32,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            directory: None,
            smtp_host: None,
            smtp_port: None,
            smtp_tls: SmtpTls::StartTls,
            smtp_username: None,
            smtp_password: None,
            smtp_ca_file: None,
            smtp_timeout_seconds: 60,
            templates: None,
            from: "Usher <usher@localhost>".into(),
            invitation_url: "http://localhost:8080/invitations/{token}".into(),
            password_url: "http://localhost:8080/passwords/{token}".into(),
            email_url: "http://localhost:8080/emails/{token}".into(),
            account_hourly_max: 100,
        }
    }
}

impl MailConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        self.check_links(problems);
        if !(1..=SMTP_TIMEOUT_SECONDS_MAX).contains(&self.smtp_timeout_seconds) {
            problems.push(format!("`mail.smtp_timeout_seconds` must be 1 to {SMTP_TIMEOUT_SECONDS_MAX}"));
        }
        let Some(host) = &self.smtp_host else { return };
        if self.directory.is_some() {
            problems.push(
                "`mail.smtp_host` and `mail.directory` are both set; mails go to one of them, so remove the other"
                    .into(),
            );
        }
        if host.is_empty() || host.contains(|c: char| c == '/' || c == '@' || c.is_whitespace()) {
            problems.push(
                "`mail.smtp_host` is no host; give a name or an address alone, the rest has settings of its own".into(),
            );
        }
        if self.smtp_tls == SmtpTls::None && !is_loopback(host) {
            problems.push(
                "`mail.smtp_tls` is `none` and the mail server is not this machine: the links in mails are secrets; \
                 use `starttls` or `tls`"
                    .into(),
            );
        }
        if self.smtp_username.is_some() != self.smtp_password.is_some() {
            problems.push(
                "of `mail.smtp_username` and `mail.smtp_password` only one is set; a login needs both".into(),
            );
        }
    }

    fn check_links(&self, problems: &mut Vec<String>) {
        let links = [
            ("mail.invitation_url", &self.invitation_url),
            ("mail.password_url", &self.password_url),
            ("mail.email_url", &self.email_url),
        ];
        for (path, url) in links {
            if !url.contains("{token}") {
                problems.push(format!(
                    "`{path}` does not hold `{{token}}`; say where the token goes in the link"
                ));
            }
            if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
                problems.push(format!("`{path}` holds white space; a link has none"));
            }
            let local = url.starts_with("http://localhost") || url.starts_with("http://127.0.0.1");
            if !url.starts_with("https://") && !local {
                problems.push(format!("`{path}` must start with `https://`: the link carries a secret"));
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut MailConfig)) -> String {
        let mut config = MailConfig { smtp_host: Some("mail.example.com".into()), ..MailConfig::default() };
        change(&mut config);
        let mut problems = Vec::new();
        config.check(&mut problems);
        problems.join("\n")
    }

    #[test]
    fn an_unsafe_or_ambiguous_mail_server_is_refused() {
        assert_eq!(problems(|_| {}), "");
        assert!(problems(|config| config.directory = Some("mails".into())).contains("both set"));
        assert!(problems(|config| config.smtp_tls = SmtpTls::None).contains("`starttls` or `tls`"));
        for here in ["localhost", "127.0.0.1", "::1"] {
            let open = |config: &mut MailConfig| {
                config.smtp_host = Some(here.into());
                config.smtp_tls = SmtpTls::None;
            };
            assert_eq!(problems(open), "", "{here}");
        }
        assert!(problems(|config| config.smtp_username = Some("usher".into())).contains("needs both"));
        assert!(problems(|config| config.smtp_host = Some("smtp://x".into())).contains("is no host"));
        assert!(problems(|config| config.smtp_timeout_seconds = 0).contains("must be 1 to"));
        assert!(
            problems(|config| config.email_url = "https://a.test/{token} x".into()).contains("white space")
        );
    }

    #[test]
    fn the_password_is_neither_printed_nor_written() {
        let config =
            MailConfig { smtp_password: Some(Secret::new("canary".into())), ..MailConfig::default() };
        assert!(!format!("{config:?}").contains("canary"));
        assert!(!toml::to_string(&config).unwrap().contains("canary"));
    }
}
