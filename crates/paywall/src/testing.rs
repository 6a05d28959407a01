//! In-memory parts for tests of services behind the layer (feature `testing`).
//!
//! Nothing here is worth money: invoices are no BOLT11 and are paid by asking
//! [`MemoryWorld::preimage`]; tokens cannot be swapped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::amount::Msat;
use crate::journal::{
    CallId, Claim, Claimed, Journal, JournalError, PayOut, Payment, PaymentKey, Replay, RequestKey,
    StoredResponse,
};
use crate::payment::{PaymentHash, Preimage};
use crate::scheme::{BoxFuture, ChallengeInvoice, InvoiceError, InvoiceMaker, World};

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

/// A journal that forgets everything with the process. It knows Lightning only.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    used: HashMap<PaymentKey, u32>,
    calls: HashMap<CallId, (PaymentKey, RequestKey)>,
    kept: Vec<(PaymentKey, RequestKey, CallId, StoredResponse)>,
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError> {
        let key = claim.payment.key();
        let Payment::L402 { uses, .. } = claim.payment else {
            return Ok(Claimed::NeedsSwap);
        };
        let mut book = locked(&self.book);
        let used = book.used.entry(key).or_default();
        if *used >= uses {
            return Ok(Claimed::UsedUp);
        }
        *used += 1;
        let remaining = Some(uses - *used);
        let call = CallId(format!("call-{}", book.calls.len()));
        book.calls.insert(call.clone(), (key, claim.request));
        Ok(Claimed::New { call, remaining })
    }

    async fn commit(
        &self,
        call: &CallId,
        response: Option<StoredResponse>,
    ) -> Result<Option<PayOut>, JournalError> {
        if let Some(response) = response {
            self.keep_response(call, response).await?;
        }
        Ok(None)
    }

    async fn keep_response(
        &self,
        call: &CallId,
        response: StoredResponse,
    ) -> Result<(), JournalError> {
        let mut book = locked(&self.book);
        if let Some((key, request)) = book.calls.get(call).cloned() {
            book.kept.push((key, request, call.clone(), response));
        }
        Ok(())
    }

    async fn release(&self, call: &CallId) -> Result<Option<PayOut>, JournalError> {
        let mut book = locked(&self.book);
        if let Some((key, _)) = book.calls.get(call).cloned()
            && let Some(used) = book.used.get_mut(&key)
        {
            *used = used.saturating_sub(1);
        }
        Ok(None)
    }

    async fn find_response(
        &self,
        payment: PaymentKey,
        request: &RequestKey,
        _now: u64,
    ) -> Result<Option<Replay>, JournalError> {
        let book = locked(&self.book);
        let found = book.kept.iter().rev().find(|(key, kept, _, response)| {
            *key == payment
                && match &request.idempotency_key {
                    Some(name) => kept.idempotency_key.as_ref() == Some(name),
                    None => kept.digest == request.digest,
                }
                && request
                    .body_hash
                    .is_none_or(|hash| response.request_body_hash == hash)
        });
        Ok(found.map(|(_, request, call, response)| Replay {
            call: call.clone(),
            response: response.clone(),
            change: None,
            request_digest: request.digest,
        }))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
