//! Time and randomness, as arguments.
//!
//! The one module that reads the system clock or the system's random source.
//! Everything else takes a [`SharedClock`] or [`SharedEntropy`], so a test moves
//! time by hand and repeats a run byte for byte.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A clock that can be handed to many tasks.
pub type SharedClock = Arc<dyn Clock>;
/// A random source that can be handed to many tasks.
pub type SharedEntropy = Arc<dyn Entropy>;

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64;

    /// Returns seconds since the Unix epoch, the unit of Nostr and of macaroon expiry.
    fn now(&self) -> u64 {
        self.now_millis() / 1_000
    }
}

/// The system's clock. A clock set before 1970 reads as 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_millis(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| {
                u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
            })
    }
}

/// A clock that follows the system's, plus what it was moved forward by hand.
///
/// The demo uses it to reach a wallet's expiry without waiting for it.
#[derive(Debug, Default)]
pub struct OffsetClock {
    offset_millis: AtomicU64,
}

impl OffsetClock {
    /// Moves this clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.offset_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for OffsetClock {
    fn now_millis(&self) -> u64 {
        SystemClock
            .now_millis()
            .saturating_add(self.offset_millis.load(Ordering::SeqCst))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now_millis: AtomicU64,
}

impl ManualClock {
    /// Returns a clock standing at `unix_secs`.
    #[must_use]
    pub fn at(unix_secs: u64) -> Self {
        Self {
            now_millis: AtomicU64::new(unix_secs.saturating_mul(1_000)),
        }
    }

    /// Moves this clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.now_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_millis(&self) -> u64 {
        self.now_millis.load(Ordering::SeqCst)
    }
}

/// Gives random bytes fit for keys.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `bytes` with random data.
    fn fill(&self, bytes: &mut [u8]);
}

/// Returns `N` random bytes of `entropy`.
pub fn random_bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// Returns a random identifier of 32 hexadecimal characters.
pub fn random_id(entropy: &dyn Entropy) -> String {
    hex::encode(random_bytes::<16>(entropy))
}

/// Returns an identifier of 32 hexadecimal characters that sorts by `now_millis`:
/// 48 bits of time, 80 random ones. Rows under such keys are written next to each
/// other, which a busy table needs. It tells when it was made, so it is no secret.
pub fn ordered_id(now_millis: u64, entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&now_millis.to_be_bytes()[2..]);
    entropy.fill(&mut bytes[6..]);
    hex::encode(bytes)
}

/// The system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A random source that repeats itself for the same seed. For tests only: its
/// output is predictable.
#[derive(Debug)]
pub struct SeededEntropy {
    rng: Mutex<StdRng>,
}

impl SeededEntropy {
    /// Returns the source that `seed` stands for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_ids_sort_by_time_and_differ_within_a_millisecond() {
        let entropy = SeededEntropy::new(1);
        let ids = [1_794_000_000_000, 1_794_000_000_000, 1_794_000_000_001]
            .map(|now_millis| ordered_id(now_millis, &entropy));

        assert!(ids.iter().all(|id| id.len() == 32));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0][..12], ids[1][..12]);
        assert!(ids[2] > ids[0] && ids[2] > ids[1]);
    }
}
