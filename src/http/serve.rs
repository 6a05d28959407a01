//! Serving the two listeners until shutdown.
//!
//! HTTP/1.1, or HTTP/2 from the first byte (h2c), whichever the client speaks. What
//! a connection may cost is bounded: how many there are, how long one may take to
//! send the head of a request, how long it may idle, how long the client may take
//! no byte of an answer. At the cap further connections wait in the system's
//! queue; they are not refused, because a buyer behind them may have paid.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::{Node, admin, public};
use crate::lifecycle::Lifecycle;

mod connection;
mod socket;

use connection::Server;
use socket::Socket;

/// How long a client may take no byte of its answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait when the system has no socket left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the connections of a listener may cost.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// How many are open at once.
    max_connections: usize,
    /// From the start of a connection or the end of an answer to the next head.
    header_patience: Duration,
    /// For the client to take a byte.
    write_patience: Duration,
}

impl Limits {
    const fn new(max_connections: usize, header_timeout_secs: u64) -> Self {
        Self {
            max_connections,
            header_patience: Duration::from_secs(header_timeout_secs),
            write_patience: WRITE_PATIENCE,
        }
    }
}

/// Serves buyers, Nostr clients and browsers on `listener`.
pub fn serve_public(node: &Arc<Node>, listener: TcpListener, lifecycle: &Lifecycle) {
    let config = &node.config.public;
    let limits = Limits::new(config.max_connections, config.header_timeout_secs);
    serve(
        public::router(Arc::clone(node)),
        listener,
        limits,
        lifecycle,
    );
}

/// Serves the owner on `listener`.
pub fn serve_admin(node: &Arc<Node>, listener: TcpListener, lifecycle: &Lifecycle) {
    let config = &node.config.admin;
    let limits = Limits::new(config.max_connections, config.header_timeout_secs);
    serve(admin::router(Arc::clone(node)), listener, limits, lifecycle);
}

/// Ends with shutdown, and lets open requests end first.
fn serve(router: Router, listener: TcpListener, limits: Limits, lifecycle: &Lifecycle) {
    let server = Server::new(router, limits.header_patience, lifecycle.clone());
    let tasks = lifecycle.clone();
    lifecycle.spawn(async move {
        let places = Arc::new(Semaphore::new(limits.max_connections));
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let (stream, client) = accept(&listener).await;
            let socket = open(stream, place, limits);
            let server = server.clone();
            tasks.spawn_draining(async move { server.serve(socket, client).await });
        }
    });
}

fn open(stream: TcpStream, place: OwnedSemaphorePermit, limits: Limits) -> Socket {
    // Small parts of a stream go out at once; without it they only go out later.
    let _ = stream.set_nodelay(true);
    Socket::new(stream, place, limits.write_patience)
}

/// Returns the next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client's own doing: the next one may be fine.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "No connection can be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests;
