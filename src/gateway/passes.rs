//! Time that was bought and is running: credentials whose calls are not counted.
//!
//! The first call of such a credential is claimed in the ledger like any other, and
//! its income booked. What this remembers of it lets the further ones through
//! without a write, until the credential expires, which its macaroon says, or is
//! withdrawn. Forgetting one costs a claim, never money: the ledger decides again.

use std::num::NonZero;

use feria_paywall::journal::{CallId, Payment};
use lru::LruCache;
use parking_lot::Mutex;

/// How many are remembered; about 200 bytes each.
const CAPACITY: NonZero<usize> = NonZero::new(8_192).unwrap();

/// Names a credential: its payment hash and token id.
type Key = ([u8; 32], [u8; 32]);

/// Counts withdrawals, so that a claim that ran beside one is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// The credentials that are known to be good.
#[derive(Debug)]
pub(super) struct Passes(Mutex<State>);

#[derive(Debug)]
struct State {
    open: LruCache<Key, CallId>,
    withdrawals: u64,
}

impl Default for Passes {
    fn default() -> Self {
        Self(Mutex::new(State {
            open: LruCache::new(CAPACITY),
            withdrawals: 0,
        }))
    }
}

impl Passes {
    /// Ask for it before the claim that [`Self::open`] is to remember.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.0.lock().withdrawals)
    }

    /// Remembers that `payment` was claimed for `call`, if it bought time and nothing
    /// was withdrawn since `epoch`.
    pub(super) fn open(&self, payment: Key, call: &CallId, epoch: Epoch) {
        let mut state = self.0.lock();
        if state.withdrawals == epoch.0 {
            state.open.put(payment, call.clone());
        }
    }

    /// Returns the call that `payment` was claimed for.
    pub(super) fn find(&self, payment: &Payment) -> Option<CallId> {
        self.0.lock().open.get(&key_of(payment)?).cloned()
    }

    /// Forgets everything. Call it once a withdrawal is in the ledger.
    pub(super) fn close_all(&self) {
        let mut state = self.0.lock();
        state.withdrawals += 1;
        state.open.clear();
    }
}

/// Returns the name of a credential whose calls are not counted.
pub(super) fn key_of(payment: &Payment) -> Option<Key> {
    match payment {
        Payment::L402 {
            payment_hash,
            token_id,
            limits,
            ..
        } if limits.is_empty() => Some((*payment_hash.as_bytes(), *token_id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use feria_paywall::amount::Msat;
    use feria_paywall::l402::{Limit, LimitUnit};
    use feria_paywall::payment::PaymentHash;

    use super::*;

    fn payment(limits: Vec<Limit>) -> Payment {
        Payment::L402 {
            payment_hash: PaymentHash::new([1; 32]),
            token_id: [2; 32],
            paid: Msat::new(1_000),
            cost: Msat::new(1_000),
            limits,
        }
    }

    #[test]
    fn a_withdrawal_beside_a_claim_is_not_lost() {
        let passes = Passes::default();
        let time = payment(Vec::new());
        let key = key_of(&time).unwrap();
        let call = CallId("one".to_owned());

        passes.open(key, &call, passes.epoch());
        assert_eq!(passes.find(&time), Some(call.clone()));
        let before = passes.epoch();
        passes.close_all();
        assert_eq!(passes.find(&time), None);
        passes.open(key, &call, before);
        assert_eq!(passes.find(&time), None);
    }

    #[test]
    fn what_is_counted_is_claimed_each_time() {
        let counted = payment(vec![Limit {
            key: [1; 32],
            unit: LimitUnit::Uses,
            max: 9,
        }]);
        assert_eq!(key_of(&counted), None);
    }
}
