//! Verifying the audit log: the streams of all accounts and users, or of some.

use std::collections::HashMap;

use usher_domain::chain::{Chain, ChainError};
use usher_domain::event::Stream;
use usher_storage::{AuditHead, AuditRow, EventPlace, PAGE_SIZE_MAX, Tx};

use super::App;
use crate::error::Error;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    pub accounts: usize,
    pub users: usize,
    pub events: u64,
    /// The first thing wrong with each stream.
    pub broken: Vec<Broken>,
    /// Streams that were asked for and are not there.
    pub missing: Vec<Stream>,
}

#[derive(Debug)]
pub struct Broken {
    pub stream: Stream,
    /// Revision, index and kind of the event; `None` for the end of the log.
    pub event: Option<(i64, i64, String)>,
    pub wrong: ChainError,
}

/// Verifies these streams, or without any all of them, as they are at one moment.
///
/// # Errors
/// Those of the store.
pub async fn verify(app: &App, only: &[Stream]) -> Result<Verified, Error> {
    app.store
        .read(async |tx: &Tx| {
            let heads = tx.audit_heads().await?.into_iter().map(|head| (head.stream.clone(), head));
            let mut pass = Pass { heads: heads.collect(), ..Pass::default() };
            if only.is_empty() {
                pass.read(tx, None).await?;
            } else {
                pass.heads.retain(|stream, _| only.contains(stream));
                for stream in only {
                    if pass.heads.contains_key(stream) {
                        pass.read(tx, Some(stream)).await?;
                    } else {
                        pass.found.missing.push(stream.clone());
                    }
                }
            }
            // What has a head and no event was taken away whole, or never had any.
            for head in std::mem::take(&mut pass.heads).into_values() {
                pass.end(&Chain::of(&head.stream), &head);
            }
            Ok(pass.found)
        })
        .await
}

#[derive(Default)]
struct Pass {
    /// Of the streams that are still to come.
    heads: HashMap<Stream, AuditHead>,
    found: Verified,
}

/// The stream that is being read.
struct Reading {
    stream: Stream,
    chain: Chain,
    head: Option<AuditHead>,
    broken: bool,
}

impl Pass {
    async fn read(&mut self, tx: &Tx, only: Option<&Stream>) -> Result<(), Error> {
        let mut after: Option<EventPlace> = None;
        let mut reading: Option<Reading> = None;
        loop {
            let rows = tx.audit_rows(only, after.as_ref(), PAGE_SIZE_MAX).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.place.clone());
            for row in rows {
                if reading.as_ref().is_none_or(|reading| reading.stream != row.place.stream) {
                    self.close(reading.take());
                }
                let current = reading.get_or_insert_with(|| self.open(&row.place.stream));
                self.found.events += 1;
                if !current.broken
                    && let Err(wrong) = follow(current, &row)
                {
                    current.broken = true;
                    let event = Some((row.place.revision, row.place.index, row.kind));
                    self.found.broken.push(Broken { stream: row.place.stream, event, wrong });
                }
            }
        }
        self.close(reading);
        Ok(())
    }

    fn open(&mut self, stream: &Stream) -> Reading {
        let head = self.heads.remove(stream);
        Reading { chain: Chain::of(stream), stream: stream.clone(), head, broken: false }
    }

    fn close(&mut self, reading: Option<Reading>) {
        let Some(reading) = reading else { return };
        match &reading.head {
            Some(head) if !reading.broken => self.end(&reading.chain, head),
            Some(head) => self.count(&head.stream),
            None => self.count(&reading.stream),
        }
    }

    fn end(&mut self, chain: &Chain, head: &AuditHead) {
        self.count(&head.stream);
        if let Err(wrong) = chain.end(head.revision, &head.hash) {
            self.found.broken.push(Broken { stream: head.stream.clone(), event: None, wrong });
        }
    }

    fn count(&mut self, stream: &Stream) {
        match stream {
            Stream::Account(_) => self.found.accounts += 1,
            Stream::User(_) => self.found.users += 1,
        }
    }
}

fn follow(reading: &mut Reading, row: &AuditRow) -> Result<(), ChainError> {
    if reading.head.is_none() {
        return Err(ChainError::NoHead);
    }
    match &row.event {
        Ok(event) => reading.chain.follow(&event.event, event.personal.as_ref(), &event.hash),
        Err(error) => Err(ChainError::Unreadable(error.to_string())),
    }
}
