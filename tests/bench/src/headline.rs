//! A check, and a batch of them, beside the bare servers.

use tokio::runtime::Runtime;

use crate::data::{self, Asked, BATCH};
use crate::load::{self, Question, SHAPES, Sample, Shape};
use crate::process::{Cores, Server};
use crate::report::{Report, Table, median};
use crate::{Bench, Result, echo, say, usher};

const ACCOUNTS: u64 = 10;
const MEMBERS: u64 = 99;
/// What batches are measured at: they carry their own concurrency.
const BATCH_SHAPE: Shape = Shape::new(4, 4);

pub(crate) const USHER: &str = "Usher";
const BARE: &str = "bare tonic, Usher's arrangement";
const DEFAULT: &str = "bare tonic, its defaults";

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("checks")?;
    let usher = usher::start(bench, &usher::sqlite(&directory), &[])?;
    say(&format!("   loading {} members", ACCOUNTS * (MEMBERS + 1)));
    let asked = runtime.block_on(async {
        let channel = data::connect(&usher.url()).await?;
        data::fill(&channel, ACCOUNTS, MEMBERS).await?;
        let verified = data::verify(&channel).await?;
        say(&format!("   {verified} answers are as the product's table has them"));
        Asked::of(&channel, &directory).await
    })?;
    let bare = [bare(bench, &asked, &["echo"])?, bare(bench, &asked, &[])?];
    let [same, default] = bare;

    let mut table = Table::new("CheckPermission", &COLUMNS);
    let servers = [(USHER, usher), (BARE, same), (DEFAULT, default)]
        .map(|(name, server)| (name, server, asked.check.clone()));
    for shape in SHAPES {
        let samples = rounds(bench, &servers, shape)?;
        for (name, sample) in &samples {
            report.measured("CheckPermission", &shape.name(), name, sample);
            table.row(row(shape, name, sample, samples[1].1.cpu_us));
        }
    }
    report.table(table);

    let title = format!("CheckPermissions of {BATCH}");
    let mut table = Table::new(&title, &["load", "server", "CPU µs/check", "ratio", "checks/s"]);
    let servers = servers.map(|(name, server, _)| (name, server, asked.checks.clone()));
    let samples = rounds(bench, &servers, BATCH_SHAPE)?;
    for (name, sample) in &samples {
        report.measured(&title, &BATCH_SHAPE.name(), name, sample);
        table.row([
            BATCH_SHAPE.name(),
            (*name).to_owned(),
            format!("{:.3}", sample.cpu_us / BATCH as f64),
            format!("{:.2}", sample.cpu_us / samples[1].1.cpu_us),
            format!("{:.0}", sample.rate * BATCH as f64),
        ]);
    }
    report.table(table);
    Ok(())
}

pub(crate) const COLUMNS: [&str; 7] =
    ["load", "server", "CPU µs/request", "ratio", "requests/s", "p50 µs", "p99 µs"];

/// A row below [`COLUMNS`]; `one` is the CPU time that the ratio is of.
pub(crate) fn row(shape: Shape, name: &str, sample: &Sample, one: f64) -> [String; 7] {
    [
        shape.name(),
        name.to_owned(),
        format!("{:.2}", sample.cpu_us),
        format!("{:.2}", sample.cpu_us / one),
        format!("{:.0}", sample.rate),
        format!("{:.0}", sample.p50_us),
        format!("{:.0}", sample.p99_us),
    ]
}

/// A bare server that gives the answers that Usher gave: this program with these arguments, or without
/// any the one with tonic's defaults.
fn bare(bench: &Bench, asked: &Asked, arguments: &[&str]) -> Result<Server> {
    bare_on(bench, &bench.cores, asked, arguments)
}

/// On other cores.
pub(crate) fn bare_on(bench: &Bench, cores: &Cores, asked: &Asked, arguments: &[&str]) -> Result<Server> {
    let program = if arguments.is_empty() { &bench.echo_default } else { &bench.echo };
    let mut command = cores.command(&cores.server, program);
    command.args(arguments).env(echo::CHECK, &asked.check_answer).env(echo::CHECKS, &asked.checks_answer);
    Server::start(command)
}

/// Runs the same load against each server in turn, round after round; the medians.
pub(crate) fn rounds<'a>(
    bench: &Bench,
    servers: &[(&'a str, Server, Question)],
    shape: Shape,
) -> Result<Vec<(&'a str, Sample)>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for round in 1..=bench.rounds() {
        say(&format!("   {}: round {round} of {}", shape.name(), bench.rounds()));
        for (at, (_, server, question)) in servers.iter().enumerate() {
            let scratch = bench.scratch.path();
            samples[at].push(load::run(&bench.cores, server, question, shape, bench.run_time(), scratch)?);
        }
    }
    let medians = samples.iter().map(|samples| Sample {
        cpu_us: median(samples, |sample| sample.cpu_us),
        rate: median(samples, |sample| sample.rate),
        p50_us: median(samples, |sample| sample.p50_us),
        p99_us: median(samples, |sample| sample.p99_us),
    });
    Ok(servers.iter().map(|(name, ..)| *name).zip(medians).collect())
}
