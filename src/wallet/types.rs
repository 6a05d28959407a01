//! What callers of the wallet hand in and get back.

use std::collections::HashMap;
use std::fmt;

use feria_paywall::amount::Sat;
use feria_paywall::payment::{PaymentHash, Preimage};
use serde::{Deserialize, Serialize};

use crate::store::ledger::{Account, EntryKind};

/// A mint that the operator trusts with money.
#[derive(Debug, Clone)]
pub struct MintTrust {
    /// Without trailing slash; `http` only for a loopback host.
    pub url: String,
    /// The most the treasury should hold there.
    pub cap: Sat,
}

/// Why the wallet did not do it.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The operator has not listed this mint.
    #[error("mint {0} is not trusted")]
    UntrustedMint(String),
    /// Too little spendable ecash at that mint, fees included.
    #[error("wallet {wallet} holds {held}, {needed} needed")]
    Insufficient {
        /// The wallet.
        wallet: String,
        /// What it can spend.
        held: Sat,
        /// What was needed, the fee included.
        needed: Sat,
    },
    /// Nothing was spent: try later.
    #[error("mint {mint} unavailable: {reason}")]
    MintUnavailable {
        /// The mint.
        mint: String,
        /// What happened.
        reason: String,
    },
    /// The mint or the token said no; nothing of ours was spent.
    #[error("refused: {0}")]
    Refused(TokenFault),
    /// The outcome is not known; `recover` will tell.
    #[error("operation {0} has an unknown outcome")]
    Unknown(String),
    /// There is no such wallet, or it takes no part in payments any more.
    #[error("wallet {0} is closed, frozen or does not exist")]
    NoWallet(String),
    /// The wallet's limit, or a precondition of the call, forbids it.
    #[error("limit: {0}")]
    Limit(String),
    /// The database failed; what was committed before still holds.
    #[error("store")]
    Store(#[from] crate::store::StoreError),
}

/// What is wrong with a token, or what the mint has against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TokenFault {
    /// Spent before, by whomever.
    #[error("token already spent")]
    AlreadySpent,
    /// Part of a payment that is still on its way.
    #[error("token is pending at the mint")]
    Pending,
    /// Not a token, or not one of this mint and unit.
    #[error("cannot read the token: {0}")]
    Malformed(String),
    /// None of the keys that may open it was found in its lock.
    #[error("token is locked to another key")]
    ForeignLock,
    /// Redeeming it would cost at least what it is worth.
    #[error("token is worth less than the mint's fee")]
    Dust,
    /// The mint's own words.
    #[error("mint said: {0}")]
    Mint(String),
}

/// A P2PK lock that the payee can open at once and we after `locktime`.
#[derive(Debug, Clone)]
pub struct Lock {
    /// 33-byte compressed key, hexadecimal.
    pub key: String,
    /// Unix seconds.
    pub locktime: u64,
}

/// An order to hand out a token.
#[derive(Debug, Clone)]
pub struct SendRequest {
    /// Chosen by the caller; sending again with the same id gives the same token.
    pub operation_id: String,
    /// Who pays.
    pub wallet_id: String,
    /// Where.
    pub mint: String,
    /// What the token is worth, before the receiver's fee unless that is covered.
    pub amount: Sat,
    /// With `Some`, our refund key is added by the wallet.
    pub lock: Option<Lock>,
    /// Add what the receiver will pay as input fee when redeeming, so that he nets `amount`.
    pub cover_receiver_fee: bool,
    /// For the books: the intent, call or transfer this belongs to.
    pub reference: String,
    /// For a person; in the books and in the token. Never a secret.
    pub memo: String,
}

/// An order to make several tokens of one amount for one payee at once.
#[derive(Debug, Clone)]
pub struct FloatRequest {
    /// How many.
    pub slips: usize,
    /// Each of them. The operation id is the float's; a slip's is made of it by
    /// [`slip_id`](super::slip_id).
    pub each: SendRequest,
}

/// A token handed out; until settled or reclaimed its value is on `Account::in_flight`.
#[derive(Clone)]
pub struct SentToken {
    /// As in the request.
    pub operation_id: String,
    /// `cashuB…`, with DLEQ proofs.
    pub token: String,
    /// The face value, with what was added for the receiver's fee.
    pub amount: Sat,
    /// What the mint took for making it.
    pub fee: Sat,
}

impl fmt::Debug for SentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentToken")
            .field("operation_id", &self.operation_id)
            .field("amount", &self.amount)
            .field("fee", &self.fee)
            .finish_non_exhaustive()
    }
}

/// An order to redeem a token.
#[derive(Clone)]
pub struct ReceiveRequest {
    /// Chosen by the caller; receiving again with the same id gives the same answer.
    pub operation_id: String,
    /// Who is credited. An agent wallet that would exceed its limit, or is
    /// closed, is passed over in favour of the treasury.
    pub wallet_id: String,
    /// cashuA or cashuB.
    pub token: String,
    /// Where the value comes from in the books: income:…, expense:… (refund), assets:vault:…, external:…
    pub from: Account,
    /// The kind of the entry in the books.
    pub kind: EntryKind,
    /// Own agents whose lock keys may open the proofs.
    pub unlock_as: Vec<String>,
    /// For the books: the call or transfer this belongs to.
    pub reference: String,
}

impl fmt::Debug for ReceiveRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveRequest")
            .field("operation_id", &self.operation_id)
            .field("wallet_id", &self.wallet_id)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Ecash that came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The operation that brought it.
    pub operation_id: String,
    /// Net of the fee.
    pub amount: Sat,
    /// What the mint took.
    pub fee: Sat,
    /// Where it is held.
    pub mint: String,
}

