//! How long a link waits: exponential backoff with full jitter.

use std::time::Duration;

use crate::clock::{Entropy, random_bytes};

/// The times of a link. The defaults are for relays of strangers.
#[derive(Debug, Clone, Copy)]
pub struct RelayTiming {
    /// Upper bound of the first wait; it doubles with each failure.
    pub backoff_base: Duration,
    /// Upper bound of every wait.
    pub backoff_cap: Duration,
    /// A connection that stood so long counts as a success.
    pub stable_after: Duration,
    /// Interval of our pings.
    pub ping_every: Duration,
    /// Pings without any frame in return before the connection counts as dead.
    pub idle_pings: u32,
}

impl Default for RelayTiming {
    fn default() -> Self {
        Self {
            backoff_base: Duration::from_secs(2),
            backoff_cap: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
            ping_every: Duration::from_secs(30),
            idle_pings: 4,
        }
    }
}

impl RelayTiming {
    /// Returns a wait after `failures` in a row, evenly drawn between zero and
    /// the bound, so that many nodes do not come back at once.
    pub(super) fn wait(&self, failures: u32, entropy: &dyn Entropy) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self
            .backoff_base
            .saturating_mul(1 << doublings)
            .min(self.backoff_cap);
        let draw = f64::from(u32::from_le_bytes(random_bytes(entropy))) / f64::from(u32::MAX);
        bound.mul_f64(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn waits_are_spread_and_never_over_the_cap() {
        let timing = RelayTiming::default();
        let entropy = SeededEntropy::new(1);
        for failures in [0, 1, 2, 8, 9, u32::MAX] {
            let bound = Duration::from_secs(2 << failures.saturating_sub(1).min(8));
            let bound = bound.min(timing.backoff_cap);

            let waits: Vec<Duration> = (0..200).map(|_| timing.wait(failures, &entropy)).collect();

            assert!(waits.iter().all(|wait| *wait <= bound));
            assert!(waits.iter().any(|wait| *wait < bound / 4));
            assert!(waits.iter().any(|wait| *wait > bound / 4 * 3));
        }
    }
}
