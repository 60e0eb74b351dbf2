//! The field: servers that do this job, on the same table and people, with their answers verified.

mod cerbos;
mod install;
mod openfga;
mod spicedb;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;

use crate::headline::{self, USHER};
use crate::load::{Question, SHAPES};
use crate::process::Server;
use crate::report::{Report, Table};
use crate::{Bench, Result, data, say, usher};

const ACCOUNTS: u64 = 10;
/// Of each account, beside its owner.
const MEMBERS: u64 = 99;

/// A server of the field that gave the right answers.
struct Peer {
    server: Server,
    question: Question,
    /// The answers that were compared with the table.
    verified: usize,
}

type Start = fn(&Bench, &Runtime, &pb::ListRolesResponse) -> Result<Peer>;

const FIELD: [(&str, Start); 3] =
    [(cerbos::NAME, cerbos::start), (openfga::NAME, openfga::start), (spicedb::NAME, spicedb::start)];

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("field")?;
    let ours = usher::start(bench, &usher::sqlite(&directory), &[])?;
    let (asked, model) = runtime.block_on(async {
        let channel = data::connect(&ours.url()).await?;
        data::fill(&channel, ACCOUNTS, MEMBERS).await?;
        let request = pb::ListRolesRequest { account_id: data::account_id(0), ..Default::default() };
        let model = AuthorizationServiceClient::new(channel.clone()).list_roles(request).await?.into_inner();
        Result::Ok((data::Asked::of(&channel, &directory).await?, model))
    })?;
    let mut servers = vec![(USHER, ours, asked.check)];
    for (name, start) in FIELD {
        match start(bench, runtime, &model) {
            Ok(peer) => {
                say(&format!("   {} answers of {name} are as the table has them", peer.verified));
                servers.push((name, peer.server, peer.question));
            }
            Err(error) => {
                say(&format!("   NOT MEASURED: {name}: {error}"));
                report.skip(name, &error.to_string());
            }
        }
    }
    let mut table = Table::new(
        "The field: one check (Cerbos is told the role by its caller; the others find it)",
        &["load", "server", "CPU µs/request", "ratio", "requests/s", "p50 µs", "p99 µs"],
    );
    for shape in SHAPES {
        let samples = headline::rounds(bench, &servers, shape)?;
        for (name, sample) in &samples {
            report.measured("CheckPermission beside the field", &shape.name(), name, sample);
            table.row(headline::row(shape, name, sample, samples[0].1.cpu_us));
        }
    }
    report.table(table);
    Ok(())
}

/// One permission of the table: who is to be allowed and who is not.
struct Cell<'a> {
    action: &'a pb::ModelAction,
    grants: Vec<(&'a str, bool)>,
}

/// The rows of the table that some role is granted always.
fn cells<'m>(model: &'m pb::ListRolesResponse) -> Vec<Cell<'m>> {
    let is_granted = |grant: &pb::RoleGrant| grant.grant() == pb::Grant::Always;
    let cell = |action: &'m pb::ModelAction| {
        let grants = action.grants.iter().map(|grant| (grant.role.as_str(), is_granted(grant)));
        Cell { action, grants: grants.collect() }
    };
    model.actions.iter().map(cell).filter(|cell| cell.grants.iter().any(|(_, granted)| *granted)).collect()
}

impl Cell<'_> {
    /// The action as one word, for servers that know no resource types within an account.
    fn permission(&self) -> String {
        format!("{}_{}", self.action.resource_type, self.action.action).replace('-', "_")
    }

    fn granted(&self) -> Vec<&str> {
        self.grants.iter().filter(|(_, granted)| *granted).map(|(role, _)| *role).collect()
    }
}

/// All members: account, user and role.
fn people() -> impl Iterator<Item = (String, String, &'static str)> {
    (0..ACCOUNTS).flat_map(|account| {
        let person =
            move |number| (data::account_id(account), data::user_id(account, number), data::role(number));
        (0..=MEMBERS).map(person)
    })
}

/// The first member of the first account in this role.
fn somebody(role: &str) -> Result<String> {
    let number = (0..=MEMBERS).find(|number| data::role(*number) == role);
    Ok(data::user_id(0, number.ok_or_else(|| format!("nobody is {role}"))?))
}

/// Any gRPC server, by messages written down here.
struct Client {
    grpc: Grpc<Channel>,
    bearer: Option<AsciiMetadataValue>,
}

impl Client {
    async fn connect(server: &Server, bearer: Option<&'static str>) -> Result<Self> {
        let grpc = Grpc::new(data::connect(&server.url()).await?);
        Ok(Self { grpc, bearer: bearer.map(AsciiMetadataValue::from_static) })
    }

    /// `method` begins with a slash.
    async fn call<Q, A>(&mut self, method: &'static str, message: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await?;
        let mut request = tonic::Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(method), codec).await?;
        Ok(answer.into_inner())
    }
}

/// Compares an answer with the table.
fn must_be(granted: bool, told: bool, name: &str, role: &str, cell: &Cell<'_>) -> Result<()> {
    if told == granted {
        return Ok(());
    }
    Err(format!("{name} says {told} to {role} for {}", cell.permission()).into())
}
