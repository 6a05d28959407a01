//! Plain payments: invoices and payment requests of others, and invoices of our own.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::xcashu::request::{Transport, parse_payment};
use nostr::nips::nip19::{FromBech32, Nip19Profile};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, purchases, wallets};
use crate::http::admin::extract::Input;
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::lightning::LightningError;
use crate::spend::PayRequest;
use crate::transfer::{SendTransfer, Transfer};
use crate::wallet::{TREASURY, WalletInfo};

#[derive(Deserialize)]
pub(in crate::http::admin) struct Payment {
    /// The wallet that pays: its id, or the name of its agent.
    wallet: String,
    /// A BOLT11 invoice.
    #[serde(default)]
    invoice: String,
    /// A payment request of Cashu, instead of an invoice.
    request: Option<String>,
    /// What to give where a payment request leaves it to the payer.
    amount_sat: Option<u64>,
    /// Fees above the amount asked.
    max_fee_msat: Option<u64>,
    /// The most that may be asked.
    max_cost_msat: Option<u64>,
    /// The same key again never pays again.
    idempotency_key: Option<String>,
}

/// Pays an invoice or a payment request, as a purchase: under the wallet's budget,
/// with an intent that explains it.
pub(in crate::http::admin) async fn pay(
    caller: Caller,
    Input(payment): Input<Payment>,
) -> Answer<Value> {
    let (default_cap, default_fee_cap) = caller.spend_limits();
    let cap = payment.max_cost_msat.map_or(default_cap, Msat::new);
    let fee_cap = payment.max_fee_msat.map_or(default_fee_cap, Msat::new);
    let is_request = payment.request.is_some();
    let about = About {
        rail: Some(if is_request { "cashu" } else { "lightning" }),
        amount: Some(cap.saturating_add(fee_cap)),
        ..About::default()
    };
    let (node, wallet) = caller.admit_to_wallet(&payment.wallet, about).await?;
    let began = node.clock.now();
    let request = PayRequest {
        wallet_id: wallet.id.clone(),
        target: payment.request.unwrap_or(payment.invoice),
        amount: payment.amount_sat.map(Sat::new),
        max_cost: Some(cap),
        max_fee: Some(fee_cap),
        idempotency_key: payment.idempotency_key,
    };
    if is_request {
        if let Some(payee) = payee_by_message(&request.target) {
            let paid = pay_by_message(&node, &wallet, request, payee, cap).await?;
            caller.settle(Sat::new(paid.amount_sat).to_msat()).await;
            return Ok(Json(json!(paid)));
        }
        let outcome = node.spender.pay_request(request).await;
        let purchase = outcome.as_ref().map(|paid| paid.purchase.as_ref());
        purchases::settle(&caller, purchase, began, fee_cap).await;
        let paid = outcome?;
        let mut document = json!({ "purchase": paid.purchase, "status": paid.status });
        if let Ok(text) = std::str::from_utf8(&paid.body) {
            let name = if text.starts_with("cashu") {
                "token"
            } else {
                "body"
            };
            document[name] = json!(text);
        }
        return Ok(Json(document));
    }
    let outcome = node.spender.pay_invoice(request).await;
    purchases::settle(&caller, outcome.as_ref().map(Some), began, fee_cap).await;
    let paid = outcome?;
    Ok(Json(json!({
        "id": paid.id,
        "outcome": "paid",
        "amount_msat": paid.price_msat,
        "amount_sat": Msat::new(paid.price_msat).ceil_sat().as_u64(),
        "fee_msat": paid.fee_msat,
        "fee_sat": Msat::new(paid.fee_msat).ceil_sat().as_u64(),
        "payment_hash": paid.endpoint.rsplit(':').next().unwrap_or_default(),
        "decision": paid.decision,
    })))
}

/// Returns the payee of a payment request that is answered by Nostr message and in no other way.
fn payee_by_message(target: &str) -> Option<Nip19Profile> {
    let asked = parse_payment(target, Some(Sat::new(1)))
        .or_else(|_| parse_payment(target, None))
        .ok()?;
    let is_nostr = |transport: &Transport| matches!(transport, Transport::Nostr(_));
    if !asked.transports.iter().all(is_nostr) {
        return None;
    }
    asked
        .transports
        .iter()
        .find_map(|transport| match transport {
            Transport::Nostr(target) => Nip19Profile::from_bech32(target).ok(),
            Transport::Post(_) => None,
        })
}

/// A message is locked to the payee's own key (kind 10019), whatever the request says.
async fn pay_by_message(
    node: &Node,
    wallet: &WalletInfo,
    request: PayRequest,
    payee: Nip19Profile,
    cap: Msat,
) -> Result<Transfer, Problem> {
    let asked = parse_payment(&request.target, request.amount)
        .map_err(|error| Problem::bad_request(format!("`request`: {error}")))?;
    if asked.terms.amount.to_msat() > cap {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "over_cap",
            format!(
                "the request asks {}, {cap} is the most it may",
                asked.terms.amount
            ),
        ));
    }
    let mut lookup_relays: Vec<String> = payee.relays.iter().map(ToString::to_string).collect();
    lookup_relays.extend(node.relay_urls(|relay| relay.read));
    let order = SendTransfer {
        from_keys: node.seed.nostr_keys(&wallet.agent),
        from_agent: wallet.agent.clone(),
        wallet_id: wallet.id.clone(),
        payee: payee.public_key,
        amount: asked.terms.amount,
        memo: asked.id.unwrap_or_default(),
        lookup_relays,
        reply_relays: node.relay_urls(|relay| relay.inbox),
    };
    Ok(node.transfers.send(order).await?)
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
