//! `usher audit verify`: whether the log is what was written.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use usher_domain::event::Stream;
use usher_domain::id::{AccountId, UserId};

use super::{BaseOptions, count, say, say_error};
use crate::app::verify::{Broken, verify};
use crate::clock::Clock;
use crate::lifecycle::{StartError, build_app};

#[derive(Subcommand)]
pub(super) enum Audit {
    /// Verify the audit log: its hashes, its numbering, and that nothing is missing at its end. Exits with 1 if
    /// anything is wrong, and names the first bad event of each account and user.
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Verify {
    /// Only these accounts; without any, all accounts and all users.
    accounts: Vec<String>,
    /// Only this user's own log; may be repeated.
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
    #[command(flatten)]
    options: BaseOptions,
}

pub(super) async fn audit(audit: &Audit) -> Result<ExitCode, StartError> {
    let Audit::Verify(command) = audit;
    let only = streams(command)?;
    let app = build_app(&command.options.load()?, Clock::system()).await?;
    let found = verify(&app, &only).await?;
    app.store.clone().close().await;
    for stream in &found.missing {
        say_error(&format!("there is no {}", name(stream)));
    }
    for broken in &found.broken {
        say(&broken_line(broken));
    }
    let (accounts, users, events) = (found.accounts, found.users, found.events);
    let (accounts, users) = (count(accounts, "account"), count(users, "user"));
    let read = format!("{} of {accounts} and {users}", count(events, "event"));
    match (found.broken.len(), found.missing.len()) {
        (0, 0) => {
            say(&format!("{read}: nothing is wrong"));
            Ok(ExitCode::SUCCESS)
        }
        (broken, _) => {
            say(&format!("{read}: {} broken", count(broken, "log")));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn streams(command: &Verify) -> Result<Vec<Stream>, StartError> {
    let mut only = Vec::new();
    for id in &command.accounts {
        let id =
            AccountId::parse(id).map_err(|error| StartError(format!("the account id `{id}` {error}")))?;
        only.push(Stream::Account(id.to_string()));
    }
    for id in &command.users {
        let id = UserId::parse(id).map_err(|error| StartError(format!("the user id `{id}` {error}")))?;
        only.push(Stream::User(id.to_string()));
    }
    Ok(only)
}

fn name(stream: &Stream) -> String {
    match stream {
        Stream::Account(id) => format!("account `{id}`"),
        Stream::User(id) => format!("user `{id}`"),
    }
}

fn broken_line(broken: &Broken) -> String {
    let stream = name(&broken.stream);
    match &broken.event {
        Some((revision, index, kind)) => {
            format!("{stream}: revision {revision}, event {index} (`{kind}`): {}", broken.wrong)
        }
        None => format!("{stream}: {}", broken.wrong),
    }
}
