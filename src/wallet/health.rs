//! How trusted mints are doing, as seen in passing: no request is made for it.
//!
//! In memory only, since the node started. A refusal by the mint is an answer, not
//! a failure; a failure is a request without one.

use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::mint::MintFault;

/// Of how many requests the latency is kept.
const KEPT: usize = 64;
const MAX_REASON_CHARS: usize = 200;

/// How a mint is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintHealth {
    /// Requests since the node started.
    pub requests: u64,
    /// Those without an answer of the mint.
    pub failures: u64,
    /// Failures since the last answer; 0 while it answers.
    pub failures_in_a_row: u64,
    /// Half of the last answers came within this; `None` before the first.
    pub median_ms: Option<u64>,
    /// Nine of ten of the last answers came within this.
    pub p90_ms: Option<u64>,
    /// Unix seconds of the last answer.
    pub answered_at: Option<u64>,
    /// Why the last failure was one.
    pub last_failure: Option<String>,
    /// The optional NUTs that matter here, of which it says that it supports them.
    pub nuts: Vec<u8>,
    /// Those of the same that it does not support.
    pub missing_nuts: Vec<u8>,
    /// Keysets that sign in satoshi.
    pub active_keysets: u32,
    /// Unix seconds of the earliest end of an active keyset; `None` when none ends.
    pub keyset_expires_at: Option<u64>,
}

/// What was seen of a mint so far.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    health: MintHealth,
    /// The last latencies, in milliseconds; the oldest is overwritten.
    latencies: Vec<u64>,
    next: usize,
}

impl Observed {
    /// Notes how a request ended that took `took`.
    pub(crate) fn note(&self, took: Duration, fault: Option<&MintFault>, now: u64) {
        let mut inner = self.0.lock();
        inner.health.requests += 1;
        let unanswered = match fault {
            Some(
                MintFault::NotSent(reason) | MintFault::Lost(reason) | MintFault::Blocked(reason),
            ) => Some(reason),
            _ => None,
        };
        if let Some(reason) = unanswered {
            inner.health.failures += 1;
            inner.health.failures_in_a_row += 1;
            inner.health.last_failure = Some(reason.chars().take(MAX_REASON_CHARS).collect());
            return;
        }
        inner.health.failures_in_a_row = 0;
        inner.health.answered_at = Some(now);
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let next = inner.next;
        match inner.latencies.get_mut(next) {
            Some(oldest) => *oldest = took,
            None => inner.latencies.push(took),
        }
        inner.next = (next + 1) % KEPT;
    }

    /// Notes what the mint said of itself.
    pub(crate) fn describe(&self, nuts: Vec<u8>, missing_nuts: Vec<u8>) {
        let mut inner = self.0.lock();
        inner.health.nuts = nuts;
        inner.health.missing_nuts = missing_nuts;
    }

    /// Returns what was seen; the keysets are the caller's to fill in.
    pub(crate) fn health(&self) -> MintHealth {
        let inner = self.0.lock();
        let mut latencies = inner.latencies.clone();
        latencies.sort_unstable();
        let at = |permille: usize| {
            let last = latencies.len().checked_sub(1)?;
            latencies.get(last * permille / 1_000).copied()
        };
        MintHealth {
            median_ms: at(500),
            p90_ms: at(900),
            ..inner.health.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_not() {
        let observed = Observed::default();
        for millis in 1..=10 {
            observed.note(Duration::from_millis(millis), None, 5);
        }
        observed.note(Duration::from_millis(7), Some(&MintFault::Spent), 6);
        let lost = MintFault::Lost("x".repeat(500));
        observed.note(Duration::from_secs(10), Some(&lost), 7);
        observed.note(Duration::from_secs(10), Some(&lost), 8);

        let health = observed.health();

        assert_eq!((health.requests, health.failures), (13, 2));
        assert_eq!((health.failures_in_a_row, health.answered_at), (2, Some(6)));
        assert_eq!((health.median_ms, health.p90_ms), (Some(6), Some(9)));
        assert_eq!(health.last_failure.unwrap().len(), MAX_REASON_CHARS);
    }

    #[test]
    fn only_the_last_latencies_count() {
        let observed = Observed::default();
        assert_eq!(observed.health().median_ms, None);
        observed.note(Duration::from_secs(9), None, 1);
        for _ in 0..KEPT {
            observed.note(Duration::from_millis(3), None, 1);
        }

        assert_eq!(observed.health().p90_ms, Some(3));
        assert_eq!(observed.0.lock().latencies.len(), KEPT);
    }
}
