//! A wallet of somebody else's choice, behind Nostr Wallet Connect (NIP-47).
//!
//! The wallet is asked by encrypted events over its own relays. Its answers pass a
//! relay once and are not kept, so silence says nothing: what became of a payment
//! is then asked by its hash, after each reconnect and as often as it takes.
//!
//! ```text
//!           row written          asked                    preimage that opens the hash
//!  (none) ───────1──────► begun ───2───► (at the wallet) ─────3───────► succeeded
//!                           ▲               │ a final no, or failed by its hash
//!                           │               └───────────4─────────────► failed, row gone
//!                           └── anything else: unknown, looked up until it is one of these
//! ```
//!
//! | dies at | on disk | what a restart does |
//! |---|---|---|
//! | before 1 | nothing | says failed: never begun |
//! | between 1 and 2 | the row | looks the hash up; not found long after the invoice's end is failed |
//! | after 2 | the row | looks the hash up |
//!
//! A hash that has a row is never asked to be paid again. *Succeeded* needs the
//! preimage: a wallet that says it paid and shows none, or another, leaves the
//! payment unknown, with its own words for each. Before a payment the wallet must
//! have answered within the last minute, so that one that is away fails at once and
//! leaves the caller free to pay otherwise.
//!
//! NIP-47 knows no limit on fees: the wallet's own applies, and what it took is
//! told. Receipts come by notification, from the wallet's list and from look-ups,
//! whichever is first, and are numbered here. All that the wallet receives counts,
//! so it should be the node's alone.
//!
//! Hold invoices are not used: whoever buys by L402 or MPP can only call once he has
//! the preimage, and has it only once the invoice is settled. There is nothing left
//! to hold by then.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/47.md>

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};
use lightning_invoice::Bolt11Invoice;
use nostr::nips::nip47::NostrWalletConnectUri;
use serde_json::{Value, json};

use super::{
    Invoice, InvoiceState, LightningBackend, LightningError, PaymentState, SettledInvoice,
};
use crate::clock::{SharedClock, SharedEntropy};
use crate::lifecycle::Lifecycle;
use crate::store::ledger::Ledger;

mod client;
mod receipts;
mod wire;

pub use client::{LinkNews, LinkSent, WalletLink};

use client::{ASK_PATIENCE, Client, Fault};
use receipts::Receipts;
use wire::{Made, Payment, Standing, Transaction};

/// A wallet that answered so recently is not asked whether it is there.
const FRESH_MILLIS: u64 = 60_000;
/// How long a wallet may take to show that it is there, before a payment.
const ALIVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long after the invoice's end a payment that the wallet does not know has failed.
const GRACE_SECS: u64 = 3_600;
/// Pause between look-ups of a payment whose answer may have been missed.
const LOOK_UP_EVERY: Duration = Duration::from_secs(1);
/// How long each may take: the wallet may come back to its relays later than we do.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(4);
/// The longest that an invoice counts as good: 30 days.
const MAX_EXPIRY_SECS: u64 = 30 * 24 * 3_600;

/// What a backend over NIP-47 is made of.
#[derive(Debug)]
pub struct NwcParts {
    /// Its name in the configuration.
    pub name: String,
    /// The connection: the wallet, and our secret with it.
    pub uri: NostrWalletConnectUri,
    /// The wallet's relays.
    pub link: Arc<dyn WalletLink>,
    /// Where payments and receipts are written.
    pub ledger: Ledger,
    /// Tells the time.
    pub clock: SharedClock,
    /// Encrypts.
    pub entropy: SharedEntropy,
}

/// A wallet behind NIP-47.
pub struct NwcBackend {
    name: String,
    client: Arc<Client>,
    receipts: Arc<Receipts>,
    ledger: Ledger,
    clock: SharedClock,
    /// Whether the wallet takes invoices without expiry and description only.
    wants_bare_invoices: AtomicBool,
}

impl fmt::Debug for NwcBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NwcBackend({}, {:?})", self.name, self.client)
    }
}

