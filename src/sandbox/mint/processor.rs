//! The mint's Lightning node: cdk's payment interface over the simulated network.
//!
//! It never calls a payment failed while it could still settle, since the mint
//! gives the ecash back on that word.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cdk::cdk_payment::{
    Bolt11Settings, CreateIncomingPaymentResponse, Error, Event, IncomingPaymentOptions,
    MakePaymentResponse, MintPayment, OutgoingPaymentOptions, PaymentIdentifier,
    PaymentQuoteResponse, SettingsResponse, WaitPaymentResponse,
};
use cdk::nuts::{CurrencyUnit, MeltQuoteState};
use cdk::{Amount, Bolt11Invoice};
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use crate::lightning::simulated::SimulatedNetwork;
use crate::lightning::{InvoiceState, PaymentState, SettledInvoice};

/// Shortest life of a quote's invoice. The mint reads the system's clock; the
/// network's may have been moved ahead of it.
const MIN_EXPIRY: Duration = Duration::from_secs(600);
/// How long the mint waits for a payment before it calls it pending.
const PAYMENT_PATIENCE: Duration = Duration::from_secs(5);

/// One account of the network, as a mint uses it.
pub(super) struct SimulatedProcessor {
    network: SimulatedNetwork,
    account: String,
    is_streaming: AtomicBool,
    stop: CancellationToken,
}

