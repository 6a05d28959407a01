//! A backend with a deadline on every question, its health, and a pause after failures.
//!
//! ```text
//! up ──answer lost──► away ──answer lost──► away, pause doubled
//!  ▲                   │ within the pause: unavailable at once, nobody is asked
//!  └──any answer───────┘ after it: the next question goes through
//! ```
//!
//! One lost answer alone makes no pause: it is no outage yet. The pause is for
//! invoices and lists only. Payments always go through: to call one failed unasked
//! would be a lie about one of the same invoice that is on its way. A payment whose
//! outcome is unknown says nothing about the backend, since it may be the payee who is slow.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    ChannelControl, Invoice, InvoiceState, LightningBackend, LightningError, PaymentState,
    SettledInvoice,
};
use crate::clock::SharedClock;

/// How long a backend may take to make an invoice; a client waits for it.
const INVOICE_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to say what became of an invoice or a payment.
const STATE_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to list what was settled.
const LIST_PATIENCE: Duration = Duration::from_secs(30);
/// What a payment may take beyond its own patience before its outcome is unknown.
const PAY_GRACE: Duration = Duration::from_secs(10);
/// The pause after the second failure in a row; it doubles with each further one.
const PAUSE_FIRST_MILLIS: u64 = 1_000;
const PAUSE_LONGEST_MILLIS: u64 = 60_000;
/// The longest fault that is kept and shown.
const MAX_FAULT_CHARS: usize = 200;

/// How a backend is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendHealth {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it answered when it was last asked, or was never asked.
    pub is_up: bool,
    /// Whether it makes this node's invoices.
    pub receives: bool,
    /// Whether it may pay.
    pub pays: bool,
    /// The last fault, kept after it is up again.
    pub last_error: Option<String>,
    /// Unix seconds since when it is away; `None` while it is up.
    pub away_since: Option<u64>,
}

#[derive(Debug, Default)]
struct Condition {
    failures: u32,
    away_since: Option<u64>,
    last_error: Option<String>,
    /// Unix milliseconds before which nobody is asked.
    paused_until: u64,
}

/// A backend, supervised.
pub(super) struct Supervised {
    inner: Arc<dyn LightningBackend>,
    clock: SharedClock,
    condition: Mutex<Condition>,
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Supervised {
    pub(super) fn new(inner: Arc<dyn LightningBackend>, clock: SharedClock) -> Self {
        Self {
            inner,
            clock,
            condition: Mutex::default(),
        }
    }

    pub(super) fn health(&self, receives: bool, pays: bool) -> BackendHealth {
        let condition = self.condition.lock();
        BackendHealth {
            name: self.inner.name().to_owned(),
            is_up: condition.away_since.is_none(),
            receives,
            pays,
            last_error: condition.last_error.clone(),
            away_since: condition.away_since,
        }
    }

    fn unavailable(&self, reason: String) -> LightningError {
        LightningError::Unavailable {
            backend: self.inner.name().to_owned(),
            reason,
        }
    }

    /// Refuses while the backend is paused.
    fn admit(&self) -> Result<(), LightningError> {
        let condition = self.condition.lock();
        if self.clock.now_millis() >= condition.paused_until {
            return Ok(());
        }
        let fault = condition.last_error.as_deref().unwrap_or_default();
        Err(self.unavailable(format!("away, asked again soon; last: {fault}")))
    }

    fn note_answer(&self) {
        let mut condition = self.condition.lock();
        if condition.away_since.take().is_some() {
            tracing::info!(
                backend.name = self.inner.name(),
                "a Lightning backend is back"
            );
        }
        condition.failures = 0;
        condition.paused_until = 0;
    }

    fn note_fault(&self, reason: &str) {
        let now_millis = self.clock.now_millis();
        let mut condition = self.condition.lock();
        condition.failures = condition.failures.saturating_add(1);
        condition.last_error = Some(shortened(reason));
        if condition.away_since.is_none() {
            condition.away_since = Some(now_millis / 1_000);
            tracing::warn!(
                backend.name = self.inner.name(),
                reason,
                "a Lightning backend does not answer; trying again"
            );
        }
        if let Some(doublings) = condition.failures.checked_sub(2) {
            let pause = PAUSE_FIRST_MILLIS << doublings.min(6);
            condition.paused_until = now_millis.saturating_add(pause.min(PAUSE_LONGEST_MILLIS));
        }
    }

    /// Keeps what a payment's outcome is not known for, which is not yet an outage.
    fn note_doubt(&self, reason: &str) {
        self.condition.lock().last_error = Some(shortened(reason));
    }

    async fn ask<T>(
        &self,
        patience: Duration,
        question: impl Future<Output = Result<T, LightningError>> + Send,
    ) -> Result<T, LightningError> {
        let answer = tokio::time::timeout(patience, question)
            .await
            .unwrap_or_else(|_| {
                Err(self.unavailable(format!("silent for {} s", patience.as_secs())))
            });
        match &answer {
            Ok(_) | Err(LightningError::Refused { .. }) => self.note_answer(),
            Err(LightningError::Unavailable { reason, .. }) => self.note_fault(reason),
        }
        answer
    }

    async fn watch(
        &self,
        patience: Duration,
        payment: impl Future<Output = PaymentState> + Send,
    ) -> PaymentState {
        let state = tokio::time::timeout(patience, payment)
            .await
            .unwrap_or_else(|_| PaymentState::Unknown {
                reason: format!("silent for {} s", patience.as_secs()),
            });
        match &state {
            PaymentState::Unknown { reason } => self.note_doubt(reason),
            PaymentState::Succeeded { .. } | PaymentState::Pending => self.note_answer(),
            // It may be that the backend was never reached.
            PaymentState::Failed { .. } => {}
        }
        state
    }
}

#[async_trait]
impl LightningBackend for Supervised {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_simulated(&self) -> bool {
        self.inner.is_simulated()
    }

    // A person who looks after channels waits for what the node itself says.
    fn channels(&self) -> Option<&dyn ChannelControl> {
        self.inner.channels()
    }

    fn ecash_mint(&self) -> Option<&str> {
        self.inner.ecash_mint()
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        self.admit()?;
        let question = self.inner.create_invoice(amount, description, expiry);
        self.ask(INVOICE_PATIENCE, question).await
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.admit()?;
        self.ask(STATE_PATIENCE, self.inner.invoice_state(hash))
            .await
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        let payment = self.inner.pay(bolt11, fee_limit, patience);
        self.watch(patience.saturating_add(PAY_GRACE), payment)
            .await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        self.watch(STATE_PATIENCE, self.inner.payment_state(hash))
            .await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.admit()?;
        self.ask(LIST_PATIENCE, self.inner.settled_since(index))
            .await
    }

    async fn news(&self) {
        self.inner.news().await;
    }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_FAULT_CHARS).collect()
}
