//! The outside world as the layer needs it: invoices, ecash, time.
//!
//! Each trait is small enough to be written over any Lightning node or Cashu
//! wallet. None of them decides whether a call is served: that is the layer's
//! part, together with the [`Journal`](crate::journal::Journal).

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;

use crate::amount::{Msat, Sat};
use crate::journal::{CallId, PaidToken, PayOut};
use crate::payment::PaymentHash;

/// A future that can be sent to another task.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Time, randomness and tasks.
pub trait World: Send + Sync {
    /// Returns milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64;

    /// Fills `bytes` with random data fit for keys.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Runs `task` to its end, even when the request that started it is dropped:
    /// a paid call is finished although its client hangs up.
    fn spawn(&self, task: BoxFuture<()>);

    /// Runs `work`, some milliseconds of computing, and resolves when it has run,
    /// or when it never will. In place unless overridden: a server moves it off the
    /// threads that serve its sockets and bounds how much of it runs at once.
    fn compute(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

/// An invoice for a challenge.
#[derive(Debug, Clone)]
pub struct ChallengeInvoice {
    /// BOLT11.
    pub bolt11: String,
    /// Its payment hash.
    pub payment_hash: PaymentHash,
}

/// The Lightning node does not answer; its caller is told to come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("make an invoice: {0}")]
pub struct InvoiceError(pub String);

/// Makes Lightning invoices.
#[async_trait]
pub trait InvoiceMaker: Send + Sync {
    /// Makes an invoice over exactly `amount`, payable for `expiry_secs`.
    async fn make_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry_secs: u64,
    ) -> Result<ChallengeInvoice, InvoiceError>;
}

/// An order to swap a token before the call is served.
#[derive(Debug, Clone)]
pub struct SwapOrder {
    /// The service paid for.
    pub service: String,
    /// The token; `net` is an estimate until the swap is done.
    pub token: PaidToken,
    /// What must be left after the mint's fee.
    pub price: Sat,
    /// Unix seconds.
    pub now: u64,
}

/// Why a token is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwapFault {
    /// Spent before. The token is worthless.
    AlreadySpent,
    /// The same token is being swapped or served right now.
    InProgress,
    /// The mint's fee would leave less than the price; the token is untouched.
    TooLittle {
        /// What would be left.
        net: Sat,
    },
    /// The mint or the token's own conditions say no; the token is untouched.
    Refused {
        /// For a person.
        reason: String,
    },
    /// The mint does not answer; the token is untouched.
    MintUnavailable,
    /// Whether the mint took it is not known. The same token presented again
    /// continues where this left off.
    Unknown,
}

/// Takes and gives ecash.
#[async_trait]
pub trait Redeemer: Send + Sync {
    /// Returns what the offline check needs to know about `mint`, from memory;
    /// `None` when its tokens must be swapped first.
    #[cfg(feature = "cashu")]
    async fn offline_info(&self, mint: &str) -> Option<std::sync::Arc<crate::xcashu::MintInfo>>;

    /// Swaps a token for fresh proofs and returns their sum. Idempotent by the
    /// token: after a crash, or when asked again, it never takes twice.
    async fn swap(&self, order: SwapOrder) -> Result<Sat, SwapFault>;

    /// Gives `value` to the payer of `call`, as a token. The same call gives the same token again.
    ///
    /// # Errors
    /// A text for the log; the value stays owed and the journal knows it.
    async fn pay_out(&self, call: &CallId, value: &PayOut) -> Result<String, String>;
}
