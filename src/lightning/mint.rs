//! A Cashu mint as Lightning: a mint quote is an invoice, a melt is a payment.
//!
//! For who has no node. What is received becomes ecash of the treasury, and what is
//! paid is melted from it, both by the wallet's own journaled operations; this file
//! only keeps which invoice belongs to which quote. The wallet is reached through a
//! port, [`MintWallet`], since backends and wallet do not know each other.
//!
//! ```text
//!          asked: unpaid             asked: paid            ecash issued
//!  open ──────────────────► open ─────────────────► settled ──────────────► issued
//!    └─ unpaid, and its time is over ─► forgotten
//! ```
//!
//! | state | on the books | after a crash |
//! |---|---|---|
//! | open | nothing | asked again when due; a paid quote stays paid at the mint |
//! | settled | received by the backend | the wallet's journal finishes the issue, or it is begun again |
//! | issued | moved from the backend to the treasury | final |
//!
//! The mint is asked in passing, a bounded number at a time: first about invoices
//! that a buyer's preimage has shown to be paid, then about others with growing
//! pauses, and once more after the invoice's time, before it is forgotten.
//!
//! A payment has an operation of the wallet for each try, named after the payment
//! hash; while one may have paid, there is no other. An invoice of the mint's own
//! node is not paid: the mint would settle it within itself and show no preimage.
//! Such a seller is to be paid in ecash.
//!
//! A mint makes invoices in whole satoshi, and says itself how long they are good.
//!
//! <https://github.com/cashubtc/nuts/blob/main/23.md>

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::{PaymentHash, Preimage};
use lightning_invoice::Bolt11Invoice;

use super::{
    Invoice, InvoiceState, LightningBackend, LightningError, PaymentState, SettledInvoice,
};
use crate::clock::SharedClock;
use crate::store::StoreError;
use crate::store::ledger::mint_invoices::MintInvoice;
use crate::store::ledger::{Account, Ledger};

/// Invoices that the mint is asked about in one pass.
const ASK_AT_ONCE: u32 = 32;
/// The first and the longest pause before the mint is asked about an open invoice again.
const ASK_FIRST_SECS: u64 = 15;
const ASK_LONGEST_SECS: u64 = 300;
/// How long after its end an invoice may still turn out to be paid: the payment may have been on its way.
const GRACE_SECS: u64 = 900;
/// Settled invoices listed at once.
const PAGE: u32 = 1_000;
/// Tries to pay one invoice, each of which has certainly failed.
const MAX_TRIES: u32 = 16;
/// The longest that a mint's invoice counts as good: 30 days.
const MAX_EXPIRY: Duration = Duration::from_secs(30 * 24 * 3_600);

/// An invoice that a mint made for the treasury.
#[derive(Debug, Clone)]
pub struct MintQuoted {
    /// The mint's name for it.
    pub quote_id: String,
    /// The BOLT11 text, as the mint gave it.
    pub bolt11: String,
}

/// What became of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintClaim {
    /// Not paid.
    Unpaid,
    /// Paid; its ecash is not here yet.
    Paid,
    /// Paid, and its ecash is in the treasury.
    Issued,
}

/// What became of a melt.
#[derive(Debug, Clone)]
pub enum MintPayment {
    /// The payee has the money.
    Paid {
        /// `None` when the mint showed none that opens the hash.
        preimage: Option<Preimage>,
        /// What it cost beyond the invoice in whole satoshi.
        fee: Sat,
    },
    /// Nothing was spent.
    Failed(String),
    /// It may have been paid.
    Unknown(String),
}

/// Why the wallet could not do it; nothing was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintFault {
    /// The mint does not answer.
    Unavailable(String),
    /// The mint, or a limit of the wallet, says no.
    Refused(String),
}

/// What this backend needs of the node's wallet.
#[async_trait]
pub trait MintWallet: fmt::Debug + Send + Sync {
    /// Asks `mint` for an invoice that turns into ecash of the treasury, which then
    /// comes from `source` in the books.
    async fn request(
        &self,
        mint: &str,
        amount: Sat,
        source: Account,
    ) -> Result<MintQuoted, MintFault>;

    /// Asks what became of a quote, and takes its ecash in if it is paid.
    async fn claim(&self, quote_id: &str) -> Result<MintClaim, MintFault>;

    /// Pays `bolt11` from the treasury at `mint`, with fees of at most `fee_limit`,
    /// unless the invoice is the mint's own. All of it is charged to `to`.
    async fn melt(
        &self,
        operation_id: &str,
        mint: &str,
        bolt11: &str,
        fee_limit: Msat,
        to: Account,
    ) -> MintPayment;

    /// Returns what became of a melt; `None` when it was never begun.
    async fn find_melt(&self, operation_id: &str) -> Option<MintPayment>;
}

