//! `[admin]`: the listener of the node's owner.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where the owner's commands and dashboard reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    /// Address and port to listen on; port 0 takes any free one. Keep it on a
    /// loopback address. Default `127.0.0.1:7403`.
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7403)),
        }
    }
}
