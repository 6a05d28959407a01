//! The rows of the purchase journal, as Rust sees them.

use feria_paywall::amount::Msat;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Judgement;
use crate::store::ledger::Entry;
use crate::store::ledger::approvals::Approval;
use crate::store::ledger::credentials::{NewCredential, Scheme};

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentState {
    /// Reserved; no money has moved.
    Planned,
    /// Money may be moving.
    Paying,
    /// The seller was paid; the answer is not in hand.
    Paid,
    /// Paid and answered.
    Delivered,
    /// Paid and given back.
    Refunded,
    /// Not paid, by our choice.
    Refused,
    /// Not paid, or the payment came home.
    Failed,
    /// Money may have moved; blocks the same request until known.
    Unknown,
}

impl IntentState {
    /// Returns the name stored in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Paying => "paying",
            Self::Paid => "paid",
            Self::Delivered => "delivered",
            Self::Refunded => "refunded",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [
            Self::Planned,
            Self::Paying,
            Self::Paid,
            Self::Delivered,
            Self::Refunded,
            Self::Refused,
            Self::Failed,
            Self::Unknown,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

/// How the money of a purchase moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A token in the request.
    Ecash,
    /// Lightning, by a mint that melts our ecash.
    Melt,
    /// Lightning, by our own backend.
    Backend,
    /// None: a credential bought earlier.
    Credential,
}

impl Way {
    /// Returns the name stored in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecash => "ecash",
            Self::Melt => "melt",
            Self::Backend => "backend",
            Self::Credential => "credential",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Ecash, Self::Melt, Self::Backend, Self::Credential]
            .into_iter()
            .find(|way| way.as_str() == name)
    }
}

/// A purchase to be opened.
#[derive(Debug, Clone)]
pub struct NewIntent {
    /// Chosen by the caller, unique.
    pub id: String,
    /// The wallet that pays.
    pub wallet_id: String,
    /// Unique for the wallet.
    pub idempotency_key: String,
    /// HTTP method.
    pub method: String,
    /// Scheme, host and port.
    pub origin: String,
    /// Path without query.
    pub path: String,
    /// SHA-256 of method, URL and body.
    pub request_digest: [u8; 32],
    /// Public key of the seller, if a listing names it.
    pub seller: Option<String>,
    /// Coordinate of the listing.
    pub listing: Option<String>,
    /// What the seller asks.
    pub price: Msat,
    /// What fees may add.
    pub fee_limit: Msat,
    /// JSON: candidates, chosen, why.
    pub decision: String,
    /// Unix seconds.
    pub created_at: u64,
    /// By what its limits are counted.
    pub subject: Subject,
}

/// Whose money a purchase spends and on what: what limits are counted by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The agent whose wallet pays, `treasury` for the node's own.
    pub agent: String,
    /// Of the seller, in lower case, without port.
    pub host: String,
    /// As the listing says; `None` without one.
    pub capability: Option<String>,
    /// `cashu` or `lightning`; `None` when nothing is paid.
    pub rail: Option<&'static str>,
}

/// A purchase as recorded.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the columns are explained in 0004_spend.sql and 0012_purchase.sql"
)]
pub struct Intent {
    pub id: String,
    pub wallet_id: String,
    pub idempotency_key: String,
    pub method: String,
    pub origin: String,
    pub path: String,
    pub request_digest: [u8; 32],
    pub seller: Option<String>,
    pub listing: Option<String>,
    pub state: IntentState,
    pub way: Option<Way>,
    pub rail: String,
    pub mint: Option<String>,
    pub price: Msat,
    pub fee_limit: Msat,
    pub fee: Msat,
    pub counted: Msat,
    pub operation_id: Option<String>,
    pub locktime: Option<u64>,
    pub payment_hash: Option<[u8; 32]>,
    pub l402_token: Option<SecretString>,
    pub scheme: Scheme,
    pub quote_id: Option<String>,
    pub credential_id: Option<i64>,
    pub is_use_held: bool,
    pub status: Option<u16>,
    pub decision: String,
    pub detail: String,
    pub duration_ms: u64,
    pub created_at: u64,
    pub agent: String,
    pub host: String,
    pub capability: Option<String>,
    pub rail_kind: Option<String>,
    pub policy: String,
}

/// What became of an attempt to open a purchase.
#[derive(Debug)]
pub enum Opening {
    /// It is open and its cost reserved, under this id: that of its approval if it had one.
    Opened(String),
    /// The key was used before.
    Existing(Box<Intent>),
    /// Another purchase of the same request has an unknown outcome.
    Blocked(Box<Intent>),
    /// A limit or a policy forbids it; recorded as refused.
    Refused(Judgement),
    /// A person has to agree first; recorded, nothing reserved.
    Held(Box<Approval>),
}

/// A move of an intent to another state. `None` leaves a column as it is.
#[derive(Debug, Clone, Default)]
#[expect(
    missing_docs,
    reason = "the columns are explained in 0004_spend.sql and 0012_purchase.sql"
)]
pub struct IntentChange {
    pub state: Option<IntentState>,
    pub way: Option<Way>,
    pub rail: Option<String>,
    pub mint: Option<String>,
    pub price: Option<Msat>,
    pub fee: Option<Msat>,
    pub counted: Option<Msat>,
    pub operation_id: Option<String>,
    pub locktime: Option<u64>,
    pub payment_hash: Option<[u8; 32]>,
    pub l402_token: Option<SecretString>,
    pub scheme: Option<Scheme>,
    pub quote_id: Option<String>,
    pub status: Option<u16>,
    pub decision: Option<String>,
    pub detail: Option<String>,
    pub duration_ms: Option<u64>,
    /// Stored in the same transaction, once per intent.
    pub credential: Option<NewCredential>,
    /// Posted when `credential` is stored for the first time, or with the move into
    /// a final state when there is none.
    pub entry: Option<Entry>,
}
