//! Paying a Lightning invoice with ecash (NUT-05, NUT-08, NUT-23).
//!
//! The request is posted directly and its answer awaited; a payment that the
//! mint calls pending is polled with a growing pause. What is not final then is
//! *unknown*: the proofs stay reserved, and [`Engine::melt_state`] or recovery
//! asks again. A mint that says it paid but shows no preimage that opens the
//! invoice's hash is believed about the money and not about the preimage.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cdk::nuts::{
    BlindSignature, CurrencyUnit, MeltQuoteBolt11Request, MeltQuoteBolt11Response, MeltQuoteState,
    MeltRequest, PaymentMethod, State,
};
use cdk::wallet::MintConnector;
use cdk::{MeltQuoteCreateResponse, MeltQuoteRequest, MeltQuoteResponse};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::{PaymentHash, Preimage};
use lightning_invoice::Bolt11Invoice;

use super::engine::{Engine, Harvest};
use super::mint::{MintFault, MintLink};
use super::plan::{Operation, Outcome, PlannedOutput, Purpose, messages};
use super::planning::{Planned, SpendOrder, Target};
use super::swap::{input_ys, proof, proof_row};
use super::types::{KeysetKeys, MeltBooking, MeltOffer, MeltOutcome, TokenFault, WalletError};
use crate::crash;
use crate::store::ledger::{operations, proofs};

/// The first and the longest pause between two questions about a pending payment.
const POLL_FIRST: Duration = Duration::from_millis(25);
const POLL_LONGEST: Duration = Duration::from_secs(1);

type Quote = MeltQuoteBolt11Response<String>;

impl Engine {
    pub(crate) async fn melt_offer(
        &self,
        wallet_id: &str,
        mint: &str,
        bolt11: &str,
    ) -> Result<MeltOffer, WalletError> {
        let malformed = |reason: &str| WalletError::Refused(TokenFault::Malformed(reason.into()));
        let link = self.pool.link(mint)?;
        let invoice = Bolt11Invoice::from_str(bolt11).map_err(|_| malformed("not an invoice"))?;
        let amount = invoice
            .amount_milli_satoshis()
            .map(|amount| Msat::new(amount).ceil_sat())
            .ok_or_else(|| malformed("invoice without amount"))?;
        let payment_hash = PaymentHash::from_str(&invoice.payment_hash().to_string())
            .map_err(|_| malformed("invoice without payment hash"))?;
        let node_key = payee_of(&invoice);
        let request = MeltQuoteRequest::Bolt11(MeltQuoteBolt11Request {
            request: invoice,
            unit: CurrencyUnit::Sat,
            options: None,
        });
        let answer = link
            .ask(|client| client.post_melt_quote(request))
            .await
            .map_err(|fault| fault.into_read_error(&link.url))?;
        let MeltQuoteCreateResponse::Bolt11(quote) = answer else {
            return Err(malformed("quote of another method"));
        };
        if u64::from(quote.amount) != amount.as_u64() || quote.quote.len() > 160 {
            return Err(WalletError::Refused(TokenFault::Mint(format!(
                "asks {} sat for an invoice over {amount}",
                quote.amount
            ))));
        }
        let fee_reserve = Sat::new(u64::from(quote.fee_reserve));
        let input_fee = self
            .estimate_fee(wallet_id, &link.url, amount.saturating_add(fee_reserve))
            .await?;
        let url = link.url.clone();
        let is_internal = self
            .ledger
            .read(move |connection| operations::is_node_of_mint(connection, &url, &node_key))
            .await?;
        Ok(MeltOffer {
            is_internal,
            quote_id: quote.quote,
            mint: link.url.clone(),
            amount,
            fee_reserve,
            input_fee,
            payment_hash,
        })
    }

