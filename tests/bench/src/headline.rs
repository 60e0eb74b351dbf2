//! A check, and a batch of them, beside the bare servers.

use tokio::runtime::Runtime;

use crate::data::{self, Asked, BATCH};
use crate::load::{self, Question, SHAPES, Sample, Shape};
use crate::process::Server;
use crate::report::{Report, Table, median};
use crate::{Bench, Result, echo, say, usher};

const ACCOUNTS: u64 = 10;
const MEMBERS: u64 = 99;
/// What batches are measured at: they carry their own concurrency.
const BATCH_SHAPE: Shape = Shape::new(4, 4);

pub(crate) const USHER: &str = "Usher";
pub(crate) const BARE: &str = "bare tonic, same arrangement";
pub(crate) const DEFAULT: &str = "bare tonic, defaults";

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("checks")?;
    let server = usher::start(bench, &usher::sqlite(&directory), &[])?;
    say(&format!("   loading {} members", ACCOUNTS * (MEMBERS + 1)));
    let asked = runtime.block_on(async {
        let channel = data::connect(&server.url()).await?;
        data::load(&channel, ACCOUNTS, MEMBERS).await?;
        let verified = data::verify(&channel).await?;
        say(&format!("   {verified} answers are as the product's table has them"));
        Asked::of(&channel, &directory).await
    })?;
    let servers =
        [(USHER, server), (BARE, bare(bench, &asked, true)?), (DEFAULT, bare(bench, &asked, false)?)];

    let mut table = Table::new("CheckPermission", &["load", "server", "CPU µs/request", "ratio", "requests/s", "p50 µs", "p99 µs"]);
    for shape in SHAPES {
        let samples = rounds(bench, &servers, &asked.check, shape)?;
        for (name, sample) in samples.iter().copied() {
            let ratio = sample.cpu_us / samples[1].1.cpu_us;
            report.measured("CheckPermission", &shape.name(), name, &sample);
            table.row([
                shape.name(),
                name.to_owned(),
                format!("{:.2}", sample.cpu_us),
                format!("{ratio:.2}"),
                format!("{:.0}", sample.rate),
                format!("{:.0}", sample.p50_us),
                format!("{:.0}", sample.p99_us),
            ]);
        }
    }
    report.table(table);

    let title = format!("CheckPermissions of {BATCH}");
    let mut table = Table::new(&title, &["load", "server", "CPU µs/check", "ratio", "checks/s"]);
    let samples = rounds(bench, &servers, &asked.checks, BATCH_SHAPE)?;
    for (name, sample) in samples.iter().copied() {
        let ratio = sample.cpu_us / samples[1].1.cpu_us;
        report.measured(&title, &BATCH_SHAPE.name(), name, &sample);
        table.row([
            BATCH_SHAPE.name(),
            name.to_owned(),
            format!("{:.3}", sample.cpu_us / BATCH as f64),
            format!("{ratio:.2}"),
            format!("{:.0}", sample.rate * BATCH as f64),
        ]);
    }
    report.table(table);
    Ok(())
}

/// A bare server that gives the answers that Usher gave.
fn bare(bench: &Bench, asked: &Asked, same_arrangement: bool) -> Result<Server> {
    let mut command = if same_arrangement {
        let mut command = bench.cores.command(&bench.cores.server, &bench.echo);
        command.arg("echo");
        command
    } else {
        bench.cores.command(&bench.cores.server, &bench.echo_default)
    };
    command.env(echo::CHECK, &asked.check_answer).env(echo::CHECKS, &asked.checks_answer);
    Server::start(command)
}

/// Runs the same load against each server in turn, round after round; the medians.
pub(crate) fn rounds<'a>(
    bench: &Bench,
    servers: &'a [(&'a str, Server)],
    question: &Question,
    shape: Shape,
) -> Result<Vec<(&'a str, Sample)>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for round in 1..=bench.rounds() {
        say(&format!("   {} at {}: round {round} of {}", question.method, shape.name(), bench.rounds()));
        for (at, (_, server)) in servers.iter().enumerate() {
            let sample =
                load::run(&bench.cores, server, question, shape, bench.run_time(), bench.scratch.path())?;
            samples[at].push(sample);
        }
    }
    let medians = samples.iter().map(|samples| Sample {
        cpu_us: median(samples, |sample| sample.cpu_us),
        rate: median(samples, |sample| sample.rate),
        p50_us: median(samples, |sample| sample.p50_us),
        p99_us: median(samples, |sample| sample.p99_us),
    });
    Ok(servers.iter().map(|(name, _)| *name).zip(medians).collect())
}

