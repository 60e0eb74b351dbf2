//! `usher epoch bump`, after a backup was restored.

use clap::Subcommand;
use usher_storage::{Store, Tx};

use super::{BaseOptions, count, say};
use crate::error::Error;
use crate::lifecycle::{StartError, open_store};
use crate::random;

#[derive(Subcommand)]
pub(super) enum Epoch {
    /// Begin a new epoch after a backup was restored: consistency tokens from before it are refused, every
    /// server forgets what it holds in memory, and on PostgreSQL all accounts lose the transaction numbers of
    /// the server that the backup was taken from. Servers may run meanwhile.
    Bump(BaseOptions),
}

pub(super) async fn epoch(command: &Epoch) -> Result<(), StartError> {
    let Epoch::Bump(options) = command;
    let store = open_store(&options.load()?).await?;
    let bumped = bump(&store).await;
    store.close().await;
    let accounts = bumped?;
    say(&format!("a new epoch has begun; transaction numbers taken from {}", count(accounts, "account")));
    Ok(())
}

async fn bump(store: &Store) -> Result<u64, Error> {
    let epoch = hex::encode(random::bytes::<8>()?);
    store.write(async |tx: &Tx| Ok::<_, Error>(tx.epoch_bump(&epoch).await?)).await
}
