//! Pays an invoice, and keeps the credential that its preimage completes.

use std::time::Duration;

use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};
use secrecy::ExposeSecret;

use super::call::Job;
use super::challenge::Invoiced;
use super::credential::{header, new_credential};
use super::fetch::Attempt;
use super::plan::Plan;
use super::router::Candidate;
use super::stream::OpenAnswer;
use super::{SpendError, Spender};
use crate::lightning::PaymentState;
use crate::store::ledger::credentials::Credential;
use crate::store::ledger::intents::{Intent, IntentChange, IntentState, Way};
use crate::store::ledger::{Account, Entry, EntryKind};
use crate::wallet::MeltOutcome;

/// What became of an invoice.
pub(super) enum Paid {
    /// `None`: the payer shows none, as a mint that paid itself does.
    Yes {
        preimage: Option<Preimage>,
        fee: Msat,
    },
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
        let Some(asked) = &plan.asked.invoice else {
            return Ok(Attempt::Next("the seller takes no Lightning".to_owned()));
        };
        let operation_id = format!("{intent_id}-{attempt}");
        let change = IntentChange {
            state: Some(IntentState::Paying),
            way: Some(candidate.way),
            rail: Some(asked.scheme.as_str().to_owned()),
            mint: Some(candidate.place.clone()),
            price: Some(asked.invoice.amount),
            operation_id: Some(operation_id.clone()),
            payment_hash: Some(*asked.invoice.payment_hash.as_bytes()),
            l402_token: asked.token.clone(),
            scheme: Some(asked.scheme),
            ..IntentChange::default()
        };
        self.advance(intent_id, change).await?;
        crate::crash::point("spend.lightning.paying");
        let paid = self
            .move_lightning(job, intent_id, candidate, asked, &operation_id)
            .await;
        crate::crash::point("spend.lightning.paid");
        let intent = self.reread(intent_id).await?;
        match self.conclude(&intent, paid).await? {
            Ok(()) if asked.token.is_none() => {
                let purchase = self.find_purchase(intent_id).await?;
                Ok(Attempt::Done(Box::new(OpenAnswer::paid(purchase))))
            }
            Ok(()) => {
                crate::crash::point("spend.lightning.credential");
                let fetched = self.present_held(job, &intent).await?;
                Ok(Attempt::Done(Box::new(fetched)))
            }
            Err(reason) => Ok(Attempt::Next(reason)),
        }
    }

    /// Pays the invoice of `asked` as `candidate` says.
    pub(super) async fn move_lightning(
        &self,
        job: &Job,
        intent_id: &str,
        candidate: &Candidate,
        asked: &Invoiced,
        operation_id: &str,
    ) -> Paid {
        let parts = &self.inner.parts;
        let began = parts.clock.now_millis();
        let paid = match (&candidate.offer, parts.lightning.find(&candidate.place)) {
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
                read_payment(backend.pay(&asked.bolt11, fee_limit, patience).await)
            }
            (None, None) => Paid::No(format!("there is no Lightning backend {}", candidate.place)),
        };
        self.note_pace(candidate, began, matches!(paid, Paid::Yes { .. }));
        paid
    }

    /// Remembers how long a payment took that went through.
    pub(super) fn note_pace(&self, candidate: &Candidate, began_millis: u64, is_paid: bool) {
        if is_paid {
            let took = self
                .inner
                .parts
                .clock
                .now_millis()
                .saturating_sub(began_millis);
            self.inner
                .paces
                .note(candidate, Duration::from_millis(took));
        }
    }

    /// Writes down what became of the invoice of `intent`. `Ok(Err(why))` means that
    /// nothing was paid. A plain payment is over when it is paid; one that buys an
    /// answer is worth nothing without its preimage.
    pub(super) async fn conclude(
        &self,
        intent: &Intent,
        paid: Paid,
    ) -> Result<Result<(), String>, SpendError> {
        let (preimage, fee) = match paid {
            Paid::Yes { preimage, fee } => (preimage, fee),
            Paid::No(reason) => return Ok(Err(reason)),
            Paid::Unknown(reason) => return Err(self.lose_sight(&intent.id, reason).await),
        };
        let Some(hash) = intent.payment_hash.map(PaymentHash::new) else {
            let reason = "the journal does not say what was paid".to_owned();
            return Err(self.lose_sight(&intent.id, reason).await);
        };
        if preimage
            .as_ref()
            .is_some_and(|preimage| !preimage.opens(&hash))
        {
            let reason = "the payment came with a preimage that is not the invoice's".to_owned();
            return Err(self.lose_sight(&intent.id, reason).await);
        }
        let credential = match (&intent.l402_token, preimage) {
            (None, _) => None,
            (Some(token), Some(preimage)) => Some(new_credential(intent, token.clone(), preimage)),
            (Some(_), None) => {
                let reason = "the invoice counts as paid, but no preimage was shown".to_owned();
                return Err(self.lose_sight(&intent.id, reason).await);
            }
        };
        // A melt moves whole satoshi; the fraction is part of what paying cost.
        let moved = match intent.way {
            Some(Way::Melt) => intent.price.ceil_sat().to_msat(),
            _ => intent.price,
        };
        let cost = moved.saturating_add(fee);
        let change = IntentChange {
            state: Some(match credential {
                Some(_) => IntentState::Paid,
                None => IntentState::Delivered,
            }),
            fee: Some(cost.saturating_sub(intent.price)),
            counted: Some(cost),
            detail: Some(String::new()),
            credential,
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
            Ok(Ok(())) => Ok(self.reread(&intent.id).await?.state),
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
    ) -> Result<OpenAnswer, SpendError> {
        let held = self.inner.parts.ledger.hold_use(&intent.id).await?;
        let Some(credential) = held else {
            return Err(SpendError::PaidNotDelivered {
                id: intent.id.clone(),
                reason: "other calls have used up its credential".to_owned(),
            });
        };
        match self.present(job, intent, &credential).await? {
            Some(answer) => Ok(answer),
            None => {
                let reason = "the seller asks for payment again";
                let change = IntentChange {
                    detail: Some(reason.to_owned()),
                    ..IntentChange::default()
                };
                self.advance(&intent.id, change).await?;
                Err(SpendError::PaidNotDelivered {
                    id: intent.id.clone(),
                    reason: reason.to_owned(),
                })
            }
        }
    }

    /// Sends the call with `credential`. `None`: the seller answered 402 to it, or
    /// does not know a credential of an earlier call any more.
    pub(super) async fn present(
        &self,
        job: &Job,
        intent: &Intent,
        credential: &Credential,
    ) -> Result<Option<OpenAnswer>, SpendError> {
        let lost = |reason: String| SpendError::PaidNotDelivered {
            id: intent.id.clone(),
            reason,
        };
        let token = credential.token.expose_secret();
        let header = header(credential.scheme, token, &credential.preimage)
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
            401 if intent.way == Some(Way::Credential) => return Ok(None),
            401 | 409 | 429 => (IntentState::Paid, false),
            500.. => (IntentState::Paid, false),
            _ if answer.is_whole() => (IntentState::Delivered, true),
            _ => (IntentState::Paid, true),
        };
        if !is_used {
            self.inner.parts.ledger.release_use(&intent.id).await?;
        }
        let detail = match is_used {
            true => String::new(),
            false => answer.complaint(),
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

pub(super) fn read_melt(outcome: MeltOutcome) -> Paid {
    match outcome {
        MeltOutcome::Paid { preimage, fee } => Paid::Yes {
            preimage,
            fee: fee.to_msat(),
        },
        MeltOutcome::Failed { reason } => Paid::No(reason),
        MeltOutcome::Unknown { reason } => Paid::Unknown(reason),
    }
}

fn read_payment(state: PaymentState) -> Paid {
    match state {
        PaymentState::Succeeded { preimage, fee } => Paid::Yes {
            preimage: Some(preimage),
            fee,
        },
        PaymentState::Failed { reason } => Paid::No(reason),
        PaymentState::Pending => Paid::Unknown("the payment is on its way".to_owned()),
        PaymentState::Unknown { reason } => Paid::Unknown(reason),
    }
}
