//! A port that stays with its test while nobody listens there.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// A free port. It is not given to anybody else before this is dropped.
pub(crate) struct KeptPort(TcpSocket);

impl KeptPort {
    pub(crate) fn new() -> Self {
        Self(bound(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Listens there. Connections are refused once all that is returned is dropped.
    pub(crate) fn listen(&self) -> TcpListener {
        bound(self.address()).listen(BACKLOG).unwrap()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
