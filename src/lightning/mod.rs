//! Lightning: one trait, one file per backend, and the set of those a node has.
//!
//! A backend never guesses. A payment it cannot vouch for is *pending* (it was
//! handed over and is on its way) or *unknown* (it may have been); both block a
//! retry and the other rail until [`LightningBackend::payment_state`] says more.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};

mod control;
#[cfg(feature = "ldk")]
mod ldk;
mod lnd;
pub mod mint;
pub mod nwc;
mod set;
#[cfg(feature = "sandbox")]
pub mod simulated;
mod supervised;

pub use control::{ChannelControl, Closing, OwnChannel, OwnNode};
#[cfg(feature = "ldk")]
pub use ldk::{LdkBackend, LdkError, LdkParts};
pub use lnd::{LndBackend, LndError};
pub use set::{Lightning, NoSuchBackend};
pub use supervised::BackendHealth;

/// The longest description that an invoice carries, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 639;

/// An invoice that a backend made.
#[derive(Debug, Clone)]
pub struct Invoice {
    /// The BOLT11 text.
    pub bolt11: String,
    /// Its payment hash.
    pub payment_hash: PaymentHash,
    /// Unix seconds.
    pub expires_at: u64,
}

/// What became of an own invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceState {
    /// Not paid, and still payable.
    Open {
        /// Unix seconds.
        expires_at: u64,
    },
    /// Paid.
    Settled {
        /// What arrived.
        amount: Msat,
    },
    /// Not paid in time.
    Expired,
    /// This backend has never made it.
    NotFound,
}

/// What became of a payment.
#[derive(Debug, Clone)]
pub enum PaymentState {
    /// Final: the payee has the money.
    Succeeded {
        /// Hashes to the invoice's payment hash; the caller checks it.
        preimage: Preimage,
        /// What routing took, beside the amount.
        fee: Msat,
    },
    /// Final: nothing left this node and nothing will.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// On its way.
    Pending,
    /// The backend cannot say. Treat as [`Self::Pending`].
    Unknown {
        /// Why not, for a person.
        reason: String,
    },
}

/// An own invoice that was paid.
#[derive(Debug, Clone)]
pub struct SettledInvoice {
    /// Grows by at least 1 from one to the next; the cursor of [`LightningBackend::settled_since`].
    pub index: u64,
    /// Which invoice.
    pub payment_hash: PaymentHash,
    /// What arrived.
    pub amount: Msat,
}

/// A backend that could not be asked. It says nothing about money already on its way.
#[derive(Debug, thiserror::Error)]
pub enum LightningError {
    /// It does not answer: try again later.
    #[error("reach the Lightning backend {backend}: {reason}")]
    Unavailable {
        /// Its name in the configuration.
        backend: String,
        /// What happened.
        reason: String,
    },
    /// It refused the request as such.
    #[error("ask the Lightning backend {backend}: {reason}")]
    Refused {
        /// Its name in the configuration.
        backend: String,
        /// What it said.
        reason: String,
    },
}

/// A Lightning node or wallet.
#[async_trait]
pub trait LightningBackend: fmt::Debug + Send + Sync {
    /// Returns its name in the configuration and in the ledger.
    fn name(&self) -> &str;

    /// Returns whether the money is pretended; such a backend is refused off the simulated network.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Returns the mint whose ecash this backend is made of, if it is. A wallet that
    /// holds such ecash pays by melting it itself.
    fn ecash_mint(&self) -> Option<&str> {
        None
    }

    /// Returns its channels, when this node looks after them.
    fn channels(&self) -> Option<&dyn ChannelControl> {
        None
    }

    /// Makes an invoice for `amount`, or for the next whole satoshi where the backend
    /// knows no fractions.
    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError>;

    /// Returns the state of an own invoice.
    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError>;

    /// Pays `bolt11` and waits for the outcome, at most `patience`. Routing may
    /// take at most `fee_limit`.
    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState;

    /// Returns the state of a payment handed to [`Self::pay`] before.
    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState;

    /// Returns own invoices settled after `index`, oldest first, at most 1,000. This
    /// is the stream of settled invoices: whoever reads it keeps the last index, so
    /// it goes on where it was after any interruption.
    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError>;

    /// Resolves when the backend has heard of something settled, for readers of the
    /// stream that would otherwise wait for their turn. Never, where it hears of nothing.
    async fn news(&self) {
        std::future::pending().await
    }
}

/// Cuts `text` to what an invoice can carry.
fn fitting(text: &str) -> &str {
    let mut end = text.len().min(MAX_DESCRIPTION_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_cut_between_characters() {
        assert_eq!(fitting("short"), "short");
        let long = "ä".repeat(400);
        assert_eq!(fitting(&long).len(), 638);
    }
}