    async fn estimate_fee(
        &self,
        wallet_id: &str,
        mint: &str,
        target: Sat,
    ) -> Result<Sat, WalletError> {
        let keys = self.pool.keys(mint).await?;
        let (id, url) = (wallet_id.to_owned(), mint.to_owned());
        let unspent = self
            .ledger
            .read(move |connection| proofs::list_unspent(connection, &id, &url))
            .await?;
        super::planning::estimate(&unspent, &keys, target.as_u64())
            .map(Sat::new)
            .map_err(|needed| WalletError::Insufficient {
                wallet: wallet_id.to_owned(),
                held: unspent.iter().map(|(_, _, amount)| Sat::new(*amount)).sum(),
                needed: Sat::new(needed),
            })
    }

    pub(crate) async fn melt(
        &self,
        operation_id: &str,
        wallet_id: &str,
        offer: &MeltOffer,
        booking: MeltBooking,
        reference: &str,
    ) -> MeltOutcome {
        let _gate = self.gates.enter(operation_id).await;
        match self.find(operation_id).await {
            Ok(None) => {}
            Ok(Some(operation)) => return self.melt_known(&operation).await,
            Err(error) => return unknown(error.to_string()),
        }
        let planned = match self.pool.keys(&offer.mint).await {
            Ok(keys) => {
                self.plan_spend(SpendOrder {
                    id: operation_id.to_owned(),
                    wallet_id: wallet_id.to_owned(),
                    keys,
                    target: Target::Sat(offer.amount.saturating_add(offer.fee_reserve).as_u64()),
                    handed: Vec::new(),
                    lock: None,
                    purpose: Purpose::Melt {
                        quote_id: offer.quote_id.clone(),
                        amount_sat: offer.amount.as_u64(),
                        payment_hash: offer.payment_hash.to_string(),
                        to: booking.to,
                        with_fees: booking.with_fees,
                    },
                    reference: reference.to_owned(),
                    memo: String::new(),
                })
                .await
            }
            Err(error) => Err(error),
        };
        match planned {
            Ok(Planned::Now(operation)) => match self.post_melt(&operation).await {
                Ok(outcome) => told(&outcome),
                Err(error) => unknown(error.to_string()),
            },
            Ok(Planned::Before(operation)) => self.melt_known(&operation).await,
            // Nothing was planned, so nothing was sent.
            Err(error) => MeltOutcome::Failed {
                reason: error.to_string(),
            },
        }
    }

    pub(crate) async fn melt_state(&self, operation_id: &str) -> MeltOutcome {
        let found = self.find_melt(operation_id).await;
        found.unwrap_or_else(|| MeltOutcome::Failed {
            reason: "the payment was never begun".to_owned(),
        })
    }

    /// Returns what became of a melt; `None` when it was never begun.
    pub(crate) async fn find_melt(&self, operation_id: &str) -> Option<MeltOutcome> {
        let _gate = self.gates.enter(operation_id).await;
        match self.find(operation_id).await {
            Ok(Some(operation)) => Some(self.melt_known(&operation).await),
            Ok(None) => None,
            Err(error) => Some(unknown(error.to_string())),
        }
    }

    async fn melt_known(&self, operation: &Operation) -> MeltOutcome {
        if let Some(outcome) = &operation.outcome {
            return told(outcome);
        }
        match self.resolve_melt(operation).await {
            Ok(outcome) => told(&outcome),
            Err(error) => unknown(error.to_string()),
        }
    }

