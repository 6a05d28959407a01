//! Pays an invoice, and keeps the credential that its preimage completes.

use std::time::Duration;

use feria_paywall::amount::Msat;
use feria_paywall::l402::Macaroon;
use feria_paywall::payment::{PaymentHash, Preimage};
use secrecy::{ExposeSecret, SecretString};

use super::call::{Job, l402_header};
use super::challenge::L402;
use super::fetch::Attempt;
use super::plan::Plan;
use super::router::Candidate;
use super::{Fetched, SpendError, Spender};
use crate::lightning::PaymentState;
use crate::store::ledger::credentials::{Credential, NewCredential};
use crate::store::ledger::intents::{Intent, IntentChange, IntentState, Way};
use crate::store::ledger::{Account, Entry, EntryKind};
use crate::wallet::MeltOutcome;

/// Macaroons with more caveats are treated as opaque.
const MAX_CAVEATS: usize = 64;

/// What became of an invoice.
enum Paid {
    Yes { preimage: Preimage, fee: Msat },
    No(String),
    Unknown(String),
}

impl Spender {
    /// Pays `intent_id` by `candidate`; `attempt` numbers the tries.
    pub(super) async fn pay_lightning(
        &self,
        job: &Job,
        intent_id: &str,
        candidate: &Candidate,
        plan: &Plan,
        attempt: usize,
    ) -> Result<Attempt, SpendError> {
        let Some(l402) = &plan.asked.l402 else {
            return Ok(Attempt::Next("the seller takes no Lightning".to_owned()));
        };
        let operation_id = format!("{intent_id}-{attempt}");
        let change = IntentChange {
            state: Some(IntentState::Paying),
            way: Some(candidate.way),
            rail: Some("l402".to_owned()),
            mint: Some(candidate.place.clone()),
            price: Some(l402.invoice.amount),
            operation_id: Some(operation_id.clone()),
            payment_hash: Some(*l402.invoice.payment_hash.as_bytes()),
            l402_token: Some(l402.token.clone()),
            ..IntentChange::default()
        };
        self.advance(intent_id, change).await?;
        crate::crash::point("spend.lightning.paying");
        let paid = self
            .pay_invoice(job, intent_id, candidate, l402, &operation_id)
            .await;
        crate::crash::point("spend.lightning.paid");
        let intent = self.reread(intent_id).await?;
        match self.conclude(&intent, paid).await? {
            Ok(()) => {
                crate::crash::point("spend.lightning.credential");
                let fetched = self.present_held(job, &intent).await?;
                Ok(Attempt::Done(Box::new(fetched)))
            }
            Err(reason) => Ok(Attempt::Next(reason)),
        }
    }

    async fn pay_invoice(
        &self,
        job: &Job,
        intent_id: &str,
        candidate: &Candidate,
        l402: &L402,
        operation_id: &str,
    ) -> Paid {
        let parts = &self.inner.parts;
        match (&candidate.offer, parts.lightning.find(&candidate.place)) {
            (Some(offer), _) => {
                let wallet_id = &job.request.wallet_id;
                let outcome = parts
                    .wallets
                    .melt(
                        operation_id,
                        wallet_id,
                        offer,
                        Account::expense(wallet_id),
                        intent_id,
                    )
                    .await;
                read_melt(outcome)
            }
            (None, Some(backend)) => {
                let fee_limit = Msat::new(candidate.fee_msat.unwrap_or(0));
                let patience = Duration::from_secs(parts.config.timeout_secs);
                read_payment(backend.pay(&l402.bolt11, fee_limit, patience).await)
            }
            (None, None) => Paid::No(format!("there is no Lightning backend {}", candidate.place)),
        }
    }

