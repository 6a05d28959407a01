//! An HTTP front over the simulated Lightning network: a wallet for clients and
//! sellers that bring none.
//!
//! | request | answer |
//! |---|---|
//! | `POST /simulated/pay` with `{"invoice": "lnbcrt…"}` | 200 with the preimage; 422 when it was refused or failed; 202 when nobody knows yet |
//! | `POST /simulated/invoice` with `{"amount_sat": 21, "description": "a call"}` | 200 with an invoice and its payment hash |
//!
//! With it a stranger's L402 client can buy from `feria demo`, and a stranger's
//! Cashu wallet can mint play ecash at the demo's mints: it asks a mint for a
//! quote and has the quote's invoice paid here. A stranger's L402 server sells for
//! invoices made here; what they bring stays in an account of the front. The same invoice again gets the
//! first outcome again and is never paid twice.
//!
//! It pays over the [`SimulatedNetwork`] it is given and cannot reach any other,
//! listens on loopback only, and takes JSON only, so that no page of another site
//! can make a browser send it anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use feria_paywall::amount::{Msat, Sat};
use serde::Deserialize;
use serde_json::json;

use super::{SandboxError, listen};
use crate::lifecycle::Lifecycle;
use crate::lightning::PaymentState;
use crate::lightning::simulated::{SimulatedError, SimulatedNetwork};

/// Whose money it spends.
const ACCOUNT: &str = "visitor";
/// Whose invoices it makes.
const MERCHANT: &str = "merchant";
/// How long they can be paid.
const EXPIRY: Duration = Duration::from_secs(600);
/// What that account holds after each start.
const PURSE: Sat = Sat::new(10_000_000);
/// The most that routing may take of one payment.
const FEE_LIMIT: Msat = Msat::new(10_000);
/// How long a payment may take before the answer is that nobody knows.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest request; an invoice takes some hundred bytes.
const MAX_BODY_BYTES: usize = 8 * 1_024;

/// A running front. It stops with its lifecycle.
#[derive(Debug, Clone)]
pub struct PaymentFront {
    /// Its base URL, without trailing slash.
    pub url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// A BOLT11 invoice of the simulated network.
    invoice: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewInvoice {
    amount_sat: u64,
    #[serde(default)]
    description: String,
}

impl PaymentFront {
    /// Starts the front on the loopback address `address`, its purse filled.
    ///
    /// # Errors
    /// When the address is taken or not loopback, or the network's journal cannot be written.
    pub async fn start(
        address: SocketAddr,
        network: SimulatedNetwork,
        lifecycle: &Lifecycle,
    ) -> Result<Self, SandboxError> {
        let listener = listen(address).await?;
        let address = listener
            .local_addr()
            .map_err(|source| SandboxError::Listen { address, source })?;
        fill_purse(&network).map_err(SandboxError::Lightning)?;
        let router = Router::new()
            .route("/simulated/pay", post(pay))
            .route("/simulated/invoice", post(invoice))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(Arc::new(network));
        lifecycle.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the front of the simulated network stopped serving");
            }
        });
        Ok(Self {
            url: format!("http://{address}"),
        })
    }

    /// Returns the address that pays an invoice.
    #[must_use]
    pub fn pay_url(&self) -> String {
        format!("{}/simulated/pay", self.url)
    }
}

fn fill_purse(network: &SimulatedNetwork) -> Result<(), SimulatedError> {
    let missing = PURSE.to_msat().saturating_sub(network.balance(ACCOUNT));
    if missing > Msat::ZERO {
        network.faucet(ACCOUNT, missing)?;
    }
    Ok(())
}