    async fn post_melt(&self, operation: &Operation) -> Result<Outcome, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let Purpose::Melt { quote_id, .. } = &operation.plan.purpose else {
            return Err(WalletError::Unknown(operation.id.clone()));
        };
        let outputs = operation.outputs(&self.seeds)?;
        let inputs = self.reserved(operation).await?;
        let blanks = (!outputs.is_empty()).then(|| messages(&outputs));
        let request = MeltRequest::new(quote_id.clone(), inputs, blanks);
        self.doubts.posted(&operation.id, self.clock.now());
        crash::point("wallet.melt.planned");
        let answer = link
            .ask_within(self.patience(), |client| async move {
                client.post_melt(&PaymentMethod::BOLT11, request).await
            })
            .await;
        crash::point("wallet.melt.answered");
        match answer {
            Ok(MeltQuoteResponse::Bolt11(quote)) if quote.state == MeltQuoteState::Paid => {
                self.finish_melt(&link, operation, &outputs, quote).await
            }
            Err(MintFault::NotSent(reason)) => {
                self.fail_melt(operation, TokenFault::Mint(reason)).await
            }
            // It may arrive yet: an unpaid quote proves nothing.
            Err(MintFault::Lost(_)) => self.follow_melt(&link, operation, None).await,
            Err(fault) => {
                let fault = fault.into_token_fault();
                self.follow_melt(&link, operation, Some(fault)).await
            }
            Ok(_) => {
                let fault = TokenFault::Mint("payment failed".to_owned());
                self.follow_melt(&link, operation, Some(fault)).await
            }
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.melt_patience_millis.load(Ordering::Relaxed))
    }

    /// Asks until the payment is final or patience ends. With `refusal`, the
    /// mint has answered the request, so an unpaid quote is final.
    async fn follow_melt(
        &self,
        link: &MintLink,
        operation: &Operation,
        refusal: Option<TokenFault>,
    ) -> Result<Outcome, WalletError> {
        let mut waited = Duration::ZERO;
        let mut pause = POLL_FIRST;
        loop {
            match self.melt_quote(link, operation).await {
                Ok(quote) if quote.state == MeltQuoteState::Paid => {
                    let outputs = operation.outputs(&self.seeds)?;
                    return self.finish_melt(link, operation, &outputs, quote).await;
                }
                Ok(quote)
                    if matches!(quote.state, MeltQuoteState::Unpaid | MeltQuoteState::Failed) =>
                {
                    if let Some(fault) = &refusal
                        && self.is_untouched(link, operation).await
                    {
                        return self.fail_melt(operation, fault.clone()).await;
                    }
                }
                Ok(_) | Err(_) => {}
            }
            if waited + pause > self.patience() {
                return Err(WalletError::Unknown(operation.id.clone()));
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(POLL_LONGEST);
        }
    }

    /// Asks once what became of an open melt.
    pub(crate) async fn resolve_melt(&self, operation: &Operation) -> Result<Outcome, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let unknown = || WalletError::Unknown(operation.id.clone());
        let quote = self
            .melt_quote(&link, operation)
            .await
            .map_err(|_| unknown())?;
        match quote.state {
            MeltQuoteState::Paid => {
                let outputs = operation.outputs(&self.seeds)?;
                self.finish_melt(&link, operation, &outputs, quote).await
            }
            MeltQuoteState::Unpaid | MeltQuoteState::Failed
                if !self.doubts.may_arrive(&operation.id, self.clock.now())
                    && self.is_untouched(&link, operation).await =>
            {
                let fault = TokenFault::Mint("the mint did not pay".to_owned());
                self.fail_melt(operation, fault).await
            }
            _ => Err(unknown()),
        }
    }

    async fn melt_quote(&self, link: &MintLink, operation: &Operation) -> Result<Quote, MintFault> {
        let Purpose::Melt { quote_id, .. } = &operation.plan.purpose else {
            return Err(MintFault::Lost("not a melt".to_owned()));
        };
        let answer = link
            .ask(|client| client.get_melt_quote_status(PaymentMethod::BOLT11, quote_id))
            .await?;
        match answer {
            MeltQuoteResponse::Bolt11(quote) => Ok(quote),
            _ => Err(MintFault::Lost("quote of another method".to_owned())),
        }
    }

    /// Whether the mint says that every input can still be spent.
    async fn is_untouched(&self, link: &MintLink, operation: &Operation) -> bool {
        link.states(&input_ys(operation))
            .await
            .is_ok_and(|states| states.iter().all(|state| *state == State::Unspent))
    }

    async fn fail_melt(
        &self,
        operation: &Operation,
        fault: TokenFault,
    ) -> Result<Outcome, WalletError> {
        self.roll_back(operation, fault.clone()).await?;
        Ok(Outcome::Failed { fault })
    }

    /// Takes the change in and ends the operation as paid.
    async fn finish_melt(
        &self,
        link: &MintLink,
        operation: &Operation,
        outputs: &[PlannedOutput],
        quote: Quote,
    ) -> Result<Outcome, WalletError> {
        let unknown = || WalletError::Unknown(operation.id.clone());
        let Purpose::Melt {
            amount_sat,
            payment_hash,
            ..
        } = &operation.plan.purpose
        else {
            return Err(unknown());
        };
        let signatures = match quote.change {
            Some(signatures) => signatures,
            None if outputs.is_empty() => Vec::new(),
            None => link
                .restore(messages(outputs))
                .await
                .map_err(|_| unknown())?
                .into_values()
                .collect(),
        };
        let keyset = self
            .keyset(link, operation.plan.keyset_id)
            .await
            .map_err(|_| unknown())?;
        let harvest = change(operation, &keyset, outputs, signatures);
        let spent = operation.plan.input_sat.saturating_sub(harvest.change_sat);
        let hash = PaymentHash::from_str(payment_hash).ok();
        let preimage = quote
            .payment_preimage
            .and_then(|text| Preimage::from_str(&text).ok())
            .filter(|preimage| hash.is_some_and(|hash| preimage.opens(&hash)))
            .map(|preimage| preimage.expose_hex());
        let outcome = Outcome::Paid {
            preimage,
            fee_sat: spent.saturating_sub(*amount_sat),
        };
        self.commit(operation, harvest, outcome).await
    }
}

