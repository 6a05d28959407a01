//! All ecash of the node, through one journal.
//!
//! We do not use cdk's `Wallet` and its database: there, proofs and our books
//! would be two files that a crash can leave apart. Here the journal row, the
//! proofs and the postings of one operation commit in one transaction of
//! `ledger.db`. Used of cdk are its HTTP connector and the types and
//! cryptography of Cashu.
//!
//! An operation is one request that moves ecash: `issue` (a paid quote becomes
//! ecash), `swap` (send, receive, reclaim, fund, sweep) or `melt` (pay an
//! invoice). Its states:
//!
//! ```text
//!            plan committed        request            answer verified, committed
//!   (none) ────────1────────▶ planned ──────2──────▶ (at the mint) ──────3──────▶ done
//!                                │                                   the mint said no
//!                                └─────────────────────────────4───────────────▶ failed
//! ```
//!
//! | dies at | on disk | at the mint | what recovery does |
//! |---|---|---|---|
//! | before 1 commits | nothing | nothing | nothing |
//! | between 1 and 2 | `planned`, inputs reserved, counters taken | nothing | inputs unspent: a receipt is posted again, a payment is rolled back |
//! | between 2 and 3 | `planned` | outputs signed | derives the outputs again, gets their signatures (NUT-09), completes |
//! | 2, answer lost | `planned` | unknown | as above; inputs pending or mint silent: stays `planned`, and nothing else may use the inputs |
//! | before 4 commits | `planned` | nothing | as between 1 and 2 |
//! | after 3 or 4 | `done` or `failed` | the same | nothing |
//!
//! A melt is resolved by its quote at the mint instead: paid, then preimage and
//! change (NUT-09 of the blank outputs); unpaid and inputs unspent, then rolled
//! back; else it stays open. An issue goes by the state of its quote too: issued,
//! then NUT-09; paid, then it is posted again. The future of any function may be dropped at any
//! await: that is the same as dying there, and calling again with the same
//! operation id, or [`Wallets::recover`], goes on.
//!
//! Locks are not held over an await, except one per operation id, which keeps
//! two workers off the same operation. Proofs are reserved in the transaction
//! that plans their use, so no proof is used twice.
//!
//! Never on disk: the proofs of agent wallets, and the secrets of tokens handed
//! out (they are derived again from the seed, see `keys`).
//!
//! <https://github.com/cashubtc/nuts>

mod agents;
mod audit;
mod engine;
mod float;
mod fund;
mod health;
mod keys;
mod melt;
mod mint;
mod plan;
mod planning;
mod receive;
mod recover;
mod select;
mod send;
mod swap;
mod types;

pub use float::slip_id;
pub use health::MintHealth;
pub use types::{
    AuditEntry, AuditLog, FloatRequest, FundingQuote, InFlightState, KeysetKeys, Lock, MeltBooking,
    MeltOffer, MeltOutcome, MintKeys, MintTrust, NewAgentWallet, NewFunding, ReceiveRequest,
    Received, RecoveryReport, SendRequest, SentToken, Swept, TokenFault, WalletError, WalletInfo,
};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use feria_paywall::amount::{Msat, Sat};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::clock::{SharedClock, SharedEntropy, random_id};
use crate::store::ledger::{Account, Ledger, operations, proofs};
use engine::{Doubts, Engine, Gates};
use keys::Seeds;
use mint::{MintPool, normalize};

/// The id of the durable wallet of the node itself.
pub const TREASURY: &str = proofs::DURABLE_WALLET;

/// How long a melt is waited for before its outcome counts as unknown.
const MELT_PATIENCE: Duration = Duration::from_secs(30);
/// Most lock keys that are remembered; a node has far fewer agents.
const MAX_LOCK_KEYS: usize = 1_024;

/// Handle on all ecash of the node; clones share it.
#[derive(Debug, Clone)]
pub struct Wallets {
    engine: Arc<Engine>,
}

