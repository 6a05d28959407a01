//! Ecash in encrypted messages that arrives, or comes home.
//!
//! A payment is a NIP-17 message whose text is a NUT-18 payment payload, locked to
//! the P2PK key of the payee's kind 10019 and, after a locktime, to a key of
//! ours. It goes to the relays of the payee's kind 10050 and nowhere else; a
//! payee without either is not reachable, and no money moves. The payee redeems
//! it and says so in a message of its own.
//!
//! ```text
//! out  created ─▶ sent ─▶ acknowledged ─▶ claimed
//!         │ └──────┴─────────┴──▶ reclaiming ─▶ reclaimed
//!         └─▶ failed
//! in   held ─▶ received ─▶ acknowledged          kept, refused
//!        └─▶ refused
//! ```
//!
//! | arrow | written before | a crash there leaves | resolved by |
//! |---|---|---|---|
//! | to created | anything | an order | the token is made: same operation id, same token |
//! | created to sent | `sent` is written after a relay's OK | a message that may be out | sent again: same message id, same proofs |
//! | sent to acknowledged | – | an unread answer | read again at the next subscription |
//! | to claimed | – | a spent token | the mint says so (NUT-07); booked once |
//! | to reclaiming | the mint is asked | a token that may be home | reclaimed again: same operation |
//! | to held | anything | a checked token | redeemed: same operation id |
//! | held to received | – | ecash that may be in the wallet | received again: same answer |
//! | received to acknowledged | – | an answer that may be out | sent again; the payer counts it once |
//!
//! It never redeems a token of a mint that the operator has not listed, never
//! asks a relay that only a stranger named before money has come in, and never
//! logs an amount, a counterpart or a text.
//!
//! | file | what it holds |
//! |---|---|
//! | `message.rs` | the wire: wrap, unwrap, payload, acknowledgement |
//! | `payee.rs` | where a payee is reached and what it takes |
//! | `inspect.rs` | what is checked before anything of a message is used |
//! | `outbox.rs` | paying |
//! | `inbox.rs` | being paid |
//!
//! <https://github.com/cashubtc/nuts/blob/main/18.md>,
//! <https://github.com/nostr-protocol/nips/blob/master/17.md>

mod inbox;
mod inspect;
mod message;
mod outbox;
mod payee;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use feria_paywall::amount::Sat;
use nostr::key::{Keys, PublicKey};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

pub use self::inbox::{Inbox, Taken};
use crate::clock::{SharedClock, SharedEntropy};
use crate::lifecycle::Lifecycle;
use crate::relay::Relays;
use crate::store::StoreError;
use crate::store::index::Index;
use crate::store::ledger::Ledger;
use crate::store::ledger::transfers::TransferRow;
pub use crate::store::ledger::transfers::{Direction, TransferState};
use crate::wallet::{WalletError, Wallets};

/// How long the payee has before the ecash may come home.
const LOCK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long an unanswered message rests before it is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(600);
/// Most transfers that [`Transfers::list`] returns.
const MAX_LISTED: usize = 500;

/// Returns the name of the key that messages to `agent` are locked to. It is not
/// the gateway's: a token redeemed here must not look good there.
#[must_use]
pub fn lock_label(agent: &str) -> String {
    format!("inbox:{agent}")
}

/// What transfers are made of.
#[derive(Debug, Clone)]
pub struct TransferParts {
    /// Journals them.
    pub ledger: Ledger,
    /// Makes and redeems the ecash.
    pub wallets: Wallets,
    /// Carries the messages.
    pub relays: Relays,
    /// Knows payees without asking a relay.
    pub index: Option<Index>,
    /// Dates the messages.
    pub clock: SharedClock,
    /// Makes ids and wrap keys.
    pub entropy: SharedEntropy,
    /// Ends long loops at shutdown.
    pub lifecycle: Lifecycle,
}

/// Ecash by message; clones share it.
#[derive(Clone)]
pub struct Transfers {
    inner: Arc<Inner>,
}

struct Inner {
    parts: TransferParts,
    lock: Duration,
    /// Keys of own agents, by name: what a resend is signed with.
    identities: RwLock<HashMap<String, Keys>>,
}

/// An order to pay by message.
#[derive(Debug, Clone)]
pub struct SendTransfer {
    /// The own agent that pays.
    pub from_agent: String,
    /// Its Nostr keys.
    pub from_keys: Keys,
    /// Its wallet.
    pub wallet_id: String,
    /// Who is paid.
    pub payee: PublicKey,
    /// What the payee is to have after the mint's fee.
    pub amount: Sat,
    /// Words for the payee, encrypted with the ecash.
    pub memo: String,
    /// Where to look for the payee's records, after the index.
    pub lookup_relays: Vec<String>,
    /// Where the payer reads the acknowledgement.
    pub reply_relays: Vec<String>,
}

