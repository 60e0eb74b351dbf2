//! `usher-bench`: what a check costs, beside a bare server with the same messages and beside the field.
//!
//! Servers run on one core and the load on the others, in interleaved rounds, because a rate moves with
//! the machine and a ratio within one run hardly does. The figure to trust is the time that the server
//! spends on a core for one request, from `/proc/PID/task/*/schedstat`.

mod arrangement;
mod data;
mod echo;
mod echo_per_core;
mod field;
mod generator;
mod headline;
mod instructions;
mod invitations;
mod isolation;
mod life;
mod load;
mod machine;
mod plot;
mod postgres;
mod process;
mod report;
mod size;
mod usher;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use process::Cores;
use report::Report;

// As Usher has it, for the bare server on Usher's arrangement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures a release build of Usher. Builds it first.
#[derive(Parser)]
#[command(name = "usher-bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Be a bare server: on Usher's arrangement, or on tokio's multi-thread runtime.
    #[command(hide = true)]
    Echo {
        #[arg(long)]
        multi_thread: bool,
    },
}

#[derive(Args)]
pub(crate) struct Options {
    /// The checks beside the bare servers; under three minutes. This is what happens without an option.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Everything; about 35 minutes.
    #[arg(long)]
    full: bool,
    /// Only the sections of these names.
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure this binary and build nothing; the bare servers lie beside this program.
    #[arg(long, value_name = "FILE")]
    usher: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    output: PathBuf,
}

/// What every section measures with.
pub(crate) struct Bench {
    pub cores: Cores,
    pub usher: PathBuf,
    pub echo: PathBuf,
    pub echo_default: PathBuf,
    pub scratch: tempfile::TempDir,
    pub full: bool,
}

impl Bench {
    /// Rounds of interleaved runs.
    pub(crate) fn rounds(&self) -> usize {
        if self.full { 5 } else { 3 }
    }

    /// How long one run takes, without its warm-up.
    pub(crate) fn run_time(&self) -> Duration {
        Duration::from_millis(if self.full { 2000 } else { 1200 })
    }

    /// A directory of its own for one server.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.scratch.path().join(name);
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Echo { multi_thread: false }) => echo_per_core::run(),
        Some(Command::Echo { multi_thread: true }) => echo::run_multi_thread(),
        None => bench(&cli.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("usher-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let began = std::time::Instant::now();
    let bench = prepare(options)?;
    let mut report = Report::new(machine::describe(&bench.cores)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (name, only_full, section) in SECTIONS {
        let wanted = match options.only.as_slice() {
            [] => options.full || !only_full,
            only => only.iter().any(|asked| asked == name),
        };
        if !wanted {
            continue;
        }
        say(&format!("== {name}"));
        // What one section lacks must not take the others with it.
        if let Err(error) = section(&bench, &runtime, &mut report) {
            report.skip(name, &error.to_string());
            say(&format!("   NOT MEASURED: {error}"));
        }
    }
    report.write(&options.output)?;
    say(&format!(
        "done in {} s; report.json and checks.svg are in {}",
        began.elapsed().as_secs(),
        options.output.display()
    ));
    Ok(())
}

type Section = fn(&Bench, &tokio::runtime::Runtime, &mut Report) -> Result<()>;

/// All sections: name, whether only `--full` runs it, and what it does.
const SECTIONS: [(&str, bool, Section); 10] = [
    ("checks", false, headline::run),
    ("arrangement", true, arrangement::run),
    ("field", true, field::run),
    ("invitations", true, invitations::run),
    ("instructions", true, instructions::run),
    ("isolation", true, isolation::run),
    ("size", true, size::run),
    ("cold", true, life::cold_start),
    ("misses", true, life::misses),
    ("mix", true, life::mix),
];

fn prepare(options: &Options) -> Result<Bench> {
    load::version()?;
    let program = std::env::current_exe()?;
    if options.usher.is_none() {
        build()?;
    }
    let beside = |name| {
        let path = program.with_file_name(name);
        if path.exists() { Ok(path) } else { Err(format!("there is no `{}`", path.display())) }
    };
    Ok(Bench {
        cores: Cores::find(),
        usher: options.usher.clone().map_or_else(|| beside("usher"), Ok)?,
        echo: program.clone(),
        echo_default: beside("echo-default")?,
        scratch: tempfile::tempdir()?,
        full: options.full && !options.quick,
    })
}

/// Builds the server and the bare one, as release, beside this program.
fn build() -> Result<()> {
    say("building usher and the bare servers (release)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Both packages at once, or their features differ and all is built twice.
    let status = std::process::Command::new(cargo)
        .args(["build", "--release", "--bins", "--quiet", "-p", "usher-server", "-p", "usher-bench"])
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the build failed: {status}").into()) }
}

/// Progress, on stderr: the report is on stdout.
#[expect(clippy::print_stderr, reason = "a program that takes minutes says where it is")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
