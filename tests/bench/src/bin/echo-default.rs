//! A bare tonic server as tonic's own examples start one: tokio's default runtime, the system's
//! allocator. It answers every check with the same message, without a look at the question.

use std::error::Error;

#[path = "../echo.rs"]
mod echo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = echo::listen()?;
    listener.set_nonblocking(true)?;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(echo::service()?)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
