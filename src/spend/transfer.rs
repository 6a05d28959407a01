//! Ecash moved to the seller's mint before it pays: a melt at a mint where the
//! wallet holds some pays a quote of the mint that the seller takes.
//!
//! ```text
//! quote kept ─▶ melting ─▶ melted ─▶ issued ─▶ sent, as ecash in hand is
//! ```
//!
//! | dies at | money | recovery |
//! |---|---|---|
//! | before `melting` | in the wallet | released: `failed` |
//! | `melting` | gone or not | the first mint knows: nothing paid is `failed`, else as `melted` |
//! | `melted` | at the second mint, not ours yet | the quote is claimed, under its own id: once |
//! | `issued` | in the treasury, at the second mint | `failed`; the money stays there |
//! | from `sent` on | as for ecash in hand | the same |
//!
//! What is moved arrives in the treasury, because an agent's wallet is at one mint;
//! what comes back of it stays there too. The purchase is the agent's in the books
//! and in its budget, with what moving cost.

use feria_paywall::amount::Msat;

use super::ecash::moving_fee;
use super::lightning::{Paid, read_melt};
use super::router::Candidate;
use super::{SpendError, Spender};
use crate::store::ledger::Account;
use crate::store::ledger::intents::{Intent, IntentChange, IntentState};
use crate::wallet::WalletError;

/// The operation that pays the quote.
fn melt_id(intent: &Intent) -> String {
    format!(
        "{}-melt",
        intent.operation_id.as_deref().unwrap_or_default()
    )
}

impl Spender {
    /// Moves what `candidate` needs to its mint. `Ok(Err(why))`: nothing moved.
    pub(super) async fn move_ecash(
        &self,
        intent: &Intent,
        candidate: &Candidate,
    ) -> Result<Result<(), String>, SpendError> {
        let Some(offer) = &candidate.offer else {
            return Ok(Err("there is no offer to move ecash".to_owned()));
        };
        let outcome = self
            .inner
            .parts
            .wallets
            .melt(
                &melt_id(intent),
                &intent.wallet_id,
                offer,
                // The second mint's issue takes it from there again.
                Account::external("funding"),
                &intent.id,
            )
            .await;
        crate::crash::point("spend.transfer.melted");
        let melted = read_melt(outcome);
        let moved = offer.amount.to_msat();
        self.arrive(intent, melted, moved).await
    }

    /// Writes down what moving cost and claims what was moved.
    async fn arrive(
        &self,
        intent: &Intent,
        melted: Paid,
        moved: Msat,
    ) -> Result<Result<(), String>, SpendError> {
        let fee = match melted {
            // The preimage buys nothing here.
            Paid::Yes { fee, .. } => moved.saturating_add(fee).saturating_sub(intent.price),
            Paid::No(reason) => return Ok(Err(reason)),
            Paid::Unknown(reason) => return Err(self.lose_sight(&intent.id, reason).await),
        };
        let change = IntentChange {
            fee: Some(fee),
            ..IntentChange::default()
        };
        self.advance(&intent.id, change).await?;
        let quote_id = intent.quote_id.as_deref().unwrap_or_default();
        match self.inner.parts.wallets.claim_funding(quote_id).await {
            Ok(Some(_)) => {
                crate::crash::point("spend.transfer.issued");
                Ok(Ok(()))
            }
            Ok(None) => {
                let reason = "the mint that was paid does not say so yet".to_owned();
                Err(self.lose_sight(&intent.id, reason).await)
            }
            Err(WalletError::Store(error)) => Err(error.into()),
            Err(error) => {
                let reason = format!("the ecash that was moved cannot be claimed yet: {error}");
                Err(self.lose_sight(&intent.id, reason).await)
            }
        }
    }

    /// Resolves an ecash purchase that has no token: it died before there was one.
    pub(super) async fn resolve_moving(&self, intent: &Intent) -> Result<IntentState, SpendError> {
        let mut reason = "interrupted before paying";
        if intent.quote_id.is_some() {
            let wallets = &self.inner.parts.wallets;
            let melted = match wallets.find_melt(&melt_id(intent)).await {
                Some(outcome) => read_melt(outcome),
                None => Paid::No("the payment was never begun".to_owned()),
            };
            let quote_id = intent.quote_id.as_deref().unwrap_or_default();
            let moved = wallets.funding_amount(quote_id).await?.to_msat();
            match self.arrive(intent, melted, moved).await {
                Ok(Ok(())) => reason = "interrupted; the ecash was moved and stays in the treasury",
                Ok(Err(_)) => {}
                Err(SpendError::Unknown { .. }) => return Ok(IntentState::Unknown),
                Err(error) => return Err(error),
            }
        }
        let fee = moving_fee(&self.reread(&intent.id).await?);
        self.release(&intent.id, IntentState::Failed, fee, reason)
            .await?;
        Ok(IntentState::Failed)
    }
}
