//! The books of the simulated network and the journal they are rebuilt from.
//!
//! The state is a function of the records: each change is appended to the
//! journal, made durable, and only then applied. Opening the file again applies
//! the same records. A last line cut short by a kill was never answered, so it
//! is dropped.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};
use serde::{Deserialize, Serialize};

use super::SimulatedError;
use crate::lightning::{InvoiceState, PaymentState, SettledInvoice};

/// Holds what a pending payment took from its payer.
pub(super) const IN_TRANSIT: &str = "[simulated] in transit";
/// Collects the routing fees.
pub(super) const ROUTING: &str = "[simulated] routing";
/// How long an unpaid invoice is remembered beyond its expiry.
const REMEMBER_EXPIRED_SECS: u64 = 3_600;
/// Open invoices are searched for forgotten ones once in so many new ones.
const PRUNE_EVERY: u64 = 1_024;

/// One line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Record {
    /// First line: the secret that every node key derives from.
    SimulatedNetwork { root: String },
    /// Money was created.
    Faucet { account: String, amount_msat: u64 },
    /// An invoice was signed.
    Invoice {
        payee: String,
        payment_hash: String,
        expires_at: u64,
    },
    /// A payment left its payer.
    Held {
        payer: String,
        payee: String,
        payment_hash: String,
        amount_msat: u64,
        fee_msat: u64,
        /// What the payer is told when the payment settles.
        preimage: String,
    },
    /// A held payment reached its payee.
    Settled { payer: String, payment_hash: String },
    /// A held payment went back, or one was refused on the way.
    Failed {
        payer: String,
        payment_hash: String,
        reason: String,
    },
}

#[derive(Clone)]
enum Outcome {
    Pending,
    Succeeded,
    Failed(String),
}

#[derive(Clone)]
struct Payment {
    payee: Arc<str>,
    amount_msat: u64,
    fee_msat: u64,
    preimage: Preimage,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Open,
    Held,
    Paid(Msat),
}

#[derive(Debug, Clone)]
pub(super) struct InvoiceEntry {
    pub(super) payee: Arc<str>,
    pub(super) expires_at: u64,
    pub(super) claim: Claim,
}

/// Everything the network knows.
#[derive(Default)]
pub(super) struct Book {
    journal: Option<File>,
    root: [u8; 32],
    accounts: BTreeMap<Arc<str>, u64>,
    invoices: HashMap<PaymentHash, InvoiceEntry>,
    payments: HashMap<(Arc<str>, PaymentHash), Payment>,
    settled: Vec<(Arc<str>, SettledInvoice)>,
    issued_msat: u64,
    invoices_made: u64,
}

