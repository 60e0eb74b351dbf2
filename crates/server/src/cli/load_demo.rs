//! `usher load-demo`: a database full of people, for trials at size.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{BaseOptions, count, say};
use crate::app::load_demo::{LoadDemo as Plan, is_empty, load_demo as load};
use crate::clock::Clock;
use crate::lifecycle::{StartError, build_app};

#[derive(Args)]
pub(super) struct LoadDemo {
    /// How many accounts.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    accounts: u32,
    /// How many members in all of them together.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    members: u32,
    /// Write into a database that already has accounts. They stay as they are.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    options: BaseOptions,
}

pub(super) async fn load_demo(command: &LoadDemo) -> Result<(), StartError> {
    if command.members < command.accounts {
        return Err(StartError(format!(
            "`--members {}` is less than `--accounts {}`: each account has a founder",
            command.members, command.accounts
        )));
    }
    let config = command.options.load()?;
    let app = build_app(&config, Clock::system()).await?;
    if !command.yes && !is_empty(&app).await? {
        return Err(StartError("the database has accounts; `--yes` writes the demo's beside them".into()));
    }
    // Drawn on stderr, and only where that is a terminal.
    let bar = ProgressBar::new(command.members.into());
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} members, {eta} left");
    bar.set_style(style.map_err(|e| StartError(e.to_string()))?);
    let plan = Plan { accounts: command.accounts, members: command.members };
    let loaded = load(&app, &plan, |written| bar.set_position(written.into())).await;
    bar.finish_and_clear();
    app.store.clone().close().await;
    loaded.map_err(|error| match error {
        crate::error::Error::Store(usher_storage::Error::Exists(_)) => StartError(
            "accounts of an earlier `usher load-demo` are there, from `demo-1` on; take an empty database"
                .into(),
        ),
        error => error.into(),
    })?;
    let (accounts, members) = (command.accounts, command.members);
    let (accounts, members) = (count(accounts, "account"), count(members, "member"));
    say(&format!("{accounts} from `demo-1` on, {members} from `demo-1-u1` on"));
    Ok(())
}
