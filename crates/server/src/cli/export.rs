//! `usher export`: all accounts with their members, as `usher import` reads them.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use usher_domain::account::AccountState;
use usher_domain::email::EmailAddress;
use usher_domain::import::{ImportAccount, ImportIdentity, ImportMember};
use usher_domain::member::MemberState;
use usher_domain::time::Time;

use super::progress::Progress;
use super::{BaseOptions, count, say_error};
use crate::app::export::{export_account, export_ids};
use crate::clock::Clock;
use crate::lifecycle::{StartError, build_app};

#[derive(Args)]
#[command(after_long_help = "\
The output is JSON lines, sorted by account and user, each account as it was at one moment; `usher import --help` \
says what the fields mean. It does not have: passwords (people ask for a link to set one), invitations, ownership \
tickets, the audit log, sign-in times, closed accounts, and people who are members of nothing.")]
pub(super) struct Export {
    /// Where to write it; `-` is standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    options: BaseOptions,
}

pub(super) async fn export(export: &Export) -> Result<(), StartError> {
    let config = export.options.load()?;
    let app = build_app(&config, Clock::system()).await?;
    let failed = |error| StartError(format!("cannot write `{}`: {error}", export.file.display()));
    let is_stdout = export.file.as_os_str() == "-";
    let mut out: Box<dyn Write> = if is_stdout {
        Box::new(BufWriter::new(stdout()))
    } else {
        let file = File::options().write(true).create_new(true).open(&export.file).map_err(failed)?;
        Box::new(BufWriter::new(file))
    };
    let ids = export_ids(&app).await?;
    let progress = Progress::start("exporting", 0);
    let (mut accounts, mut members) = (0, 0);
    for id in ids {
        let Some(account) = export_account(&app, &id).await? else { continue };
        accounts += 1;
        members += account.members.len();
        progress.add(account.members.len());
        for line in lines(&account)? {
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        }
    }
    out.flush().map_err(failed)?;
    progress.end();
    app.store.clone().close().await;
    // On stderr, because the output may be on stdout.
    let (accounts, members) = (count(accounts, "account"), count(members, "member"));
    say_error(&format!("exported {accounts} with {members}; passwords are not in it"));
    Ok(())
}

fn lines(account: &ImportAccount) -> Result<Vec<String>, StartError> {
    let failed = |error: serde_json::Error| StartError(format!("cannot write JSON: {error}"));
    let mut lines = vec![serde_json::to_string(&AccountLine::of(account)).map_err(failed)?];
    for member in &account.members {
        let line = MemberLine::of(account, member);
        lines.push(serde_json::to_string(&line).map_err(failed)?);
    }
    Ok(lines)
}

/// What is the default is left out.
#[derive(Serialize)]
struct AccountLine<'a> {
    account_id: &'a str,
    name: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    seats: Seats,
    #[serde(skip_serializing_if = "str::is_empty")]
    plan: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_end_time: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_over_limit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    over_limit_end_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Seats {
    Number(u32),
    Word(&'static str),
}

#[derive(Serialize)]
struct MemberLine<'a> {
    account_id: &'a str,
    user_id: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seat: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    display_name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identities: Vec<IdentityLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_time: Option<String>,
}

#[derive(Serialize)]
struct IdentityLine<'a> {
    issuer: &'a str,
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// Only if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    given: Option<bool>,
}

impl<'a> AccountLine<'a> {
    fn of(account: &'a ImportAccount) -> Self {
        let subscription = &account.subscription;
        Self {
            account_id: account.id.as_str(),
            name: &account.name,
            model: &account.model,
            state: (account.state == AccountState::Suspended).then_some("suspended"),
            seats: account.purchased.map_or(Seats::Word("unlimited"), Seats::Number),
            plan: &subscription.plan,
            expire_time: subscription.expire_time.map(text),
            grace_end_time: subscription.grace_end_time.map(text),
            allow_over_limit: account.allow_over_limit,
            over_limit_end_time: account.over_limit_end_time.filter(|_| account.allow_over_limit).map(text),
            create_time: account.create_time.map(text),
        }
    }
}

impl<'a> MemberLine<'a> {
    fn of(account: &'a ImportAccount, member: &'a ImportMember) -> Self {
        Self {
            account_id: account.id.as_str(),
            user_id: member.user_id.as_str(),
            role: &member.role,
            state: (member.state == MemberState::Suspended).then_some("suspended"),
            seat: member.seat,
            verified_email: member.verified_email.as_ref().map(EmailAddress::as_str),
            email: member.email.as_ref().map(EmailAddress::as_str),
            display_name: &member.display_name,
            identities: member.identities.iter().map(IdentityLine::of).collect(),
            join_time: member.join_time.map(text),
        }
    }
}

impl<'a> IdentityLine<'a> {
    fn of(identity: &'a ImportIdentity) -> Self {
        Self {
            issuer: &identity.issuer,
            username: &identity.username,
            subject: identity.subject.as_deref(),
            given: (!identity.given).then_some(false),
        }
    }
}

fn text(time: Time) -> String {
    chrono::DateTime::from_timestamp_micros(time.micros())
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
