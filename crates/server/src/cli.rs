//! The command line. Each command is a file below; an error is one line on stderr that says what to
//! do, and an exit code that is not 0.

mod account;
mod audit;
mod check;
mod config;
mod demo;
mod doctor;
mod epoch;
mod export;
mod health;
mod import;
mod load_demo;
mod output;
mod progress;
mod roles;
mod serve;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use usher_domain::caller::Caller;

use crate::config::Config;
use crate::lifecycle::StartError;
use crate::transport::panics::install_panic_hook;
use crate::transport::serving::step_behind;

/// Usher answers one question for the services of an ETL platform: may this person do this, and does
/// their account hold a seat for them?
#[derive(Parser)]
#[command(name = "usher", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve gRPC.
    Serve(Options),
    /// Try Usher: a server on an embedded database with two accounts and members in every role.
    Demo(demo::Demo),
    /// Bring the database's schema up to date.
    Migrate(BaseOptions),
    /// Found accounts without a server.
    #[command(subcommand)]
    Account(account::Account),
    /// Bring in accounts and members from a file, for a platform that has them in tables today.
    Import(import::Import),
    /// Write out all accounts and members, as `usher import` reads them.
    Export(export::Export),
    /// Look after the audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Look at all that a server needs (configuration, database, mail server, certificates, clock, secrets)
    /// and say what to do. Exits with 0 if nothing is in the way of a server, else with 1.
    Doctor(doctor::Doctor),
    /// Fill a database with accounts and members, for trials at size.
    LoadDemo(load_demo::LoadDemo),
    /// Keep caches and consistency tokens right after a backup was restored.
    #[command(subcommand)]
    Epoch(epoch::Epoch),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Look at role models.
    #[command(subcommand)]
    Roles(roles::Roles),
    /// Ask a running server whether a subject may do something. Exits with 0 for ALLOW, 1 for DENY, and
    /// 2 when there is no answer.
    Check(check::Check),
    /// Ask a running server whether it can answer. Exits with 0 if it can, 1 if not, and 2 when there is
    /// no answer.
    Health(health::Health),
}

/// For commands that serve, or look at what serving would be.
#[derive(Args, Clone, Default)]
struct Options {
    #[command(flatten)]
    base: BaseOptions,
    /// Where to serve gRPC [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve an address that is not loopback although nobody proves who they are.
    #[arg(long)]
    insecure: bool,
}

/// Where the configuration comes from: a file, then `USHER_*` variables, then these flags.
#[derive(Args, Clone, Default)]
struct BaseOptions {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE", env = "USHER_CONFIG")]
    config: Option<PathBuf>,
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE` [default: sqlite:usher.db].
    #[arg(long, value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A directory of role models (`*.toml`) that replace or add to the shipped ones.
    #[arg(long, value_name = "DIR")]
    role_models: Option<String>,
    /// Bring the database's schema up to date first.
    #[arg(long)]
    migrate: bool,
    /// Any other setting, such as `mail.directory=./mails`; may be repeated.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<String>,
}

impl Options {
    fn load(&self) -> Result<Config, StartError> {
        let listen = self.listen.clone().map(|address| ("server.listen".to_owned(), address));
        let insecure = self.insecure.then(|| ("server.insecure".to_owned(), "true".to_owned()));
        self.base.load_with(listen.into_iter().chain(insecure).collect())
    }
}

impl BaseOptions {
    fn load(&self) -> Result<Config, StartError> {
        self.load_with(Vec::new())
    }

    fn load_with(&self, more: Vec<(String, String)>) -> Result<Config, StartError> {
        let mut flags = Vec::new();
        for setting in &self.settings {
            let (path, value) = setting
                .split_once('=')
                .ok_or_else(|| StartError(format!("`--set {setting}` is not of the form SETTING=VALUE")))?;
            flags.push((path.to_owned(), value.to_owned()));
        }
        let mut set = |path: &str, value: Option<String>| {
            flags.extend(value.map(|value| (path.to_owned(), value)));
        };
        set("database.url", self.database_url.clone());
        set("roles.directory", self.role_models.clone());
        set("database.migrate", self.migrate.then(|| "true".into()));
        flags.extend(more);
        Config::load(self.config.as_deref(), |name| std::env::var(name).ok(), &flags)
            .map_err(|e| StartError(e.to_string()))
    }
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // One provider for every user of rustls in this process; the second call of a test is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    install_panic_hook();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Serve(_) | Command::Demo(_)) {
        // The main thread, which starts those that serve, is none of them.
        threads.on_thread_start(step_behind);
    }
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&StartError(format!("cannot start threads: {error}"))),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(options) => serve::serve(&options).await,
            Command::Demo(demo) => demo::demo(&demo).await,
            Command::Migrate(options) => serve::migrate(&options).await,
            Command::Account(account) => account::account(&account).await,
            Command::Import(import) => return import::import(&import).await.map_err(|error| fail(&error)),
            Command::Export(export) => export::export(&export).await,
            Command::Audit(audit) => return audit::audit(&audit).await.map_err(|error| fail(&error)),
            Command::LoadDemo(load) => load_demo::load_demo(&load).await,
            Command::Epoch(epoch) => epoch::epoch(&epoch).await,
            Command::Config(config) => config::config(&config),
            Command::Roles(roles) => roles::roles(&roles),
            Command::Check(check) => return Err(check::check(&check).await),
            Command::Doctor(doctor) => return Err(doctor::doctor(&doctor).await),
            Command::Health(health) => return Err(health::health(&health).await),
        }
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| fail(&error))
    });
    match done {
        Ok(code) | Err(code) => code,
    }
}

/// Who the events of a command say was the caller.
fn caller() -> Caller {
    Caller { name: "usher-command".into(), ..Caller::local() }
}

fn fail(error: &StartError) -> ExitCode {
    for line in error.to_string().lines() {
        say_error(line);
    }
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "a command line talks to its terminal")]
fn say_error(line: &str) {
    eprintln!("usher: {line}");
}

/// `1 account`, `2 accounts`.
fn count(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let s = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[expect(clippy::print_stdout, reason = "a command line talks to its terminal")]
fn say(line: &str) {
    println!("{line}");
}
