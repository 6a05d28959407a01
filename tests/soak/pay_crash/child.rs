//! The process that is killed: a buyer on a data folder, told what to do over HTTP,
//! with a Lightning backend whose money is in the parent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use feria::client::{HttpClient, http_client};
use feria::clock::SystemClock;
use feria::config::SpendConfig;
use feria::lightning::{
    Invoice, InvoiceState, Lightning, LightningBackend, LightningError, PaymentState,
    SettledInvoice,
};
use feria::spend::{FetchRequest, LockPolicy, Rail, SpendError};
use feria::wallet::TREASURY;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::PaymentHash;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::buyer::Buyer;

/// Tells the parent where the child listens.
pub(super) const LISTENS: &str = "the buyer listens at ";
/// The variables that tell the child what it is.
pub(super) const FOLDER: &str = "FERIA_SOAK_BUYER_FOLDER";
pub(super) const MINTS: &str = "FERIA_SOAK_MINTS";
pub(super) const LIGHTNING: &str = "FERIA_SOAK_PAYER";
/// For how many calls a float is.
pub(super) const FLOAT: &str = "FERIA_SOAK_FLOAT";
/// The name of its Lightning backend, and of the account that pays.
pub(super) const ACCOUNT: &str = "buyer";

/// A call to buy.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) url: String,
    pub(super) key: String,
    pub(super) question: String,
    pub(super) rail: Rail,
    pub(super) lock: LockPolicy,
}

/// Runs the buyer until it is killed; does nothing in a process that no soak started.
#[allow(clippy::print_stdout, reason = "its parent reads the address there")]
pub(crate) fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = start(folder.into()).await;
        println!("\n{LISTENS}{url}");
        std::future::pending::<()>().await;
    });
}

async fn start(folder: PathBuf) -> String {
    let mints = std::env::var(MINTS).unwrap();
    let mints: Vec<&str> = mints.split(' ').collect();
    let lightning = match std::env::var(LIGHTNING) {
        Ok(url) => Lightning::single(
            Arc::new(ParentLightning {
                http: http_client(Duration::from_secs(20)).unwrap(),
                url,
            }),
            Arc::new(SystemClock),
        ),
        Err(_) => Lightning::default(),
    };
    let float = std::env::var(FLOAT).map_or(0, |calls| calls.parse().unwrap());
    let config = SpendConfig {
        max_fee: Msat::new(20_000),
        timeout_secs: 20,
        float_after_calls: u32::from(float > 0),
        float_calls: float,
        ..SpendConfig::default()
    };
    let buyer = Buyer::open_with(Some(&folder), &mints, lightning, config);
    buyer.wallets.recover().await.unwrap();
    buyer.spender.recover().await.unwrap();
    let router = Router::new()
        .route("/buy", post(buy))
        .route("/settle", post(settle))
        .route("/books", post(books))
        .route("/quote", post(quote))
        .route("/claim", post(claim))
        .with_state(buyer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn buy(State(buyer): State<Buyer>, Json(order): Json<Order>) -> Json<Value> {
    let request = FetchRequest {
        method: Method::POST,
        body: Bytes::from(order.question),
        rail: order.rail,
        lock: order.lock,
        idempotency_key: Some(order.key),
        ..FetchRequest::get(TREASURY, order.url)
    };
    Json(match buyer.spender.fetch(request).await {
        Ok(fetched) => json!({
            "end": fetched.purchase.map(|purchase| purchase.outcome),
            "status": fetched.status,
            "body": String::from_utf8_lossy(&fetched.body),
        }),
        Err(error) => json!({
            "end": match error {
                SpendError::PaymentFailed { .. } => "failed",
                SpendError::Unknown { .. } => "unknown",
                SpendError::PaidNotDelivered { .. } => "paid",
                SpendError::Refused { .. } => "refused",
                _ => "fault",
            },
            "error": error.to_string(),
        }),
    })
}

/// Settles what is open, and returns the purchases that still are.
async fn settle(State(buyer): State<Buyer>) -> Json<Value> {
    buyer.wallets.recover().await.unwrap();
    buyer.spender.recover().await.unwrap();
    let purchases = buyer.spender.list_purchases(None, 500).await.unwrap();
    let open = purchases
        .iter()
        .filter(|purchase| ["planned", "paying", "unknown"].contains(&purchase.outcome.as_str()));
    Json(json!(open.collect::<Vec<_>>()))
}

async fn books(State(buyer): State<Buyer>) -> Json<Value> {
    let audit = buyer.ledger.audit().await.unwrap();
    Json(json!({
        "clean": audit.is_clean(),
        "balances_msat": audit.balances,
        "differences": buyer.wallets.verify_books().await.unwrap(),
    }))
}

async fn quote(State(buyer): State<Buyer>, Json((mint, sat)): Json<(String, u64)>) -> Json<Value> {
    let quote = buyer
        .wallets
        .request_funding(TREASURY, &mint, Sat::new(sat));
    let quote = quote.await.unwrap();
    Json(json!([quote.quote_id, quote.bolt11]))
}

async fn claim(State(buyer): State<Buyer>, Json(quote_id): Json<String>) -> Json<Value> {
    let claimed = buyer.wallets.claim_funding(&quote_id).await.unwrap();
    Json(json!(claimed.map(|received| received.amount.as_u64())))
}

/// The parent's Lightning network over HTTP, as the account `buyer`.
#[derive(Debug)]
struct ParentLightning {
    http: HttpClient,
    url: String,
}

impl ParentLightning {
    async fn ask(&self, path: &str, question: &Value) -> PaymentState {
        let unknown = |reason: String| PaymentState::Unknown { reason };
        let request = self.http.post(format!("{}{path}", self.url)).json(question);
        let answer: Value = match request.send().await {
            Ok(answer) => match answer.json().await {
                Ok(answer) => answer,
                Err(error) => return unknown(error.to_string()),
            },
            Err(error) => return unknown(error.to_string()),
        };
        match answer["preimage"].as_str() {
            Some(preimage) => PaymentState::Succeeded {
                preimage: preimage.parse().unwrap(),
                fee: Msat::new(answer["fee_msat"].as_u64().unwrap()),
            },
            None if answer["failed"] == true => PaymentState::Failed {
                reason: "the network did not pay".to_owned(),
            },
            None => PaymentState::Pending,
        }
    }
}

#[async_trait]
impl LightningBackend for ParentLightning {
    fn name(&self) -> &str {
        ACCOUNT
    }

    fn is_simulated(&self) -> bool {
        true
    }

    /// This buyer sells nothing.
    async fn create_invoice(
        &self,
        _: Msat,
        _: &str,
        _: Duration,
    ) -> Result<Invoice, LightningError> {
        Err(LightningError::Refused {
            backend: ACCOUNT.to_owned(),
            reason: "this buyer sells nothing".to_owned(),
        })
    }

    async fn invoice_state(&self, _: &PaymentHash) -> Result<InvoiceState, LightningError> {
        Ok(InvoiceState::NotFound)
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, _: Duration) -> PaymentState {
        self.ask("/pay", &json!([bolt11, fee_limit.as_u64()])).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        self.ask("/state", &json!(hash.to_string())).await
    }

    async fn settled_since(&self, _: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        Ok(Vec::new())
    }
}
