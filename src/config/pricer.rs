//! `pricer = { … }` of an agent or a route: an HTTP service that is asked for a price.

use feria_paywall::amount::{Msat, Sat};
use serde::{Deserialize, Serialize};

use super::units;

/// The longest a caller may be kept waiting for a price.
const MAX_TIMEOUT_MS: u64 = 10_000;

/// Who is asked for a price, and what is done without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricerConfig {
    /// Where `POST` is sent, `http://` or `https://`. Required.
    pub url: String,
    /// How long an answer may take, in milliseconds. Default 500.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// The most that it may ask for. Default `10000sat`.
    #[serde(default = "default_max_price", with = "units::msat")]
    pub max_price: Msat,
    /// What is done without a usable answer: `listed` or `refuse`. Default `listed`.
    #[serde(default)]
    pub fallback: PriceFallback,
}

/// What is done when a pricer gives no usable answer. Never is a call free then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceFallback {
    /// The configured price is asked for.
    #[default]
    Listed,
    /// The call is refused with 503.
    Refuse,
}

const fn default_timeout_ms() -> u64 {
    500
}

fn default_max_price() -> Msat {
    Sat::new(10_000).to_msat()
}

impl PricerConfig {
    /// Returns the pricer at `url` with every default.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            timeout_ms: default_timeout_ms(),
            max_price: default_max_price(),
            fallback: PriceFallback::default(),
        }
    }

    /// Checks the values; says what would be right.
    pub(super) fn check(&self) -> Result<(), String> {
        match url::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => return Err("its url is an http:// or https:// URL".to_owned()),
        }
        if self.timeout_ms == 0 || self.timeout_ms > MAX_TIMEOUT_MS {
            return Err(format!("its timeout_ms is between 1 and {MAX_TIMEOUT_MS}"));
        }
        if self.max_price == Msat::ZERO {
            return Err("its max_price is above 0".to_owned());
        }
        Ok(())
    }
}
