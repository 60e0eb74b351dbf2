//! Tables for people, JSON for programs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::Sample;
use crate::{Result, plot};

/// The middle value.
pub(crate) fn median<T>(samples: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rows below a heading, aligned when printed.
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// In Markdown, so that it can be pasted.
    fn print(&self) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().chain([&self.columns]).filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let line = |row: &[String]| {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let space = " ".repeat(width(at) - cell.chars().count());
                if at < 2 { format!("{cell}{space}") } else { format!("{space}{cell}") }
            });
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = self.columns.iter().enumerate().map(|(at, _)| if at < 2 { "---" } else { "---:" });
        let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("\n{}\n\n{}{rule}{rows}", self.title, line(&self.columns))
    }
}

/// All that was measured, and what was not.
pub(crate) struct Report {
    machine: Value,
    measured: Vec<Value>,
    figures: Vec<Value>,
    skipped: Vec<Value>,
}

impl Report {
    pub(crate) fn new(machine: Value) -> Self {
        Self { machine, measured: Vec::new(), figures: Vec::new(), skipped: Vec::new() }
    }

    /// The medians of one server under one load.
    pub(crate) fn measured(&mut self, what: &str, load: &str, server: &str, sample: &Sample) {
        self.measured.push(json!({
            "what": what, "load": load, "server": server, "cpu_us_per_request": sample.cpu_us,
            "requests_per_second": sample.rate, "p50_us": sample.p50_us, "p99_us": sample.p99_us,
        }));
    }

    /// One number that stands alone.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str) {
        self.figures.push(json!({ "name": name, "value": value, "unit": unit }));
    }

    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.skipped.push(json!({ "what": what, "why": why }));
    }

    /// Prints a table, at once: a long run shows what it has.
    #[expect(clippy::print_stdout, reason = "the report is what this program is for")]
    pub(crate) fn table(&mut self, table: Table) {
        println!("{}", table.print());
    }

    /// Writes `report.json` and `checks.svg`.
    #[expect(clippy::print_stdout, reason = "the report is what this program is for")]
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        println!("\nMachine: {}", self.machine);
        for skipped in &self.skipped {
            println!("Not measured: {skipped}");
        }
        fs::create_dir_all(directory)?;
        let all = json!({
            "machine": self.machine, "measured": self.measured, "figures": self.figures,
            "not_measured": self.skipped,
        });
        fs::write(directory.join("report.json"), serde_json::to_string_pretty(&all)?)?;
        fs::write(directory.join("checks.svg"), plot::bars(&self.measured))?;
        Ok(())
    }
}