/// What the mint says about a token handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlightState {
    /// The payee redeemed it.
    Spent,
    /// Nobody has.
    Unspent,
    /// It is part of a payment on its way.
    Pending,
}

/// An invoice that turns into ecash once paid.
#[derive(Debug, Clone)]
pub struct FundingQuote {
    /// The mint's name for it.
    pub quote_id: String,
    /// What to pay.
    pub bolt11: String,
    /// What it is for.
    pub amount: Sat,
    /// Unix seconds.
    pub expires_at: u64,
}

/// What a mint asks for paying an invoice.
#[derive(Debug, Clone)]
pub struct MeltOffer {
    /// The mint's name for it.
    pub quote_id: String,
    /// Who pays.
    pub mint: String,
    /// The invoice, in whole satoshi.
    pub amount: Sat,
    /// The most that routing may take; the rest comes back.
    pub fee_reserve: Sat,
    /// What the mint takes for the proofs that this wallet would use now.
    pub input_fee: Sat,
    /// The invoice's.
    pub payment_hash: PaymentHash,
    /// Whether the invoice is known to be of this mint's own Lightning node: paying it
    /// inside the mint reveals no preimage.
    pub is_internal: bool,
}

/// An order for an invoice that turns into ecash once paid.
#[derive(Debug, Clone)]
pub struct NewFunding {
    /// Who is credited.
    pub wallet_id: String,
    /// Where.
    pub mint: String,
    /// What it is for.
    pub amount: Sat,
    /// Where the money comes from in the books; `None`: from outside.
    pub source: Option<Account>,
}

/// What a melt is booked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeltBooking {
    /// The account that is charged the amount.
    pub to: Account,
    /// Whether it is charged the fees too, because its owner books them; else they go to `fees:`.
    pub with_fees: bool,
}

impl From<Account> for MeltBooking {
    fn from(to: Account) -> Self {
        Self {
            to,
            with_fees: false,
        }
    }
}

/// What became of a melt.
#[derive(Debug, Clone)]
pub enum MeltOutcome {
    /// The payee has the money.
    Paid {
        /// `None` when the mint gives none: payer and payee share the mint.
        preimage: Option<Preimage>,
        /// Lightning and input fees.
        fee: Sat,
    },
    /// Nothing was spent.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// It may have been paid: neither try again nor pay otherwise.
    Unknown {
        /// Why not, for a person.
        reason: String,
    },
}

/// An order for an agent wallet.
#[derive(Debug, Clone)]
pub struct NewAgentWallet {
    /// Whose.
    pub agent: String,
    /// The most it may hold.
    pub limit: Sat,
    /// How long it lives.
    pub ttl_secs: u64,
    /// Where it holds its ecash.
    pub mint: String,
}

/// An agent wallet as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletInfo {
    /// Random.
    pub id: String,
    /// Whose.
    pub agent: String,
    /// Where it holds its ecash.
    pub mint: String,
    /// The most it may hold.
    pub limit_sat: u64,
    /// What it holds.
    pub balance_sat: u64,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// open, frozen, closed.
    pub state: String,
}

/// One entry of an agent wallet's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// From 0.
    pub seq: u64,
    /// Unix seconds.
    pub at: u64,
    /// created, funded, paid, received, refunded, settled, reclaimed, refused,
    /// frozen, thawed, swept, restored, closed, or a caller's note.
    pub kind: String,
    /// The change of the balance; for settled, refused and notes, what it is about.
    pub amount_msat: i64,
    /// The operation or purchase.
    pub reference: String,
    /// The hash of the entry before, hexadecimal.
    pub prev: String,
    /// The hash of this entry, hexadecimal.
    pub hash: String,
}

/// The log of an agent wallet, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// Whose log.
    pub wallet_id: String,
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
    /// Whether the chain holds.
    pub ok: bool,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// What a closed wallet gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// What reached the treasury.
    pub amount: Sat,
    /// What the mint took.
    pub fee: Sat,
}

/// What recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RecoveryReport {
    /// Operations found to have happened.
    pub completed: Vec<String>,
    /// Operations found not to have happened.
    pub rolled_back: Vec<String>,
    /// Operations, or wallets to restore, that the mint would not tell about yet.
    pub unknown: Vec<String>,
    /// Agent wallets of an earlier run that were emptied and closed.
    pub wallets_swept: u64,
}

/// What the offline check needs to know about a mint.
#[derive(Debug, Clone)]
pub struct MintKeys {
    /// Normalised URL.
    pub mint: String,
    /// By keyset id; only those in satoshi whose id matches their keys.
    pub keysets: HashMap<cdk::nuts::Id, KeysetKeys>,
    /// The mint says it supports NUT-11 and NUT-12.
    pub enforces_p2pk: bool,
}

/// One keyset of a mint.
#[derive(Debug, Clone)]
pub struct KeysetKeys {
    /// Recomputed from the keys and found equal.
    pub id: cdk::nuts::Id,
    /// Always `sat`.
    pub unit: String,
    /// Whether the mint signs new outputs with it.
    pub active: bool,
    /// Thousandths of a satoshi per input.
    pub input_fee_ppk: u64,
    /// Unix seconds after which the mint may refuse its proofs.
    pub final_expiry: Option<u64>,
    /// One key per amount.
    pub keys: cdk::nuts::Keys,
}
