//! What the wallet received, from whatever source tells it first.
//!
//! Notifications come at once and may be missed; the list is read every few
//! seconds, and further back after a start, a reconnect and an hour; a wallet
//! without a list is asked by hash about what claims have shown to be paid.

use std::str::FromStr;
use std::sync::Arc;

use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use super::client::{ASK_PATIENCE, Client, Fault};
use super::wire::{Standing, Transaction, Transactions};
use crate::clock::SharedClock;
use crate::lightning::SettledInvoice;
use crate::store::StoreError;
use crate::store::ledger::Ledger;

/// How often the list is read.
const READ_EVERY_SECS: u64 = 15;
/// How far back: an invoice is listed by when it was made, and may be paid later.
const LOOK_BACK_SECS: u64 = 3_600;
/// How far back, and how often, in case of invoices that live longer.
const LONG_LOOK_BACK_SECS: u64 = 24 * 3_600;
const LONG_EVERY_SECS: u64 = 3_600;
/// Entries of one page, and pages of one reading.
const PAGE: usize = 20;
const MAX_PAGES: usize = 50;
/// Invoices looked up by hash at once.
const LOOK_UP_AT_ONCE: u32 = 16;
/// Receipts told at once.
const TELL_AT_ONCE: u32 = 1_000;

/// When the list was read last.
#[derive(Debug, Clone, Copy, Default)]
struct Readings {
    any_at: u64,
    long_at: u64,
    /// How often the subscription stood then.
    standing: u64,
}

pub(super) struct Receipts {
    name: String,
    client: Arc<Client>,
    ledger: Ledger,
    clock: SharedClock,
    readings: Mutex<Readings>,
    wake: Notify,
}

impl Receipts {
    pub(super) fn new(
        name: String,
        client: Arc<Client>,
        ledger: Ledger,
        clock: SharedClock,
    ) -> Self {
        Self {
            name,
            client,
            ledger,
            clock,
            readings: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Writes down what notifications tell, until the node stops.
    pub(super) async fn keep(self: Arc<Self>, mut heard: mpsc::Receiver<Transaction>) {
        while let Some(transaction) = heard.recv().await {
            let Some(receipt) = receipt(&transaction) else {
                continue;
            };
            match self.add(vec![receipt]).await {
                Ok(()) => self.wake.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "a receipt was not written down; the wallet's list has it too");
                }
            }
        }
    }

    /// Resolves when a notification brought something.
    pub(super) async fn news(&self) {
        self.wake.notified().await;
    }

    pub(super) async fn add(&self, receipts: Vec<(PaymentHash, Msat)>) -> Result<(), StoreError> {
        self.ledger
            .keep_nwc_receipts(self.name.clone(), receipts, None)
            .await
    }

    /// Returns receipts after `index`.
    pub(super) async fn since(&self, index: u64) -> Result<Vec<SettledInvoice>, StoreError> {
        let known = self
            .ledger
            .list_nwc_receipts(self.name.clone(), index, TELL_AT_ONCE)
            .await?;
        Ok(known
            .into_iter()
            .map(|receipt| SettledInvoice {
                index: receipt.index,
                payment_hash: receipt.payment_hash,
                amount: receipt.amount,
            })
            .collect())
    }

    /// Reads the wallet's list, if it is time.
    pub(super) async fn read(&self) -> Result<(), Fault> {
        let now = self.clock.now();
        let standing = *self.client.standing().borrow();
        let last = *self.readings.lock();
        let is_new_link = standing != last.standing;
        if !is_new_link && now < last.any_at.saturating_add(READ_EVERY_SECS) {
            return Ok(());
        }
        let is_long = is_new_link || now >= last.long_at.saturating_add(LONG_EVERY_SECS);
        let reading = self.ledger.nwc_reading(self.name.clone(), now).await;
        let reading = reading.map_err(|error| store(&error))?;
        let back = if is_long {
            LONG_LOOK_BACK_SECS
        } else {
            LOOK_BACK_SECS
        };
        let from = reading
            .read_until
            .saturating_sub(back)
            .max(reading.first_at);
        match self.read_from(from).await {
            Err(Fault::Refused(fault)) if fault.code == "NOT_IMPLEMENTED" => {
                self.look_up_claimed().await?;
            }
            read => {
                let receipts = read?;
                self.ledger
                    .keep_nwc_receipts(self.name.clone(), receipts, Some(now))
                    .await
                    .map_err(|error| store(&error))?;
            }
        }
        *self.readings.lock() = Readings {
            any_at: now,
            long_at: if is_long { now } else { last.long_at },
            standing,
        };
        Ok(())
    }

    async fn read_from(&self, from: u64) -> Result<Vec<(PaymentHash, Msat)>, Fault> {
        let mut receipts = Vec::new();
        for page in 0..MAX_PAGES {
            let params = json!({
                "from": from,
                "type": "incoming",
                "unpaid": false,
                "limit": PAGE,
                "offset": page * PAGE,
            });
            let listed: Transactions = self
                .client
                .ask("list_transactions", params, ASK_PATIENCE)
                .await?;
            let count = listed.transactions.len();
            let settled = listed.transactions.iter().take(PAGE).filter_map(receipt);
            receipts.extend(settled);
            if count < PAGE {
                break;
            }
        }
        // The list has the newest first; the stream goes by time.
        receipts.reverse();
        Ok(receipts)
    }

    async fn look_up_claimed(&self) -> Result<(), Fault> {
        let claimed = self
            .ledger
            .list_unconfirmed_receipts(self.name.clone(), LOOK_UP_AT_ONCE)
            .await
            .map_err(|error| store(&error))?;
        let mut receipts = Vec::new();
        for hash in claimed {
            let params = json!({"payment_hash": hash.to_string()});
            let found = self.client.ask("lookup_invoice", params, ASK_PATIENCE);
            match found.await {
                Ok(found) => receipts.extend(receipt(&found)),
                // Of another backend, or forgotten.
                Err(Fault::Refused(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        self.add(receipts).await.map_err(|error| store(&error))
    }
}

/// Reads an incoming payment that has settled.
fn receipt(transaction: &Transaction) -> Option<(PaymentHash, Msat)> {
    if !transaction.is_incoming() || transaction.standing() != Standing::Settled {
        return None;
    }
    let hash = PaymentHash::from_str(transaction.payment_hash.as_deref()?).ok()?;
    Some((hash, Msat::new(transaction.amount?)))
}

fn store(error: &StoreError) -> Fault {
    Fault::NotSent(format!("the ledger: {error}"))
}
