//! Money that a seller gives back: in his answer, or when he is asked.
//!
//! Asking twice gives the same token twice, and redeeming it runs under one
//! operation id, so it counts once.

use feria_paywall::amount::Sat;

use super::call::{Answer, Job};
use super::ecash::{Fate, moving_fee, still_out};
use super::stream::OpenAnswer;
use super::verdict::{ecash_rail, token_in, token_in_body};
use super::{SpendError, Spender};
use crate::store::ledger::intents::{Intent, IntentChange, IntentState};
use crate::store::ledger::{Account, EntryKind};
use crate::wallet::{ReceiveRequest, SentToken, TREASURY, TokenFault, WalletError};

/// How long a seller that does not answer is asked for a refund, in seconds.
const ASK_FOR_SECS: u64 = 24 * 3_600;

/// What `POST /v1/refund` said.
pub(super) enum RefundAnswer {
    Token(String),
    /// The seller owes nothing, or does not know the endpoint.
    Nothing,
    /// Ask again.
    Later,
}

/// What became of a token that the seller gave.
pub(super) enum Taken {
    /// Redeemed; so much arrived.
    Worth(Sat),
    /// Its mint refuses it.
    Worthless,
    /// Its mint does not say yet.
    Later,
}

impl Spender {
    /// The seller failed: takes the refund of the answer, or asks for it, or takes the token home.
    pub(super) async fn collect_refund(
        &self,
        job: &Job,
        intent: &Intent,
        sent: &SentToken,
        answer: Answer,
    ) -> Result<OpenAnswer, SpendError> {
        let complaint = answer.complaint();
        let refund = match token_in(&answer.headers) {
            Some(token) => RefundAnswer::Token(token),
            None => self.ask_refund(&intent.origin, sent).await,
        };
        let fate = match refund {
            RefundAnswer::Token(token) => self.take_refund(intent, sent, token).await?,
            RefundAnswer::Nothing => self.bring_home_now(intent, sent).await?,
            RefundAnswer::Later => Fate::Open,
        };
        let change = IntentChange {
            status: Some(answer.status),
            rail: Some(ecash_rail(&answer.headers, intent.locktime.is_some()).to_owned()),
            duration_ms: Some(self.elapsed_ms(job)),
            ..IntentChange::default()
        };
        self.advance(&intent.id, change).await?;
        match fate {
            Fate::Home(cost) => {
                let cost = moving_fee(intent).saturating_add(cost.to_msat());
                self.release(&intent.id, IntentState::Refunded, cost, &complaint)
                    .await?;
            }
            Fate::Gone => {
                self.book_gone(intent, sent, &complaint).await?;
            }
            Fate::Open => {
                return Err(self
                    .lose_sight(&intent.id, still_out(intent, &complaint))
                    .await);
            }
        }
        self.hand_over(job, &intent.id, answer).await
    }

    /// Redeems a refund. The original token is the seller's.
    pub(super) async fn take_refund(
        &self,
        intent: &Intent,
        sent: &SentToken,
        token: String,
    ) -> Result<Fate, SpendError> {
        let wallets = &self.inner.parts.wallets;
        wallets
            .settle(&sent.operation_id, Account::expense(&intent.wallet_id))
            .await?;
        crate::crash::point("spend.ecash.refund");
        let spent = sent.amount.saturating_add(sent.fee);
        Ok(match self.take(intent, token, "refund").await {
            Taken::Worth(amount) => Fate::Home(spent.saturating_sub(amount)),
            Taken::Worthless => Fate::Gone,
            // The seller gives the same refund when he is asked again.
            Taken::Later => Fate::Open,
        })
    }

    /// Redeems change or a refund into the wallet that paid, or the treasury when that is closed.
    pub(super) async fn take(&self, intent: &Intent, token: String, what: &str) -> Taken {
        let wallets = &self.inner.parts.wallets;
        let mut request = ReceiveRequest {
            operation_id: format!("{}-{what}", intent.id),
            wallet_id: intent.wallet_id.clone(),
            token,
            from: Account::expense(&intent.wallet_id),
            kind: EntryKind::Refund,
            unlock_as: Vec::new(),
            reference: intent.id.clone(),
        };
        let mut received = wallets.receive(request.clone()).await;
        if matches!(received, Err(WalletError::NoWallet(_))) {
            TREASURY.clone_into(&mut request.wallet_id);
            request.operation_id.push_str("-treasury");
            received = wallets.receive(request).await;
        }
        match received {
            Ok(received) => Taken::Worth(received.amount),
            Err(error) => {
                tracing::warn!(
                    intent.id = %intent.id,
                    error = %error,
                    "the {what} of purchase {} could not be redeemed",
                    intent.id
                );
                match error {
                    WalletError::Refused(fault) if fault != TokenFault::Pending => Taken::Worthless,
                    _ => Taken::Later,
                }
            }
        }
    }

    pub(super) async fn ask_refund(&self, origin: &str, sent: &SentToken) -> RefundAnswer {
        match self.inner.caller.refund(origin, &sent.token).await {
            Ok(answer) => match answer.status {
                200..=299 => token_in(&answer.headers)
                    .or_else(|| token_in_body(answer.bytes()))
                    .map_or(RefundAnswer::Nothing, RefundAnswer::Token),
                425 | 429 | 500.. => RefundAnswer::Later,
                _ => RefundAnswer::Nothing,
            },
            Err(_) => RefundAnswer::Later,
        }
    }

    /// The seller has the token and we have no answer: asks him for what he owes,
    /// which is the refund of a call that failed, or the change of one that did not.
    pub(super) async fn ask_for_money(
        &self,
        intent: &Intent,
        sent: &SentToken,
    ) -> Result<IntentState, SpendError> {
        let lost = "the answer was lost";
        let fate = match self.ask_refund(&intent.origin, sent).await {
            RefundAnswer::Token(token) => self.take_refund(intent, sent, token).await?,
            RefundAnswer::Nothing => Fate::Gone,
            RefundAnswer::Later => Fate::Open,
        };
        let is_late = self.inner.parts.clock.now() > intent.created_at.saturating_add(ASK_FOR_SECS);
        match fate {
            Fate::Open if !is_late => {
                let reason = format!("{lost}; the seller has the ecash and does not say more");
                self.lose_sight(&intent.id, reason).await;
                Ok(IntentState::Unknown)
            }
            // Tokens are made to measure, so change is the small part.
            Fate::Home(cost) if cost.saturating_add(cost) < sent.amount => {
                let reason = format!("{lost}; the seller gave the money back");
                let cost = moving_fee(intent).saturating_add(cost.to_msat());
                self.release(&intent.id, IntentState::Refunded, cost, &reason)
                    .await?;
                Ok(IntentState::Refunded)
            }
            Fate::Home(cost) => {
                let cost = moving_fee(intent).saturating_add(cost.to_msat());
                let change = IntentChange {
                    state: Some(IntentState::Paid),
                    fee: Some(cost.saturating_sub(intent.price)),
                    counted: Some(cost),
                    detail: Some(lost.to_owned()),
                    ..IntentChange::default()
                };
                self.advance(&intent.id, change).await?;
                Ok(IntentState::Paid)
            }
            Fate::Gone | Fate::Open => {
                self.book_gone(intent, sent, lost).await?;
                Ok(IntentState::Paid)
            }
        }
    }
}
