//! `[spend]`: limits on what own agents buy.

use feria_paywall::amount::{Msat, Sat};
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
    /// How long the head of an answer, and each pause in its body, may take, in seconds. Default 60.
    pub timeout_secs: u64,
    /// After so many paid calls of one seller within [`Self::float_window_secs`],
    /// ecash for further calls is locked to its key ahead of them. Default 0: never.
    pub float_after_calls: u32,
    /// In seconds. Default 600.
    pub float_window_secs: u64,
    /// For how many calls at once. Default 16.
    pub float_calls: u32,
    /// The most that one wallet may have locked for one seller. Default `500sat`.
    #[serde(with = "units::sat")]
    pub float_max: Sat,
    /// How long it can be used, in seconds; what is left comes home the seller's
    /// minimum locktime later. Default 3600.
    pub float_hold_secs: u64,
}

impl Default for SpendConfig {
    fn default() -> Self {
        Self {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            price_tolerance_percent: 0,
            timeout_secs: 60,
            float_after_calls: 0,
            float_window_secs: 600,
            float_calls: 16,
            float_max: Sat::new(500),
            float_hold_secs: 3_600,
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
        if self.float_calls == 1 || self.float_calls > 64 {
            return Err(("float_calls", "not 0 and not between 2 and 64".to_owned()));
        }
        if self.float_hold_secs > 86_400 {
            return Err(("float_hold_secs", "more than a day".to_owned()));
        }
        Ok(())
    }
}
