//! `[lightning]`: who makes and pays invoices for this node.

use serde::{Deserialize, Serialize};

/// The kind of Lightning backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LightningKind {
    /// None: this node sells and buys for ecash alone.
    #[default]
    None,
    /// A pretended network inside this process; only on `network = "simulated"`.
    Simulated,
}

/// The Lightning backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LightningConfig {
    /// `none`, or `simulated` for play. Default `none`.
    pub backend: LightningKind,
}
