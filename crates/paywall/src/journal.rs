//! Who has paid for what: the trait behind "claimed once".
//!
//! The layer keeps no state of its own. A [`Journal`] decides, durably and
//! atomically, whether a payment may serve one more call, and remembers what
//! became of the call:
//!
//! | from | to | when |
//! |---|---|---|
//! | – | claimed | [`Journal::claim`] answered [`Claimed::New`] |
//! | claimed | committed | the service answered below 500 |
//! | claimed | released | it did not: the use, or the value, is the payer's again |
//!
//! A call left *claimed* by a process that died is for the journal's owner to
//! resolve at the next start: release it, the payer has received nothing.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::amount::{Msat, Sat};
use crate::l402::{Limit, Remaining};
use crate::payment::PaymentHash;

/// Names one paid call; the value of the `Payment-Receipt` header, or in it by MPP.
/// Not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallId(pub String);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a payment: the payment hash, or the SHA-256 of the token's sorted `Y`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentKey(pub [u8; 32]);

/// What makes two requests the same, apart from the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// SHA-256 over method, target and content type.
    pub digest: [u8; 32],
    /// The client's `Idempotency-Key`, at most 255 bytes.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the body, once it was read: of several calls that differ in
    /// their bodies alone, the one meant.
    pub body_hash: Option<[u8; 32]>,
}

/// A token as the journal needs it. Its `Debug` output does not show the token.
#[derive(Clone)]
pub struct PaidToken {
    /// The text, `cashuA…` or `cashuB…`.
    pub text: String,
    /// Its mint.
    pub mint: String,
    /// The sum of its proofs.
    pub gross: Sat,
    /// What is left of it after the mint's fee for taking it in.
    pub net: Sat,
    /// `Y` of every proof, 33 bytes each: a proof pays once, however the token is written.
    pub ys: Vec<[u8; 33]>,
    /// The key its payer wants money back under, if the token names one.
    pub refund_key: Option<String>,
    /// The proofs as JSON, for a token taken offline; empty for one that was swapped.
    pub proofs: String,
    /// Of a token taken offline: what redeeming it costs in thousandths of a satoshi.
    pub fee_ppk: u64,
    /// Of a token taken offline: Unix seconds when its payer could take it back, or
    /// its mint forget it; `None` for never.
    pub redeem_by: Option<u64>,
}

impl PaidToken {
    /// Returns the name of this payment: the same for the same proofs, however the
    /// token is written.
    #[must_use]
    pub fn key(&self) -> PaymentKey {
        proofs_key(&self.ys)
    }
}

impl fmt::Debug for PaidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaidToken")
            .field("mint", &self.mint)
            .field("gross", &self.gross)
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

/// Returns the key of the payment made with the proofs of these `Y`s, in any order.
#[must_use]
pub fn proofs_key(ys: &[[u8; 33]]) -> PaymentKey {
    use sha2::Digest;
    let mut sorted = ys.to_vec();
    sorted.sort_unstable();
    PaymentKey(sha2::Sha256::digest(sorted.concat()).into())
}

/// What pays for a call.
#[derive(Debug, Clone)]
pub enum Payment {
    /// A verified L402 credential.
    L402 {
        /// Its payment.
        payment_hash: PaymentHash,
        /// Its macaroon.
        token_id: [u8; 32],
        /// What was paid for it.
        paid: Msat,
        /// What this call takes of a limit in money.
        cost: Msat,
        /// Each must have room for this call.
        limits: Vec<Limit>,
    },
    /// A verified credential of the scheme `Payment`, good for one call. Its payment
    /// hash counts together with that of [`Payment::L402`]: it is the same invoice.
    Mpp {
        /// Its payment.
        payment_hash: PaymentHash,
        /// Its challenge, which can be withdrawn as a macaroon's token id can.
        token_id: [u8; 32],
        /// What was paid for it.
        paid: Msat,
        /// What this call takes of a limit in money.
        cost: Msat,
        /// Each must have room for this call.
        limits: Vec<Limit>,
    },
    /// A token that passed the strict check and was not shown to its mint.
    Offline(PaidToken),
    /// A token that was swapped at its mint: `net` is already ours.
    Swapped(PaidToken),
}

