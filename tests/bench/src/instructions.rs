//! How many instructions a call takes beyond its transport. The count hardly moves on a busy machine,
//! so a change of it is a change of the code.

use std::path::PathBuf;
use std::process::Command;

use tokio::runtime::Runtime;

use crate::report::{Report, Table};
use crate::{Bench, Result, machine, say};

/// As in the example.
const CALLS: u64 = 1_000;

pub(crate) fn run(bench: &Bench, _: &Runtime, report: &mut Report) -> Result<()> {
    if machine::first_line_of(Command::new("valgrind").arg("--version")) == "unknown" {
        return Err("valgrind is missing; Debian has it: apt-get install valgrind".into());
    }
    let example = example()?;
    let mut table = Table::new(
        "Instructions of a call, from the bytes of its message to those of its answer",
        &["call", "", "instructions"],
    );
    for (name, what) in
        [("CheckPermission", "check"), ("CheckPermissions of 100", "checks"), ("ListPermissions", "list")]
    {
        say(&format!("   {name}"));
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--toggle-collect=*one_check::counted*", "--collect-atstart=no"])
            .arg(format!("--callgrind-out-file={}", bench.scratch.path().join("callgrind").display()))
            .arg(&example)
            .arg(what)
            .output()?;
        let text = String::from_utf8_lossy(&out.stderr);
        let total =
            text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse::<u64>().ok());
        let total =
            total.filter(|total| *total > 0).ok_or_else(|| format!("callgrind counted nothing: {text}"))?;
        report.figure(&format!("instructions of {name}"), (total / CALLS) as f64, "instructions");
        table.row([name.to_owned(), String::new(), (total / CALLS).to_string()]);
    }
    report.table(table);
    Ok(())
}

fn example() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "usher-server", "--example", "one_check"])
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status()?;
    let example = std::env::current_exe()?.with_file_name("examples").join("one_check");
    if status.success() { Ok(example) } else { Err(format!("the example was not built: {status}").into()) }
}
