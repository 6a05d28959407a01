//! `kind = "nwc"`: a wallet behind Nostr Wallet Connect.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::SecretRef;

/// The keys of a wallet behind NIP-47.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NwcConfig {
    /// Where the connection (`nostr+walletconnect://...`) is kept. Default `file:nwc`.
    pub connection: SecretRef,
}

impl Default for NwcConfig {
    fn default() -> Self {
        Self {
            connection: SecretRef::File(PathBuf::from("nwc")),
        }
    }
}