impl Payment {
    /// Returns the name of this payment.
    #[must_use]
    pub fn key(&self) -> PaymentKey {
        match self {
            Self::L402 { payment_hash, .. } | Self::Mpp { payment_hash, .. } => {
                PaymentKey(*payment_hash.as_bytes())
            }
            Self::Offline(token) | Self::Swapped(token) => token.key(),
        }
    }

    /// Returns the short name of the way this payment came in.
    #[must_use]
    pub const fn rail(&self) -> &'static str {
        match self {
            Self::L402 { .. } => "l402",
            Self::Mpp { .. } => "mpp",
            Self::Offline(_) => "nut24-offline",
            Self::Swapped(_) => "nut24-swap",
        }
    }
}

/// A wish to serve one call for a payment.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The service paid for.
    pub service: String,
    /// The price its payer was told.
    pub price: Msat,
    /// The request.
    pub request: RequestKey,
    /// What pays.
    pub payment: Payment,
    /// Unix seconds.
    pub now: u64,
}

/// The answer to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Serve this call, once.
    New {
        /// Its name from now on.
        call: CallId,
        /// What is left after this one.
        remaining: Remaining,
    },
    /// Nothing is left of one of its limits.
    UsedUp,
    /// The seller withdrew this credential.
    Revoked,
    /// A proof of the token paid for something before.
    AlreadySpent,
    /// The same request with the same payment is being served right now.
    InProgress,
    /// Taking this token without its mint would leave too much at risk there.
    NeedsSwap,
}

/// What the service delivered.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// The response, if it is short enough to be kept.
    pub response: Option<StoredResponse>,
    /// What the call cost by the service's own account, at most its price; `None` for its price.
    pub cost: Option<Msat>,
}

/// Value to hand out: change, or a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayOut {
    /// The mint whose ecash was paid with.
    pub mint: String,
    /// How much.
    pub amount: Sat,
    /// The payer's own key to lock to.
    pub lock_key: Option<String>,
}

/// A response kept for a payer whose connection broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The status.
    pub status: u16,
    /// End-to-end headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Bytes,
    /// SHA-256 of the request's body; the same request has the same.
    pub request_body_hash: [u8; 32],
}

/// A stored response and the call it answered.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The call.
    pub call: CallId,
    /// What was answered.
    pub response: StoredResponse,
    /// The change that went with it.
    pub change: Option<PayOut>,
    /// [`RequestKey::digest`] of the request it answered.
    pub request_digest: [u8; 32],
}

/// A journal that cannot be read or written. Nothing is served without it.
#[derive(Debug, thiserror::Error)]
#[error("use the payment journal")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Claims payments once and remembers what became of the calls.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Claims one call for `claim.payment`, in one durable and atomic step: it
    /// takes of all its limits, or of none.
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError>;

    /// Returns the call that `payment` was first claimed for, if it bought time, so
    /// that nothing of it is counted, and is still good by all that the journal knows.
    /// A call under it then needs no claim, and neither commit nor release. Asked for
    /// every such request: answer from memory. A journal that never knows answers
    /// `None`, and each call is claimed.
    fn find_open(&self, payment: &Payment) -> Option<CallId> {
        let _ = payment;
        None
    }

    /// Records what the service delivered. What the call cost less than its price
    /// is given back: to a limit in money, or in the change for ecash. Returns the
    /// change to hand out.
    async fn commit(
        &self,
        call: &CallId,
        delivered: Delivered,
    ) -> Result<Option<PayOut>, JournalError>;

    /// Keeps the response of a committed call whose body is complete only now.
    async fn keep_response(
        &self,
        call: &CallId,
        response: StoredResponse,
    ) -> Result<(), JournalError>;

    /// Gives the payment back to its payer. Returns what to hand out at once:
    /// `None` means that the same credential or token pays for the retry.
    async fn release(&self, call: &CallId) -> Result<Option<PayOut>, JournalError>;

    /// Returns the newest response kept for this payment and request (or, when the
    /// request has one, for its `Idempotency-Key`), of those with its
    /// [`RequestKey::body_hash`] if that is known.
    async fn find_response(
        &self,
        payment: PaymentKey,
        request: &RequestKey,
        now: u64,
    ) -> Result<Option<Replay>, JournalError>;
}
