//! The last unpaid challenge of each client and route, given again for a while.
//!
//! A client that asks twice before it pays then costs one invoice. Two payers
//! behind one address are handed the same invoice too, and only one of them can
//! pay it: that is why the window is 0 unless the seller opens it. A challenge is
//! forgotten when its window ends or its payment is claimed.
//!
//! The table is bounded; when it is full, nothing more is remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::amount::Msat;
use crate::client::block;
use crate::payment::PaymentHash;

/// Most challenges that are remembered; each takes about a kilobyte.
const MAX_REMEMBERED: usize = 1_024;

/// The invoice of a challenge, and the value of its L402 header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) l402: String,
    pub(crate) invoice: String,
    pub(crate) payment_hash: PaymentHash,
    /// When it can be paid no more, or its credential ends. Unix seconds.
    pub(crate) expires_at: u64,
}

/// Whose challenge it is and what it sells.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReuseKey {
    client: IpAddr,
    service: String,
    capability: String,
    amount: Msat,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Reuse {
    window_millis: u64,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    challenges: HashMap<ReuseKey, (Remembered, u64)>,
    keys: HashMap<PaymentHash, ReuseKey>,
}

impl ReuseKey {
    /// Returns `None` for a client without an address: strangers share nothing.
    pub(crate) fn new(
        client: Option<IpAddr>,
        service: &str,
        capability: &str,
        amount: Msat,
    ) -> Option<Self> {
        Some(Self {
            client: block(client?),
            service: service.to_owned(),
            capability: capability.to_owned(),
            amount,
        })
    }
}

impl Reuse {
    /// Remembers each challenge for `window_secs`; 0 remembers none.
    pub(crate) fn new(window_secs: u64) -> Self {
        Self {
            window_millis: window_secs.saturating_mul(1_000),
            book: Mutex::default(),
        }
    }

    /// Returns the challenge that `key` was given last, if it is still good.
    pub(crate) fn find(&self, key: &ReuseKey, now_millis: u64) -> Option<Remembered> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let (remembered, until) = book.challenges.get(key)?;
        (now_millis < *until).then(|| remembered.clone())
    }

    /// Remembers a new challenge, at most for its invoice's `expiry_secs`.
    pub(crate) fn insert(
        &self,
        key: ReuseKey,
        challenge: Remembered,
        expiry_secs: u64,
        now_millis: u64,
    ) {
        // Half of the expiry: whoever gets it again needs time to pay.
        let window = self.window_millis.min(expiry_secs.saturating_mul(500));
        if window == 0 {
            return;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if book.challenges.len() >= MAX_REMEMBERED && !book.challenges.contains_key(&key) {
            book.prune(now_millis);
            if book.challenges.len() >= MAX_REMEMBERED {
                return;
            }
        }
        book.remove(&key);
        book.keys.insert(challenge.payment_hash, key.clone());
        book.challenges
            .insert(key, (challenge, now_millis + window));
    }

    /// Forgets the challenge of a payment that was claimed.
    pub(crate) fn forget(&self, payment_hash: &PaymentHash) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = book.keys.get(payment_hash).cloned() {
            book.remove(&key);
        }
    }
}

impl Book {
    fn remove(&mut self, key: &ReuseKey) {
        if let Some((old, _)) = self.challenges.remove(key) {
            self.keys.remove(&old.payment_hash);
        }
    }

    fn prune(&mut self, now_millis: u64) {
        self.challenges.retain(|_, (_, until)| now_millis < *until);
        let challenges = &self.challenges;
        self.keys.retain(|_, key| challenges.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: u32) -> ReuseKey {
        let client = Some(IpAddr::from(client.to_be_bytes()));
        ReuseKey::new(client, "echo", "say", Msat::new(1)).unwrap()
    }

    fn challenge(number: u32) -> Remembered {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        Remembered {
            l402: String::new(),
            invoice: number.to_string(),
            payment_hash: PaymentHash::new(hash),
            expires_at: 60,
        }
    }

    #[test]
    fn a_challenge_is_remembered_until_its_window_ends_or_it_is_claimed() {
        let reuse = Reuse::new(60);
        reuse.insert(key(1), challenge(1), 600, 0);
        reuse.insert(key(2), challenge(2), 600, 0);

        assert_eq!(reuse.find(&key(1), 59_999), Some(challenge(1)));
        assert_eq!(reuse.find(&key(1), 60_000), None);
        reuse.forget(&challenge(2).payment_hash);
        assert_eq!(reuse.find(&key(2), 0), None);
    }

    #[test]
    fn an_invoice_near_its_end_is_not_given_again() {
        let reuse = Reuse::new(60);
        reuse.insert(key(1), challenge(1), 10, 0);

        assert_eq!(reuse.find(&key(1), 5_000), None);
    }

    #[test]
    fn a_flood_of_clients_does_not_grow_the_table() {
        let reuse = Reuse::new(60);
        for number in 0..5_000 {
            reuse.insert(key(number), challenge(number), 600, u64::from(number));
        }

        let book = reuse.book.lock().unwrap();
        assert!(book.challenges.len() <= MAX_REMEMBERED && book.keys.len() <= MAX_REMEMBERED);
    }
}