/// A mint as a Lightning backend.
pub struct MintBackend {
    name: String,
    mint: String,
    wallet: Arc<dyn MintWallet>,
    ledger: Ledger,
    clock: SharedClock,
}

impl fmt::Debug for MintBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintBackend({} at {})", self.name, self.mint)
    }
}

impl MintBackend {
    /// Returns the backend `name` over the mint at `mint`.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        mint: impl Into<String>,
        wallet: Arc<dyn MintWallet>,
        ledger: Ledger,
        clock: SharedClock,
    ) -> Self {
        Self {
            name: name.into(),
            mint: mint.into(),
            wallet,
            ledger,
            clock,
        }
    }

    fn account(&self) -> Account {
        Account::lightning(&self.name)
    }

    fn refused(&self, reason: impl fmt::Display) -> LightningError {
        LightningError::Refused {
            backend: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    fn fault(&self, fault: MintFault) -> LightningError {
        match fault {
            MintFault::Refused(reason) => self.refused(reason),
            MintFault::Unavailable(reason) => LightningError::Unavailable {
                backend: self.name.clone(),
                reason,
            },
        }
    }

    fn store(&self, error: &StoreError) -> LightningError {
        self.refused(format!("the ledger: {error}"))
    }

    async fn find(&self, hash: &PaymentHash) -> Result<Option<MintInvoice>, LightningError> {
        self.ledger
            .find_mint_invoice(self.name.clone(), *hash)
            .await
            .map_err(|error| self.store(&error))
    }

    /// Asks the mint about `invoice` and writes the answer down. Returns whether it is paid.
    async fn ask(&self, invoice: &MintInvoice) -> Result<bool, LightningError> {
        let claim = self.wallet.claim(&invoice.quote_id).await;
        let claim = claim.map_err(|fault| self.fault(fault))?;
        let now = self.clock.now();
        let (ledger, hash) = (&self.ledger, invoice.payment_hash);
        let written = match claim {
            MintClaim::Paid | MintClaim::Issued => {
                let is_issued = claim == MintClaim::Issued;
                let ask_at = now.saturating_add(ASK_FIRST_SECS);
                let settled =
                    ledger.settle_mint_invoice(self.name.clone(), hash, is_issued, ask_at);
                let settled = settled.await;
                crate::crash::point("lightning.mint.settled");
                settled
            }
            // What was paid once stays paid, whatever a mint says later.
            MintClaim::Unpaid if invoice.settled_index.is_some() => return Ok(true),
            MintClaim::Unpaid if now > invoice.expires_at.saturating_add(GRACE_SECS) => {
                ledger.forget_mint_invoice(hash).await
            }
            MintClaim::Unpaid => {
                let age = now.saturating_sub(invoice.created_at);
                let pause = (age / 2).clamp(ASK_FIRST_SECS, ASK_LONGEST_SECS);
                ledger
                    .postpone_mint_invoice(hash, now.saturating_add(pause))
                    .await
            }
        };
        written.map_err(|error| self.store(&error))?;
        Ok(claim != MintClaim::Unpaid)
    }

    /// Asks the mint about invoices that are due. One that it refuses to speak about
    /// does not keep the others from being asked.
    async fn ask_due(&self) -> Result<(), LightningError> {
        let now = self.clock.now();
        let due = self
            .ledger
            .list_due_mint_invoices(self.name.clone(), now, ASK_AT_ONCE)
            .await
            .map_err(|error| self.store(&error))?;
        for invoice in &due {
            match self.ask(invoice).await {
                Ok(_) => {}
                Err(LightningError::Refused { reason, .. }) => {
                    tracing::warn!(
                        payment.hash = %invoice.payment_hash,
                        reason,
                        "a mint does not say what became of an invoice; trying again"
                    );
                    let ask_at = now.saturating_add(ASK_LONGEST_SECS);
                    self.ledger
                        .postpone_mint_invoice(invoice.payment_hash, ask_at)
                        .await
                        .map_err(|error| self.store(&error))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the tries to pay `hash`: the number of those that have failed, and
    /// what became of the one that may not have.
    async fn tries(&self, hash: &PaymentHash) -> (u32, Option<MintPayment>) {
        for number in 0..MAX_TRIES {
            match self.wallet.find_melt(&operation_id(hash, number)).await {
                None => return (number, None),
                Some(MintPayment::Failed(_)) => {}
                known => return (number, known),
            }
        }
        (MAX_TRIES, None)
    }
}

fn operation_id(hash: &PaymentHash, number: u32) -> String {
    format!("lightning:{hash}:{number}")
}

#[async_trait]
impl LightningBackend for MintBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn ecash_mint(&self) -> Option<&str> {
        Some(&self.mint)
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        _description: &str,
        _expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        let sat = amount.ceil_sat();
        let quoted = self.wallet.request(&self.mint, sat, self.account()).await;
        let quoted = quoted.map_err(|fault| self.fault(fault))?;
        let invoice = Bolt11Invoice::from_str(&quoted.bolt11)
            .map_err(|_| self.refused("it gave no invoice"))?;
        if invoice.amount_milli_satoshis() != Some(sat.to_msat().as_u64()) {
            return Err(self.refused("its invoice is over another amount"));
        }
        let payment_hash = PaymentHash::from_str(&invoice.payment_hash().to_string())
            .map_err(|_| self.refused("its invoice has no payment hash"))?;
        let now = self.clock.now();
        let made_at = invoice.duration_since_epoch();
        let expires_at = made_at.saturating_add(invoice.expiry_time().min(MAX_EXPIRY));
        let kept = MintInvoice {
            payment_hash,
            quote_id: quoted.quote_id,
            amount: sat,
            created_at: now,
            expires_at: expires_at
                .as_secs()
                .min(now.saturating_add(MAX_EXPIRY.as_secs())),
            settled_index: None,
            is_issued: false,
        };
        let expires_at = kept.expires_at;
        let ask_at = now.saturating_add(ASK_FIRST_SECS);
        self.ledger
            .insert_mint_invoice(self.name.clone(), kept, ask_at)
            .await
            .map_err(|error| self.store(&error))?;
        crate::crash::point("lightning.mint.invoiced");
        Ok(Invoice {
            bolt11: quoted.bolt11,
            payment_hash,
            expires_at,
        })
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        let Some(invoice) = self.find(hash).await? else {
            return Ok(InvoiceState::NotFound);
        };
        if invoice.settled_index.is_some() || self.ask(&invoice).await? {
            return Ok(InvoiceState::Settled {
                amount: invoice.amount.to_msat(),
            });
        }
        Ok(if self.clock.now() > invoice.expires_at {
            InvoiceState::Expired
        } else {
            InvoiceState::Open {
                expires_at: invoice.expires_at,
            }
        })
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, _patience: Duration) -> PaymentState {
        let failed = |reason: &str| PaymentState::Failed {
            reason: reason.to_owned(),
        };
        let Ok(invoice) = Bolt11Invoice::from_str(bolt11) else {
            return failed("not an invoice");
        };
        let Ok(hash) = PaymentHash::from_str(&invoice.payment_hash().to_string()) else {
            return failed("the invoice has no payment hash");
        };
        let Some(amount) = invoice.amount_milli_satoshis().map(Msat::new) else {
            return failed("the invoice names no amount");
        };
        let payment = match self.tries(&hash).await {
            (_, Some(known)) => known,
            (MAX_TRIES, None) => return failed("it was tried too often"),
            (number, None) => {
                let operation_id = operation_id(&hash, number);
                self.wallet
                    .melt(&operation_id, &self.mint, bolt11, fee_limit, self.account())
                    .await
            }
        };
        // A melt moves whole satoshi; the fraction is part of what paying cost.
        state(payment, amount.ceil_sat().to_msat().saturating_sub(amount))
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        match self.tries(hash).await {
            (_, Some(known)) => state(known, Msat::ZERO),
            (0, None) => PaymentState::Failed {
                reason: "the payment was never begun".to_owned(),
            },
            (_, None) => PaymentState::Failed {
                reason: "the mint did not pay".to_owned(),
            },
        }
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        // What is known is told even while the mint is away.
        let asked = self.ask_due().await;
        let settled = self
            .ledger
            .list_settled_mint_invoices(self.name.clone(), index, PAGE)
            .await
            .map_err(|error| self.store(&error))?;
        if settled.is_empty() {
            asked?;
        }
        Ok(settled
            .into_iter()
            .filter_map(|invoice| {
                Some(SettledInvoice {
                    index: invoice.settled_index?,
                    payment_hash: invoice.payment_hash,
                    amount: invoice.amount.to_msat(),
                })
            })
            .collect())
    }
}

/// Reads the outcome of a melt, `rounded` being what the invoice was rounded up by.
fn state(payment: MintPayment, rounded: Msat) -> PaymentState {
    match payment {
        MintPayment::Paid {
            preimage: Some(preimage),
            fee,
        } => PaymentState::Succeeded {
            preimage,
            fee: fee.to_msat().saturating_add(rounded),
        },
        MintPayment::Paid { preimage: None, .. } => PaymentState::Unknown {
            reason: "the mint says that it paid and shows no preimage".to_owned(),
        },
        MintPayment::Failed(reason) => PaymentState::Failed { reason },
        MintPayment::Unknown(reason) => PaymentState::Unknown { reason },
    }
}
