//! Buying: pays for HTTP calls that answer 402, once, under a budget.
//!
//! [`Spender::fetch`] is the door. It reads the 402, checks the price against
//! the caller's cap and the seller's signed listing, chooses how to pay, writes
//! an intent, pays, and calls again. It never follows a redirect, never pays
//! twice under one idempotency key, and never pays by a second rail while the
//! fate of the first payment is unknown.
//!
//! States of an intent, and what [`Spender::recover`] does with it:
//!
//! ```text
//! refused   held (no intent yet; `store/ledger/approvals.rs` has its states)
//!    ^      ^
//!  (402) --> planned --> paying --> paid --> delivered
//!               |          | \        |
//!               v          v  v       v
//!             failed <- unknown   refunded
//! ```
//!
//! | state | money | recovery |
//! |---|---|---|
//! | `planned` | reserved, has not moved | released: `failed` |
//! | `paying`, `unknown` by ecash | with the seller or in flight | the mint knows: spent is `paid`; unspent and plain comes home, `failed`; locked waits for its locktime |
//! | `paying`, `unknown` by Lightning | gone or not | the mint or the backend knows: `paid` or `failed` |
//! | `paid` | with the seller; the answer is not in hand | stays: the same key asks for the answer again |
//! | `delivered`, `refunded`, `refused`, `failed` | settled | final |
//!
//! `unknown` blocks the same request of the same wallet, under any key, until it
//! is resolved. Crash points are named `spend.*` at the places where a process
//! that dies leaves one of these rows behind.

use std::sync::Arc;
use std::time::Duration;

use feria_paywall::amount::Sat;

use crate::clock::{SharedClock, SharedEntropy};
use crate::config::SpendConfig;
use crate::lightning::Lightning;
use crate::store::index::Index;
use crate::store::ledger::Ledger;
use crate::wallet::Wallets;

mod approve;
mod call;
mod challenge;
mod client;
mod credential;
mod ecash;
mod error;
mod fault;
mod fetch;
mod float;
mod journal;
mod lightning;
mod pace;
mod pay;
mod plan;
mod policy;
mod price;
mod quote;
mod recover;
mod refund;
mod request;
mod router;
mod simulate;
mod standing;
mod stream;
mod transfer;
mod turn;
mod verdict;

pub use crate::store::ledger::approvals::Approval;
pub use crate::store::ledger::intents::judgement::{Check, Unit};
pub use crate::store::ledger::intents::{Budget, Judgement, Verdict};
pub use approve::Answered;
use call::Caller;
pub use client::{Call, Client, ClientError, Reply, announced};
pub use error::{Refusal, SpendError};
pub use fault::ChallengeFault;
use pace::Paces;
pub use pay::PayRequest;
use policy::Policies;
pub use quote::{Quote, QuotedAsk, QuotedWay};
pub use stream::{AnswerStream, OpenAnswer};
use turn::Turns;

pub use request::{FetchRequest, Fetched, LockPolicy, Purchase, Rail};
pub use simulate::{Simulated, SimulatedCall};
pub use standing::Standing;

/// Everything a [`Spender`] works with.
#[derive(Debug)]
pub struct SpendParts {
    /// Caps, tolerance and time-outs.
    pub config: SpendConfig,
    /// Where intents and credentials are written.
    pub ledger: Ledger,
    /// Pays.
    pub wallets: Wallets,
    /// Knows the signed prices.
    pub index: Index,
    /// Pays invoices that no mint can.
    pub lightning: Lightning,
    /// Tells the time.
    pub clock: SharedClock,
    /// Makes ids.
    pub entropy: SharedEntropy,
}

/// Buys calls. Clones share everything.
#[derive(Debug, Clone)]
pub struct Spender {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: SpendParts,
    caller: Caller,
    turns: Turns,
    policies: Policies,
    paces: Paces,
}

/// What [`Spender::recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SpendRecovery {
    /// Intents whose money is gone and whose answer can still be fetched.
    pub paid: Vec<String>,
    /// Intents whose money came home or never left.
    pub released: Vec<String>,
    /// Intents that still block: the outcome is not known yet.
    pub unknown: Vec<String>,
    /// What came home of ecash that was locked ahead of calls and not used.
    pub floats_home: Sat,
}

impl Spender {
    /// Returns a spender. Call [`Self::recover`] before the first [`Self::fetch`].
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(parts: SpendParts) -> Result<Self, SpendError> {
        let caller = Caller::new(Duration::from_secs(parts.config.timeout_secs))?;
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                caller,
                turns: Turns::default(),
                policies: Policies::default(),
                paces: Paces::default(),
            }),
        })
    }

    /// Lists purchases, newest first; `wallet_id` narrows.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list_purchases(
        &self,
        wallet_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Purchase>, SpendError> {
        let intents = self
            .inner
            .parts
            .ledger
            .list_intents(wallet_id, limit)
            .await?;
        Ok(intents.iter().map(journal::purchase).collect())
    }

    /// Says in one sentence why purchase `id` went the way it did; `None` when there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn why(&self, id: &str) -> Result<Option<String>, SpendError> {
        let parts = &self.inner.parts;
        if let Some(intent) = parts.ledger.find_intent(id).await? {
            return Ok(Some(journal::sentence(&intent)));
        }
        let approval = parts.ledger.find_approval(id, parts.clock.now()).await?;
        Ok(approval.as_ref().map(approve::sentence))
    }

    /// Returns what limits and policy said about purchase `id`, with their figures.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn judgement(&self, id: &str) -> Result<Option<Judgement>, SpendError> {
        let intent = self.inner.parts.ledger.find_intent(id).await?;
        Ok(intent.and_then(|intent| serde_json::from_str(&intent.policy).ok()))
    }

    /// Sets limits of a wallet beside its own.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn set_budget(&self, wallet_id: &str, budget: Budget) -> Result<(), SpendError> {
        let ledger = &self.inner.parts.ledger;
        Ok(ledger.replace_budget(wallet_id, budget).await?)
    }
}

#[cfg(test)]
mod tests;
