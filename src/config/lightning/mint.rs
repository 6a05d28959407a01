//! `kind = "mint"`: a Cashu mint as Lightning, for who has no node.

use serde::{Deserialize, Serialize};

/// The keys of a mint as backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MintBackendConfig {
    /// The mint, one of `[[mints]]`: it holds what is received, up to its cap. Empty,
    /// the default: the first of them.
    pub mint: String,
}
