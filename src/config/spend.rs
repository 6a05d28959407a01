//! `[spend]`: limits on what own agents buy.

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::units;

/// Defaults of a purchase; a request may ask for less, never for more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpendConfig {
    /// The most one call may cost, fees left out. Default `1000sat`.
    #[serde(with = "units::msat")]
    pub max_price: Msat,
    /// The most one payment may cost in fees. Default `20sat`.
    #[serde(with = "units::msat")]
    pub max_fee: Msat,
    /// By how much a 402 may exceed the signed listing, in percent. Default 0.
    pub price_tolerance_percent: u32,
    /// How long a purchase may take in all, in seconds. Default 60.
    pub timeout_secs: u64,
}

impl Default for SpendConfig {
    fn default() -> Self {
        Self {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            price_tolerance_percent: 0,
            timeout_secs: 60,
        }
    }
}

impl SpendConfig {
    /// Checks the values against each other; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.price_tolerance_percent > 100 {
            return Err((
                "price_tolerance_percent",
                "more than 100 percent".to_owned(),
            ));
        }
        if self.timeout_secs == 0 || self.timeout_secs > 3_600 {
            return Err(("timeout_secs", "not between 1 and 3600 seconds".to_owned()));
        }
        Ok(())
    }
}
