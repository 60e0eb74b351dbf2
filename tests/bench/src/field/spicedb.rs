//! SpiceDB, with the people as relationships in memory and its caches as they are by default.

use std::fmt::Write;

use prost::Message;
use tokio::runtime::Runtime;
use usher_contract::v1 as pb;

use super::{Cell, Client, Peer, cells, install, must_be, people, somebody};
use crate::data::{self, account_id};
use crate::load::Question;
use crate::process::{self, Server};
use crate::{Bench, Result};

pub(super) const NAME: &str = "SpiceDB 1.52";
const MODULE: &str = "github.com/authzed/spicedb";
const VERSION: &str = "v1.52.0";
const WRITE_SCHEMA: &str = "/authzed.api.v1.SchemaService/WriteSchema";
const WRITE: &str = "/authzed.api.v1.PermissionsService/WriteRelationships";
const CHECK: &str = "/authzed.api.v1.PermissionsService/CheckPermission";
/// It serves nobody without one.
const BEARER: &str = "Bearer usher-bench";
const HAS_PERMISSION: i32 = 2;
const TOUCH: i32 = 2;

/// The parts of SpiceDB's messages that are needed.
#[derive(Clone, PartialEq, Message)]
struct WriteSchema {
    #[prost(string, tag = "1")]
    schema: String,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRelationships {
    #[prost(message, repeated, tag = "1")]
    updates: Vec<Update>,
}

#[derive(Clone, PartialEq, Message)]
struct Update {
    #[prost(int32, tag = "1")]
    operation: i32,
    #[prost(message, optional, tag = "2")]
    relationship: Option<Relationship>,
}

#[derive(Clone, PartialEq, Message)]
struct Relationship {
    #[prost(message, optional, tag = "1")]
    resource: Option<Object>,
    #[prost(string, tag = "2")]
    relation: String,
    #[prost(message, optional, tag = "3")]
    subject: Option<Subject>,
}

#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Subject {
    #[prost(message, optional, tag = "1")]
    object: Option<Object>,
}

#[derive(Clone, PartialEq, Message)]
struct Consistency {
    #[prost(bool, tag = "1")]
    minimize_latency: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Check {
    #[prost(message, optional, tag = "1")]
    consistency: Option<Consistency>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Object>,
    #[prost(string, tag = "3")]
    permission: String,
    #[prost(message, optional, tag = "4")]
    subject: Option<Subject>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "2")]
    permissionship: i32,
}

pub(super) fn start(bench: &Bench, runtime: &Runtime, model: &pb::ListRolesResponse) -> Result<Peer> {
    let binary = install::go(MODULE, VERSION, "spicedb")?;
    let directory = bench.directory("spicedb")?;
    let port = process::free_port()?;
    let mut command = bench.cores.command(&bench.cores.server, binary);
    command.args(["serve", "--datastore-engine", "memory", "--log-level", "error"]);
    command.args(["--grpc-addr", &format!("127.0.0.1:{port}")]);
    command.arg(format!("--grpc-preshared-key={}", BEARER.trim_start_matches("Bearer ")));
    command.args(["--http-enabled=false", "--metrics-enabled=false", "--telemetry-endpoint="]);
    command.args(["--grpc-log-requests-enabled=false", "--skip-release-check"]);
    let server = Server::start_on(command, port)?;
    let cells = cells(model);
    let verified = runtime.block_on(async {
        let mut client = Client::connect(&server, Some(BEARER)).await?;
        fill(&mut client, model, &cells).await?;
        verify(&mut client, &cells).await
    })?;
    let check = check(&somebody("editor")?, "job_run");
    let question = Question::grpc(&CHECK[1..], &check, directory.join("check.frame"))?.with_bearer(BEARER);
    Ok(Peer { server, question, verified })
}

fn object(kind: &str, id: &str) -> Object {
    Object { kind: kind.to_owned(), id: id.to_owned() }
}

fn subject(user: &str) -> Subject {
    Subject { object: Some(object("user", user)) }
}

async fn fill(client: &mut Client, model: &pb::ListRolesResponse, cells: &[Cell<'_>]) -> Result<()> {
    let mut schema = "definition user {}\ndefinition account {\n".to_owned();
    for role in &model.roles {
        let _ = writeln!(schema, "  relation {}: user", role.id);
    }
    for cell in cells {
        let _ = writeln!(schema, "  permission {} = {}", cell.permission(), cell.granted().join(" + "));
    }
    schema.push('}');
    let () = client.call(WRITE_SCHEMA, WriteSchema { schema }).await?;
    let updates = people().map(|(account, user, role)| Update {
        operation: TOUCH,
        relationship: Some(Relationship {
            resource: Some(object("account", &account)),
            relation: role.to_owned(),
            subject: Some(subject(&user)),
        }),
    });
    let () = client.call(WRITE, WriteRelationships { updates: updates.collect() }).await?;
    Ok(())
}

fn check(user: &str, permission: &str) -> Check {
    Check {
        consistency: Some(Consistency { minimize_latency: true }),
        resource: Some(object("account", &account_id(0))),
        permission: permission.to_owned(),
        subject: Some(subject(user)),
    }
}

async fn verify(client: &mut Client, cells: &[Cell<'_>]) -> Result<usize> {
    let mut verified = 0;
    for cell in cells {
        for (role, granted) in &cell.grants {
            let answer: Answer = client.call(CHECK, check(&somebody(role)?, &cell.permission())).await?;
            must_be(*granted, answer.permissionship == HAS_PERMISSION, NAME, role, cell)?;
            verified += 1;
        }
    }
    // Nobody of another account.
    let answer: Answer = client.call(CHECK, check(&data::user_id(1, 0), "job_run")).await?;
    let allowed = answer.permissionship == HAS_PERMISSION;
    if allowed { Err("SpiceDB allows a stranger".into()) } else { Ok(verified + 1) }
}
