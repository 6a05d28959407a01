//! `[public]`: the listener that the world reaches.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::TrustedProxies;

/// Where buyers, relays' clients and browsers reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicConfig {
    /// Address and port to listen on; port 0 takes any free one. Default `127.0.0.1:7402`.
    pub listen: SocketAddr,
    /// The URL under which others reach that listener, without trailing slash; it
    /// goes into listings. Empty: `http://` and the address listened on. Default empty.
    pub url: String,
    /// The largest request body that is taken, in bytes. Default 1 MiB.
    pub max_body_bytes: usize,
    /// Whether the relay endpoint keeps encrypted messages for anyone, instead of
    /// for own agents alone. Default false.
    pub open_inbox: bool,
    /// Proxies in front of this listener, as addresses or networks: what they say
    /// about a client's address is believed, and limits count by it. Default none.
    pub trusted_proxies: TrustedProxies,
    /// How many connections are open at once; further ones wait. Default 1024.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and keep a
    /// connection without one, in seconds. Default 30.
    pub header_timeout_secs: u64,
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7402)),
            url: String::new(),
            max_body_bytes: 1024 * 1024,
            open_inbox: false,
            trusted_proxies: TrustedProxies::default(),
            max_connections: 1024,
            header_timeout_secs: 30,
        }
    }
}

impl PublicConfig {
    /// Checks the values against each other; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        check_connections(self.max_connections, self.header_timeout_secs)?;
        if self.url.is_empty() {
            return Ok(());
        }
        let parsed = url::Url::parse(&self.url)
            .map_err(|error| ("url", format!("{:?} is no URL: {error}", self.url)))?;
        if !matches!(parsed.scheme(), "http" | "https") || self.url.ends_with('/') {
            return Err((
                "url",
                "write http:// or https:// and the host, without a slash at the end".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Checks the limits that both listeners have.
pub(super) fn check_connections(
    max_connections: usize,
    header_timeout_secs: u64,
) -> Result<(), (&'static str, String)> {
    if max_connections == 0 || max_connections > 65_536 {
        return Err((
            "max_connections",
            format!("{max_connections} is not between 1 and 65536"),
        ));
    }
    if header_timeout_secs == 0 || header_timeout_secs > 3_600 {
        return Err((
            "header_timeout_secs",
            format!("{header_timeout_secs} is not between 1 and 3600 seconds"),
        ));
    }
    Ok(())
}