/// Returns the Lightning node that an invoice pays; `None` for what is no invoice.
pub(crate) fn payee(bolt11: &str) -> Option<[u8; 33]> {
    Bolt11Invoice::from_str(bolt11)
        .ok()
        .map(|invoice| payee_of(&invoice))
}

fn payee_of(invoice: &Bolt11Invoice) -> [u8; 33] {
    invoice.get_payee_pub_key().serialize()
}

/// Finds the blank output of each change signature: mints disagree about their
/// order, the DLEQ proof does not. A signature that fits none is dropped.
fn change(
    operation: &Operation,
    keyset: &KeysetKeys,
    outputs: &[PlannedOutput],
    signatures: Vec<BlindSignature>,
) -> Harvest {
    let mut free: VecDeque<&PlannedOutput> = outputs.iter().collect();
    let mut harvest = Harvest {
        own: Vec::new(),
        handed: Vec::new(),
        change_sat: 0,
    };
    for signature in signatures.into_iter().take(outputs.len()) {
        let found = free
            .iter()
            .enumerate()
            .find_map(|(index, planned)| Some((index, proof(keyset, planned, &signature)?)));
        let row = found.and_then(|(index, proof)| {
            free.remove(index);
            proof_row(&operation.wallet_id, &operation.mint, &proof)
        });
        match row {
            Some(row) => {
                harvest.change_sat = harvest.change_sat.saturating_add(row.amount_sat);
                harvest.own.push(row);
            }
            None => tracing::error!(
                operation.id = %operation.id,
                mint.url = %operation.mint,
                "the mint's change does not verify and is booked as fee"
            ),
        }
    }
    harvest
}

const fn unknown(reason: String) -> MeltOutcome {
    MeltOutcome::Unknown { reason }
}

/// The journal's words as the caller's.
fn told(outcome: &Outcome) -> MeltOutcome {
    match outcome {
        Outcome::Paid { preimage, fee_sat } => MeltOutcome::Paid {
            preimage: preimage
                .as_deref()
                .and_then(|text| Preimage::from_str(text).ok()),
            fee: Sat::new(*fee_sat),
        },
        Outcome::Failed { fault } => MeltOutcome::Failed {
            reason: fault.to_string(),
        },
        Outcome::Moved { .. } => unknown("the operation id is in use".to_owned()),
    }
}