impl SimulatedProcessor {
    pub(super) fn new(network: SimulatedNetwork, account: String) -> Self {
        Self {
            network,
            account,
            is_streaming: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// Every settled invoice from the first on: one that settled just before the
    /// mint was killed is told again, and the mint drops what it knows.
    fn settled(&self) -> impl Stream<Item = SettledInvoice> + Send + use<> {
        let (network, account) = (self.network.clone(), self.account.clone());
        let stop = self.stop.clone();
        let start = (VecDeque::new(), 0, network.watch_settled());
        futures_util::stream::unfold(start, move |(mut ready, mut index, mut watch)| {
            let (network, account, stop) = (network.clone(), account.clone(), stop.clone());
            async move {
                loop {
                    if let Some(settled) = ready.pop_front() {
                        return Some((settled, (ready, index, watch)));
                    }
                    watch.borrow_and_update();
                    ready.extend(network.settled_since(&account, index));
                    match ready.back() {
                        Some(SettledInvoice { index: last, .. }) => index = *last,
                        None => tokio::select! {
                            changed = watch.changed() => changed.ok()?,
                            () = stop.cancelled() => return None,
                        },
                    }
                }
            }
        })
    }

    fn answer(&self, hash: PaymentHash, amount: Msat, state: &PaymentState) -> MakePaymentResponse {
        let (status, proof, spent) = match state {
            PaymentState::Succeeded { preimage, fee } => (
                MeltQuoteState::Paid,
                Some(preimage.expose_hex()),
                amount.saturating_add(*fee),
            ),
            PaymentState::Failed { .. } => (MeltQuoteState::Failed, None, Msat::ZERO),
            PaymentState::Pending => (MeltQuoteState::Pending, None, Msat::ZERO),
            PaymentState::Unknown { .. } => (MeltQuoteState::Unknown, None, Msat::ZERO),
        };
        MakePaymentResponse {
            payment_lookup_id: PaymentIdentifier::PaymentHash(*hash.as_bytes()),
            payment_proof: proof,
            status,
            total_spent: in_sat(spent),
        }
    }
}

#[async_trait]
impl MintPayment for SimulatedProcessor {
    type Err = Error;

    async fn get_settings(&self) -> Result<SettingsResponse, Error> {
        Ok(SettingsResponse {
            unit: CurrencyUnit::Sat.to_string(),
            bolt11: Some(Bolt11Settings {
                mpp: false,
                amountless: false,
                invoice_description: true,
            }),
            bolt12: None,
            onchain: None,
            custom: std::collections::HashMap::new(),
        })
    }

    async fn create_incoming_payment_request(
        &self,
        options: IncomingPaymentOptions,
    ) -> Result<CreateIncomingPaymentResponse, Error> {
        let IncomingPaymentOptions::Bolt11(options) = options else {
            return Err(Error::UnsupportedPaymentOption);
        };
        let amount = Msat::new(options.amount.convert_to(&CurrencyUnit::Msat)?.value());
        let now = self.network.now();
        let expiry = options.unix_expiry.map_or(MIN_EXPIRY, |at| {
            Duration::from_secs(at.saturating_sub(now)).max(MIN_EXPIRY)
        });
        let description = options.description.unwrap_or_default();
        let invoice = self
            .network
            .create_invoice(&self.account, amount, &description, expiry)
            .await
            .map_err(|error| Error::Backend(Box::new(error)))?;
        Ok(CreateIncomingPaymentResponse {
            request_lookup_id: PaymentIdentifier::PaymentHash(*invoice.payment_hash.as_bytes()),
            request: invoice.bolt11,
            expiry: Some(invoice.expires_at),
            extra_json: None,
        })
    }

    async fn get_payment_quote(
        &self,
        unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<PaymentQuoteResponse, Error> {
        let (bolt11, amount, _) = outgoing(unit, &options)?;
        Ok(PaymentQuoteResponse {
            request_lookup_id: Some(PaymentIdentifier::PaymentHash(
                *payment_hash(bolt11).as_bytes(),
            )),
            amount: in_sat(amount),
            fee: in_sat(self.network.fee()),
            state: MeltQuoteState::Unpaid,
            extra_json: None,
            estimated_blocks: None,
            fee_options: None,
        })
    }

    async fn make_payment(
        &self,
        unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<MakePaymentResponse, Error> {
        let (bolt11, amount, max_fee) = outgoing(unit, &options)?;
        let text = bolt11.to_string();
        let state = self
            .network
            .pay(&self.account, &text, max_fee, PAYMENT_PATIENCE)
            .await;
        Ok(self.answer(payment_hash(bolt11), amount, &state))
    }

    async fn wait_payment_event(&self) -> Result<Pin<Box<dyn Stream<Item = Event> + Send>>, Error> {
        use futures_util::StreamExt as _;

        self.is_streaming.store(true, Ordering::SeqCst);
        Ok(Box::pin(self.settled().map(|settled| {
            Event::PaymentReceived(received(&settled.payment_hash, settled.amount))
        })))
    }

    fn is_payment_event_stream_active(&self) -> bool {
        self.is_streaming.load(Ordering::SeqCst)
    }

    fn cancel_payment_event_stream(&self) {
        self.is_streaming.store(false, Ordering::SeqCst);
        self.stop.cancel();
    }

    async fn check_incoming_payment_status(
        &self,
        identifier: &PaymentIdentifier,
    ) -> Result<Vec<WaitPaymentResponse>, Error> {
        let hash = hash_of(identifier)?;
        Ok(match self.network.invoice_state(&self.account, &hash) {
            InvoiceState::Settled { amount } => vec![received(&hash, amount)],
            InvoiceState::Open { .. } | InvoiceState::Expired | InvoiceState::NotFound => {
                Vec::new()
            }
        })
    }

    async fn check_outgoing_payment(
        &self,
        identifier: &PaymentIdentifier,
    ) -> Result<MakePaymentResponse, Error> {
        let hash = hash_of(identifier)?;
        let state = self.network.payment_state(&self.account, &hash);
        let amount = self.network.payment_amount(&self.account, &hash);
        Ok(self.answer(hash, amount.unwrap_or_default(), &state))
    }
}

/// Returns the invoice, its amount and the most that routing may take.
fn outgoing<'a>(
    unit: &CurrencyUnit,
    options: &'a OutgoingPaymentOptions,
) -> Result<(&'a Bolt11Invoice, Msat, Msat), Error> {
    let OutgoingPaymentOptions::Bolt11(options) = options else {
        return Err(Error::UnsupportedPaymentOption);
    };
    if *unit != CurrencyUnit::Sat || options.melt_options.is_some() {
        return Err(Error::UnsupportedUnit);
    }
    let amount = options
        .bolt11
        .amount_milli_satoshis()
        .ok_or(Error::AmountMismatch)?;
    let max_fee = match &options.max_fee_amount {
        Some(fee) => Msat::new(fee.convert_to(&CurrencyUnit::Msat)?.value()),
        None => Msat::new(u64::MAX),
    };
    Ok((&options.bolt11, Msat::new(amount), max_fee))
}

fn payment_hash(invoice: &Bolt11Invoice) -> PaymentHash {
    use bitcoin::hashes::Hash as _;

    PaymentHash::new(invoice.payment_hash().to_byte_array())
}

fn hash_of(identifier: &PaymentIdentifier) -> Result<PaymentHash, Error> {
    match identifier {
        PaymentIdentifier::PaymentHash(hash) => Ok(PaymentHash::new(*hash)),
        _ => Err(Error::UnsupportedPaymentOption),
    }
}

fn received(hash: &PaymentHash, amount: Msat) -> WaitPaymentResponse {
    WaitPaymentResponse {
        payment_identifier: PaymentIdentifier::PaymentHash(*hash.as_bytes()),
        payment_amount: Amount::new(amount.as_u64(), CurrencyUnit::Msat),
        payment_id: hash.to_string(),
    }
}

fn in_sat(amount: Msat) -> Amount<CurrencyUnit> {
    Amount::new(amount.ceil_sat().as_u64(), CurrencyUnit::Sat)
}
