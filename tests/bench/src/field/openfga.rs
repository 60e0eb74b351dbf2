//! OpenFGA, with the people as tuples in memory and its cache of checks on.

use std::collections::HashMap;

use prost::Message;
use tokio::runtime::Runtime;
use usher_contract::v1 as pb;

use super::{Cell, Client, Peer, cells, install, must_be, people, somebody};
use crate::data::{self, account_id};
use crate::load::Question;
use crate::process::{self, Server};
use crate::{Bench, Result};

pub(super) const NAME: &str = "OpenFGA 1.22";
const MODULE: &str = "github.com/openfga/openfga";
const VERSION: &str = "v1.22.1";
const CREATE_STORE: &str = "/openfga.v1.OpenFGAService/CreateStore";
const WRITE_MODEL: &str = "/openfga.v1.OpenFGAService/WriteAuthorizationModel";
const WRITE: &str = "/openfga.v1.OpenFGAService/Write";
const CHECK: &str = "/openfga.v1.OpenFGAService/Check";
/// OpenFGA's own bound.
const TUPLES_MAX: usize = 100;

/// The parts of OpenFGA's messages that are needed.
#[derive(Clone, PartialEq, Message)]
struct CreateStore {
    #[prost(string, tag = "1")]
    name: String,
}

/// What is made answers with its id.
#[derive(Clone, PartialEq, Message)]
struct Made {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct WriteModel {
    #[prost(string, tag = "1")]
    store_id: String,
    #[prost(message, repeated, tag = "2")]
    types: Vec<Type>,
    #[prost(string, tag = "3")]
    schema_version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, message", tag = "2")]
    relations: HashMap<String, Userset>,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    relations: HashMap<String, RelationMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct RelationMetadata {
    #[prost(message, repeated, tag = "1")]
    types: Vec<TypeReference>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeReference {
    #[prost(string, tag = "1")]
    name: String,
}

/// One of three, as a oneof on the wire.
#[derive(Clone, PartialEq, Message)]
struct Userset {
    #[prost(message, optional, tag = "1")]
    this: Option<This>,
    #[prost(message, optional, tag = "2")]
    computed: Option<Relation>,
    #[prost(message, optional, tag = "4")]
    union: Option<Usersets>,
}

#[derive(Clone, PartialEq, Message)]
struct This {}

#[derive(Clone, PartialEq, Message)]
struct Relation {
    #[prost(string, tag = "2")]
    relation: String,
}

#[derive(Clone, PartialEq, Message)]
struct Usersets {
    #[prost(message, repeated, tag = "1")]
    children: Vec<Userset>,
}

#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(string, tag = "1")]
    store_id: String,
    #[prost(message, optional, tag = "2")]
    writes: Option<Tuples>,
    #[prost(string, tag = "4")]
    model_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tuples {
    #[prost(message, repeated, tag = "1")]
    tuples: Vec<Tuple>,
}

#[derive(Clone, PartialEq, Message)]
struct Tuple {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    relation: String,
    #[prost(string, tag = "3")]
    object: String,
}

#[derive(Clone, PartialEq, Message)]
struct Check {
    #[prost(string, tag = "1")]
    store_id: String,
    #[prost(message, optional, tag = "2")]
    tuple: Option<Tuple>,
    #[prost(string, tag = "4")]
    model_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(bool, tag = "1")]
    allowed: bool,
}

/// A store with its model, as each call names them.
struct Place {
    store_id: String,
    model_id: String,
}

pub(super) fn start(bench: &Bench, runtime: &Runtime, model: &pb::ListRolesResponse) -> Result<Peer> {
    let binary = install::go(MODULE, VERSION, "openfga")?;
    let directory = bench.directory("openfga")?;
    let port = process::free_port()?;
    let mut command = bench.cores.command(&bench.cores.server, binary);
    command.args(["run", "--datastore-engine", "memory", "--log-level", "none"]);
    command.args(["--grpc-addr", &format!("127.0.0.1:{port}"), "--http-enabled=false"]);
    command.args(["--metrics-enabled=false", "--playground-enabled=false"]);
    // A tenth of a million answers, for longer than the measurement.
    command.args(["--check-query-cache-enabled", "--check-query-cache-ttl", "1h"]);
    command.args(["--check-iterator-cache-enabled", "--check-cache-limit", "100000"]);
    let server = Server::start_on(command, port)?;
    let cells = cells(model);
    let (place, verified) = runtime.block_on(async {
        let mut client = Client::connect(&server, None).await?;
        let place = fill(&mut client, model, &cells).await?;
        let verified = verify(&mut client, &place, &cells).await?;
        Result::Ok((place, verified))
    })?;
    let check = place.check(&somebody("editor")?, "job_run");
    let question = Question::grpc(&CHECK[1..], &check, directory.join("check.frame"))?;
    Ok(Peer { server, question, verified })
}

async fn fill(client: &mut Client, model: &pb::ListRolesResponse, cells: &[Cell<'_>]) -> Result<Place> {
    let store: Made = client.call(CREATE_STORE, CreateStore { name: "usher-bench".to_owned() }).await?;
    let this = || Userset { this: Some(This {}), ..Default::default() };
    let computed =
        |role: &str| Userset { computed: Some(Relation { relation: role.to_owned() }), ..Default::default() };
    let roles = model.roles.iter().map(|role| (role.id.clone(), this()));
    let permissions = cells.iter().map(|cell| {
        let mut children: Vec<_> = cell.granted().into_iter().map(computed).collect();
        // A union of one is refused.
        let rule = match children.len() {
            1 => children.remove(0),
            _ => Userset { union: Some(Usersets { children }), ..Default::default() },
        };
        (cell.permission(), rule)
    });
    let users = RelationMetadata { types: vec![TypeReference { name: "user".to_owned() }] };
    let direct = model.roles.iter().map(|role| (role.id.clone(), users.clone()));
    let account = Type {
        name: "account".to_owned(),
        relations: roles.chain(permissions).collect(),
        metadata: Some(Metadata { relations: direct.collect() }),
    };
    let user = Type { name: "user".to_owned(), ..Default::default() };
    let request = WriteModel {
        store_id: store.id.clone(),
        types: vec![user, account],
        schema_version: "1.1".to_owned(),
    };
    let model: Made = client.call(WRITE_MODEL, request).await?;
    let place = Place { store_id: store.id, model_id: model.id };
    let tuples: Vec<Tuple> =
        people().map(|(account, user, role)| place.tuple(&account, &user, role)).collect();
    for tuples in tuples.chunks(TUPLES_MAX) {
        let request = Write {
            store_id: place.store_id.clone(),
            writes: Some(Tuples { tuples: tuples.to_vec() }),
            model_id: place.model_id.clone(),
        };
        let () = client.call(WRITE, request).await?;
    }
    Ok(place)
}

impl Place {
    fn tuple(&self, account: &str, user: &str, relation: &str) -> Tuple {
        Tuple {
            user: format!("user:{user}"),
            relation: relation.to_owned(),
            object: format!("account:{account}"),
        }
    }

    fn check(&self, user: &str, permission: &str) -> Check {
        Check {
            store_id: self.store_id.clone(),
            tuple: Some(self.tuple(&account_id(0), user, permission)),
            model_id: self.model_id.clone(),
        }
    }
}

async fn verify(client: &mut Client, place: &Place, cells: &[Cell<'_>]) -> Result<usize> {
    let mut verified = 0;
    for cell in cells {
        for (role, granted) in &cell.grants {
            let request = place.check(&somebody(role)?, &cell.permission());
            let answer: Answer = client.call(CHECK, request).await?;
            must_be(*granted, answer.allowed, NAME, role, cell)?;
            verified += 1;
        }
    }
    // Nobody of another account.
    let answer: Answer = client.call(CHECK, place.check(&data::user_id(1, 0), "job_run")).await?;
    if answer.allowed { Err("OpenFGA allows a stranger".into()) } else { Ok(verified + 1) }
}
