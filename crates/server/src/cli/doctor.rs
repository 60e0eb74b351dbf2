//! `usher doctor`: looks at all that a server needs before one is started, and says what to do.
//!
//! It changes nothing: no schema, no mail, no file.

mod database;
mod files;
mod services;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::output::Output;
use super::{Options, count, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::transport::listen::check_listen;

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    options: Options,
    /// How to print the findings.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// A server starts all the same, but somebody should look.
    Warning,
    /// A server does not start, or does not do what it should.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at, in a word.
    part: &'static str,
    verdict: Verdict,
    /// What was found, and what to do about it.
    text: String,
}

impl Finding {
    fn ok(part: &'static str, text: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Ok, text: text.into() }
    }

    fn warning(part: &'static str, text: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Warning, text: text.into() }
    }

    fn problem(part: &'static str, text: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Problem, text: text.into() }
    }
}

/// Exits with 0 if nothing keeps a server from its work, else with 1.
pub(super) async fn doctor(doctor: &Doctor) -> ExitCode {
    let findings = examine(&doctor.options).await;
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    let warnings = findings.iter().filter(|finding| finding.verdict == Verdict::Warning).count();
    match doctor.output {
        Output::Json => {
            let told = json!({"findings": findings, "problems": problems, "warnings": warnings});
            say(&told.to_string());
        }
        Output::Text => {
            for Finding { part, verdict, text } in &findings {
                let mark = match verdict {
                    Verdict::Ok => "✔",
                    Verdict::Warning => "!",
                    Verdict::Problem => "✘",
                };
                say(&format!("{mark} {part:<13} {text}"));
            }
            say(&format!("{}, {}", count(problems, "problem"), count(warnings, "warning")));
        }
    }
    ExitCode::from(u8::from(problems > 0))
}

async fn examine(options: &Options) -> Vec<Finding> {
    let config = match options.load() {
        Ok(config) => config,
        Err(error) => {
            return error.0.lines().map(|line| Finding::problem("configuration", line)).collect();
        }
    };
    let clock = Clock::system();
    let mut findings = configuration(&config, &clock);
    findings.extend(files::examine(&config, options.base.config.as_deref()));
    findings.extend(files::certificates(&config, &clock));
    findings.extend(database::examine(&config, &clock).await);
    findings.push(services::mail(&config).await);
    findings
}

/// Whether the settings go together.
fn configuration(config: &Config, clock: &Clock) -> Vec<Finding> {
    const PART: &str = "configuration";
    let authenticator = match config.authenticator(clock) {
        Ok(authenticator) => authenticator,
        Err(error) => return error.0.into_iter().map(|line| Finding::problem(PART, line)).collect(),
    };
    let listen = config.server.listen;
    vec![match check_listen(listen, !authenticator.is_open(), config.server.insecure) {
        Err(problem) => Finding::problem(PART, problem),
        Ok(Some(warning)) => Finding::warning(PART, warning.0),
        Ok(None) => Finding::ok(PART, format!("is right; serves {listen}")),
    }]
}
