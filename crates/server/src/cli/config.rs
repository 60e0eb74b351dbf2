//! `usher config check` and `usher config settings`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{Options, say};
use crate::clock::Clock;
use crate::config::{self, SETTINGS};
use crate::lifecycle::StartError;
use crate::transport::listen::check_listen;
use crate::transport::tls::{ClientCertificates, Tls};

#[derive(Subcommand)]
pub(super) enum Config {
    /// Check the configuration without starting, and say in words what it comes to.
    Check(Check),
    /// List every setting with its default and its variable.
    Settings,
}

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    options: Options,
    /// How to print what it comes to.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn config(command: &Config) -> Result<(), StartError> {
    match command {
        Config::Check(command) => check(&command.options, command.output),
        Config::Settings => {
            say(settings().trim_end());
            Ok(())
        }
    }
}

fn check(options: &Options, output: Output) -> Result<(), StartError> {
    let config = options.load()?;
    let clock = Clock::system();
    let authenticator = config.authenticator(&clock).map_err(|e| StartError(e.to_string()))?;
    let warning = check_listen(config.server.listen, !authenticator.is_open(), config.server.insecure);
    let warning = warning.map_err(StartError)?;
    let tls = tls(&config, &clock)?;
    if output == Output::Json {
        let told = json!({
            "serves": config.server.listen,
            "tls": tls,
            "warnings": warning.map(|warning| warning.0).into_iter().collect::<Vec<_>>(),
            "callers": authenticator.describe().trim_end(),
            "consistency": consistency(&config),
        });
        say(&told.to_string());
        return Ok(());
    }
    say(&format!("serves {} {tls}", config.server.listen));
    if let Some(warning) = warning {
        say(&format!("warning: {}", warning.0));
    }
    if config.shows_tokens() {
        say(
            "warning: callers' tokens cross the network in the clear: set `tls.certificate_file`, or see to it that \
             something before this server encrypts",
        );
    }
    say(authenticator.describe().trim_end());
    say(&consistency(&config));
    say("the configuration is right");
    Ok(())
}

/// What connections are like, in words. Reads the files, so that one that does not fit shows here.
fn tls(config: &config::Config, clock: &Clock) -> Result<String, StartError> {
    let Some(files) = config.tls.files().map_err(StartError)? else { return Ok("without TLS".to_owned()) };
    let asked = match files.client_certificates() {
        ClientCertificates::Required => "callers must show a certificate",
        ClientCertificates::Optional => "callers may show a certificate",
        ClientCertificates::None => "callers are asked for no certificate",
    };
    let tls = Tls::load(files, clock.wall()).map_err(|e| StartError(e.to_string()))?;
    let left = tls.not_after().saturating_sub((clock.wall())());
    Ok(match left / 86_400 {
        0 if left == 0 => format!("with TLS, but a certificate or authority has expired; {asked}"),
        days => format!("with TLS; {asked}; the first certificate or authority expires in {days} days"),
    })
}

/// The promises on freshness, in words.
fn consistency(config: &config::Config) -> String {
    let cache = &config.cache;
    if config.database.url.starts_with("sqlite:") {
        return "SQLite: this process is alone, and a change is seen by the next check".to_owned();
    }
    let (staleness, poll) = (cache.staleness_max_ms, cache.poll_interval_ms);
    let usually = match config.database.pooler {
        // A pooler does not pass what is told to a session.
        true => format!("and usually within {poll} ms: each server looks for changes that often"),
        false => format!("and usually within milliseconds: each server looks for changes every {poll} ms"),
    };
    let woken = if config.database.pooler { "" } else { " and is woken by whoever makes one" };
    let outage = match cache.outage_grace_ms {
        0 => "after that they are UNAVAILABLE, never a guess (`cache.outage_grace_ms` would prolong it)"
            .to_owned(),
        grace => format!(
            "after that they go on from memory for {grace} ms more and say `stale`, and a right that was revoked \
             meanwhile may still be granted; then they are UNAVAILABLE (`cache.outage_grace_ms`)"
        ),
    };
    format!(
        "PostgreSQL, any number of servers:\n  \
         an acknowledged change is known to every check that starts {staleness} ms later, on any server \
         (`cache.staleness_max_ms`), {usually} (`cache.poll_interval_ms`){woken}\n  \
         a check with the change's consistency token, or fully consistent, knows it at once\n  \
         without the database checks go on from memory until the last look is {staleness} ms old; {outage}\n  \
         changes fail at once without it"
    )
}

/// The table of settings: path, variable, default and meaning.
pub(crate) fn settings() -> String {
    let defaults = toml::Table::try_from(config::Config::default()).unwrap_or_default();
    let mut lines =
        vec!["| setting | variable | default | meaning |".to_owned(), "|---|---|---|---|".to_owned()];
    for setting in SETTINGS {
        let default = setting
            .path
            .split_once('.')
            .and_then(|(section, key)| defaults.get(section)?.get(key))
            .map_or("–".to_owned(), |value| format!("`{value}`"));
        let variable = config::variable(setting.path);
        lines.push(format!("| `{}` | `{variable}` | {default} | {} |", setting.path, setting.meaning));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str, set: impl FnOnce(&mut config::Config)) -> String {
        let mut config = config::Config::default();
        url.clone_into(&mut config.database.url);
        config.cache.staleness_max_ms = 2000;
        config.cache.poll_interval_ms = 200;
        set(&mut config);
        consistency(&config)
    }

    #[track_caller]
    fn has(said: &str, words: &str, expected: bool) {
        assert_eq!(said.contains(words), expected, "`{words}` in:\n{said}");
    }

    #[test]
    fn what_is_promised_is_said_for_each_kind_of_database() {
        let postgres = "postgres://usher@db/usher";
        let directly = said(postgres, |_| {});
        has(&directly, "known to every check that starts 2000 ms later, on any server", true);
        has(&directly, "usually within milliseconds: each server looks for changes every 200 ms", true);
        has(&directly, "is woken by whoever makes one", true);
        has(&directly, "after that they are UNAVAILABLE, never a guess", true);

        // Nobody is woken there.
        let pooled = said(postgres, |config| config.database.pooler = true);
        has(&pooled, "known to every check that starts 2000 ms later, on any server", true);
        has(&pooled, "usually within 200 ms: each server looks for changes that often", true);
        has(&pooled, "woken", false);
        has(&pooled, "within milliseconds", false);

        let graced = said(postgres, |config| config.cache.outage_grace_ms = 60_000);
        has(
            &graced,
            "until the last look is 2000 ms old; after that they go on from memory for 60000 ms",
            true,
        );
        has(&graced, "a right that was revoked meanwhile may still be granted", true);
        has(&graced, "never a guess", false);

        let alone = said("sqlite:usher.db", |config| config.cache.outage_grace_ms = 60_000);
        has(&alone, "SQLite: this process is alone, and a change is seen by the next check", true);
        has(&alone, "PostgreSQL", false);
    }
}
