//! Load with questions that differ: h2load sends the same one again and again.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use h2::client::SendRequest;

use crate::Result;
use crate::load::Shape;

/// What came of it; times in microseconds, sorted.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    pub requests: u64,
    pub rate: f64,
    pub times_us: Vec<u64>,
}

/// When to stop asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Time(Duration),
    Calls(u64),
}

/// What to think of a call that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusals {
    Fail,
    /// It is an answer like any other.
    Count,
}

/// Asks until then, each place pausing after each call; `question` gives the frame of the call of this
/// number.
///
/// # Errors
/// The first call that did not end with `grpc-status: 0`, unless refusals count.
pub(crate) async fn drive(
    port: u16,
    method: &str,
    shape: Shape,
    until: Until,
    pause: Duration,
    refusals: Refusals,
    question: impl Fn(u64) -> Result<Vec<u8>>,
) -> Result<Driven> {
    let mut connections = VecDeque::new();
    for _ in 0..shape.connections {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        let (client, connection) = h2::client::handshake(socket).await?;
        tokio::spawn(connection);
        connections.push_back(client);
    }
    let began = Instant::now();
    let mut number = 0;
    let mut running = FuturesUnordered::new();
    let mut next = |number: &mut u64| -> Result<_> {
        let client = connections.front().cloned().ok_or("no connection")?;
        connections.rotate_left(1);
        let frame = question(*number)?;
        *number += 1;
        Ok(call(client, port, method, frame, pause, refusals))
    };
    for _ in 0..shape.connections * shape.streams {
        running.push(next(&mut number)?);
    }
    let mut times_us = Vec::new();
    while let Some(took) = running.next().await {
        times_us.push(u64::try_from(took?.as_micros())?);
        let goes_on = match until {
            Until::Time(time) => began.elapsed() < time,
            Until::Calls(calls) => number < calls,
        };
        if goes_on {
            running.push(next(&mut number)?);
        }
    }
    let rate = times_us.len() as f64 / began.elapsed().as_secs_f64();
    times_us.sort_unstable();
    Ok(Driven { requests: number, rate, times_us })
}

fn call(
    client: SendRequest<Bytes>,
    port: u16,
    method: &str,
    frame: Vec<u8>,
    pause: Duration,
    refusals: Refusals,
) -> impl Future<Output = Result<Duration>> {
    let request = http::Request::post(format!("http://127.0.0.1:{port}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(());
    async move {
        let began = Instant::now();
        let mut client = client.ready().await?;
        let (response, mut body) = client.send_request(request?, false)?;
        body.send_data(frame.into(), true)?;
        let mut answer = response.await?;
        let status = answer.headers().get("grpc-status").cloned();
        let body = answer.body_mut();
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        let trailers = body.trailers().await?;
        let status = status.or_else(|| trailers.as_ref()?.get("grpc-status").cloned());
        let took = began.elapsed();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match status {
            Some(status) if status == "0" || refusals == Refusals::Count => Ok(took),
            status => Err(format!("a call ended with {status:?}, {trailers:?}").into()),
        }
    }
}
