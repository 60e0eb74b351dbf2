//! Cerbos, with the table as policies on disk and without its log of decisions.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;

use prost::Message;
use tokio::runtime::Runtime;
use usher_contract::v1 as pb;

use super::{Cell, Client, Peer, cells, install, must_be, somebody};
use crate::load::Question;
use crate::process::{self, Server};
use crate::{Bench, Result};

pub(super) const NAME: &str = "Cerbos 0.51";
const PACKAGE: &str = "cerbos@0.51.0";
const CHECK: &str = "/cerbos.svc.v1.CerbosService/CheckResources";

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
    actions: HashMap<String, i32>,
}

pub(super) fn start(bench: &Bench, runtime: &Runtime, model: &pb::ListRolesResponse) -> Result<Peer> {
    let machine = if cfg!(target_arch = "aarch64") { "cerbos-linux-arm64" } else { "cerbos-linux-x64" };
    let binary = install::npm(PACKAGE, &format!("@cerbos/{machine}/{machine}"))?;
    let directory = bench.directory("cerbos")?;
    let policies = directory.join("policies");
    fs::create_dir_all(&policies)?;
    let cells = cells(model);
    for (kind, policy) in policies_of(&cells) {
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
    let server = Server::start_on(command, grpc)?;
    let verified = runtime.block_on(verify(&server, &cells))?;
    let check = check(&somebody("editor")?, "editor", "job", "run");
    let question = Question::grpc(&CHECK[1..], &check, directory.join("check.frame"))?;
    Ok(Peer { server, question, verified })
}

/// A policy for each resource type.
fn policies_of<'a>(cells: &[Cell<'a>]) -> BTreeMap<&'a str, String> {
    let mut policies = BTreeMap::new();
    for cell in cells {
        let kind = cell.action.resource_type.as_str();
        let policy = policies.entry(kind).or_insert_with(|| {
            format!(
                "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  version: default\n  resource: {kind}\n  rules:\n"
            )
        });
        let _ = writeln!(
            policy,
            "    - actions: [\"{}\"]\n      effect: EFFECT_ALLOW\n      roles: [{}]",
            cell.action.action,
            cell.granted().join(", ")
        );
    }
    policies
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

async fn verify(server: &Server, cells: &[Cell<'_>]) -> Result<usize> {
    let mut client = Client::connect(server, None).await?;
    let mut verified = 0;
    for cell in cells {
        for (role, granted) in &cell.grants {
            let request = check("usr_1", role, &cell.action.resource_type, &cell.action.action);
            let answer: Answer = client.call(CHECK, request).await?;
            let effect = answer.results.first().and_then(|entry| entry.actions.get(&cell.action.action));
            must_be(*granted, effect == Some(&1), NAME, role, cell)?;
            verified += 1;
        }
    }
    Ok(verified)
}
