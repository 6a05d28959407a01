//! The treasury as the wallet of a mint that is used as Lightning.
//!
//! Only here are both known, the backend and the wallet. Nothing is decided: each
//! call is one of the wallet's journaled operations, and its answer in other words.

use async_trait::async_trait;
use feria_paywall::amount::{Msat, Sat};

use crate::lightning::mint::{MintClaim, MintFault, MintPayment, MintQuoted, MintWallet};
use crate::store::ledger::Account;
use crate::wallet::{MeltBooking, MeltOutcome, NewFunding, TREASURY, WalletError, Wallets};

/// The node's wallet, of which only the treasury is used.
#[derive(Debug)]
pub(super) struct Treasury(pub(super) Wallets);

#[async_trait]
impl MintWallet for Treasury {
    async fn request(
        &self,
        mint: &str,
        amount: Sat,
        source: Account,
    ) -> Result<MintQuoted, MintFault> {
        let new = NewFunding {
            wallet_id: TREASURY.to_owned(),
            mint: mint.to_owned(),
            amount,
            source: Some(source),
        };
        let quote = self.0.request_invoice(new).await.map_err(fault)?;
        Ok(MintQuoted {
            quote_id: quote.quote_id,
            bolt11: quote.bolt11,
        })
    }

    async fn claim(&self, quote_id: &str) -> Result<MintClaim, MintFault> {
        match self.0.claim_funding(quote_id).await {
            Ok(None) => Ok(MintClaim::Unpaid),
            Ok(Some(_)) => Ok(MintClaim::Issued),
            // An issue is only planned for a quote that the mint called paid.
            Err(WalletError::Unknown(_)) => Ok(MintClaim::Paid),
            Err(error) => Err(fault(error)),
        }
    }

    async fn melt(
        &self,
        operation_id: &str,
        mint: &str,
        bolt11: &str,
        fee_limit: Msat,
        to: Account,
    ) -> MintPayment {
        let offer = match self.0.melt_offer(TREASURY, mint, bolt11).await {
            Ok(offer) => offer,
            Err(error) => return MintPayment::Failed(error.to_string()),
        };
        if offer.is_internal {
            let reason =
                "the invoice is of this mint's own node: a melt inside it gives no preimage";
            return MintPayment::Failed(reason.to_owned());
        }
        let fee = offer.fee_reserve.saturating_add(offer.input_fee).to_msat();
        if fee > fee_limit {
            return MintPayment::Failed(format!("fees of {fee} exceed {fee_limit}"));
        }
        let booking = MeltBooking {
            to,
            with_fees: true,
        };
        let reference = offer.payment_hash.to_string();
        let melted = self
            .0
            .melt(operation_id, TREASURY, &offer, booking, &reference);
        payment(melted.await)
    }

    async fn find_melt(&self, operation_id: &str) -> Option<MintPayment> {
        self.0.find_melt(operation_id).await.map(payment)
    }
}

fn payment(outcome: MeltOutcome) -> MintPayment {
    match outcome {
        MeltOutcome::Paid { preimage, fee } => MintPayment::Paid { preimage, fee },
        MeltOutcome::Failed { reason } => MintPayment::Failed(reason),
        MeltOutcome::Unknown { reason } => MintPayment::Unknown(reason),
    }
}

fn fault(error: WalletError) -> MintFault {
    match error {
        WalletError::MintUnavailable { reason, .. } => MintFault::Unavailable(reason),
        WalletError::Unknown(_) | WalletError::Store(_) => {
            MintFault::Unavailable(error.to_string())
        }
        WalletError::UntrustedMint(_)
        | WalletError::Insufficient { .. }
        | WalletError::Refused(_)
        | WalletError::NoWallet(_)
        | WalletError::Limit(_) => MintFault::Refused(error.to_string()),
    }
}
