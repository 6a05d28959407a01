//! A simulated Lightning network: one shared object, no node, no bitcoin.
//!
//! What a caller can check is real: invoices are signed BOLT11 of the network
//! `regtest`, each preimage hashes to its payment hash, money moves between
//! accounts and only [`SimulatedNetwork::faucet`] creates any, so that the sum of
//! all balances is what was issued. What a person can read says `[simulated]`.
//!
//! How a payment ends is chosen beforehand with [`Behaviour`], for the network or
//! for one payee. A payer who pays the same invoice twice gets the first outcome
//! again. With a journal file the network survives a kill at any moment.
//!
//! An unpaid invoice costs some bytes of memory only: its preimage derives from
//! the payee's key and the invoice's own payment secret.

mod backend;
mod book;
mod route;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::{All, Secp256k1};
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub use self::backend::SimulatedBackend;
use self::book::{Book, Record};
use self::route::{Handed, failed, refused, settled, unknown};
use super::{Invoice, InvoiceState, PaymentState, SettledInvoice};
use crate::clock::{SharedClock, SharedEntropy, random_bytes};

/// Every invoice description starts with this.
pub const MARK: &str = "[simulated]";
/// Most entries one call of `settled_since` returns.
const MAX_SETTLED: usize = 1_000;

/// How payments end from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// At once and well.
    #[default]
    Succeed,
    /// With a final failure; the payer keeps the money.
    Fail,
    /// Not at all, until [`SimulatedNetwork::resolve_pending`].
    Pending,
    /// The payee is paid, but the payer's answer does not come in time.
    Timeout,
    /// The payee is paid, and the payer is told a preimage that opens nothing.
    WrongPreimage,
    /// Well, after this long. With less patience than that, pending for good.
    Delay(Duration),
}

/// How a pending payment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The payee has the money.
    Settle,
    /// The payer has it back.
    Fail,
}

/// The network; clones share it.
#[derive(Clone)]
pub struct SimulatedNetwork {
    inner: Arc<Inner>,
}

struct Inner {
    book: Mutex<Book>,
    is_journaled: bool,
    knobs: RwLock<Knobs>,
    settled: watch::Sender<u64>,
    secp: Secp256k1<All>,
    clock: SharedClock,
    entropy: SharedEntropy,
}

#[derive(Default)]
struct Knobs {
    behaviour: Behaviour,
    by_payee: HashMap<String, Behaviour>,
    fee: Msat,
    is_down: bool,
}

/// A fault of the simulation itself, never of a payment.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// The journal cannot be opened.
    #[error("open the simulated network's journal {path}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The journal was changed by somebody else: start with a new one.
    #[error("read line {line} of the simulated network's journal {path}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A change could not be made durable; it did not happen.
    #[error("append to the simulated network's journal")]
    Append(#[source] std::io::Error),
    /// An amount or description that BOLT11 cannot carry.
    #[error("sign a simulated invoice: {0}")]
    Invoice(String),
    /// The runtime is shutting down.
    #[error("reach the simulated network")]
    Stopped,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedNetwork([simulated])")
    }
}

impl SimulatedNetwork {
    /// Opens the network whose journal is at `path`, or one that is gone when dropped.
    ///
    /// # Errors
    /// When the journal cannot be opened, read or started.
    pub fn open(
        path: Option<&Path>,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Result<Self, SimulatedError> {
        let book = Book::open(path, random_bytes(entropy.as_ref()))?;
        let (settled, _) = watch::channel(book.settled_count());
        Ok(Self {
            inner: Arc::new(Inner {
                book: Mutex::new(book),
                is_journaled: path.is_some(),
                knobs: RwLock::default(),
                settled,
                secp: Secp256k1::new(),
                clock,
                entropy,
            }),
        })
    }

    /// Creates money in `account`, which comes into being with it.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn faucet(&self, account: &str, amount: Msat) -> Result<(), SimulatedError> {
        self.inner.book.lock().commit(&[Record::Faucet {
            account: account.to_owned(),
            amount_msat: amount.as_u64(),
        }])
    }

    /// Returns all money ever created.
    #[must_use]
    pub fn issued_msat(&self) -> u64 {
        self.inner.book.lock().issued_msat()
    }

    /// Returns what `account` holds; nothing for one that does not exist.
    #[must_use]
    pub fn balance(&self, account: &str) -> Msat {
        let book = self.inner.book.lock();
        Msat::new(book.balances().get(account).copied().unwrap_or_default())
    }

    /// Returns every account with its balance, the routing nodes' and what is in
    /// transit included: the sum is [`Self::issued_msat`].
    #[must_use]
    pub fn balances(&self) -> Vec<(String, Msat)> {
        let book = self.inner.book.lock();
        let balances = book.balances().iter();
        balances
            .map(|(name, balance)| (name.to_string(), Msat::new(*balance)))
            .collect()
    }

