//! Redeems what was accepted offline, in batches: ten small tokens together cost
//! the mint's fee once.
//!
//! A mint's tokens are due when they fill half of its cap, when the oldest has
//! waited for half of the longest time, or when a lock or a keyset ends soon. Where
//! the rounded fee would eat much of a small sum, half of the time becomes three
//! quarters. The batch and its operation id are written down first. While a batch
//! waits for a mint that does not answer, no other is begun there, so an outage does
//! not turn one fee into many; the cap bounds what comes together meanwhile.
//!
//! A mint that refuses a batch is asked token by token, so that one bad token does
//! not hold the others, and that mint's tokens are swapped before serving from then
//! on. A refused token is written off, loudly, when the refusal is about the token
//! itself (it is spent, say). Any other words of a mint may be those of a bad day:
//! the token waits, beside the others, for as long as its lock is sure to hold.

use feria_paywall::ecash::join;
use feria_paywall::journal::PaymentKey;

use super::{Core, GatewayError};
use crate::clock::random_id;
use crate::crash;
use crate::store::ledger::vault::{Batch, Held};
use crate::store::ledger::{Account, EntryKind};
use crate::wallet::{ReceiveRequest, TREASURY, TokenFault, WalletError};

/// Most proofs in one redeem, but for a single token that has more. Mints limit the
/// inputs of a swap, cdk's to 1,000; and the wallet reads tokens of 256 KiB, which
/// locked proofs with DLEQ fill at about 400.
const MAX_BATCH_PROOFS: u32 = 300;
/// Rounding the fee up may cost this part of what is redeemed; above, it waits longer.
const FEE_SHARE: u64 = 100;

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
    /// Not redeemed, and before long a payer could take it back or the mint forget
    /// it. Someone must act.
    pub at_risk_sat: u64,
}

impl Core {
    /// Redeems what is due.
    pub(super) async fn redeem_due(&self) -> Result<RedeemReport, GatewayError> {
        self.write_undecided().await?;
        let report = self.redeem_where(|held| self.is_due(held)).await?;
        self.ledger.prune_call_responses(self.now()).await?;
        Ok(report)
    }

    /// Redeems all that is held.
    pub(super) async fn redeem_all(&self) -> Result<RedeemReport, GatewayError> {
        self.redeem_where(|_| true).await
    }

    async fn redeem_where(
        &self,
        is_due: impl Fn(&Held) -> bool,
    ) -> Result<RedeemReport, GatewayError> {
        // What was begun before comes first: new batches of its mint wait for it.
        let mut report = self.redeem_begun().await?;
        loop {
            let held = self.ledger.list_held().await?;
            let mut is_begun = false;
            for held in held.iter().filter(|held| !held.is_waiting && is_due(held)) {
                self.begin_redeem(&held.mint, None).await?;
                is_begun = true;
            }
            if !is_begun {
                report.at_risk_sat = self.note_risk().await?;
                return Ok(report);
            }
            let batch = self.redeem_begun().await?;
            report.redeemed_sat += batch.redeemed_sat;
            report.fee_sat += batch.fee_sat;
            report.lost_sat += batch.lost_sat;
            report.waiting_sat = batch.waiting_sat;
        }
    }

    fn is_due(&self, held: &Held) -> bool {
        let max_age = self.config.vault_max_age_secs;
        let gross_ppk = held.gross.as_u64().saturating_mul(1_000);
        let waste_ppk = held.fee_ppk.next_multiple_of(1_000) - held.fee_ppk;
        // Not all of the time, so that a mint that is down for a while is no loss.
        let patience = if waste_ppk.saturating_mul(FEE_SHARE) > gross_ppk {
            max_age / 4 * 3
        } else {
            max_age / 2
        };
        let age = self.now().saturating_sub(held.oldest_at);
        self.is_half_of_cap(held.gross.as_u64()) || age >= patience || self.ends_soon(held)
    }

    /// Returns whether so much of one mint is worth redeeming at once.
    pub(super) fn is_half_of_cap(&self, gross_sat: u64) -> bool {
        gross_sat.saturating_mul(2) >= self.config.vault_cap.as_u64()
    }

    fn ends_soon(&self, held: &Held) -> bool {
        held.redeem_by.is_some_and(|end| end <= self.soon())
    }

    /// Returns when the end of a lock is near: half of what payers must lock for.
    fn soon(&self) -> u64 {
        self.now().saturating_add(self.config.min_locktime_secs / 2)
    }

    /// Says which ecash is in danger, and returns how much it is.
    async fn note_risk(&self) -> Result<u64, GatewayError> {
        let mut at_risk_sat = 0;
        for (mint, amount) in self.ledger.list_at_risk(self.soon()).await? {
            at_risk_sat += amount.as_u64();
            tracing::error!(
                mint.url = %mint,
                amount_msat = amount.to_msat().as_u64(),
                "Accepted ecash of a mint that does not answer can be taken back before long"
            );
        }
        Ok(at_risk_sat)
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
            .begin_redeem(mint.to_owned(), only, operation_id, MAX_BATCH_PROOFS)
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
        let is_ours = batch.redeem_by.is_none_or(|end| self.now() < end);
        if matches!(fault, TokenFault::Mint(_)) && is_ours {
            tracing::warn!(
                mint.url = %batch.mint,
                reason = %fault,
                "A mint does not redeem ecash that was accepted offline; it is asked again, and its tokens are swapped first from now on"
            );
            report.waiting_sat += batch.gross.as_u64();
            self.ledger
                .note_refusal(batch.clone(), fault.to_string(), self.now())
                .await?;
            return Ok(false);
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
