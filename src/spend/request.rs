//! What a caller of the buying side says, and what it is told.

use bytes::Bytes;
use feria_paywall::amount::Msat;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

/// One call of an endpoint, paid for if it has to be.
///
/// [`FetchRequest::get`] fills in the defaults:
///
/// ```ignore
/// let request = FetchRequest {
///     max_cost: Some(Msat::new(50_000)),
///     ..FetchRequest::get(&wallet.id, "https://seller.example/a/data/v1")
/// };
/// let fetched = spender.fetch(request).await?;
/// ```
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The wallet that pays.
    pub wallet_id: String,
    /// The HTTP method.
    pub method: Method,
    /// Absolute `http` or `https` URL, without user name.
    pub url: String,
    /// Sent with every attempt; headers that carry payments are overwritten.
    pub headers: HeaderMap,
    /// Sent with every attempt.
    pub body: Bytes,
    /// The most this call may cost, fees left out; `None` leaves it to the configuration.
    pub max_cost: Option<Msat>,
    /// The most that fees may add; `None` leaves it to the configuration.
    pub max_fee: Option<Msat>,
    /// Which way to pay.
    pub rail: Rail,
    /// Whether ecash is locked to the seller.
    pub lock: LockPolicy,
    /// Stop before paying and say what would be paid.
    pub dry_run: bool,
    /// Pay nothing: a 402 is an answer like any other.
    pub no_pay: bool,
    /// Names this purchase: the same key again never pays again. `None` makes one up.
    pub idempotency_key: Option<String>,
    /// The coordinate of the signed listing that sets the price; `None` takes
    /// whatever listing names this URL.
    pub listing: Option<String>,
}

impl FetchRequest {
    /// Returns a GET of `url` paid by `wallet_id`, with every choice left to the configuration.
    #[must_use]
    pub fn get(wallet_id: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            wallet_id: wallet_id.into(),
            method: Method::GET,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            max_cost: None,
            max_fee: None,
            rail: Rail::Auto,
            lock: LockPolicy::Auto,
            dry_run: false,
            no_pay: false,
            idempotency_key: None,
            listing: None,
        }
    }
}

/// Which way to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rail {
    /// Ecash when the seller and we share a mint, else Lightning.
    #[default]
    Auto,
    /// Ecash or nothing.
    Cashu,
    /// Lightning or nothing.
    Lightning,
}

/// Whether ecash is locked to the seller's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockPolicy {
    /// Locked when the seller names a key, so that it can be accepted without asking the mint.
    #[default]
    Auto,
    /// Always plain.
    Never,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The seller's status; 402 on a dry run.
    pub status: u16,
    /// The seller's headers, without those that carry money.
    pub headers: HeaderMap,
    /// The seller's body.
    pub body: Bytes,
    /// `None` when the endpoint asked for nothing.
    pub purchase: Option<Purchase>,
}

/// What one call cost and why it was paid that way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// The intent in the ledger.
    pub id: String,
    /// Coordinate of the signed listing, when one is known.
    pub listing: Option<String>,
    /// `origin` and path, without the query.
    pub endpoint: String,
    /// `l402`, `l402-cached`, `nut24-offline` or `nut24-swap`; empty when refused before a rail was chosen.
    pub rail: String,
    /// What the seller got, fees left out; 0 for a call on a cached credential.
    pub price_msat: u64,
    /// What mints and Lightning took.
    pub fee_msat: u64,
    /// `planned`, `delivered`, `refunded`, `refused`, `failed`, `paid` (answer still owed) or `unknown`.
    pub outcome: String,
    /// From the first request to the answer.
    pub duration_ms: u64,
    /// Why it was paid that way, or not at all: one sentence.
    pub decision: String,
    /// Unix seconds.
    pub created_at: u64,
}
