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
    CallId, Claim, Claimed, Delivered, Journal, JournalError, PayOut, Payment, PaymentKey, Replay,
    RequestKey, StoredResponse,
};
use crate::l402::{Limit, LimitUnit, Remaining};
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
    used: HashMap<([u8; 32], LimitUnit), u64>,
    calls: HashMap<CallId, MemoryCall>,
    kept: Vec<(PaymentKey, RequestKey, CallId, StoredResponse)>,
}

/// A call, and what it took of which limits.
#[derive(Debug, Clone)]
struct MemoryCall {
    payment: PaymentKey,
    request: RequestKey,
    taken: Vec<(Limit, u64)>,
    is_open: bool,
}

impl Book {
    /// Closes an open call and gives back what it took, but for `cost` of limits in money.
    fn give_back(&mut self, call: &CallId, cost: Option<u64>) {
        let Some(call) = self.calls.get_mut(call).filter(|call| call.is_open) else {
            return;
        };
        call.is_open = false;
        for (limit, taken) in &call.taken {
            let kept = match (limit.unit, cost) {
                (_, None) => 0,
                (LimitUnit::Uses, Some(_)) => *taken,
                (LimitUnit::Msat, Some(cost)) => cost.min(*taken),
            };
            if let Some(used) = self.used.get_mut(&(limit.key, limit.unit)) {
                *used = used.saturating_sub(taken - kept);
            }
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError> {
        let key = claim.payment.key();
        let Payment::L402 { limits, cost, .. } = claim.payment else {
            return Ok(Claimed::NeedsSwap);
        };
        let mut book = locked(&self.book);
        let mut remaining = Remaining::default();
        let mut taken = Vec::new();
        for limit in limits {
            let takes = limit.taken_by_call(cost.as_u64());
            let used = book.used.get(&(limit.key, limit.unit)).copied();
            let used = used.unwrap_or(0).saturating_add(takes);
            let Some(left) = limit.max.checked_sub(used) else {
                return Ok(Claimed::UsedUp);
            };
            remaining.narrow(limit.unit, left);
            taken.push((limit, takes));
        }
        for (limit, takes) in &taken {
            *book.used.entry((limit.key, limit.unit)).or_default() += takes;
        }
        let id = CallId(format!("call-{}", book.calls.len()));
        let call = MemoryCall {
            payment: key,
            request: claim.request,
            taken,
            is_open: true,
        };
        book.calls.insert(id.clone(), call);
        Ok(Claimed::New {
            call: id,
            remaining,
        })
    }

    async fn commit(
        &self,
        call: &CallId,
        delivered: Delivered,
    ) -> Result<Option<PayOut>, JournalError> {
        let cost = delivered.cost.map_or(u64::MAX, Msat::as_u64);
        locked(&self.book).give_back(call, Some(cost));
        if let Some(response) = delivered.response {
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
        if let Some(known) = book.calls.get(call).cloned() {
            let kept = (known.payment, known.request, call.clone(), response);
            book.kept.push(kept);
        }
        Ok(())
    }

    async fn release(&self, call: &CallId) -> Result<Option<PayOut>, JournalError> {
        locked(&self.book).give_back(call, None);
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
