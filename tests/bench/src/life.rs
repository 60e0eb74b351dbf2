//! A server's life: its first answer, what is not in memory, a mix as it comes, and a long run.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;
use usher_contract::v1::member_service_client::MemberServiceClient;

use crate::generator::{Refusals, Until, drive};
use crate::load::{Shape, at};
use crate::postgres::Postgres;
use crate::process::Cores;
use crate::report::{Report, Table, median};
use crate::{Bench, Result, data, say, usher};

/// From the start of the process to its first answer from a database that is there.
pub(crate) fn cold_start(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("cold")?;
    let url = usher::sqlite(&directory);
    let first = usher::start(bench, &url, &[])?;
    runtime.block_on(async { data::fill(&data::connect(&first.url()).await?, 1, 4).await })?;
    drop(first);
    let mut times = Vec::new();
    for _ in 0..bench.rounds() * 3 {
        let server = usher::start(bench, &url, &[])?;
        let asked = Instant::now();
        runtime.block_on(async {
            let channel = data::connect(&server.url()).await?;
            let check = data::check(&data::account_id(0), &data::user_id(0, 3), ("job", "run"));
            Result::Ok(AuthorizationServiceClient::new(channel).check_permission(check).await?)
        })?;
        times.push((server.started_in + asked.elapsed()).as_secs_f64() * 1e3);
    }
    let mut table = Table::new("Cold start", &["from start to first answer", "", "ms"]);
    let middle = median(&times, |time| *time);
    report.figure("cold start to first answer", middle, "ms");
    table.row(["SQLite".to_owned(), String::new(), format!("{middle:.0}")]);
    report.table(table);
    Ok(())
}

/// Checks of which none is in memory, beside the same statement by pgbench.
pub(crate) fn misses(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    const MEMBERS: u64 = 40_000;
    let postgres = Postgres::start()?;
    let url = postgres.database("misses")?;
    // Room for nothing: every check reads.
    let settings = ["cache.standings_max=1".to_owned()];
    let server = usher::start_on(bench, &Cores::unpinned(), &url, &settings)?;
    runtime.block_on(async { data::fill(&data::connect(&server.url()).await?, 1, 4).await })?;
    postgres.psql(&url, &data::copies(MEMBERS))?;
    let script = bench.scratch.path().join("standing.sql");
    let statement = "SELECT a.revision, a.state, a.model, a.grace_end_time, a.over_limit, a.over_limit_end_time, \
        a.over_limit_clear_time, a.expire_time, a.suspend_time, a.changed_time, a.changed_event, a.changed_revision, \
        m.state AS member_state, m.role, m.seat, m.state_time, m.role_time, m.seat_time, m.changed_time, \
        m.changed_event, m.changed_revision FROM account a LEFT JOIN member m ON m.account_id = a.id AND m.user_id = \
        ('usr_' || lpad(to_hex(112589990684291072 + 1 + :n / 100), 16, '0') || lpad(to_hex(:n % 100), 16, '0')) \
        WHERE a.id = ('acc_01900000000070008' || lpad(to_hex(1 + :n / 100), 15, '0'))";
    fs::write(&script, format!("\\set n random(0, {})\n{statement};\n", MEMBERS - 1))?;
    let mut table = Table::new(
        "Checks that are not in memory (PostgreSQL, nothing pinned)",
        &["at once", "", "Usher/s", "its statement by pgbench/s", "ratio", "p50 µs", "p99 µs"],
    );
    for at_once in [1_u32, 8] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=bench.rounds().min(3) {
            say(&format!("   {at_once} at once: round {round}"));
            let question = |number: u64| data::member_check(number.wrapping_mul(7_919) % MEMBERS);
            let until = Until::Time(Duration::from_secs(3));
            let shape = Shape::new(1, at_once);
            let driven = runtime.block_on(drive(
                server.port,
                data::CHECK,
                shape,
                until,
                Duration::ZERO,
                Refusals::Fail,
                question,
            ))?;
            ours.push((driven.rate, at(&driven.times_us, 0.5), at(&driven.times_us, 0.99)));
            theirs.push(postgres.pgbench(&url, &script, at_once as usize, 3)?);
        }
        let (rate, floor) = (median(&ours, |run| run.0), median(&theirs, |rate| *rate));
        report.figure(&format!("misses at {at_once}, against pgbench"), rate / floor, "ratio");
        table.row([
            at_once.to_string(),
            String::new(),
            format!("{rate:.0}"),
            format!("{floor:.0}"),
            format!("{:.2}", rate / floor),
            format!("{:.0}", median(&ours, |run| run.1)),
            format!("{:.0}", median(&ours, |run| run.2)),
        ]);
    }
    report.table(table);
    Ok(())
}

