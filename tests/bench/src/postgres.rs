//! A PostgreSQL of our own, with its tools.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::Result;

/// A running server. It is stopped and removed when this is dropped.
pub(crate) struct Postgres {
    child: Child,
    /// The server lives as long as this is open.
    stdin: Option<ChildStdin>,
    pub url: String,
    bin: PathBuf,
    pub log: PathBuf,
}

impl Postgres {
    /// # Errors
    /// When there is no PostgreSQL, or it does not start.
    pub(crate) fn start() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres");
        let mut child = Command::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut next = || lines.next().ok_or("PostgreSQL did not start")?.map_err(|e| e.to_string());
        let url = next()?.trim_start_matches("serving ").to_owned();
        let bin = PathBuf::from(next()?);
        let log = PathBuf::from(next()?);
        Ok(Self { child, stdin, url, bin, log })
    }

    /// A new database's URL.
    pub(crate) fn database(&self, name: &str) -> Result<String> {
        self.psql(&self.url, &format!("CREATE DATABASE {name}"))?;
        Ok(self.url.trim_end_matches("/postgres").to_owned() + "/" + name)
    }

    /// Runs SQL and gives what it prints, without headings.
    pub(crate) fn psql(&self, url: &str, sql: &str) -> Result<String> {
        let mut child = Command::new(self.bin.join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(sql.as_bytes())?;
        let out = child.wait_with_output()?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).into_owned().into());
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Whether statements are logged, with the process that sent them in front.
    pub(crate) fn log_statements(&self, on: bool) -> Result<()> {
        let level = if on { "all" } else { "none" };
        self.psql(&self.url, "ALTER SYSTEM SET log_line_prefix = '%p '")?;
        self.psql(&self.url, &format!("ALTER SYSTEM SET log_statement = '{level}'"))?;
        self.psql(&self.url, "SELECT pg_reload_conf()").map(|_| ())
    }

    /// Transactions a second of a script that pgbench runs with so many clients for so many seconds.
    pub(crate) fn pgbench(&self, url: &str, script: &Path, clients: usize, seconds: u64) -> Result<f64> {
        let out = Command::new(self.bin.join("pgbench"))
            .args([
                "-n",
                "-M",
                "prepared",
                "-c",
                &clients.to_string(),
                "-j",
                "1",
                "-T",
                &seconds.to_string(),
                "-f",
            ])
            .arg(script)
            .arg(url)
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.ok_or_else(|| format!("pgbench failed: {text}{}", String::from_utf8_lossy(&out.stderr)).into())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
