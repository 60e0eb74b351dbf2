//! The bare server on Usher's arrangement: one runtime of one thread for each core, connections
//! handed out in turn.

use std::net::TcpStream;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use usher_server::transport::serving::threads_default;

use crate::{Result, echo};

/// Serves until it is killed.
pub(crate) fn run() -> Result<()> {
    let listener = echo::listen()?;
    let service = echo::service()?;
    let lanes = (0..threads_default()).map(|_| {
        let (sender, receiver) = mpsc::unbounded_channel::<TcpStream>();
        let service = service.clone();
        std::thread::spawn(move || lane(service, receiver));
        sender
    });
    let lanes: Vec<_> = lanes.collect();
    for lane in lanes.iter().cycle() {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        lane.send(socket)?;
    }
    Ok(())
}

fn lane(
    service: usher_contract::v1::authorization_service_server::AuthorizationServiceServer<echo::Echo>,
    receiver: mpsc::UnboundedReceiver<TcpStream>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let incoming = UnboundedReceiverStream::new(receiver).map(tokio::net::TcpStream::from_std);
    runtime.block_on(Server::builder().add_service(service).serve_with_incoming(incoming))?;
    Ok(())
}