impl Book {
    /// Opens the books at `path`, or starts new ones from `root`.
    pub(super) fn open(path: Option<&Path>, root: [u8; 32]) -> Result<Self, SimulatedError> {
        let mut book = Self {
            root,
            ..Self::default()
        };
        let Some(path) = path else {
            return Ok(book);
        };
        let fault = |source| SimulatedError::Journal {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(fault)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fault)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(fault)?;
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            serde_json::from_slice(line)
                .ok()
                .and_then(|record| book.apply(&record))
                .ok_or_else(|| SimulatedError::Corrupt {
                    path: path.to_owned(),
                    line: number + 1,
                })?;
        }
        book.journal = Some(file);
        if whole == 0 {
            let root = hex::encode(root);
            book.commit(&[Record::SimulatedNetwork { root }])?;
        }
        Ok(book)
    }

    /// Appends `records`, waits until they are on the disk, and applies them.
    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), SimulatedError> {
        self.append(records)?;
        if let Some(journal) = &self.journal {
            journal.sync_data().map_err(SimulatedError::Append)?;
        }
        for record in records {
            self.apply(record);
        }
        Ok(())
    }

    /// Notes a new invoice. Not synced, since no money moves yet: a power cut that
    /// loses the line leaves an invoice that cannot be paid.
    pub(super) fn note_invoice(&mut self, record: &Record, now: u64) -> Result<(), SimulatedError> {
        self.append(std::slice::from_ref(record))?;
        self.apply(record);
        self.invoices_made += 1;
        if self.invoices_made.is_multiple_of(PRUNE_EVERY) {
            self.invoices.retain(|_, entry| {
                entry.claim != Claim::Open || entry.expires_at + REMEMBER_EXPIRED_SECS > now
            });
        }
        Ok(())
    }

    fn append(&mut self, records: &[Record]) -> Result<(), SimulatedError> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|error| SimulatedError::Append(error.into()))?;
            lines.push(b'\n');
        }
        journal.write_all(&lines).map_err(SimulatedError::Append)
    }

    /// Changes the state; `None` when the record makes no sense here.
    fn apply(&mut self, record: &Record) -> Option<()> {
        match record {
            Record::SimulatedNetwork { root } => {
                hex::decode_to_slice(root, &mut self.root).ok()?;
            }
            Record::Faucet {
                account,
                amount_msat,
            } => {
                self.issued_msat = self.issued_msat.checked_add(*amount_msat)?;
                self.gain(account, *amount_msat)?;
            }
            Record::Invoice {
                payee,
                payment_hash,
                expires_at,
            } => {
                let entry = InvoiceEntry {
                    payee: self.account(payee),
                    expires_at: *expires_at,
                    claim: Claim::Open,
                };
                self.invoices.insert(payment_hash.parse().ok()?, entry);
            }
            Record::Held {
                payer,
                payee,
                payment_hash,
                amount_msat,
                fee_msat,
                preimage,
            } => {
                let payment = Payment {
                    payee: self.account(payee),
                    amount_msat: *amount_msat,
                    fee_msat: *fee_msat,
                    preimage: preimage.parse().ok()?,
                    outcome: Outcome::Pending,
                };
                self.hold(payer, payment_hash.parse().ok()?, payment)?;
            }
            Record::Settled {
                payer,
                payment_hash,
            } => self.settle(payer, payment_hash.parse().ok()?)?,
            Record::Failed {
                payer,
                payment_hash,
                reason,
            } => self.fail(payer, payment_hash.parse().ok()?, reason)?,
        }
        Some(())
    }

    fn hold(&mut self, payer: &str, hash: PaymentHash, payment: Payment) -> Option<()> {
        let payer = self.account(payer);
        let taken = payment.amount_msat.checked_add(payment.fee_msat)?;
        let balance = self.accounts.get_mut(&payer)?;
        *balance = balance.checked_sub(taken)?;
        self.gain(IN_TRANSIT, taken)?;
        let invoice = self.invoices.entry(hash).or_insert_with(|| InvoiceEntry {
            payee: Arc::clone(&payment.payee),
            expires_at: 0,
            claim: Claim::Open,
        });
        invoice.claim = Claim::Held;
        self.payments.insert((payer, hash), payment);
        Some(())
    }

    fn settle(&mut self, payer: &str, hash: PaymentHash) -> Option<()> {
        let payment = self.end(payer, hash, Outcome::Succeeded)?;
        self.gain(&payment.payee, payment.amount_msat)?;
        self.gain(ROUTING, payment.fee_msat)?;
        let amount = Msat::new(payment.amount_msat);
        self.invoices.get_mut(&hash)?.claim = Claim::Paid(amount);
        let settled = SettledInvoice {
            index: self.settled.len() as u64 + 1,
            payment_hash: hash,
            amount,
        };
        self.settled.push((payment.payee, settled));
        Some(())
    }

    fn fail(&mut self, payer: &str, hash: PaymentHash, reason: &str) -> Option<()> {
        let payment = self.end(payer, hash, Outcome::Failed(reason.to_owned()))?;
        self.gain(payer, payment.amount_msat + payment.fee_msat)?;
        self.invoices.get_mut(&hash)?.claim = Claim::Open;
        Some(())
    }

    fn end(&mut self, payer: &str, hash: PaymentHash, outcome: Outcome) -> Option<Payment> {
        let payment = self.payments.get_mut(&(payer.into(), hash))?;
        if !matches!(payment.outcome, Outcome::Pending) {
            return None;
        }
        payment.outcome = outcome;
        let held = self.accounts.get_mut(IN_TRANSIT)?;
        *held = held.checked_sub(payment.amount_msat + payment.fee_msat)?;
        Some(payment.clone())
    }

    fn gain(&mut self, account: &str, amount_msat: u64) -> Option<()> {
        let account = self.account(account);
        let balance = self.accounts.get_mut(&account)?;
        *balance = balance.checked_add(amount_msat)?;
        Some(())
    }

    fn account(&mut self, name: &str) -> Arc<str> {
        if let Some((name, _)) = self.accounts.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        self.accounts.insert(Arc::clone(&name), 0);
        name
    }

    pub(super) fn root(&self) -> &[u8; 32] {
        &self.root
    }

    pub(super) fn balances(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.accounts
    }

    pub(super) fn issued_msat(&self) -> u64 {
        self.issued_msat
    }

    pub(super) fn settled_count(&self) -> u64 {
        self.settled.len() as u64
    }

    pub(super) fn find_invoice(&self, hash: &PaymentHash) -> Option<&InvoiceEntry> {
        self.invoices.get(hash)
    }

    pub(super) fn invoice_state(&self, payee: &str, hash: &PaymentHash, now: u64) -> InvoiceState {
        match self.invoices.get(hash) {
            Some(entry) if *entry.payee == *payee => match entry.claim {
                Claim::Paid(amount) => InvoiceState::Settled { amount },
                Claim::Open if entry.expires_at <= now => InvoiceState::Expired,
                Claim::Open | Claim::Held => InvoiceState::Open {
                    expires_at: entry.expires_at,
                },
            },
            _ => InvoiceState::NotFound,
        }
    }

    /// What became of a payment, `None` when none was ever held.
    pub(super) fn find_payment(&self, payer: &str, hash: &PaymentHash) -> Option<PaymentState> {
        let payment = self.payments.get(&(payer.into(), *hash))?;
        Some(match &payment.outcome {
            Outcome::Pending => PaymentState::Pending,
            Outcome::Succeeded => PaymentState::Succeeded {
                preimage: payment.preimage.clone(),
                fee: Msat::new(payment.fee_msat),
            },
            Outcome::Failed(reason) => PaymentState::Failed {
                reason: reason.clone(),
            },
        })
    }

    pub(super) fn payment_amount(&self, payer: &str, hash: &PaymentHash) -> Option<Msat> {
        let payment = self.payments.get(&(payer.into(), *hash))?;
        Some(Msat::new(payment.amount_msat))
    }

    /// The payers whose payment of `hash` is pending.
    pub(super) fn pending_payers(&self, hash: &PaymentHash) -> Vec<Arc<str>> {
        self.payments
            .iter()
            .filter(|((_, paid), payment)| {
                paid == hash && matches!(payment.outcome, Outcome::Pending)
            })
            .map(|((payer, _), _)| Arc::clone(payer))
            .collect()
    }

    /// The invoices with a payment that is pending.
    pub(super) fn pending(&self) -> Vec<PaymentHash> {
        self.payments
            .iter()
            .filter(|(_, payment)| matches!(payment.outcome, Outcome::Pending))
            .map(|((_, hash), _)| *hash)
            .collect()
    }

    /// Invoices of `payee` settled after `index`, oldest first.
    pub(super) fn settled_since(
        &self,
        payee: &str,
        index: u64,
        limit: usize,
    ) -> Vec<SettledInvoice> {
        let start = usize::try_from(index)
            .unwrap_or(usize::MAX)
            .min(self.settled.len());
        self.settled[start..]
            .iter()
            .filter(|(account, _)| **account == *payee)
            .take(limit)
            .map(|(_, settled)| settled.clone())
            .collect()
    }
}