    /// Writes down what became of the invoice of `intent`. `Ok(Err(why))` means that nothing was paid.
    async fn conclude(
        &self,
        intent: &Intent,
        paid: Paid,
    ) -> Result<Result<(), String>, SpendError> {
        let (preimage, fee) = match paid {
            Paid::Yes { preimage, fee } => (preimage, fee),
            Paid::No(reason) => return Ok(Err(reason)),
            Paid::Unknown(reason) => return Err(self.lose_sight(&intent.id, reason).await),
        };
        let (Some(hash), Some(token)) = (intent.payment_hash, &intent.l402_token) else {
            let reason = "the journal does not say what was paid".to_owned();
            return Err(self.lose_sight(&intent.id, reason).await);
        };
        if !preimage.opens(&PaymentHash::new(hash)) {
            let reason = "the payment came with a preimage that is not the invoice's".to_owned();
            return Err(self.lose_sight(&intent.id, reason).await);
        }
        // A melt moves whole satoshi; the fraction is part of what paying cost.
        let moved = match intent.way {
            Some(Way::Melt) => intent.price.ceil_sat().to_msat(),
            _ => intent.price,
        };
        let cost = moved.saturating_add(fee);
        let change = IntentChange {
            state: Some(IntentState::Paid),
            fee: Some(cost.saturating_sub(intent.price)),
            counted: Some(cost),
            detail: Some(String::new()),
            credential: Some(new_credential(intent, token.clone(), preimage)),
            entry: self.backend_entry(intent, fee),
            ..IntentChange::default()
        };
        self.advance(&intent.id, change).await?;
        Ok(Ok(()))
    }

    /// A melt is booked by the wallet, a payment of the backend here.
    fn backend_entry(&self, intent: &Intent, fee: Msat) -> Option<Entry> {
        let backend = intent
            .mint
            .as_deref()
            .filter(|_| intent.way == Some(Way::Backend))?;
        Some(
            Entry::new(EntryKind::Pay, &intent.id, self.inner.parts.clock.now())
                .debit(Account::expense(&intent.wallet_id), intent.price)
                .debit(Account::fees("lightning"), fee)
                .credit(
                    Account::lightning(backend),
                    intent.price.saturating_add(fee),
                ),
        )
    }

