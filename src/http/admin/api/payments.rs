//! Plain payments: an invoice paid by melting ecash, and invoices of our own.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use feria_paywall::amount::{MAX_MSAT, Msat, Sat};
use feria_paywall::l402::check_invoice;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, wallets};
use crate::clock::random_id;
use crate::http::Problem;
use crate::http::admin::extract::Input;
use crate::http::admin::faults;
use crate::http::admin::guard::{About, Caller};
use crate::lightning::LightningError;
use crate::store::ledger::Account;
use crate::wallet::{MeltOutcome, TREASURY};

#[derive(Deserialize)]
pub(in crate::http::admin) struct Payment {
    /// The wallet that pays: its id, or the name of its agent.
    wallet: String,
    /// A BOLT11 invoice.
    invoice: String,
    /// Fees above the invoice's amount.
    max_fee_msat: Option<u64>,
    /// The most the invoice may ask.
    max_cost_msat: Option<u64>,
    /// The same key again never pays again.
    idempotency_key: Option<String>,
}

pub(in crate::http::admin) async fn pay(
    caller: Caller,
    Input(payment): Input<Payment>,
) -> Answer<Value> {
    let (default_cap, default_fee_cap) = caller.spend_limits();
    let cap = payment.max_cost_msat.map_or(default_cap, Msat::new);
    let fee_cap = payment.max_fee_msat.map_or(default_fee_cap, Msat::new);
    let about = About {
        rail: Some("lightning"),
        amount: Some(cap.saturating_add(fee_cap)),
        ..About::default()
    };
    let (node, wallet) = caller.admit_to_wallet(&payment.wallet, about).await?;
    // What no mint could pay is the caller's mistake, not a payment that failed.
    check_invoice(&payment.invoice, Msat::new(MAX_MSAT), node.clock.now())
        .map_err(|error| Problem::bad_request(format!("`invoice` cannot be paid: {error}")))?;
    let offer = node
        .wallets
        .melt_offer(&wallet.id, &wallet.mint, &payment.invoice)
        .await?;
    if offer.amount.to_msat() > cap {
        return Err(over_cap(format!(
            "the invoice asks {}, {cap} is the most it may",
            offer.amount
        )));
    }
    let fees = offer.fee_reserve.saturating_add(offer.input_fee);
    if fees.to_msat() > fee_cap {
        return Err(over_cap(format!(
            "fees may be {fees}, {fee_cap} is the most they may"
        )));
    }
    let operation_id = payment
        .idempotency_key
        .unwrap_or_else(|| random_id(&*node.entropy));
    let outcome = node
        .wallets
        .melt(
            &operation_id,
            &wallet.id,
            &offer,
            Account::expense(&wallet.id),
            &operation_id,
        )
        .await;
    match outcome {
        MeltOutcome::Paid { fee, .. } => {
            caller
                .settle(offer.amount.saturating_add(fee).to_msat())
                .await;
            Ok(Json(json!({
                "id": operation_id,
                "outcome": "paid",
                "amount_sat": offer.amount.as_u64(),
                "fee_sat": fee.as_u64(),
                "payment_hash": offer.payment_hash.to_string(),
            })))
        }
        MeltOutcome::Failed { reason } => {
            caller.settle(Msat::ZERO).await;
            Err(Problem::new(StatusCode::BAD_GATEWAY, "payment_failed", reason).retryable())
        }
        MeltOutcome::Unknown { reason } => Err(faults::unknown(reason)
            .next(format!("ask with the same idempotency_key: {operation_id}"))),
    }
}

fn over_cap(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "over_cap", detail)
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct NewInvoice {
    amount_sat: u64,
    /// The own agent it is for; a token bound to one must name it.
    agent: Option<String>,
    #[serde(default)]
    description: String,
    mint: Option<String>,
}

/// Makes an invoice that pays this node: by its Lightning backend, or into the
/// treasury at a mint when there is none.
pub(in crate::http::admin) async fn invoice(
    caller: Caller,
    Input(new): Input<NewInvoice>,
) -> Answer<Value> {
    let about = About {
        agent: new.agent.as_deref(),
        ..About::default()
    };
    let node = caller.admit(about).await?;
    let amount = Sat::new(new.amount_sat);
    if amount == Sat::ZERO {
        return Err(Problem::bad_request("`amount_sat` is above 0"));
    }
    if let Some(lightning) = node.lightning.receiver() {
        let expiry = Duration::from_secs(node.config.gateway.invoice_expiry_secs);
        let invoice = lightning
            .create_invoice(amount.to_msat(), &new.description, expiry)
            .await?;
        return Ok(Json(json!({
            "invoice": invoice.bolt11,
            "payment_hash": invoice.payment_hash.to_string(),
            "amount_sat": amount.as_u64(),
            "expires_at": invoice.expires_at,
            "paid_into": lightning.name(),
        })));
    }
    let mint = wallets::mint_or_first(&node, new.mint)?;
    let quote = node
        .wallets
        .request_funding(TREASURY, &mint, amount)
        .await?;
    Ok(Json(json!({
        "invoice": quote.bolt11,
        "quote_id": quote.quote_id,
        "amount_sat": quote.amount.as_u64(),
        "expires_at": quote.expires_at,
        "paid_into": mint,
    })))
}

impl From<LightningError> for Problem {
    fn from(error: LightningError) -> Self {
        let detail = error.to_string();
        match error {
            LightningError::Unavailable { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "lightning_unavailable",
                detail,
            )
            .retryable(),
            LightningError::Refused { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "lightning_refused", detail)
            }
        }
    }
}