async fn pay(State(network): State<Arc<SimulatedNetwork>>, Json(order): Json<Order>) -> Response {
    let paid = network
        .pay(ACCOUNT, &order.invoice, FEE_LIMIT, PATIENCE)
        .await;
    let (status, body) = match paid {
        PaymentState::Succeeded { preimage, fee } => {
            let hash = preimage.payment_hash();
            let amount = network.payment_amount(ACCOUNT, &hash);
            let body = json!({
                "simulated": true,
                "state": "paid",
                "preimage": preimage.expose_hex(),
                "payment_hash": hash.to_string(),
                "amount_msat": amount.map(Msat::as_u64),
                "fee_msat": fee.as_u64(),
            });
            (StatusCode::OK, body)
        }
        PaymentState::Failed { reason } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({"simulated": true, "state": "failed", "reason": reason}),
        ),
        PaymentState::Pending => (
            StatusCode::ACCEPTED,
            json!({"simulated": true, "state": "pending"}),
        ),
        PaymentState::Unknown { reason } => (
            StatusCode::ACCEPTED,
            json!({"simulated": true, "state": "unknown", "reason": reason}),
        ),
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn invoice(
    State(network): State<Arc<SimulatedNetwork>>,
    Json(new): Json<NewInvoice>,
) -> Response {
    let amount = Sat::new(new.amount_sat).to_msat();
    let made = network.create_invoice(MERCHANT, amount, &new.description, EXPIRY);
    let (status, body) = match made.await {
        Ok(made) => (
            StatusCode::OK,
            json!({
                "simulated": true,
                "invoice": made.bolt11,
                "payment_hash": made.payment_hash.to_string(),
                "expires_at": made.expires_at,
            }),
        ),
        Err(error) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({"simulated": true, "state": "failed", "reason": error.to_string()}),
        ),
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use feria_paywall::payment::Preimage;
    use serde_json::Value;

    use super::*;
    use crate::client::{HttpResponse, http_client};
    use crate::clock::{ManualClock, SeededEntropy};

    struct Town {
        front: PaymentFront,
        network: SimulatedNetwork,
        _lifecycle: Lifecycle,
    }

    impl Town {
        async fn start() -> Self {
            let lifecycle = Lifecycle::default();
            let network = SimulatedNetwork::open(
                None,
                Arc::new(ManualClock::at(1_800_000_000)),
                Arc::new(SeededEntropy::new(5)),
            )
            .unwrap();
            let any = "127.0.0.1:0".parse().unwrap();
            let front = PaymentFront::start(any, network.clone(), &lifecycle)
                .await
                .unwrap();
            Self {
                front,
                network,
                _lifecycle: lifecycle,
            }
        }

        async fn invoice(&self, amount: Sat) -> crate::lightning::Invoice {
            let expiry = Duration::from_secs(60);
            let made = self
                .network
                .create_invoice("shop", amount.to_msat(), "bread", expiry);
            made.await.unwrap()
        }

        async fn post(&self, content_type: &str, body: String) -> HttpResponse {
            let client = http_client(Duration::from_secs(20)).unwrap();
            let request = client.post(self.front.pay_url()).body(body);
            let request = request.header("content-type", content_type);
            request.send().await.unwrap()
        }

        async fn pay(&self, invoice: &str) -> (u16, Value) {
            let body = json!({"invoice": invoice}).to_string();
            let answer = self.post("application/json", body).await;
            (answer.status().as_u16(), answer.json().await.unwrap())
        }
    }

    #[tokio::test]
    async fn the_same_invoice_is_paid_once_and_its_preimage_told_twice() {
        let town = Town::start().await;
        let invoice = town.invoice(Sat::new(21)).await;

        let (status, first) = town.pay(&invoice.bolt11).await;
        let (_, second) = town.pay(&invoice.bolt11).await;

        assert_eq!((status, &first), (200, &second));
        let preimage: Preimage = first["preimage"].as_str().unwrap().parse().unwrap();
        assert!(preimage.opens(&invoice.payment_hash));
        assert_eq!(first["amount_msat"], 21_000);
        assert_eq!(town.network.balance("shop"), Msat::new(21_000));
    }

    #[tokio::test]
    async fn what_cannot_be_paid_is_refused_with_a_reason() {
        let town = Town::start().await;
        let dear = town.invoice(Sat::new(10_000_001)).await;

        for (invoice, reason) in [
            ("lnbc1nonsense", "not a BOLT11 invoice"),
            (dear.bolt11.as_str(), "not enough money"),
        ] {
            let (status, answer) = town.pay(invoice).await;

            assert_eq!((status, &answer["state"]), (422, &json!("failed")));
            assert_eq!(answer["reason"], format!("[simulated] {reason}"));
        }
    }

    #[tokio::test]
    async fn a_form_of_another_site_is_not_taken() {
        let town = Town::start().await;
        let invoice = town.invoice(Sat::new(21)).await;
        let body = json!({"invoice": invoice.bolt11}).to_string();

        let answer = town.post("text/plain", body).await;

        assert_eq!(answer.status().as_u16(), 415);
        assert_eq!(town.network.balance("shop"), Msat::ZERO);
    }

    #[tokio::test]
    async fn an_invoice_made_here_can_be_paid_here() {
        let town = Town::start().await;
        let client = http_client(Duration::from_secs(20)).unwrap();
        let order = json!({"amount_sat": 21, "description": "a call"});
        let url = format!("{}/simulated/invoice", town.front.url);
        let made = client.post(url).json(&order).send().await.unwrap();
        let made: Value = made.json().await.unwrap();

        let (status, paid) = town.pay(made["invoice"].as_str().unwrap()).await;

        assert_eq!(
            (status, &paid["payment_hash"]),
            (200, &made["payment_hash"])
        );
        assert_eq!(town.network.balance(MERCHANT), Msat::new(21_000));
    }

    #[tokio::test]
    async fn it_listens_on_loopback_only() {
        let town = Town::start().await;
        let outside = "0.0.0.0:0".parse().unwrap();

        let refused =
            PaymentFront::start(outside, town.network.clone(), &Lifecycle::default()).await;

        assert!(matches!(refused, Err(SandboxError::NotLoopback(_))));
    }
}