impl Wallets {
    /// `seed`: 64 bytes of the node's seed; every wallet seed and P2PK key derives from it.
    ///
    /// # Errors
    /// [`WalletError::UntrustedMint`] for a mint URL that may not be used.
    pub fn new(
        ledger: Ledger,
        seed: [u8; 64],
        mints: Vec<MintTrust>,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Result<Self, WalletError> {
        Ok(Self {
            engine: Arc::new(Engine {
                ledger,
                seeds: Seeds::new(seed),
                lock_keys: RwLock::default(),
                pool: MintPool::new(Arc::clone(&clock), mints)?,
                incarnation: random_id(entropy.as_ref()),
                clock,
                entropy,
                gates: Gates::default(),
                doubts: Doubts::default(),
                melt_patience_millis: AtomicU64::new(millis(MELT_PATIENCE)),
                changed: Notify::new(),
            }),
        })
    }

    /// Resolves every open operation and sweeps agent wallets that did not survive; call before anything is paid.
    ///
    /// Only one process may do this on one ledger: to another, the wallets of a
    /// living one look as if they had not survived.
    ///
    /// # Errors
    /// When the database fails. What a mint would not tell is in the report.
    pub async fn recover(&self) -> Result<RecoveryReport, WalletError> {
        self.engine.recover().await
    }

    /// Returns the trusted mints, by URL.
    #[must_use]
    pub fn mints(&self) -> Vec<MintTrust> {
        self.engine.pool.list()
    }

    /// Returns how a trusted mint is doing, as seen in passing since the start.
    ///
    /// # Errors
    /// When the mint is not trusted.
    pub fn mint_health(&self, mint: &str) -> Result<MintHealth, WalletError> {
        self.engine.pool.health(mint)
    }

    /// Adds a mint, or changes its cap. One whose URL may not be used is left out.
    pub fn trust_mint(&self, mint: MintTrust) {
        if let Err(error) = self.engine.pool.trust(mint) {
            tracing::warn!(%error, "a mint is left out: its address may not be used");
        }
    }

    /// Sets how long a melt is waited for; 30 seconds unless set.
    pub fn set_melt_patience(&self, patience: Duration) {
        self.engine
            .melt_patience_millis
            .store(millis(patience), Ordering::Relaxed);
    }

    /// Keysets and keys of a trusted mint from cache; fetched when missing, refreshed when stale. For the paywall's strict check.
    ///
    /// # Errors
    /// When the mint is not trusted, or was never reached.
    pub async fn mint_keys(&self, mint: &str) -> Result<Arc<MintKeys>, WalletError> {
        self.engine.pool.keys(mint).await
    }

    /// The P2PK key of an own agent (10019 and NUT-24 lock): 33 bytes compressed, hex. Never its Nostr key.
    ///
    /// # Errors
    /// Never in practice: with a chance of 2^-128.
    pub fn lock_key(&self, agent: &str) -> Result<String, WalletError> {
        // Asked for with every call that is sold.
        if let Some(known) = self.engine.lock_keys.read().get(agent) {
            return Ok(known.clone());
        }
        let key = self.engine.seeds.agent_key(agent)?.public_key().to_hex();
        let mut known = self.engine.lock_keys.write();
        if known.len() < MAX_LOCK_KEYS {
            known.insert(agent.to_owned(), key.clone());
        }
        Ok(key)
    }

    /// Asks a mint for an invoice that turns into ecash of `wallet_id`.
    ///
    /// # Errors
    /// [`WalletError::Limit`] above the wallet's limit or the mint's cap.
    pub async fn request_funding(
        &self,
        wallet_id: &str,
        mint: &str,
        amount: Sat,
    ) -> Result<FundingQuote, WalletError> {
        self.request_invoice(NewFunding {
            wallet_id: wallet_id.to_owned(),
            mint: mint.to_owned(),
            amount,
            source: None,
        })
        .await
    }

    /// As [`Self::request_funding`], for money that comes from an account of our own books.
    ///
    /// # Errors
    /// As [`Self::request_funding`].
    pub async fn request_invoice(&self, new: NewFunding) -> Result<FundingQuote, WalletError> {
        self.engine.request_funding(new).await
    }

    /// Some when the quote was paid and the ecash issued (now or before).
    ///
    /// # Errors
    /// [`WalletError::Unknown`] when the mint's answer was lost: call again.
    pub async fn claim_funding(&self, quote_id: &str) -> Result<Option<Received>, WalletError> {
        self.engine.claim_funding(quote_id).await
    }

    /// Hands out a token.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] leaves the operation open: call again with the
    /// same id. Every other error means that nothing was spent.
    pub async fn send(&self, request: SendRequest) -> Result<SentToken, WalletError> {
        let id = request.operation_id.clone();
        let sent = self.engine.send(request).await;
        self.engine.unless_begun(&id, sent).await
    }

    /// Redeems a token.
    ///
    /// # Errors
    /// [`WalletError::Refused`] says what is wrong with it; after
    /// [`WalletError::Unknown`] call again with the same id.
    pub async fn receive(&self, request: ReceiveRequest) -> Result<Received, WalletError> {
        let id = request.operation_id.clone();
        let received = self.engine.receive(request).await;
        self.engine.unless_begun(&id, received).await
    }

    /// Books an in-flight token as gone to `to` (expense:…, external:…, owed:…). Idempotent.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] when no token was handed out under this id.
    pub async fn settle(&self, operation_id: &str, to: Account) -> Result<(), WalletError> {
        self.engine.settle(operation_id, to).await
    }

    /// Takes an in-flight token home: at once if it is not locked, after the locktime if it is. Idempotent.
    ///
    /// # Errors
    /// [`WalletError::Limit`] before the locktime, [`TokenFault::AlreadySpent`]
    /// when the payee was faster or it is settled.
    pub async fn reclaim(&self, operation_id: &str) -> Result<Received, WalletError> {
        self.engine.reclaim(operation_id).await
    }

    /// Asks the mint (NUT-07) about an in-flight token.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] when no token was handed out under this id.
    pub async fn in_flight_state(&self, operation_id: &str) -> Result<InFlightState, WalletError> {
        self.engine.in_flight_state(operation_id).await
    }

    /// The same token again, for a resend. `None` when none was handed out.
    ///
    /// # Errors
    /// When the mint's keys are not cached and it does not answer.
    pub async fn token(&self, operation_id: &str) -> Result<Option<SentToken>, WalletError> {
        self.engine.token(operation_id).await
    }

    /// Asks what paying `bolt11` from this wallet would cost.
    ///
    /// # Errors
    /// [`WalletError::Insufficient`] when the wallet could not pay it now.
    pub async fn melt_offer(
        &self,
        wallet_id: &str,
        mint: &str,
        bolt11: &str,
    ) -> Result<MeltOffer, WalletError> {
        self.engine.melt_offer(wallet_id, mint, bolt11).await
    }

    /// Pays; the amount is booked to `to`, and fees to `Account::fees` unless the
    /// booking says otherwise. Same `operation_id` again: the recorded or newly found outcome, never a second payment.
    pub async fn melt(
        &self,
        operation_id: &str,
        wallet_id: &str,
        offer: &MeltOffer,
        to: impl Into<MeltBooking>,
        reference: &str,
    ) -> MeltOutcome {
        self.engine
            .melt(operation_id, wallet_id, offer, to.into(), reference)
            .await
    }

    /// What became of a melt, asking the mint if it is still open; `None` when it was never begun.
    pub async fn find_melt(&self, operation_id: &str) -> Option<MeltOutcome> {
        self.engine.find_melt(operation_id).await
    }

    /// As [`Self::find_melt`], where one that was never begun has failed.
    pub async fn melt_state(&self, operation_id: &str) -> MeltOutcome {
        self.engine.melt_state(operation_id).await
    }

    /// What the wallet holds at `mint`, proofs reserved for operations under way included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn balance(&self, wallet_id: &str, mint: &str) -> Result<Sat, WalletError> {
        let id = wallet_id.to_owned();
        let mint = normalize(mint).unwrap_or_else(|| mint.to_owned());
        let held = self
            .engine
            .ledger
            .read(move |connection| proofs::sum_of_wallet(connection, &id, &mint))
            .await?;
        Ok(Sat::new(held))
    }

