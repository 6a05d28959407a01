//! The embedded market of `feria demo` and of the tests.
//!
//! Real parts over a simulated Lightning network
//! ([`crate::lightning::simulated`]): a Cashu mint served over HTTP, sample agents
//! to sell, and a wallet for clients that bring none. Everything here listens on the loopback interface only and
//! says `[simulated]` or `sample` where a person can see it.

use std::net::SocketAddr;

use crate::lightning::simulated::SimulatedError;

pub mod demo;
pub mod front;
pub mod mint;
pub mod upstream;

/// A part of the sandbox that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is taken or not on this machine.
    #[error("listen on {address}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The sandbox serves simulated money and must not be reached from outside.
    #[error("listen on {0}: the sandbox listens on loopback addresses only")]
    NotLoopback(SocketAddr),
    /// The simulated Lightning network does not take changes.
    #[error("use the simulated Lightning network")]
    Lightning(#[source] SimulatedError),
    /// The mint's own folder cannot be made.
    #[error("create the mint's folder")]
    Folder(#[source] std::io::Error),
    /// The embedded mint refused to start.
    #[error("start the embedded mint {name}: {reason}")]
    Mint {
        /// Its name.
        name: String,
        /// What it said.
        reason: String,
    },
}

/// Listens on `address`, which must be of the loopback interface; port 0 picks a free one.
async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, SandboxError> {
    if !address.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(address));
    }
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| SandboxError::Listen { address, source })
}
