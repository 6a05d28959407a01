//! One purchase at a time per idempotency key.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// A wallet and one of its keys.
type Name = (String, String);

/// Who is working on which purchase, in this process.
#[derive(Debug, Default)]
pub(super) struct Turns {
    locks: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits until nobody works on the purchase of `key`.
    pub(super) async fn take(&self, wallet_id: &str, key: &str) -> OwnedMutexGuard<()> {
        self.lock_of(wallet_id, key).lock_owned().await
    }

    /// Returns `None` when somebody works on the purchase of `key`.
    pub(super) fn try_take(&self, wallet_id: &str, key: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock_of(wallet_id, key).try_lock_owned().ok()
    }

    fn lock_of(&self, wallet_id: &str, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(
            locks
                .entry((wallet_id.to_owned(), key.to_owned()))
                .or_default(),
        )
    }
}