    /// All ecash the node holds proofs for, by (wallet id, mint); proofs
    /// reserved for operations under way included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holdings(&self) -> Result<Vec<(String, String, Sat)>, WalletError> {
        let held = self.engine.ledger.read(proofs::sum_held).await?;
        Ok(held
            .into_iter()
            .map(|(wallet_id, mint, sat)| (wallet_id, mint, Sat::new(sat)))
            .collect())
    }

    /// Differences between the books and the proofs held, one sentence each; empty when they agree.
    ///
    /// Agent wallets of another run of the node differ until [`Self::recover`] restored them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn verify_books(&self) -> Result<Vec<String>, WalletError> {
        let (held, in_flight) = self
            .engine
            .ledger
            .read(|connection| {
                Ok((
                    proofs::sum_held(connection)?,
                    operations::sum_in_flight(connection)?,
                ))
            })
            .await?;
        let mut actual: BTreeMap<String, i64> = BTreeMap::new();
        for (wallet_id, mint, sat) in held {
            let account = Account::wallet(&wallet_id, &mint).to_string();
            actual.insert(account, Sat::new(sat).to_msat().as_i64());
        }
        for (mint, sat) in in_flight {
            let account = Account::in_flight(&mint).to_string();
            actual.insert(account, Sat::new(sat).to_msat().as_i64());
        }
        let mut books = self.engine.ledger.audit().await?.balances;
        books.retain(|account, _| {
            account.starts_with("assets:wallet:") || account.starts_with("assets:in-flight:")
        });
        for account in actual.keys() {
            books.entry(account.clone()).or_insert(0);
        }
        Ok(books
            .into_iter()
            .filter_map(|(account, booked)| {
                let held = actual.get(&account).copied().unwrap_or(0);
                (held != booked).then(|| {
                    format!("{account}: the books say {booked} msat, the proofs {held} msat")
                })
            })
            .collect())
    }

    /// Creates an empty agent wallet.
    ///
    /// # Errors
    /// When the mint is not trusted, or limit or lifetime is 0.
    pub async fn create_agent_wallet(
        &self,
        new: NewAgentWallet,
    ) -> Result<WalletInfo, WalletError> {
        self.engine.create_agent_wallet(new).await
    }

    /// Moves ecash from the treasury into an agent wallet, within its limit.
    ///
    /// # Errors
    /// [`WalletError::Limit`] above the limit.
    pub async fn fund_agent_wallet(
        &self,
        wallet_id: &str,
        amount: Sat,
    ) -> Result<Received, WalletError> {
        self.engine.fund_agent_wallet(wallet_id, amount).await
    }

    /// Every agent wallet, closed ones too, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_agent_wallets(&self) -> Result<Vec<WalletInfo>, WalletError> {
        self.engine.list_agent_wallets().await
    }

    /// The wallet with this id, or the newest of this agent that is not closed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_agent_wallet(
        &self,
        id_or_agent: &str,
    ) -> Result<Option<WalletInfo>, WalletError> {
        self.engine.find_agent_wallet(id_or_agent).await
    }

    /// Freezes (true) or thaws. A frozen wallet neither pays nor is funded; refunds still come home.
    ///
    /// # Errors
    /// [`WalletError::NoWallet`] for one that is closed.
    pub async fn set_frozen(&self, wallet_id: &str, frozen: bool) -> Result<(), WalletError> {
        self.engine.set_frozen(wallet_id, frozen).await
    }

    /// Sweeps what it holds into the treasury and leaves it open.
    ///
    /// # Errors
    /// [`WalletError::NoWallet`] for one that is closed.
    pub async fn sweep_agent_wallet(&self, wallet_id: &str) -> Result<Swept, WalletError> {
        self.engine.sweep_agent_wallet(wallet_id).await
    }

    /// Sweeps the rest into the treasury and closes.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] names an operation that keeps it from closing.
    pub async fn close_agent_wallet(&self, wallet_id: &str) -> Result<Swept, WalletError> {
        self.engine.close_agent_wallet(wallet_id).await
    }

    /// Closes every wallet past its expiry; returns those that it could close.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn close_expired(&self) -> Result<Vec<(String, Swept)>, WalletError> {
        self.engine.close_expired().await
    }

    /// The log of an agent wallet, open or closed, and whether its chain holds.
    ///
    /// # Errors
    /// [`WalletError::NoWallet`] when there is none.
    pub async fn audit_log(&self, wallet_id: &str) -> Result<AuditLog, WalletError> {
        self.engine.audit_log(wallet_id).await
    }

    /// Adds a decision (such as a refusal) to the wallet's audit chain; the treasury has none.
    ///
    /// # Errors
    /// [`WalletError::NoWallet`] when there is no such wallet.
    pub async fn note(
        &self,
        wallet_id: &str,
        kind: &str,
        amount: Msat,
        reference: &str,
    ) -> Result<(), WalletError> {
        self.engine.note(wallet_id, kind, amount, reference).await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
