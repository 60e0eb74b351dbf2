//! Usher as an operator starts it.

use std::path::Path;

use crate::process::{self, Cores, Server};
use crate::{Bench, Result};

/// A release server on a database of its own, on the server's core. `settings` are `SETTING=VALUE`.
pub(crate) fn start(bench: &Bench, database: &str, settings: &[String]) -> Result<Server> {
    start_on(bench, &bench.cores, database, settings)
}

/// On other cores.
pub(crate) fn start_on(bench: &Bench, cores: &Cores, database: &str, settings: &[String]) -> Result<Server> {
    let mut command = cores.command(&cores.server, &bench.usher);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("USHER_") || name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--migrate", "--listen", "127.0.0.1:0", "--database-url", database]);
    command.args([
        "--set",
        "mail.account_hourly_max=100000000",
        "--set",
        "oauth.issuers=https://login.example",
    ]);
    // Metrics and traces are on. Nobody listens where the traces go: a collector would need a core too.
    command.args(["--set", "server.metrics_listen=127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://127.0.0.1:{}", process::free_port()?));
    command.env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "0.001");
    for setting in settings {
        command.args(["--set", setting]);
    }
    Server::start(command)
}

/// The URL of an SQLite database in a directory.
pub(crate) fn sqlite(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("usher.db").display())
}
