//! Cost and memory at size: members are copied in the database and each is asked about once.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::generator::{Refusals, Until, drive};
use crate::load::{Shape, at};
use crate::postgres::Postgres;
use crate::report::{Report, Table, median};
use crate::{Bench, Result, data, say, usher};

const SHAPE: Shape = Shape::new(8, 16);

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let postgres = Postgres::start()?;
    let sizes: &[u64] = if bench.full { &[1_000, 100_000, 1_000_000] } else { &[1_000, 100_000] };
    let mut table = Table::new(
        "Cost at size (PostgreSQL, server on one core)",
        &["members in memory", "", "CPU µs/check", "ratio", "p99 µs", "bytes/member", "first asked/s"],
    );
    let mut smallest = None;
    for size in sizes {
        let url = postgres.database(&format!("size{size}"))?;
        // A cache that has room for all, and entries that live through the measurement.
        let settings = [format!("cache.standings_max={}", size.max(&2_000_000))];
        let server = usher::start(bench, &url, &settings)?;
        runtime.block_on(async { data::fill(&data::connect(&server.url()).await?, 1, 4).await })?;
        say(&format!("   copying {size} members"));
        postgres.psql(&url, &data::copies(*size))?;
        say("   asking for each once");
        let size = *size;
        let once = |first: u64, calls: u64| {
            let question = move |number| data::member_check(first + number);
            let until = Until::Calls(calls);
            runtime.block_on(drive(
                server.port,
                data::CHECK,
                SHAPE,
                until,
                Duration::ZERO,
                Refusals::Fail,
                question,
            ))
        };
        // What the server took to start and gave back is not the members': the first tenth is not counted.
        once(0, size / 10)?;
        let before = server.memory()?;
        let warmed = once(size / 10, size - size / 10)?;
        let bytes = server.memory()?.saturating_sub(before) as f64 / (size - size / 10) as f64;
        let mut samples = Vec::new();
        for _ in 0..bench.rounds() {
            let cpu = server.cpu()?;
            // A stride without a common factor: as far from the last as can be, and all in turn.
            let spread = |number: u64| data::member_check(number.wrapping_mul(7_919) % size);
            let for_a_while = Until::Time(bench.run_time());
            let driven = runtime.block_on(drive(
                server.port,
                data::CHECK,
                SHAPE,
                for_a_while,
                Duration::ZERO,
                Refusals::Fail,
                spread,
            ))?;
            let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6 / driven.requests as f64;
            samples.push((cpu, at(&driven.times_us, 0.99)));
        }
        let cpu = median(&samples, |sample| sample.0);
        let ratio = cpu / *smallest.get_or_insert(cpu);
        report.figure(&format!("CPU of a check at {size} members"), cpu, "µs");
        report.figure(&format!("memory of a cached member at {size}"), bytes, "bytes");
        table.row([
            size.to_string(),
            String::new(),
            format!("{cpu:.2}"),
            format!("{ratio:.2}"),
            format!("{:.0}", median(&samples, |sample| sample.1)),
            format!("{bytes:.0}"),
            format!("{:.0}", warmed.rate),
        ]);
    }
    report.table(table);
    Ok(())
}
