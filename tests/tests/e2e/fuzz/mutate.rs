//! From bytes that a fuzzer draws to damaged messages and to messages that nobody would write.

use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

/// Messages in messages, at most.
const DEPTH_MAX: u32 = 3;

/// Texts that mean something to the server.
const KNOWN: [&str; 12] = [
    "acme",
    "acme-owner",
    "acme-reader",
    "nobody",
    "editor",
    "owner",
    "run",
    "job",
    "a@b.example",
    "AAAA",
    "2030-01-01",
    "\u{202e}\0\r\n",
];

/// The bytes of a request, in the way that `kind` says: not of a message at all, of the damaged sample, or
/// of the sample with fields drawn at random.
pub(crate) fn request(mut valid: DynamicMessage, kind: u8, mut rest: impl Iterator<Item = u8>) -> Vec<u8> {
    match kind % 4 {
        0 => rest.collect(),
        1 => bytes(valid.encode_to_vec(), rest),
        _ => {
            scramble(&mut valid, &mut rest, DEPTH_MAX);
            valid.encode_to_vec()
        }
    }
}

/// Sets, puts in, takes out and cuts off a few bytes.
pub(crate) fn bytes(mut valid: Vec<u8>, mut rest: impl Iterator<Item = u8>) -> Vec<u8> {
    while let (Some(what), Some(high), Some(low)) = (rest.next(), rest.next(), rest.next()) {
        let at = usize::from(u16::from_be_bytes([high, low])) % (valid.len() + 1);
        match (what % 8, rest.next().unwrap_or_default()) {
            (0..=3, byte) if at < valid.len() => valid[at] = byte,
            (4 | 5, byte) => valid.insert(at, byte),
            (6, _) if at < valid.len() => drop(valid.remove(at)),
            (7, byte) if byte < 32 => valid.truncate(at),
            _ => {}
        }
    }
    valid
}

/// Draws some fields anew, and clears some.
fn scramble(message: &mut DynamicMessage, rest: &mut impl Iterator<Item = u8>, depth: u32) {
    for field in message.descriptor().fields() {
        match rest.next().unwrap_or_default() % 8 {
            0 | 1 => {
                let value = if field.is_list() {
                    let count = rest.next().unwrap_or_default() % 4;
                    Value::List((0..count).map(|_| draw(&field, rest, depth)).collect())
                } else if field.is_map() {
                    continue;
                } else {
                    draw(&field, rest, depth)
                };
                message.set_field(&field, value);
            }
            2 => message.clear_field(&field),
            3 if depth > 0 && !field.is_list() && !field.is_map() => {
                if let Value::Message(inner) = message.get_field_mut(&field) {
                    scramble(inner, rest, depth - 1);
                }
            }
            _ => {}
        }
    }
}

fn draw(field: &FieldDescriptor, rest: &mut impl Iterator<Item = u8>, depth: u32) -> Value {
    let mut number = || {
        let byte = rest.next().unwrap_or_default();
        match byte % 8 {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => -1,
            3 => i64::from(i32::MAX),
            4 => i64::from(i32::MIN),
            5 => i64::from(u32::MAX),
            _ => i64::from(byte),
        }
    };
    match field.kind() {
        Kind::Bool => Value::Bool(number() & 1 == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number() as u64),
        Kind::Enum(_) => Value::EnumNumber(number() as i32),
        Kind::Float => Value::F32(number() as f32),
        Kind::Double => Value::F64(number() as f64),
        Kind::Bytes => Value::Bytes(rest.take(32).collect::<Vec<u8>>().into()),
        Kind::String => Value::String(text(rest)),
        Kind::Message(kind) => {
            let mut inner = DynamicMessage::new(kind);
            if depth > 0 {
                scramble(&mut inner, rest, depth - 1);
            }
            Value::Message(inner)
        }
    }
}

fn text(rest: &mut impl Iterator<Item = u8>) -> String {
    let byte = rest.next().unwrap_or_default();
    match byte % 16 {
        at @ 0..=11 => KNOWN[usize::from(at)].to_owned(),
        12 => String::new(),
        13 => "x".repeat(usize::from(byte) * 16),
        _ => String::from_utf8_lossy(&rest.take(usize::from(byte / 8)).collect::<Vec<_>>()).into_owned(),
    }
}
