//! Redeems what was accepted offline, in batches: ten small tokens together cost
//! the mint's fee once.
//!
//! The batch and its operation id are written down first. A mint that refuses a
//! batch is asked token by token, so that one bad token does not hold the others;
//! what it refuses then is written off, loudly, and that mint's tokens are
//! swapped before serving from then on.

use feria_paywall::ecash::join;
use feria_paywall::journal::PaymentKey;

use super::{Core, GatewayError};
use crate::clock::random_id;
use crate::crash;
use crate::store::ledger::vault::Batch;
use crate::store::ledger::{Account, EntryKind};
use crate::wallet::{ReceiveRequest, TREASURY, TokenFault, WalletError};

/// Most tokens in one redeem; mints limit the inputs of a swap.
const MAX_BATCH_TOKENS: u32 = 100;

/// What a round of redeeming did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RedeemReport {
    /// Taken in, after fees.
    pub redeemed_sat: u64,
    /// What mints took for it.
    pub fee_sat: u64,
    /// Written off because its mint refused it.
    pub lost_sat: u64,
    /// Waiting for a mint that does not answer.
    pub waiting_sat: u64,
}

impl Core {
    /// Redeems what is due: half of the cap reached, or the oldest old enough.
    pub(super) async fn redeem_due(&self) -> Result<RedeemReport, GatewayError> {
        let now = self.now();
        for held in self.ledger.list_held().await? {
            let is_much = held.gross.as_u64().saturating_mul(2) >= self.config.vault_cap.as_u64();
            // Half of the age, so that a mint that is down for a while is no loss.
            let is_old = now.saturating_sub(held.oldest_at) >= self.config.vault_max_age_secs / 2;
            if is_much || is_old {
                self.begin_redeem(&held.mint, None).await?;
            }
        }
        let report = self.redeem_begun().await?;
        self.ledger.prune_call_responses(now).await?;
        Ok(report)
    }

    /// Redeems all that is held.
    pub(super) async fn redeem_all(&self) -> Result<RedeemReport, GatewayError> {
        for held in self.ledger.list_held().await? {
            self.begin_redeem(&held.mint, None).await?;
        }
        self.redeem_begun().await
    }

    /// Redeems the token of one payment now, if it is still held.
    pub(super) async fn redeem_payment(
        &self,
        mint: &str,
        payment: PaymentKey,
    ) -> Result<(), GatewayError> {
        self.begin_redeem(mint, Some(payment)).await?;
        self.redeem_begun().await.map(drop)
    }

    async fn begin_redeem(&self, mint: &str, only: Option<PaymentKey>) -> Result<(), GatewayError> {
        let operation_id = format!("redeem-{}", random_id(self.entropy.as_ref()));
        self.ledger
            .begin_redeem(mint.to_owned(), only, operation_id, MAX_BATCH_TOKENS)
            .await?;
        crash::point("gateway.after_redeem_intent");
        Ok(())
    }

    /// Continues every redeem that was written down. One at a time, so that two
    /// callers do not send the same batch.
    pub(super) async fn redeem_begun(&self) -> Result<RedeemReport, GatewayError> {
        let _turn = self.redeem_turn.lock().await;
        let mut report = RedeemReport::default();
        let mut batches = self.ledger.list_redeeming().await?;
        while let Some(batch) = batches.pop() {
            if self.redeem(&batch, &mut report).await? {
                // Split: its parts are batches of their own now.
                batches.extend(
                    self.ledger
                        .list_redeeming()
                        .await?
                        .into_iter()
                        .filter(|part| part.operation_id.starts_with(&batch.operation_id)),
                );
            }
        }
        Ok(report)
    }

    /// Redeems one batch. Returns true if it was split instead.
    async fn redeem(&self, batch: &Batch, report: &mut RedeemReport) -> Result<bool, GatewayError> {
        let request = ReceiveRequest {
            operation_id: batch.operation_id.clone(),
            wallet_id: TREASURY.to_owned(),
            token: join(&batch.mint, &batch.proofs)?,
            from: Account::vault(&batch.mint),
            kind: EntryKind::Redeem,
            unlock_as: batch.agents.clone(),
            reference: batch.operation_id.clone(),
        };
        match self.wallets.receive(request).await {
            Ok(received) => {
                self.ledger
                    .finish_redeem(batch.operation_id.clone())
                    .await?;
                report.redeemed_sat += received.amount.as_u64();
                report.fee_sat += received.fee.as_u64();
                Ok(false)
            }
            Err(WalletError::Refused(TokenFault::Pending)) => {
                report.waiting_sat += batch.gross.as_u64();
                Ok(false)
            }
            Err(WalletError::Refused(fault)) => self.refused(batch, &fault, report).await,
            Err(error) => {
                tracing::warn!(mint.url = %batch.mint, %error, "Accepted ecash waits to be redeemed");
                report.waiting_sat += batch.gross.as_u64();
                Ok(false)
            }
        }
    }

    async fn refused(
        &self,
        batch: &Batch,
        fault: &TokenFault,
        report: &mut RedeemReport,
    ) -> Result<bool, GatewayError> {
        if self.ledger.split_redeem(batch.operation_id.clone()).await? {
            return Ok(true);
        }
        tracing::error!(
            mint.url = %batch.mint,
            amount_msat = batch.gross.to_msat().as_u64(),
            reason = %fault,
            "A mint refused ecash that was accepted offline; its tokens are swapped first from now on"
        );
        report.lost_sat += batch.gross.as_u64();
        self.ledger
            .lose_redeem(batch.clone(), fault.to_string(), self.now())
            .await?;
        Ok(false)
    }
}
