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
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7402)),
            url: String::new(),
            max_body_bytes: 1024 * 1024,
            open_inbox: false,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

impl PublicConfig {
    /// Checks the values against each other; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
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