/// A transfer as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Outgoing: random. Incoming: the id of the message.
    pub id: String,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub state: TransferState,
    /// The own agent.
    pub agent: String,
    /// Its wallet.
    pub wallet_id: String,
    /// The other side's Nostr key, hexadecimal.
    pub peer: String,
    /// Where the ecash is.
    pub mint: String,
    /// Outgoing: what the payee is to have. Incoming: face value, then what arrived.
    pub amount_sat: u64,
    /// The sender's words.
    pub memo: String,
    /// Outgoing: Unix seconds after which it may come home.
    pub locktime: Option<u64>,
    /// Why it is as it is, for a person; often empty.
    pub detail: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub updated_at: u64,
}

/// What a round of [`Transfers::reconcile`] changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Payments that were found claimed.
    pub claimed: u64,
    /// Payments that came home.
    pub reclaimed: u64,
    /// Messages that went out again.
    pub resent: u64,
    /// Incoming payments that were redeemed.
    pub received: u64,
    /// Transfers that stay open.
    pub open: u64,
}

/// Why a transfer was not made. Only with [`Self::Wallet`] can money have moved;
/// the transfer is then listed and finishes by itself.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The payee says nowhere how it takes ecash by message.
    #[error("reach {payee}: no {missing} was found; nothing was paid")]
    NotReachable {
        /// The payee's key, hexadecimal.
        payee: String,
        /// The record that is missing or unusable.
        missing: &'static str,
    },
    /// No mint serves both sides.
    #[error(
        "find a mint that {payee} takes and this node trusts with enough in the wallet; \
         it takes {mints:?}"
    )]
    NoCommonMint {
        /// The payee's key, hexadecimal.
        payee: String,
        /// What it takes.
        mints: Vec<String>,
    },
    /// Nothing to send.
    #[error("send {0}: the amount must be at least 1 sat")]
    Amount(Sat),
    /// The wallet refused or failed.
    #[error("send ecash by message")]
    Wallet(#[from] WalletError),
    /// The ledger or the index failed.
    #[error("journal a transfer")]
    Store(#[from] StoreError),
    /// The message could not be made.
    #[error("make the message: {0}")]
    Message(String),
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

impl Transfers {
    /// Returns transfers over these parts.
    #[must_use]
    pub fn new(parts: TransferParts) -> Self {
        Self::with_lock(parts, LOCK)
    }

    /// Returns transfers whose ecash may come home after `lock` instead of a week.
    #[must_use]
    pub fn with_lock(parts: TransferParts, lock: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                lock,
                identities: RwLock::default(),
            }),
        }
    }

    /// Lets messages of `agent` be sent again and acknowledged after a restart;
    /// sending and [`Self::run_inbox`] do it by themselves.
    pub fn register(&self, agent: &str, keys: Keys) {
        let mut identities = self.inner.identities.write();
        identities.insert(agent.to_owned(), keys);
    }

    /// Lists the newest 500 transfers of all agents, newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(&self) -> Result<Vec<Transfer>, TransferError> {
        let rows = self.parts().ledger.list_transfers(MAX_LISTED).await?;
        Ok(rows.into_iter().map(Transfer::from).collect())
    }

    /// Finds the transfer `id`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn find(&self, id: &str) -> Result<Option<Transfer>, TransferError> {
        let row = self.parts().ledger.find_transfer(id).await?;
        Ok(row.map(Transfer::from))
    }

    /// Takes the next step of every open transfer: sends again, asks the mint,
    /// takes home, redeems, acknowledges. Safe at any time; call it at start,
    /// after the wallet's recovery, and now and then.
    ///
    /// # Errors
    /// When the ledger fails. A mint or relay that fails leaves its transfers open.
    pub async fn reconcile(&self) -> Result<Reconciled, TransferError> {
        let mut report = Reconciled::default();
        for row in self.parts().ledger.list_open_transfers().await? {
            if self.parts().lifecycle.is_stopping() {
                break;
            }
            // A message may have moved it on since the list was made.
            let Some(row) = self.parts().ledger.find_transfer(&row.id).await? else {
                continue;
            };
            match row.direction {
                Direction::Out => self.resolve_outgoing(row, &mut report).await?,
                Direction::In if row.state == TransferState::Held => {
                    match self.redeem(&row).await? {
                        Taken::Received { .. } => report.received += 1,
                        Taken::Held => report.open += 1,
                        _ => {}
                    }
                }
                Direction::In => self.acknowledge(&row).await?,
            }
        }
        Ok(report)
    }

    fn parts(&self) -> &TransferParts {
        &self.inner.parts
    }

    fn now(&self) -> u64 {
        self.parts().clock.now()
    }

    fn identity(&self, agent: &str) -> Option<Keys> {
        self.inner.identities.read().get(agent).cloned()
    }
}

impl From<TransferRow> for Transfer {
    fn from(row: TransferRow) -> Self {
        Self {
            id: row.id,
            direction: row.direction,
            state: row.state,
            agent: row.agent,
            wallet_id: row.wallet_id,
            peer: hex::encode(row.peer),
            mint: row.mint,
            amount_sat: row.amount.as_u64(),
            memo: row.memo,
            locktime: row.locktime,
            detail: row.detail,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
