//! Ends of calls that could not be written down, until they are.
//!
//! The ledger may fail between two writes: the disk is full for a minute, say. A
//! call whose claim was written and whose end was not would stay *claimed*, or a
//! swap *swapping*, until the next start: its payer would hear "in progress" all
//! that time. So the end is kept in memory and written as soon as that works; a
//! process that dies before leaves it to the next start, as every open call.
//!
//! The list holds nothing that was not claimed first, so a ledger that takes no
//! writes at all cannot make it grow.

use feria_paywall::amount::Msat;
use feria_paywall::journal::{CallId, Delivered, PaymentKey};

use super::Core;
use crate::store::StoreError;

/// What could not be written down.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The upstream has answered, and the payer has the answer; what it cost, if
    /// that is not the price.
    Committed(CallId, Option<Msat>),
    /// It has not: the payment is the payer's again.
    Released(CallId),
    /// Nobody waits for the swap any more: the same token continues it.
    Interrupted(PaymentKey),
}

impl Core {
    /// Keeps `end` for [`Self::write_undecided`].
    pub(super) fn keep_undecided(&self, end: End) {
        self.undecided.lock().push(end);
    }

    /// Writes down what could not be written before. What fails again is kept.
    pub(super) async fn write_undecided(&self) -> Result<(), StoreError> {
        let mut open = std::mem::take(&mut *self.undecided.lock());
        while let Some(end) = open.pop() {
            if let Err(error) = self.write_end(&end).await {
                open.push(end);
                self.undecided.lock().append(&mut open);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Change and refunds of these calls are owed from then on; nobody waits for
    /// them, so they are handed out when they are asked for.
    async fn write_end(&self, end: &End) -> Result<(), StoreError> {
        let now = self.now();
        match end {
            End::Committed(call, cost) => {
                let delivered = Delivered {
                    response: None,
                    cost: *cost,
                };
                let keep_until = self.keep_until();
                self.ledger
                    .commit_call(call.clone(), delivered, keep_until, now)
                    .await
                    .map(drop)
            }
            End::Released(call) => self.ledger.release_call(call.clone(), now).await.map(drop),
            End::Interrupted(payment) => self.ledger.interrupt_swap(*payment, now).await,
        }
    }
}
