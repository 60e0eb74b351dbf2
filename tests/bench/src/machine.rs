//! What the figures were made on.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::process::Cores;
use crate::{Result, load};

/// Machine and versions.
pub(crate) fn describe(cores: &Cores) -> Result<serde_json::Value> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    Ok(json!({
        "cpu": model.trim_start_matches(['\t', ' ', ':']),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "pinning": cores.describe(),
        "rustc": first_line("rustc", "--version"),
        "load": load::version()?,
        "commit": first_line_of(Command::new("git").args(["rev-parse", "--short", "HEAD"])),
    }))
}

fn first_line(program: &str, argument: &str) -> String {
    first_line_of(Command::new(program).arg(argument))
}

pub(crate) fn first_line_of(command: &mut Command) -> String {
    let out =
        command.output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    out.lines().next().unwrap_or("unknown").to_owned()
}
