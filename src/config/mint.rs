//! `[[mints]]`: the Cashu mints this node trusts with money.

use feria_paywall::amount::Sat;
use serde::{Deserialize, Serialize};

use super::units;

/// A mint that may hold money of this node. A mint can vanish with what it holds:
/// the cap says how much that may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintEntry {
    /// Its URL, without trailing slash.
    pub url: String,
    /// The most it may hold for this node. Default `10000sat`.
    #[serde(with = "units::sat", default = "default_cap")]
    pub cap: Sat,
}

fn default_cap() -> Sat {
    Sat::new(10_000)
}

impl MintEntry {
    /// Checks the values; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        match url::Url::parse(&self.url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
                Ok(())
            }
            _ => Err((
                "url",
                format!("{:?} is no http:// or https:// URL", self.url),
            )),
        }
    }
}
