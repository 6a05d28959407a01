//! In-memory parts for tests of services behind the layer (feature `testing`).
//!
//! Nothing here is worth money: invoices are no BOLT11 and are paid by asking
//! [`MemoryWorld::preimage`], payment requests by asking [`MemoryMint::pay`].
//! [`corpus`] and [`fuzz`] break the parsers, or try to.

pub mod corpus;
pub mod fuzz;
mod journal;
#[cfg(feature = "cashu")]
mod mint;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::amount::Msat;
use crate::payment::{PaymentHash, Preimage};
use crate::scheme::{BoxFuture, ChallengeInvoice, InvoiceError, InvoiceMaker, World};

pub use journal::MemoryJournal;
#[cfg(feature = "cashu")]
pub use mint::MemoryMint;

/// A world whose clock stands still, whose randomness counts up, and whose
/// Lightning node gives its preimages away.
///
/// Tasks run on a thread of their own, to their end.
#[derive(Debug, Default)]
pub struct MemoryWorld {
    now_millis: AtomicU64,
    counter: AtomicU64,
    preimages: Mutex<HashMap<String, [u8; 32]>>,
}

impl MemoryWorld {
    /// Returns a world at `unix_secs`.
    #[must_use]
    pub fn at(unix_secs: u64) -> Self {
        Self {
            now_millis: AtomicU64::new(unix_secs * 1_000),
            ..Self::default()
        }
    }

    /// Moves the clock forward.
    pub fn advance_secs(&self, secs: u64) {
        self.now_millis.fetch_add(secs * 1_000, Ordering::SeqCst);
    }

    /// "Pays" an invoice of this world: returns its preimage.
    #[must_use]
    pub fn preimage(&self, invoice: &str) -> Option<Preimage> {
        locked(&self.preimages)
            .get(invoice)
            .copied()
            .map(Preimage::new)
    }

    /// Returns how many invoices were made.
    #[must_use]
    pub fn count_invoices(&self) -> usize {
        locked(&self.preimages).len()
    }
}

impl World for MemoryWorld {
    fn now_millis(&self) -> u64 {
        self.now_millis.load(Ordering::SeqCst)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let number = self.counter.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, value) in bytes.iter_mut().zip(number.iter().cycle()) {
            *byte = *value;
        }
    }

    fn spawn(&self, task: BoxFuture<()>) {
        std::thread::spawn(move || block_on(task));
    }
}

/// Runs `task` to its end by polling it whenever it wakes this thread.
fn block_on(mut task: BoxFuture<()>) {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    while task.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}

#[async_trait]
impl InvoiceMaker for MemoryWorld {
    async fn make_invoice(
        &self,
        amount: Msat,
        _description: &str,
        _expiry_secs: u64,
    ) -> Result<ChallengeInvoice, InvoiceError> {
        let mut preimage = [0; 32];
        self.fill_random(&mut preimage);
        let payment_hash: PaymentHash = Preimage::new(preimage).payment_hash();
        let bolt11 = format!("lntest{}{payment_hash}", amount.as_u64());
        locked(&self.preimages).insert(bolt11.clone(), preimage);
        Ok(ChallengeInvoice {
            bolt11,
            payment_hash,
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
