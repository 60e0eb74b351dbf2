//! Invitations beside the database itself: the statements of one invitation, as PostgreSQL logged them,
//! sent again by pgbench.

use std::fs;
use std::time::Duration;

use tokio::runtime::Runtime;
use tonic::transport::Channel;
use usher_contract::v1 as pb;
use usher_contract::v1::member_service_client::MemberServiceClient;

use crate::generator::{Refusals, Until, drive};
use crate::load::{self, Shape};
use crate::postgres::Postgres;
use crate::process::Cores;
use crate::report::{Report, Table, median};
use crate::{Bench, Result, data, say, usher};

/// So many clients, each on an account of its own, or all on one.
const CLIENTS: u64 = 8;
const SECONDS: u64 = 6;

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let postgres = Postgres::start()?;
    let script = bench.scratch.path().join("invitation.sql");
    let mut table = Table::new(
        "Invitations on PostgreSQL (nothing pinned)",
        &["accounts", "", "Usher/s", "the same statements by pgbench/s", "ratio"],
    );
    for accounts in [CLIENTS, 1] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=bench.rounds().min(3) {
            say(&format!("   {accounts} accounts: round {round}"));
            // A new database for each, because every invitation makes the next one dearer.
            let url = postgres.database(&format!("ours{accounts}_{round}"))?;
            let server = usher::start_on(bench, &Cores::unpinned(), &url, &[])?;
            runtime.block_on(async {
                data::fill(&data::connect(&server.url()).await?, accounts, 0).await?;
                let invite =
                    |number: u64| load::frame(&invitation(number % accounts, &format!("guest{number}")));
                let (until, shape) =
                    (Until::Time(Duration::from_secs(SECONDS)), Shape::new(CLIENTS as u32, 1));
                let driven =
                    drive(server.port, INVITE, shape, until, Duration::ZERO, Refusals::Fail, invite).await?;
                ours.push(driven.rate);
                Result::Ok(())
            })?;
            drop(server);

            let url = postgres.database(&format!("theirs{accounts}_{round}"))?;
            let server = usher::start_on(bench, &Cores::unpinned(), &url, &[])?;
            let statements = runtime.block_on(async {
                let channel = data::connect(&server.url()).await?;
                data::fill(&channel, accounts, 0).await?;
                statements(&postgres, &channel).await
            })?;
            drop(server);
            fs::write(&script, again(&statements, accounts)?)?;
            theirs.push(postgres.pgbench(&url, &script, CLIENTS as usize, SECONDS)?);
        }
        let (ours, theirs) = (median(&ours, |rate| *rate), median(&theirs, |rate| *rate));
        report.figure(
            &format!("invitations in {accounts} accounts, against pgbench"),
            ours / theirs,
            "ratio",
        );
        table.row([
            accounts.to_string(),
            String::new(),
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            format!("{:.2}", ours / theirs),
        ]);
    }
    report.table(table);
    Ok(())
}

const INVITE: &str = "usher.v1.MemberService/InviteUser";
const GUEST: &str = "the-guest";

fn invitation(account: u64, guest: &str) -> pb::InviteUserRequest {
    pb::InviteUserRequest {
        acting: Some(pb::invite_user_request::Acting::ActorId(data::user_id(account, 0))),
        account_id: data::account_id(account),
        email: format!("{guest}@people.example"),
        role: "reader".to_owned(),
        ..Default::default()
    }
}

/// One statement with its values; `None` is NULL.
struct Statement {
    sql: String,
    values: Vec<Option<String>>,
}