    /// Chooses how payments end, unless their payee has a behaviour of its own.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.inner.knobs.write().behaviour = behaviour;
    }

    /// Chooses how payments to `payee` end; `None` follows the network again.
    pub fn set_behaviour_for(&self, payee: &str, behaviour: Option<Behaviour>) {
        let mut knobs = self.inner.knobs.write();
        match behaviour {
            Some(behaviour) => knobs.by_payee.insert(payee.to_owned(), behaviour),
            None => knobs.by_payee.remove(payee),
        };
    }

    /// Sets what routing takes from the payer for each payment.
    pub fn set_fee(&self, fee: Msat) {
        self.inner.knobs.write().fee = fee;
    }

    /// Returns what routing takes from the payer for each payment.
    #[must_use]
    pub fn fee(&self) -> Msat {
        self.inner.knobs.read().fee
    }

    /// While `is_down`, every backend answers that it cannot be reached and no
    /// payment is taken.
    pub fn set_down(&self, is_down: bool) {
        self.inner.knobs.write().is_down = is_down;
    }

    /// Ends the pending payments of the invoice `hash`; returns how many there were.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn resolve_pending(
        &self,
        hash: &PaymentHash,
        resolution: Resolution,
    ) -> Result<usize, SimulatedError> {
        let mut book = self.inner.book.lock();
        let payers = book.pending_payers(hash);
        let records: Vec<_> = payers
            .iter()
            .map(|payer| match resolution {
                Resolution::Settle => settled(payer, hash),
                Resolution::Fail => failed(payer, hash),
            })
            .collect();
        book.commit(&records)?;
        self.inner.settled.send_replace(book.settled_count());
        Ok(payers.len())
    }

    /// Returns the invoices whose payment is pending.
    #[must_use]
    pub fn pending(&self) -> Vec<PaymentHash> {
        self.inner.book.lock().pending()
    }

    /// Returns a watch on the number of settled invoices, all accounts together.
    #[must_use]
    pub fn watch_settled(&self) -> watch::Receiver<u64> {
        self.inner.settled.subscribe()
    }

    /// Returns invoices of `account` settled after `index`, oldest first, at most 1,000.
    #[must_use]
    pub fn settled_since(&self, account: &str, index: u64) -> Vec<SettledInvoice> {
        let book = self.inner.book.lock();
        book.settled_since(account, index, MAX_SETTLED)
    }

    /// Returns the state of an invoice that `account` made.
    #[must_use]
    pub fn invoice_state(&self, account: &str, hash: &PaymentHash) -> InvoiceState {
        let now = self.inner.clock.now();
        self.inner.book.lock().invoice_state(account, hash, now)
    }

    /// Returns what became of a payment by `account`. Nothing can be on its way
    /// that is not in the books, so an unknown payment has failed.
    #[must_use]
    pub fn payment_state(&self, account: &str, hash: &PaymentHash) -> PaymentState {
        let found = self.inner.book.lock().find_payment(account, hash);
        found.unwrap_or_else(|| refused("this payment was never handed over"))
    }

    /// Returns the amount, without fee, of a payment by `account` that was handed over.
    #[must_use]
    pub fn payment_amount(&self, account: &str, hash: &PaymentHash) -> Option<Msat> {
        self.inner.book.lock().payment_amount(account, hash)
    }

    /// Returns the time of the network's clock, in Unix seconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.inner.clock.now()
    }

    /// Makes an invoice for `amount`, payable to `account`, which comes into being with it.
    ///
    /// # Errors
    /// When BOLT11 cannot carry the amount, or the journal cannot be written.
    pub async fn create_invoice(
        &self,
        account: &str,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, SimulatedError> {
        let (account, description) = (account.to_owned(), description.to_owned());
        self.run(move |inner| inner.create_invoice(&account, amount, &description, expiry))
            .await?
    }

    /// Pays `bolt11` from `account` and waits for the outcome, at most `patience`.
    pub async fn pay(
        &self,
        account: &str,
        bolt11: &str,
        fee_limit: Msat,
        patience: Duration,
    ) -> PaymentState {
        let (payer, text) = (account.to_owned(), bolt11.to_owned());
        let handed = self
            .run(move |inner| inner.hand_over(&payer, &text, fee_limit))
            .await;
        match handed {
            Ok(Ok(Handed::Done(state))) => state,
            Ok(Ok(Handed::Silence)) => {
                tokio::time::sleep(patience).await;
                unknown("[simulated] no answer in time")
            }
            Ok(Ok(Handed::Later(delay, _))) if delay > patience => {
                tokio::time::sleep(patience).await;
                PaymentState::Pending
            }
            Ok(Ok(Handed::Later(delay, hash))) => {
                tokio::time::sleep(delay).await;
                match self.resolve_pending(&hash, Resolution::Settle) {
                    Ok(_) => self.payment_state(account, &hash),
                    Err(error) => unknown(&error.to_string()),
                }
            }
            Ok(Err(error)) | Err(error) => unknown(&error.to_string()),
        }
    }

    /// Runs `work`, on a blocking thread if it waits for a disk.
    async fn run<T, F>(&self, work: F) -> Result<T, SimulatedError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> T + Send + 'static,
    {
        if !self.inner.is_journaled {
            return Ok(work(&self.inner));
        }
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_| SimulatedError::Stopped)
    }
}

impl Knobs {
    fn behaviour_for(&self, payee: &str) -> Behaviour {
        self.by_payee.get(payee).copied().unwrap_or(self.behaviour)
    }
}
