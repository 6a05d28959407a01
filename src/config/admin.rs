//! `[admin]`: the listener of the node's owner.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::public::check_connections;

/// Where the owner's commands and dashboard reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    /// Address and port to listen on; port 0 takes any free one. Keep it on a
    /// loopback address. Default `127.0.0.1:7403`.
    pub listen: SocketAddr,
    /// How many connections are open at once; further ones wait. Default 128.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and keep a
    /// connection without one, in seconds. Default 30.
    pub header_timeout_secs: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7403)),
            max_connections: 128,
            header_timeout_secs: 30,
        }
    }
}

impl AdminConfig {
    /// Checks the values; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        check_connections(self.max_connections, self.header_timeout_secs)
    }
}
