//! Calls of any RPC, with requests written as JSON: for tests that must make every call there is.

use std::sync::OnceLock;

use prost_reflect::prost::Message;
use prost_reflect::prost::bytes::{Buf, BufMut};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::acting::By;

/// The contract's own descriptors.
pub fn contract() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(usher_contract::DESCRIPTORS).expect("the contract"))
}

/// Every RPC of the contract, in its order.
pub fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let ours = contract().services().filter(|service| service.package_name() == "usher.v1");
    ours.flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// As tables name it: `MemberService/InviteUser`.
pub fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

/// # Panics
/// When the contract has no such RPC.
pub fn method(rpc: &str) -> MethodDescriptor {
    methods().find(|method| name(method) == rpc).unwrap_or_else(|| panic!("no RPC `{rpc}`"))
}

/// The request of an RPC, from JSON.
///
/// # Panics
/// When it has no such fields.
pub fn request(rpc: &str, fields: &Value) -> DynamicMessage {
    let message = DynamicMessage::deserialize(method(rpc).input(), fields.clone());
    message.unwrap_or_else(|e| panic!("{rpc} {fields}: {e}"))
}

/// The fields with an acting party, if the request has one to set.
pub fn on_behalf(rpc: &str, mut fields: Value, by: By<'_>) -> Value {
    if has_acting(rpc) {
        match by {
            By::Actor(id) => fields["actor_id"] = id.into(),
            By::Platform => fields["platform"] = serde_json::json!({}),
            By::Nobody => {}
        }
    }
    fields
}

/// Whether the request says on whose behalf it is made.
pub fn has_acting(rpc: &str) -> bool {
    method(rpc).input().oneofs().any(|oneof| oneof.name() == "acting")
}

/// Makes a call and waits for its answer, or the first of a stream's.
///
/// # Errors
/// As the server answers.
pub async fn call(
    channel: &Channel,
    rpc: &str,
    request: &DynamicMessage,
    bearer: Option<&str>,
) -> Result<DynamicMessage, Status> {
    let answer = send(channel.clone(), rpc, request.encode_to_vec(), bearer).await?;
    Ok(DynamicMessage::decode(method(rpc).output(), answer.as_slice()).expect("an answer of the contract"))
}

/// Makes a call with any bytes for a request, to a server or to its services in this process.
///
/// # Errors
/// As the server answers.
pub async fn send<S>(service: S, rpc: &str, request: Vec<u8>, bearer: Option<&str>) -> Result<Vec<u8>, Status>
where
    S: GrpcService<Body, ResponseBody = Body>,
{
    let mut call = Request::new(request);
    if let Some(token) = bearer {
        let value = format!("Bearer {token}").parse().expect("a token fits into a header");
        call.metadata_mut().insert("authorization", value);
    }
    let mut client = tonic::client::Grpc::new(service);
    client.ready().await.map_err(|e| Status::unavailable(e.into().to_string()))?;
    let path = format!("/usher.v1.{rpc}").parse().expect("a path");
    let mut answers = client.server_streaming(call, path, Bytes).await?.into_inner();
    if method(rpc).is_server_streaming() {
        // A stream that has begun was let in; its first message may take as long as it likes.
        return Ok(Vec::new());
    }
    answers.message().await.map(Option::unwrap_or_default)
}

/// Messages as their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
