//! A limit on what a client may cost others without paying: challenges, so that
//! nobody makes the seller's Lightning node create invoices without end, and
//! tokens that turn out bad, so that nobody makes the node hammer a mint.
//!
//! One token bucket per address in a table of fixed size: when it is full of
//! active clients, newcomers share one bucket instead of growing it.
//!
//! Not the crate `governor`: it takes a clock and a store of one's own, but has no
//! bound on its tables of keys and no way to give back what was taken. Both would be
//! a store of ours around its one formula, on numbers that it keeps opaque.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::client::{SHARED, block};

/// How many clients have a bucket of their own.
const MAX_CLIENTS: usize = 4_096;
/// How long a bucket takes to fill: a client idle for that long is forgotten.
const REFILL_MILLIS: u64 = 60_000;

/// A client's bucket, in thousandths of a challenge.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    at_millis: u64,
}

/// Counts challenges per client.
#[derive(Debug)]
pub struct Throttle {
    per_minute: u64,
    clients: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Throttle {
    /// Allows each client `per_minute` challenges a minute, all at once if it likes. 0 allows any number.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: u64::from(per_minute),
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one challenge out of the client's bucket; `None` stands for all clients
    /// whose address is not known.
    ///
    /// # Errors
    /// The seconds until there is one.
    pub fn take(&self, client: Option<IpAddr>, now_millis: u64) -> Result<(), u64> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let full = self.per_minute * 1_000;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Self::slot(&mut clients, client.map(block), now_millis);
        let bucket = clients.entry(key).or_insert(Bucket {
            level: full,
            at_millis: now_millis,
        });
        let elapsed = now_millis
            .saturating_sub(bucket.at_millis)
            .min(REFILL_MILLIS);
        bucket.level = (bucket.level + elapsed * full / REFILL_MILLIS).min(full);
        bucket.at_millis = now_millis;
        if bucket.level < 1_000 {
            let missing_millis = (1_000 - bucket.level) * REFILL_MILLIS / full;
            return Err(missing_millis.div_ceil(1_000).max(1));
        }
        bucket.level -= 1_000;
        Ok(())
    }

    /// Gives one back to the client's bucket: what was taken for it has paid.
    #[cfg(any(test, feature = "cashu"))]
    pub(crate) fn give_back(&self, client: Option<IpAddr>) {
        let full = self.per_minute * 1_000;
        let key = client.map_or(SHARED, block);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = clients.get_mut(&key) {
            bucket.level = (bucket.level + 1_000).min(full);
        }
    }

    /// Returns the key to count under: the client's own, or the shared one when the table is full.
    fn slot(
        clients: &mut HashMap<IpAddr, Bucket>,
        client: Option<IpAddr>,
        now_millis: u64,
    ) -> IpAddr {
        let Some(client) = client else { return SHARED };
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, bucket| now_millis.saturating_sub(bucket.at_millis) < REFILL_MILLIS);
            if clients.len() >= MAX_CLIENTS {
                return SHARED;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_client_over_its_limit_waits_and_others_do_not() {
        let throttle = Throttle::new(2);

        assert_eq!(throttle.take(client(1), 0), Ok(()));
        assert_eq!(throttle.take(client(1), 0), Ok(()));
        assert_eq!(throttle.take(client(1), 0), Err(30));
        assert_eq!(throttle.take(client(2), 0), Ok(()));
        assert_eq!(throttle.take(client(1), 30_000), Ok(()));
    }

    #[test]
    fn what_was_given_back_can_be_taken_again() {
        let throttle = Throttle::new(1);

        for _ in 0..3 {
            assert_eq!(throttle.take(client(1), 0), Ok(()));
            throttle.give_back(client(1));
        }
        assert_eq!(throttle.take(client(1), 0), Ok(()));
        assert_eq!(throttle.take(client(1), 0), Err(60));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table() {
        let throttle = Throttle::new(2);

        for number in 0..20_000_u32 {
            let _ = throttle.take(Some(IpAddr::from(number.to_be_bytes())), 0);
        }

        assert!(throttle.clients.lock().unwrap().len() <= MAX_CLIENTS + 1);
    }
}
