//! The page that Prometheus reads: plain HTTP/1 on a port of its own, `/metrics` and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::export::Meters;
use crate::lifecycle::StartError;

/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// How long the headers of a request may take, and a connection may live.
const HEADERS_MAX: Duration = Duration::from_secs(5);
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// The pause after an accept that failed, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// # Errors
/// When the address cannot be listened on.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| StartError(format!("cannot listen on `{address}`: {e}; see `server.metrics_listen`")))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "serving metrics");
    Ok(listener)
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, meters: Meters) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let meters = meters.clone();
                tokio::spawn(async move {
                    let _place = place;
                    connection(socket, meters).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, meters: Meters) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &meters);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), answer);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_MAX, serving).await {
        tracing::debug!(%error, "a connection for metrics broke");
    }
}

fn answer<B>(request: &Request<B>, meters: &Meters) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, prometheus::TEXT_FORMAT, meters.text()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "only /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
