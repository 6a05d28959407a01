//! Why a call could not be bought.

use feria_paywall::amount::Msat;

use super::fault::ChallengeFault;
use crate::store::StoreError;
use crate::store::ledger::approvals::Approval;
use crate::wallet::WalletError;

/// A call that did not end in an answer of the seller.
#[derive(Debug, thiserror::Error)]
pub enum SpendError {
    /// The request makes no sense: fix it. Nothing was sent or paid.
    #[error("read the request: {0}")]
    BadRequest(String),
    /// The seller could not be reached before anything was paid: try again.
    #[error("reach {origin}: {reason}")]
    Network {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// We did not want to pay; nothing was. The purchase `id` records why.
    #[error("buy: {refusal}")]
    Refused {
        /// The intent, or empty when nothing was recorded.
        id: String,
        /// Why.
        refusal: Refusal,
    },
    /// The payment did not happen, or came back: nothing but fees is gone.
    #[error("pay for purchase {id}: {reason}")]
    PaymentFailed {
        /// The intent.
        id: String,
        /// Why.
        reason: String,
    },
    /// Money may or may not have moved. Do not pay again: the same idempotency
    /// key, or the node's recovery, finds out.
    #[error("learn the outcome of purchase {id}: {reason}")]
    Unknown {
        /// The intent.
        id: String,
        /// What is known.
        reason: String,
    },
    /// The seller was paid and did not answer well; the credential is kept and
    /// the same idempotency key uses it.
    #[error("get the answer paid for by purchase {id}: {reason}")]
    PaidNotDelivered {
        /// The intent.
        id: String,
        /// What the seller did instead.
        reason: String,
    },
    /// The wallet could not be asked.
    #[error("ask the wallet")]
    Wallet(#[from] WalletError),
    /// The ledger or the index could not be asked.
    #[error("ask the store")]
    Store(#[from] StoreError),
}

/// Why we did not pay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The 402 holds nothing we can pay; each fault is of one challenge.
    #[error("the seller asks for payment in no way we can use ({})", join(.0))]
    NoUsableChallenge(Vec<ChallengeFault>),
    /// The price is above what the caller or the configuration allows.
    #[error("the seller asks {asked}, {cap} is the most this call may cost")]
    OverCap {
        /// The price.
        asked: Msat,
        /// The cap.
        cap: Msat,
    },
    /// The 402 asks more than the seller's signed listing.
    #[error("the seller asks {asked}, its signed listing {coordinate} says {listed}")]
    AboveListing {
        /// The price of the 402.
        asked: Msat,
        /// The price of the listing.
        listed: Msat,
        /// The listing.
        coordinate: String,
    },
    /// A limit of the wallet or of its agent's policy does not cover it.
    #[error("{asked} with fees breaks the limit {window} ({used} of {limit} used)")]
    OverBudget {
        /// The rule, such as `daily` or `total of the wallet`.
        window: String,
        /// The budget.
        limit: Msat,
        /// Spent and reserved so far.
        used: Msat,
        /// Price and fee limit of this call.
        asked: Msat,
    },
    /// No rail is open: no balance at a shared mint, no Lightning, or fees too high.
    #[error("no way to pay is open ({})", .0.join("; "))]
    NoRail(Vec<String>),
    /// The policy of the agent does not want it, whatever it costs.
    #[error("rule {rule} of policy {policy} forbids it: {reason}")]
    ByPolicy {
        /// The name of the policy; empty for the wallet's own limits.
        policy: String,
        /// The rule that is broken.
        rule: String,
        /// Why, with its figures.
        reason: String,
    },
    /// It is recorded and waits for a person: the same idempotency key goes through after.
    #[error("{} is above what may be paid without a person's word (rule {})", Msat::new(.0.price_msat), .0.rule)]
    NeedsApproval(Box<Approval>),
    /// The same invoice or payment request was paid before, under another key.
    #[error("purchase {0} has paid this already")]
    AlreadyPaid(String),
    /// Recorded by an earlier call with the same idempotency key.
    #[error("refused before: {0}")]
    Recorded(String),
}

impl Refusal {
    /// Returns the word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoUsableChallenge(faults) => faults
                .first()
                .map_or("no_usable_challenge", ChallengeFault::code),
            Self::OverCap { .. } => "over_cap",
            Self::AboveListing { .. } => "above_listing",
            Self::OverBudget { .. } => "over_budget",
            Self::NoRail(_) => "no_rail",
            Self::ByPolicy { rule, .. } if rule.starts_with("calls-per-minute") => "over_velocity",
            Self::ByPolicy { .. } => "policy_denied",
            Self::NeedsApproval(_) => "approval_required",
            Self::AlreadyPaid(_) => "already_paid",
            Self::Recorded(_) => "refused_before",
        }
    }
}

fn join(faults: &[ChallengeFault]) -> String {
    let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
    words.join("; ")
}
