//! `[gateway]`: how own agents are sold.

use feria_paywall::amount::Sat;
use serde::{Deserialize, Serialize};

use super::units;

/// Limits and deadlines of the pay-per-call gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayConfig {
    /// How long an invoice of a 402 can be paid, in seconds. Default 600.
    pub invoice_expiry_secs: u64,
    /// How long a connection to an upstream may take to open, in seconds. Default 5.
    pub connect_timeout_secs: u64,
    /// How long an upstream may take to begin its answer, in seconds. Default 60.
    pub upstream_timeout_secs: u64,
    /// How long either side may pause within a body, in seconds. Default 60.
    pub pause_timeout_secs: u64,
    /// How long a call may take in all, WebSockets too, in seconds. Default 86400.
    pub call_timeout_secs: u64,
    /// How long a WebSocket may be silent both ways, in seconds. Default 300.
    pub tunnel_idle_timeout_secs: u64,
    /// The largest paid answer that is kept for a buyer who lost it, in bytes. Default 256 KiB.
    pub stored_response_max_bytes: usize,
    /// How long such an answer is kept, in seconds. Default 600.
    pub stored_response_secs: u64,
    /// The shortest lock on ecash that is accepted offline, in seconds from now. Default 3600.
    pub min_locktime_secs: u64,
    /// The most ecash of one mint that may wait for redemption. Default `5000sat`.
    #[serde(with = "units::sat")]
    pub vault_cap: Sat,
    /// The longest ecash may wait for redemption, in seconds. Default 300.
    pub vault_max_age_secs: u64,
    /// Challenges with an invoice that one address gets per minute. Default 60.
    pub challenges_per_minute: u32,
    /// How long an address gets its last unpaid challenge of a route again instead of
    /// a new invoice, in seconds. Two payers behind one address share it, and only one
    /// can pay it. Default 0: each challenge is new.
    pub invoice_reuse_secs: u64,
    /// Whether calls of all agents are let through and only counted. Default false.
    pub shadow: bool,
    /// Whether a 402 offers the scheme `Payment` (MPP) beside L402, for the same invoice. Default true.
    pub mpp: bool,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            invoice_expiry_secs: 600,
            connect_timeout_secs: 5,
            upstream_timeout_secs: 60,
            pause_timeout_secs: 60,
            call_timeout_secs: 86_400,
            tunnel_idle_timeout_secs: 300,
            stored_response_max_bytes: 256 * 1024,
            stored_response_secs: 600,
            min_locktime_secs: 3_600,
            vault_cap: Sat::new(5_000),
            vault_max_age_secs: 300,
            challenges_per_minute: 60,
            invoice_reuse_secs: 0,
            shadow: false,
            mpp: true,
        }
    }
}

impl GatewayConfig {
    /// Checks the values against each other; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("invoice_expiry_secs", self.invoice_expiry_secs),
            ("connect_timeout_secs", self.connect_timeout_secs),
            ("upstream_timeout_secs", self.upstream_timeout_secs),
            ("pause_timeout_secs", self.pause_timeout_secs),
            ("call_timeout_secs", self.call_timeout_secs),
            ("tunnel_idle_timeout_secs", self.tunnel_idle_timeout_secs),
        ] {
            if value == 0 || value > 86_400 {
                return Err((key, format!("{value} is not between 1 and 86400 seconds")));
            }
        }
        // A token whose lock ends before it is redeemed can be taken back by its payer.
        if self.vault_max_age_secs.saturating_mul(2) > self.min_locktime_secs {
            return Err((
                "vault_max_age_secs",
                "it must be at most half of min_locktime_secs, or a payer could take ecash back"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
