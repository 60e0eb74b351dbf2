//! The field: servers that do this job, on the same table and questions, with their answers verified.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use tokio::runtime::Runtime;
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;

use crate::headline::{self, USHER};
use crate::load::{Question, SHAPES};
use crate::process::{self, Server};
use crate::report::{Report, Table};
use crate::{Bench, Result, data, say, usher};

const CERBOS: &str = "cerbos@0.51.0";
const CHECK_RESOURCES: &str = "cerbos.svc.v1.CerbosService/CheckResources";

/// The parts of Cerbos' messages that a check needs.
#[derive(Clone, PartialEq, Message)]
struct CheckResources {
    #[prost(message, optional, tag = "3")]
    principal: Option<Principal>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Principal {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, repeated, tag = "1")]
    actions: Vec<String>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, repeated, tag = "2")]
    results: Vec<AnswerEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct AnswerEntry {
    /// 1 is allow.
    #[prost(map = "string, int32", tag = "2")]
    actions: std::collections::HashMap<String, i32>,
}

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("field")?;
    let ours = usher::start(bench, &usher::sqlite(&directory), &[])?;
    let (asked, model) = runtime.block_on(async {
        let channel = data::connect(&ours.url()).await?;
        data::fill(&channel, 10, 99).await?;
        let request = pb::ListRolesRequest { account_id: data::account_id(0), ..Default::default() };
        let model = AuthorizationServiceClient::new(channel.clone()).list_roles(request).await?.into_inner();
        Result::Ok((data::Asked::of(&channel, &directory).await?, model))
    })?;
    let theirs = cerbos(bench, &directory, &model)?;
    let verified = runtime.block_on(verify(&theirs, &model))?;
    say(&format!("   {verified} answers of Cerbos are as Usher's table has them"));
    let question = Question::grpc(
        CHECK_RESOURCES,
        &check("usr_01900000000070000000000000000003", "editor", "job", "run"),
        directory.join("cerbos.frame"),
    )?;

    let mut table = Table::new(
        "The field: one check (Cerbos is told the role by its caller; Usher finds member, role, seat and subscription)",
        &["load", "server", "CPU µs/request", "ratio", "requests/s", "p50 µs", "p99 µs"],
    );
    let servers = [(USHER, ours, &asked.check), ("Cerbos 0.51", theirs, &question)];
    for shape in SHAPES {
        let samples = headline::rounds(bench, &servers, shape)?;
        for (name, sample) in &samples {
            report.measured("CheckPermission beside the field", &shape.name(), name, sample);
            table.row(headline::row(shape, name, sample, samples[0].1.cpu_us));
        }
    }
    report.table(table);
    for absent in ["OpenFGA", "SpiceDB"] {
        report.skip(absent, "not part of this program yet");
    }
    Ok(())
}

/// Cerbos from npm, with the table as policies on disk, without its log of decisions.
fn cerbos(bench: &Bench, directory: &Path, model: &pb::ListRolesResponse) -> Result<Server> {
    let binary = install()?;
    let policies = directory.join("policies");
    fs::create_dir_all(&policies)?;
    for (kind, policy) in policies_of(model) {
        fs::write(policies.join(format!("{kind}.yaml")), policy)?;
    }
    let (grpc, http) = (process::free_port()?, process::free_port()?);
    let config = directory.join("cerbos.yaml");
    fs::write(
        &config,
        format!(
            "server:\n  grpcListenAddr: \"127.0.0.1:{grpc}\"\n  httpListenAddr: \"127.0.0.1:{http}\"\n\
             telemetry:\n  disabled: true\naudit:\n  enabled: false\n\
             storage:\n  driver: disk\n  disk:\n    directory: {}\n    watchForChanges: false\n",
            policies.display()
        ),
    )?;
    let mut command = bench.cores.command(&bench.cores.server, binary);
    command.args(["server", "--log-level=ERROR", "--config"]).arg(config);
    Server::start_on(command, grpc)
}

/// Where npm put it; installed below `target` if it is not there.
fn install() -> Result<PathBuf> {
    let tools = std::env::current_exe()?.with_file_name("bench-tools");
    let machine = if cfg!(target_arch = "aarch64") { "cerbos-linux-arm64" } else { "cerbos-linux-x64" };
    let binary = tools.join("node_modules/@cerbos").join(machine).join(machine);
    if !binary.exists() {
        say(&format!("   npm install {CERBOS}"));
        fs::create_dir_all(&tools)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&tools).arg(CERBOS);
        let out = npm.output().map_err(|e| format!("npm cannot be run: {e}"))?;
        if !out.status.success() || !binary.exists() {
            return Err(format!("npm has no {CERBOS}: {}", String::from_utf8_lossy(&out.stderr)).into());
        }
    }
    Ok(binary)
}

/// A policy for each resource type of the model.
fn policies_of(model: &pb::ListRolesResponse) -> Vec<(String, String)> {
    let mut policies: Vec<(String, String)> = Vec::new();
    for action in &model.actions {
        let at = policies.iter().position(|(kind, _)| *kind == action.resource_type).unwrap_or_else(|| {
            let head = format!(
                "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  version: default\n  resource: {}\n  rules:\n",
                action.resource_type
            );
            policies.push((action.resource_type.clone(), head));
            policies.len() - 1
        });
        let roles: Vec<&str> =
            action.grants.iter().filter(|g| is_granted(g)).map(|g| g.role.as_str()).collect();
        if !roles.is_empty() {
            let _ = writeln!(
                policies[at].1,
                "    - actions: [\"{}\"]\n      effect: EFFECT_ALLOW\n      roles: [{}]",
                action.action,
                roles.join(", ")
            );
        }
    }
    policies
}

fn is_granted(grant: &pb::RoleGrant) -> bool {
    grant.grant() == pb::Grant::Always
}

fn check(user: &str, role: &str, kind: &str, action: &str) -> CheckResources {
    CheckResources {
        principal: Some(Principal { id: user.to_owned(), roles: vec![role.to_owned()] }),
        resources: vec![Entry {
            actions: vec![action.to_owned()],
            resource: Some(Resource { kind: kind.to_owned(), id: "job_0190".to_owned() }),
        }],
    }
}

/// Asks for every cell of the table.
async fn verify(server: &Server, model: &pb::ListRolesResponse) -> Result<usize> {
    let mut client = tonic::client::Grpc::new(data::connect(&server.url()).await?);
    let path = http::uri::PathAndQuery::from_static("/cerbos.svc.v1.CerbosService/CheckResources");
    let mut asked = 0;
    for action in &model.actions {
        for grant in &action.grants {
            client.ready().await?;
            let request = check("usr_1", &grant.role, &action.resource_type, &action.action);
            let codec = tonic_prost::ProstCodec::<CheckResources, Answer>::default();
            let answer = client.unary(tonic::Request::new(request), path.clone(), codec).await?.into_inner();
            let effect = answer.results.first().and_then(|entry| entry.actions.get(&action.action));
            if (effect == Some(&1)) != is_granted(grant) {
                return Err(format!("Cerbos says {effect:?} to {} for {}", grant.role, action.action).into());
            }
            asked += 1;
        }
    }
    Ok(asked)
}
