//! `usher import FILE`: accounts and their members from a platform that has them in tables today.

mod fields;
mod line;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use usher_domain::import::{Fault, ImportAccount, ImportLine, ImportPeople, assemble, gather_people};

use super::progress::Progress;
use super::{BaseOptions, caller, count, say, say_error};
use crate::app::App;
use crate::app::import::{ImportFailure, Imported, check_account, import_account};
use crate::clock::Clock;
use crate::lifecycle::{StartError, build_app};

/// How many faults are told one by one.
const FAULTS_TOLD_MAX: usize = 100;

#[derive(Args)]
#[command(after_long_help = FORMAT)]
pub(super) struct Import {
    /// The file; `-` reads standard input.
    file: PathBuf,
    /// How the file is written [default: by its name's end, `.jsonl`, `.ndjson` or `.csv`].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check everything, also against the database, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: BaseOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

const FORMAT: &str = r#"The file:
  One line an account, one line a member, in any order. A line with a `user_id` is a member.

  JSON lines:
    {"account_id":"acme","name":"Acme","model":"integrate-io","seats":10,"plan":"team"}
    {"account_id":"acme","user_id":"u1","role":"owner","verified_email":"olivia@acme.example"}
    {"account_id":"acme","user_id":"u2","role":"editor","email":"ed@acme.example","username":"ed"}

  CSV, in UTF-8 with commas; columns in any order, as needed; an empty cell is absent:
    account_id,user_id,name,model,seats,plan,role,verified_email,email,username
    acme,,Acme,integrate-io,10,team,,,,
    acme,u1,,,,,owner,olivia@acme.example,,
    acme,u2,,,,,editor,,ed@acme.example,ed

Fields of an account:
  account_id, model        required
  name                     required
  seats                    required: how many are purchased, or `unlimited`
  plan                     any text
  expire_time              when the subscription expires, as 2027-01-31T00:00:00Z; absent is never
  grace_end_time           when it lapses; absent is 14 days later
  state                    active (default) or suspended
  allow_over_limit         true: more seats may be held than are purchased; over_limit_end_time
  create_time

Fields of a member:
  account_id, user_id      required; the same user_id in several accounts is the same person
  role                     required: a role of the account's model
  verified_email           an address that the person has proven to you, and nobody else has: Usher
                           mails them a link to set a password when they ask for it
  email                    an address for contact, which proves nothing; absent is the verified one
  display_name
  state                    active (default) or suspended
  seat                     true or false; absent: who is active, in a role that uses one, holds one
  username, subject, issuer
                           the login at an OAuth provider; `subject` is the provider's own id;
                           `issuer` may be left out when one is configured (oauth.issuers). In
                           JSON, `identities` takes several: [{"issuer":"…","username":"…","subject":"…"}]
  join_time

Each account is written whole or not at all. Running the same file again goes on where it stopped:
what is there already, as the file has it, is passed over; what differs is an error. Passwords
cannot be imported: people who have a verified address ask for a link to set one. Nothing is mailed."#;

pub(super) async fn import(import: &Import) -> Result<ExitCode, StartError> {
    let format = import.format()?;
    let config = import.options.load()?;
    let source = source::open(&import.file).map_err(StartError)?;
    let app = build_app(&config, Clock::system()).await?;
    let name = import.file.display().to_string();
    let done = run(import, &app, source, format, &name).await;
    app.store.wake_others().await;
    app.store.clone().close().await;
    done
}

impl Import {
    fn format(&self) -> Result<Format, StartError> {
        let end = self.file.extension().and_then(|end| end.to_str()).unwrap_or_default();
        match (self.format, end) {
            (Some(format), _) => Ok(format),
            (None, "jsonl" | "ndjson") => Ok(Format::Jsonl),
            (None, "csv") => Ok(Format::Csv),
            (None, _) => Err(StartError(format!(
                "the name of `{}` does not say how it is written; add `--format jsonl` or `--format csv`",
                self.file.display()
            ))),
        }
    }
}

async fn run(
    import: &Import,
    app: &App,
    source: source::Source,
    format: Format,
    name: &str,
) -> Result<ExitCode, StartError> {
    let (lines, mut faults) = read(source, format, &app.choices.oauth_issuers).map_err(StartError)?;
    // Faults of lines that do not parse would follow from others: an account without its line, say.
    if faults.is_empty() {
        let (accounts, wrong) = assemble(lines);
        faults.extend(wrong);
        faults.extend(accounts.iter().flat_map(|account| check_account(app, account)));
        let (people, wrong) = gather_people(&accounts);
        faults.extend(wrong);
        if faults.is_empty() {
            return write(import, app, &accounts, &people, name).await;
        }
    }
    tell(name, &mut faults);
    say_error(&format!("nothing was written: {}", count(faults.len(), "fault")));
    Ok(ExitCode::FAILURE)
}

fn read(
    source: source::Source,
    format: Format,
    issuers: &[String],
) -> Result<(Vec<ImportLine>, Vec<Fault>), String> {
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    source::each(source, format == Format::Csv, |fields| match fields {
        Ok(fields) => lines.extend(line::read(fields, issuers, &mut faults)),
        Err(fault) => faults.push(fault),
    })?;
    Ok((lines, faults))
}

/// Account after account; one that the database speaks against does not stop the others.
async fn write(
    import: &Import,
    app: &App,
    accounts: &[ImportAccount],
    people: &ImportPeople,
    name: &str,
) -> Result<ExitCode, StartError> {
    let all = accounts.iter().map(|account| account.members.len()).sum();
    let progress = Progress::start(if import.dry_run { "checking" } else { "importing" }, all);
    let caller = caller();
    let (mut new, mut unchanged, mut faults) = (0, 0, Vec::new());
    let members = AtomicUsize::new(0);
    for account in accounts {
        let written = |count| {
            members.fetch_add(count, Ordering::Relaxed);
            progress.add(count);
        };
        match import_account(app, &caller, account, people, import.dry_run, &written).await {
            Ok(Imported::New) => new += 1,
            Ok(Imported::Unchanged) => unchanged += 1,
            Err(ImportFailure::Faults(wrong)) => faults.extend(wrong),
            Err(ImportFailure::Error(error)) => {
                progress.end();
                return Err(StartError(format!(
                    "stopped at the account `{}`, of which nothing was written: {error}; those before it \
                     are there, and the same command goes on from here",
                    account.id
                )));
            }
        }
        if import.dry_run {
            progress.add(account.members.len());
        }
    }
    progress.end();
    let members = if import.dry_run { String::new() } else { with_members(members.into_inner()) };
    let done = if import.dry_run { "would be imported" } else { "imported" };
    say(&format!("{}{members} {done}; {unchanged} there already", count(new, "account")));
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    tell(name, &mut faults);
    say_error(&format!("{}; the accounts that have them were not written", count(faults.len(), "fault")));
    Ok(ExitCode::FAILURE)
}

fn with_members(members: usize) -> String {
    format!(" with {}", count(members, "member"))
}

fn tell(name: &str, faults: &mut [Fault]) {
    faults.sort_by_key(|fault| fault.line);
    for fault in faults.iter().take(FAULTS_TOLD_MAX) {
        let field = if fault.field.is_empty() { String::new() } else { format!("{}: ", fault.field) };
        say_error(&format!("{name}:{}: {field}{}", fault.line, fault.wrong));
    }
    if faults.len() > FAULTS_TOLD_MAX {
        say_error(&format!("and {} more", faults.len() - FAULTS_TOLD_MAX));
    }
}