/// Members asked about as they come, a few very often (Zipf), with one change in a hundred calls; and the
/// memory of the server over that time.
pub(crate) fn mix(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    const MEMBERS: u64 = 100_000;
    let postgres = Postgres::start()?;
    let url = postgres.database("mix")?;
    // A tenth of the members fit, so that entries go as well as come.
    let server = usher::start(bench, &url, &["cache.standings_max=10000".to_owned()])?;
    let channel = runtime.block_on(async {
        let channel = data::connect(&server.url()).await?;
        data::fill(&channel, 1, 4).await?;
        Result::Ok(channel)
    })?;
    postgres.psql(&url, &data::copies(MEMBERS))?;
    let minutes = if bench.full { 10.0 } else { 1.0 };
    let parts = 10;
    let part = Duration::from_secs_f64(minutes * 60.0 / f64::from(parts));
    let mut table = Table::new(
        "A mix over time: 100,000 members by Zipf, 1 % changes, room for a tenth (PostgreSQL, server on one core)",
        &["minute", "", "checks/s", "changes/s", "p50 µs", "p99 µs", "hit rate", "resident MB"],
    );
    let mut memory = Vec::new();
    for number in 1..=parts {
        say(&format!("   part {number} of {parts}"));
        let reads_before = reads(&postgres, &url)?;
        let (driven, changes) = runtime.block_on(async {
            let asked = AtomicU64::new(0);
            let question = |number: u64| {
                asked.fetch_add(1, Ordering::Relaxed);
                data::member_check(zipf(number, MEMBERS))
            };
            let checks = drive(
                server.port,
                data::CHECK,
                Shape::new(8, 2),
                Until::Time(part),
                Duration::from_micros(200),
                Refusals::Fail,
                question,
            );
            let changes = changes(channel.clone(), part, &asked);
            let (checks, changes) = tokio::join!(checks, changes);
            Result::Ok((checks?, changes?))
        })?;
        let missed = reads(&postgres, &url)?.saturating_sub(reads_before);
        let hits = 1.0 - missed as f64 / driven.requests as f64;
        memory.push(server.memory()? as f64 / 1e6);
        table.row([
            format!("{:.1}", minutes * f64::from(number) / f64::from(parts)),
            String::new(),
            format!("{:.0}", driven.rate),
            format!("{:.0}", changes as f64 / part.as_secs_f64()),
            format!("{:.0}", at(&driven.times_us, 0.5)),
            format!("{:.0}", at(&driven.times_us, 0.99)),
            format!("{hits:.3}"),
            format!("{:.0}", memory.last().copied().unwrap_or_default()),
        ]);
        report.figure(&format!("hit rate in part {number}"), hits, "ratio");
    }
    // The first parts fill the memory.
    let (settled, last) = (memory[memory.len() / 3], memory[memory.len() - 1]);
    report.figure("growth of memory after the first third", last / settled, "ratio");
    report.table(table);
    Ok(())
}

/// How often members were looked up so far.
fn reads(postgres: &Postgres, url: &str) -> Result<u64> {
    let sql = "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_indexes WHERE indexrelname = 'member_pkey'";
    // The statistics arrive a little late.
    std::thread::sleep(Duration::from_millis(1_100));
    Ok(postgres.psql(url, sql)?.parse()?)
}

/// Changes the role of one member after the other, one with every hundred checks that are asked.
async fn changes(channel: tonic::transport::Channel, time: Duration, asked: &AtomicU64) -> Result<u64> {
    let mut members = MemberServiceClient::new(channel);
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < time {
        if asked.load(Ordering::Relaxed) < (done + 1) * 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let role = if done % 2 == 0 { "reader" } else { "editor" };
        let (account, number) = (1 + done % 1_000, done % 100);
        members
            .change_role(pb::ChangeRoleRequest {
                account_id: data::account_id(account),
                acting: Some(pb::change_role_request::Acting::Platform(pb::Platform {})),
                user_id: data::user_id(account, number),
                role: role.to_owned(),
                ..Default::default()
            })
            .await?;
        done += 1;
    }
    Ok(done)
}

/// Draws from 0 to `members`, the k-th most wanted about 1/k as often as the first, the same ones each time.
fn zipf(number: u64, members: u64) -> u64 {
    // A fixed mix of the number's bits (splitmix64) as a fraction.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let fraction = ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    // The inverse of the distribution of 1/k, near enough.
    let rank = ((members as f64).ln() * fraction).exp() as u64;
    rank.min(members) - 1
}
