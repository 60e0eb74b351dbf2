//! `usher check`: ask a running server.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tonic::transport::Endpoint;

use super::output::Output;
use super::{say, say_error};
use crate::rpc::client;

#[derive(Args)]
pub(super) struct Check {
    /// The account's id.
    account: String,
    /// The user's id, or `automation`.
    subject: String,
    /// What is to be done to what: `job.run`.
    action: String,
    /// The owner of the resource, a user id; for lists, the owner filtered by.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Say how the answer came about.
    #[arg(long)]
    explain: bool,
    /// The server.
    #[arg(long, value_name = "URL", env = "USHER_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// A bearer token that proves the caller.
    #[arg(long, value_name = "TOKEN", env = "USHER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn check(check: &Check) -> ExitCode {
    match ask(check).await {
        Ok(answer) => {
            match check.output {
                Output::Text => answer.lines.iter().for_each(|line| say(line)),
                Output::Json => say(&answer.json.to_string()),
            }
            ExitCode::from(u8::from(!answer.allows))
        }
        Err(problem) => {
            say_error(&problem);
            ExitCode::from(2)
        }
    }
}

async fn ask(check: &Check) -> Result<client::Answer, String> {
    let (resource_type, action) = check
        .action
        .split_once('.')
        .ok_or_else(|| format!("`{}` is not of the form RESOURCE.ACTION, such as `job.run`", check.action))?;
    let channel = Endpoint::from_shared(check.server.clone())
        .map_err(|e| format!("`{}` is not a URL of a server: {e}", check.server))?
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .connect()
        .await
        .map_err(|_| {
            format!("cannot reach `{}`; is `usher serve` or `usher demo` running there?", check.server)
        })?;
    let question = client::Question {
        account: &check.account,
        subject: (check.subject != "automation").then_some(check.subject.as_str()),
        resource_type,
        action,
        owner: check.owner.as_deref(),
        explain: check.explain,
        token: check.token.as_deref(),
    };
    client::ask(channel, &question).await
}