impl NwcBackend {
    /// Returns the backend, and listens to the wallet until the node stops.
    #[must_use]
    pub fn open(parts: NwcParts, lifecycle: &Lifecycle) -> Self {
        let NwcParts {
            name,
            uri,
            link,
            ledger,
            clock,
            entropy,
        } = parts;
        let client = Arc::new(Client::new(uri, link, Arc::clone(&clock), entropy));
        let receipts = Arc::new(Receipts::new(
            name.clone(),
            Arc::clone(&client),
            ledger.clone(),
            Arc::clone(&clock),
        ));
        let (news, heard) = Client::news_channel();
        lifecycle.spawn(Arc::clone(&client).listen(news));
        lifecycle.spawn(Arc::clone(&receipts).keep(heard));
        Self {
            name,
            client,
            receipts,
            ledger,
            clock,
            wants_bare_invoices: AtomicBool::new(false),
        }
    }

    fn error(&self, fault: Fault) -> LightningError {
        let backend = self.name.clone();
        match fault {
            Fault::NotSent(reason) | Fault::NoAnswer(reason) => {
                LightningError::Unavailable { backend, reason }
            }
            Fault::Refused(fault) => LightningError::Refused {
                backend,
                reason: fault.words(),
            },
        }
    }

    fn refused(&self, reason: impl fmt::Display) -> LightningError {
        LightningError::Refused {
            backend: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    async fn look_up(&self, hash: &PaymentHash, patience: Duration) -> Result<Transaction, Fault> {
        let params = json!({"payment_hash": hash.to_string()});
        self.client.ask("lookup_invoice", params, patience).await
    }

    /// Makes sure that the wallet is there, before it is asked for something that
    /// would leave us in doubt if it were not.
    async fn check_presence(&self) -> Result<(), String> {
        let now_millis = self.clock.now_millis();
        if now_millis.saturating_sub(self.client.heard_at()) < FRESH_MILLIS {
            return Ok(());
        }
        let asked = self
            .client
            .ask::<Value>("get_info", json!({}), ALIVE_PATIENCE);
        match asked.await {
            // A refusal is an answer too.
            Ok(_) | Err(Fault::Refused(_)) => Ok(()),
            Err(Fault::NotSent(reason) | Fault::NoAnswer(reason)) => Err(reason),
        }
    }

    async fn make(&self, amount: Msat, extras: Option<(&str, Duration)>) -> Result<Made, Fault> {
        let params = match extras {
            Some((description, expiry)) => json!({
                "amount": amount.as_u64(),
                "description": description,
                "expiry": expiry.as_secs(),
            }),
            // Wallets without nodes have no fractions either.
            None => json!({"amount": amount.ceil_sat().to_msat().as_u64()}),
        };
        self.client.ask("make_invoice", params, ASK_PATIENCE).await
    }

    /// Reads what the wallet says of a payment by its hash; `None`: nothing that tells.
    async fn found(&self, hash: &PaymentHash) -> Result<PaymentState, Fault> {
        let found = self.look_up(hash, LOOK_UP_PATIENCE).await?;
        if !found.is_incoming() || found.direction.is_none() {
            return Ok(match found.standing() {
                Standing::Settled => paid(
                    hash,
                    found.preimage.as_deref(),
                    found.fees_paid.unwrap_or(0),
                ),
                Standing::Failed | Standing::Expired => failed("the wallet did not pay"),
                Standing::Open => PaymentState::Pending,
            });
        }
        // The invoice of a payment within the wallet; it says nothing of the payment.
        Err(Fault::NoAnswer(
            "the wallet knows the invoice and not its payment".to_owned(),
        ))
    }

    /// Waits for a reconnect, and then looks until the payment's end is known.
    async fn found_after_reconnect(&self, hash: &PaymentHash) -> PaymentState {
        let mut standing = self.client.standing();
        standing.mark_unchanged();
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
        loop {
            match self.found(hash).await {
                Ok(state @ (PaymentState::Succeeded { .. } | PaymentState::Failed { .. })) => {
                    return state;
                }
                _ => tokio::time::sleep(LOOK_UP_EVERY).await,
            }
        }
    }

    /// Reads the answer to `pay_invoice`.
    async fn concluded(&self, hash: &PaymentHash, answer: Result<Payment, Fault>) -> PaymentState {
        let fault = match answer {
            Ok(payment) => {
                let text = payment.preimage.as_deref().filter(|text| !text.is_empty());
                let state = paid(hash, text, payment.fees_paid.unwrap_or(0));
                // Without one, its books may still have it.
                return match (text, self.found(hash)) {
                    (None, found) => match found.await {
                        Ok(found @ PaymentState::Succeeded { .. }) => found,
                        _ => state,
                    },
                    (Some(_), _) => state,
                };
            }
            Err(Fault::NotSent(reason)) => return failed(&reason),
            Err(Fault::Refused(fault)) if fault.is_final() && fault.code != "PAYMENT_FAILED" => {
                return failed(&fault.words());
            }
            Err(fault) => fault,
        };
        match (self.found(hash).await, fault) {
            (Ok(state), _) => state,
            // Its own word, and its books do not contradict it.
            (Err(_), Fault::Refused(fault)) if fault.is_final() => failed(&fault.words()),
            (Err(_), Fault::Refused(fault)) => unknown(&fault.words()),
            (Err(_), Fault::NotSent(reason) | Fault::NoAnswer(reason)) => unknown(&reason),
        }
    }

    /// Lets go of a payment that has certainly failed.
    async fn closed(&self, hash: &PaymentHash, state: PaymentState) -> PaymentState {
        if matches!(state, PaymentState::Failed { .. })
            && let Err(error) = self.ledger.fail_nwc_payment(self.name.clone(), *hash).await
        {
            return unknown(&format!("the ledger: {error}"));
        }
        state
    }
}

#[async_trait]
impl LightningBackend for NwcBackend {
    fn name(&self) -> &str {
        &self.name
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        let is_bare = self.wants_bare_invoices.load(Ordering::Relaxed);
        let mut made = self
            .make(amount, (!is_bare).then_some((description, expiry)))
            .await;
        // Wallets over a mint refuse an expiry, a description or fractions. No money moves by asking again.
        if let Err(Fault::Refused(fault)) = &made
            && !is_bare
            && matches!(
                fault.code.as_str(),
                "OTHER" | "INTERNAL" | "NOT_IMPLEMENTED"
            )
        {
            made = self.make(amount, None).await;
            self.wants_bare_invoices
                .store(made.is_ok(), Ordering::Relaxed);
        }
        let bolt11 = made.map_err(|fault| self.error(fault))?.invoice;
        let invoice = read_invoice(&bolt11).map_err(|reason| self.refused(reason))?;
        if invoice.amount != amount && invoice.amount != amount.ceil_sat().to_msat() {
            return Err(self.refused("its invoice is over another amount"));
        }
        Ok(Invoice {
            bolt11,
            payment_hash: invoice.payment_hash,
            expires_at: invoice.expires_at,
        })
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        let found = match self.look_up(hash, ASK_PATIENCE).await {
            Ok(found) if found.is_incoming() => found,
            Ok(_) => return Ok(InvoiceState::NotFound),
            Err(Fault::Refused(fault)) if fault.code == "NOT_FOUND" => {
                return Ok(InvoiceState::NotFound);
            }
            Err(fault) => return Err(self.error(fault)),
        };
        let now = self.clock.now();
        let expires_at = found.expires_at.filter(|at| *at > 0).unwrap_or(now);
        match (found.standing(), found.amount.map(Msat::new)) {
            (Standing::Settled, Some(amount)) => {
                self.receipts
                    .add(vec![(*hash, amount)])
                    .await
                    .map_err(|error| self.refused(error))?;
                Ok(InvoiceState::Settled { amount })
            }
            (Standing::Settled, None) => Err(self.refused("it does not say what arrived")),
            (Standing::Failed | Standing::Expired, _) => Ok(InvoiceState::Expired),
            (Standing::Open, _) if expires_at < now => Ok(InvoiceState::Expired),
            (Standing::Open, _) => Ok(InvoiceState::Open { expires_at }),
        }
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        let invoice = match read_invoice(bolt11) {
            Ok(invoice) => invoice,
            Err(reason) => return failed(reason),
        };
        let hash = invoice.payment_hash;
        let (ledger, name) = (&self.ledger, self.name.clone());
        match ledger.find_nwc_payment(name.clone(), hash).await {
            Ok(None) => {}
            Ok(Some(_)) => return self.payment_state(&hash).await,
            Err(error) => return unknown(&format!("the ledger: {error}")),
        }
        if let Err(reason) = self.check_presence().await {
            return failed(&reason);
        }
        let now = self.clock.now();
        let begun = ledger.begin_nwc_payment(name, hash, invoice.expires_at, now);
        if let Err(error) = begun.await {
            return failed(&format!("the ledger: {error}"));
        }
        crate::crash::point("lightning.nwc.begun");
        let asked = self
            .client
            .ask("pay_invoice", json!({"invoice": bolt11}), patience);
        let state = tokio::select! {
            answer = asked => self.concluded(&hash, answer).await,
            state = self.found_after_reconnect(&hash) => state,
        };
        crate::crash::point("lightning.nwc.answered");
        if let PaymentState::Succeeded { fee, .. } = &state
            && *fee > fee_limit
        {
            tracing::warn!(
                backend.name = %self.name,
                fee_msat = fee.as_u64(),
                "a wallet took more fees than it should have: it cannot be told a limit"
            );
        }
        self.closed(&hash, state).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        let begun = self.ledger.find_nwc_payment(self.name.clone(), *hash).await;
        let expires_at = match begun {
            Ok(Some(expires_at)) => expires_at,
            Ok(None) => return failed("the payment was never begun, or has failed"),
            Err(error) => return unknown(&format!("the ledger: {error}")),
        };
        let state = match self.found(hash).await {
            Ok(state) => state,
            Err(Fault::Refused(fault)) if fault.code == "NOT_FOUND" => {
                if self.clock.now() > expires_at.saturating_add(GRACE_SECS) {
                    failed("the wallet does not know it, and it cannot be paid any more")
                } else {
                    unknown(&fault.words())
                }
            }
            Err(Fault::Refused(fault)) => unknown(&fault.words()),
            Err(Fault::NotSent(reason) | Fault::NoAnswer(reason)) => unknown(&reason),
        };
        self.closed(hash, state).await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        // What is known is told even while the wallet is away.
        let read = self.receipts.read().await;
        let known = self
            .receipts
            .since(index)
            .await
            .map_err(|error| self.refused(error))?;
        if known.is_empty() {
            read.map_err(|fault| self.error(fault))?;
        }
        Ok(known)
    }

    async fn news(&self) {
        self.receipts.news().await;
    }
}

/// The parts of an invoice that count.
struct ReadInvoice {
    payment_hash: PaymentHash,
    amount: Msat,
    expires_at: u64,
}

fn read_invoice(bolt11: &str) -> Result<ReadInvoice, &'static str> {
    let invoice = Bolt11Invoice::from_str(bolt11).map_err(|_| "it is no invoice")?;
    let expiry_secs = invoice.expiry_time().as_secs().min(MAX_EXPIRY_SECS);
    Ok(ReadInvoice {
        payment_hash: PaymentHash::from_str(&invoice.payment_hash().to_string())
            .map_err(|_| "the invoice has no payment hash")?,
        amount: invoice
            .amount_milli_satoshis()
            .map(Msat::new)
            .ok_or("the invoice names no amount")?,
        expires_at: invoice
            .duration_since_epoch()
            .as_secs()
            .saturating_add(expiry_secs),
    })
}

/// Reads a preimage that the wallet shows for a payment that it calls settled.
fn paid(hash: &PaymentHash, preimage: Option<&str>, fee_msat: u64) -> PaymentState {
    let Some(text) = preimage.filter(|text| !text.is_empty()) else {
        return unknown("the wallet says that it paid and shows no preimage");
    };
    match Preimage::from_str(text) {
        Ok(preimage) if preimage.opens(hash) => PaymentState::Succeeded {
            preimage,
            fee: Msat::new(fee_msat),
        },
        _ => unknown("the wallet says that it paid and shows a preimage that is not the invoice's"),
    }
}

fn failed(reason: &str) -> PaymentState {
    PaymentState::Failed {
        reason: reason.to_owned(),
    }
}

fn unknown(reason: &str) -> PaymentState {
    PaymentState::Unknown {
        reason: reason.to_owned(),
    }
}