/// What one invitation sends, from the log.
async fn statements(postgres: &Postgres, channel: &Channel) -> Result<Vec<Statement>> {
    let mut members = MemberServiceClient::new(channel.clone());
    // The first ones prepare what the third sends.
    for guest in ["one", "two"] {
        members.invite_user(invitation(0, guest)).await?;
    }
    postgres.log_statements(true)?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = fs::metadata(&postgres.log)?.len() as usize;
    members.invite_user(invitation(0, GUEST)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    postgres.log_statements(false)?;
    let log = fs::read(&postgres.log)?;
    parse(&String::from_utf8_lossy(log.get(before..).unwrap_or_default()))
}

/// The lines of the process that wrote the guest's invitation.
fn parse(log: &str) -> Result<Vec<Statement>> {
    let process = log.lines().find(|line| line.contains(GUEST)).and_then(|line| line.split(' ').next());
    let process = process.ok_or("PostgreSQL logged no invitation")?;
    let mut statements: Vec<Statement> = Vec::new();
    for line in log.lines().filter_map(|line| line.strip_prefix(process)) {
        let line = line.trim_start();
        if let Some(sql) = line.strip_prefix("LOG:  execute ").and_then(|rest| rest.split_once(": ")) {
            statements.push(Statement { sql: sql.1.to_owned(), values: Vec::new() });
        } else if let Some(values) = line.strip_prefix("DETAIL:  parameters: ")
            && let Some(last) = statements.last_mut()
        {
            last.values = self::values(values);
        }
    }
    if statements.len() < 5 {
        return Err(format!("PostgreSQL logged only {} statements of an invitation", statements.len()).into());
    }
    Ok(statements)
}

/// `$1 = 'a', $2 = NULL` as values. Quotes within are doubled.
fn values(text: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        match value.strip_prefix('\'') {
            Some(quoted) => {
                let mut end = 0;
                while let Some(found) = quoted[end..].find('\'') {
                    end += found;
                    if !quoted[end + 1..].starts_with('\'') {
                        break;
                    }
                    end += 2;
                }
                values.push(Some(quoted[..end].to_owned()));
                rest = &quoted[end..];
            }
            None => {
                values.push(None);
                rest = value;
            }
        }
    }
    values
}

/// A script of pgbench that sends them again, each time for another guest.
fn again(statements: &[Statement], accounts: u64) -> Result<String> {
    let ids: Vec<&str> = statements
        .iter()
        .filter(|statement| statement.sql.starts_with("INSERT"))
        .filter_map(|statement| statement.values.first()?.as_deref())
        .filter(|id| id.contains('_'))
        .collect();
    let (account, founder) = (data::account_id(0), data::user_id(0, 0));
    // Ids of other accounts differ from the first one's in their last digit alone.
    let of = |id: &str, digits: usize| {
        let (head, tail) = id.split_at(id.len() - digits);
        format!("('{head}' || (:account + {})::text || '{}')", &tail[..1], &tail[1..])
    };
    let literal = |value: &Option<String>, of_event: bool| match value.as_deref() {
        None => "NULL".to_owned(),
        Some(value) if value == account => of(value, 1),
        Some(value) if value == founder => of(value, 17),
        Some(value) if value.starts_with(GUEST) => {
            "('guest' || :unique::text || '@people.example')".to_owned()
        }
        Some(value) if ids.contains(&value) => {
            format!("('{}_' || :unique::text)", value.split('_').next().unwrap_or_default())
        }
        // The event's revision, which is unique in its stream.
        Some(_) if of_event => ":unique::bigint".to_owned(),
        // A colon in JSON would make pgbench look for a variable.
        Some(value) => format!("'{}'", value.replace(':', ": ")),
    };
    let mut script =
        format!("\\set unique random(1, 9000000000000000)\n\\set account :client_id % {accounts}\nBEGIN;\n");
    for statement in statements {
        let mut sql = statement.sql.clone();
        let is_event = sql.starts_with("INSERT INTO \"event\"");
        // From the last, so that $1 does not hit $10.
        for (at, value) in statement.values.iter().enumerate().rev() {
            let name = format!("${}", at + 1);
            sql = sql.replace(&name, &literal(value, is_event && at == 2));
        }
        if let Some(at) = sql.find('$') {
            return Err(format!("a value is missing in the log: {}", &sql[at..]).into());
        }
        script.push_str(&sql);
        script.push_str(";\n");
    }
    script.push_str("COMMIT;\n");
    Ok(script)
}
