//! `relays.toml`: the relays this node reads from and writes to.

use serde::{Deserialize, Serialize};

/// A relay and what it is used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEntry {
    /// `wss://` or, on loopback, `ws://`.
    pub url: String,
    /// Listings are read from it. Default true.
    #[serde(default = "yes")]
    pub read: bool,
    /// Own listings are published to it. Default false.
    #[serde(default)]
    pub write: bool,
    /// Own agents receive encrypted messages there (NIP-17). Default false.
    #[serde(default)]
    pub inbox: bool,
}

fn yes() -> bool {
    true
}

impl RelayEntry {
    /// Checks the values; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        match url::Url::parse(&self.url) {
            Ok(parsed) if matches!(parsed.scheme(), "ws" | "wss") && parsed.has_host() => Ok(()),
            _ => Err(("url", format!("{:?} is no ws:// or wss:// URL", self.url))),
        }
    }
}
