//! Where the servers of the field come from: their own packages, built or unpacked once below `target`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{Result, say};

fn tools() -> Result<PathBuf> {
    let tools = std::env::current_exe()?.with_file_name("bench-tools");
    fs::create_dir_all(&tools)?;
    Ok(tools)
}

/// Runs it; what it printed is the error.
fn run(command: &mut Command, what: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    Err(format!("{name} does not give {what}: {}", last.join(" / ")).into())
}

/// A file of a package of npm.
pub(super) fn npm(package: &str, file: &str) -> Result<PathBuf> {
    let tools = tools()?;
    let binary = tools.join("node_modules").join(file);
    if !binary.exists() {
        say(&format!("   npm install {package}"));
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&tools).arg(package);
        run(&mut npm, package)?;
    }
    Ok(binary)
}

/// A program of a Go module. It is built in a module of ours: `go install` would ask for the list of all its
/// versions, which not every proxy gives.
pub(super) fn go(module: &str, version: &str, program: &str) -> Result<PathBuf> {
    let tools = tools()?;
    let binary = tools.join(format!("{program}-{version}"));
    if !binary.exists() {
        say(&format!("   go build {module}@{version}; this takes minutes"));
        let directory = tools.join(program);
        fs::create_dir_all(&directory)?;
        fs::write(
            directory.join("go.mod"),
            format!("module usher.bench/field\n\ngo 1.24\n\nrequire {module} {version}\n"),
        )?;
        let mut go = Command::new("go");
        go.current_dir(&directory).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0");
        go.args(["build", "-o"]).arg(&binary).arg(format!("{module}/cmd/{program}"));
        run(&mut go, &format!("{module}@{version}"))?;
    }
    Ok(binary)
}
