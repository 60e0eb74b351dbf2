//! HTTP/2 frames by hand (RFC 9113), because a client library would not send these.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// HPACK without tables: a literal that is not remembered.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend_from_slice(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend_from_slice(value.as_bytes());
    field
}

/// The headers of a call that the server would answer.
pub(crate) fn call_headers() -> Vec<u8> {
    // `:method POST` and `:scheme http` stand in the static table.
    let mut headers = vec![0x83, 0x86];
    headers.extend(literal(":path", "/grpc.health.v1.Health/Check"));
    headers.extend(literal(":authority", "localhost"));
    headers.extend(literal("content-type", "application/grpc"));
    headers.extend(literal("te", "trailers"));
    headers
}

/// A connection from 127.0.0.2 that has said nothing yet.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.2:0".parse().unwrap())?;
    tokio::time::timeout(Duration::from_secs(2), socket.connect(address)).await?
}

/// A connection that has said the preface and settings.
pub(crate) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let mut socket = connect(address).await?;
    socket.write_all(PREFACE).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    Ok(socket)
}

/// Whether the server ends the connection within `limit`.
pub(crate) async fn is_ended(socket: &mut TcpStream, limit: Duration) -> bool {
    let mut buf = vec![0; 16 << 10];
    let reading = async { while matches!(socket.read(&mut buf).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(limit, reading).await.is_ok()
}
