//! `usher health`: a container's own probe, which needs no configuration and no other program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::output::Output;
use super::{say, say_error};
use crate::health::{READINESS, REASON_HEADER};

#[derive(Args)]
pub(super) struct Health {
    /// The server, in plaintext: the port of `server.probe_listen`, or the main one where it has no TLS.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "USHER_HEALTH_ADDRESS",
        default_value = "127.0.0.1:50051"
    )]
    address: String,
    /// What is asked about: `readiness`, `liveness`, or a service such as
    /// `usher.v1.AuthorizationService`.
    #[arg(long, value_name = "NAME", default_value = READINESS)]
    service: String,
    /// How long the answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    timeout: u64,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

struct Told {
    status: &'static str,
    /// Empty if it serves.
    reason: String,
}

/// Exits with 0 if it serves, 1 if not, 2 when there is no answer.
pub(super) async fn health(health: &Health) -> ExitCode {
    let (told, code) = match ask(health).await {
        Ok(told) => {
            let code = u8::from(told.status != "SERVING");
            (told, code)
        }
        Err(problem) => (Told { status: "UNKNOWN", reason: problem }, 2),
    };
    match health.output {
        Output::Json => {
            let Told { status, reason } = &told;
            say(&json!({"service": health.service, "status": status, "reason": reason}).to_string());
        }
        Output::Text if code == 2 => say_error(&told.reason),
        Output::Text if told.reason.is_empty() => {
            say(format!("{} {}", told.status, health.service).trim_end());
        }
        Output::Text => say(&format!("{} {}: {}", told.status, health.service, told.reason)),
    }
    ExitCode::from(code)
}

async fn ask(health: &Health) -> Result<Told, String> {
    let address = &health.address;
    let limit = Duration::from_secs(health.timeout.max(1));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| format!("`{address}` is not of the form ADDRESS:PORT"))?
        .connect_timeout(limit)
        .timeout(limit)
        .connect()
        .await
        .map_err(|_| format!("cannot reach `{address}`; see `--address`"))?;
    let request = Request::new(HealthCheckRequest { service: health.service.clone() });
    let answer = HealthClient::new(channel).check(request).await.map_err(|status| match status.code() {
        Code::NotFound => format!("`{address}` has no service `{}`", health.service),
        _ => format!("`{address}` does not say; if it speaks TLS, ask the port of `server.probe_listen`"),
    })?;
    let reason = answer.metadata().get(REASON_HEADER).and_then(|reason| reason.to_str().ok());
    let reason = reason.unwrap_or_default().to_owned();
    let status = match answer.into_inner().status() {
        ServingStatus::Serving => "SERVING",
        ServingStatus::NotServing => "NOT_SERVING",
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => "UNKNOWN",
    };
    Ok(Told { status, reason })
}