    /// Resolves a Lightning intent: for recovery and for a repeated key.
    pub(super) async fn resolve_lightning(
        &self,
        intent: &Intent,
    ) -> Result<IntentState, SpendError> {
        let parts = &self.inner.parts;
        let paid = match (&intent.operation_id, intent.payment_hash) {
            (Some(operation_id), _) if intent.way == Some(Way::Melt) => {
                read_melt(parts.wallets.melt_state(operation_id).await)
            }
            (_, Some(hash)) => {
                let name = intent.mint.as_deref().unwrap_or_default();
                match parts.lightning.find(name) {
                    Some(backend) => {
                        read_payment(backend.payment_state(&PaymentHash::new(hash)).await)
                    }
                    None => Paid::Unknown(format!(
                        "the Lightning backend {name} is not set up any more: \
                         only it can tell what became of the payment"
                    )),
                }
            }
            _ => Paid::No("interrupted before paying".to_owned()),
        };
        match self.conclude(intent, paid).await {
            Ok(Ok(())) => Ok(IntentState::Paid),
            Ok(Err(reason)) => {
                self.release(&intent.id, IntentState::Failed, Msat::ZERO, &reason)
                    .await?;
                Ok(IntentState::Failed)
            }
            Err(SpendError::Unknown { .. }) => Ok(IntentState::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Sends the call with the credential that its intent holds a use of, taking one if it must.
    pub(super) async fn present_held(
        &self,
        job: &Job,
        intent: &Intent,
    ) -> Result<Fetched, SpendError> {
        let held = self.inner.parts.ledger.hold_use(&intent.id).await?;
        let Some(credential) = held else {
            return Err(SpendError::PaidNotDelivered {
                id: intent.id.clone(),
                reason: "other calls have used up its credential".to_owned(),
            });
        };
        match self.present(job, intent, &credential).await? {
            Some(fetched) => Ok(fetched),
            None => Err(SpendError::PaidNotDelivered {
                id: intent.id.clone(),
                reason: "the seller asks for payment again".to_owned(),
            }),
        }
    }

    /// Sends the call with `credential`. `None`: the seller answered 402 to it.
    pub(super) async fn present(
        &self,
        job: &Job,
        intent: &Intent,
        credential: &Credential,
    ) -> Result<Option<Fetched>, SpendError> {
        let lost = |reason: String| SpendError::PaidNotDelivered {
            id: intent.id.clone(),
            reason,
        };
        let header = l402_header(credential.token.expose_secret(), &credential.preimage)
            .ok_or_else(|| lost("the token fits no header".to_owned()))?;
        // On a fault the use stays with this intent: the seller may have counted it,
        // and gives the same answer to the same call again.
        let answer = self
            .inner
            .caller
            .call(job, Some(header))
            .await
            .map_err(|fault| lost(fault.reason))?;
        crate::crash::point("spend.credential.answered");
        let (state, is_used) = match answer.status {
            402 => return Ok(None),
            401 | 409 | 429 => (IntentState::Paid, false),
            500.. => (IntentState::Paid, false),
            _ if answer.body.is_err() => (IntentState::Paid, true),
            _ => (IntentState::Delivered, true),
        };
        if !is_used {
            self.inner.parts.ledger.release_use(&intent.id).await?;
        }
        let detail = match state {
            IntentState::Paid => answer.complaint(),
            _ => String::new(),
        };
        self.advance(
            &intent.id,
            IntentChange {
                state: Some(state),
                status: Some(answer.status),
                detail: Some(detail),
                duration_ms: Some(self.elapsed_ms(job)),
                ..IntentChange::default()
            },
        )
        .await?;
        self.hand_over(job, &intent.id, answer).await.map(Some)
    }
}

fn read_melt(outcome: MeltOutcome) -> Paid {
    match outcome {
        MeltOutcome::Paid {
            preimage: Some(preimage),
            fee,
        } => Paid::Yes {
            preimage,
            fee: fee.to_msat(),
        },
        MeltOutcome::Paid { preimage: None, .. } => {
            Paid::Unknown("the mint paid the invoice within itself and gave no preimage".to_owned())
        }
        MeltOutcome::Failed { reason } => Paid::No(reason),
        MeltOutcome::Unknown { reason } => Paid::Unknown(reason),
    }
}

fn read_payment(state: PaymentState) -> Paid {
    match state {
        PaymentState::Succeeded { preimage, fee } => Paid::Yes { preimage, fee },
        PaymentState::Failed { reason } => Paid::No(reason),
        PaymentState::Pending => Paid::Unknown("the payment is on its way".to_owned()),
        PaymentState::Unknown { reason } => Paid::Unknown(reason),
    }
}

/// Reads from the token, when it is a macaroon, how often and how long it is
/// good for. What does not say is good until the seller's 402.
fn new_credential(intent: &Intent, token: SecretString, preimage: Preimage) -> NewCredential {
    let caveats = Macaroon::parse(token.expose_secret())
        .and_then(|macaroon| macaroon.caveats())
        .unwrap_or_default();
    let mut uses: Option<u32> = None;
    let mut expires_at: Option<u64> = None;
    for caveat in caveats.iter().take(MAX_CAVEATS) {
        if caveat.condition() == "uses" {
            uses = tighter(uses, caveat.value().parse().ok());
        } else if caveat.condition().ends_with("_valid_until") {
            expires_at = tighter(expires_at, caveat.value().parse().ok());
        }
    }
    NewCredential {
        wallet_id: intent.wallet_id.clone(),
        origin: intent.origin.clone(),
        path: intent.path.clone(),
        is_prefix: false,
        token,
        preimage,
        uses,
        expires_at,
    }
}

fn tighter<T: Ord>(known: Option<T>, found: Option<T>) -> Option<T> {
    match (known, found) {
        (Some(known), Some(found)) => Some(known.min(found)),
        (known, found) => known.or(found),
    }
}
