//! The process that is killed: a gateway on a data folder, with a Lightning
//! backend that lives in the parent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use feria::client::{HttpClient, http_client};
use feria::clock::{SystemClock, SystemEntropy};
use feria::config::{GatewayConfig, Network};
use feria::gateway::{Gateway, GatewayParts};
use feria::lifecycle::Lifecycle;
use feria::lightning::{
    Invoice, InvoiceState, Lightning, LightningBackend, LightningError, PaymentState,
    SettledInvoice,
};
use feria::store::ledger::{Account, Ledger};
use feria::wallet::{MintTrust, TREASURY, Wallets};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::PaymentHash;
use serde_json::{Value, json};

use super::super::shop;
use super::super::stall::serve;

/// Tells the parent where the child listens.
pub(super) const LISTENS: &str = "the seller listens at ";
/// The variables that tell the child what it is.
pub(super) const FOLDER: &str = "FERIA_SOAK_FOLDER";
pub(super) const MINT: &str = "FERIA_SOAK_MINT";
pub(super) const UPSTREAM: &str = "FERIA_SOAK_UPSTREAM";
pub(super) const LIGHTNING: &str = "FERIA_SOAK_LIGHTNING";

/// Runs the seller until it is killed; does nothing in a process that no soak started.
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
    let told = |name| std::env::var(name).unwrap();
    let clock = Arc::new(SystemClock);
    let lifecycle = Lifecycle::default();
    let ledger = Ledger::open(&folder.join("ledger.db")).unwrap();
    let mint = MintTrust {
        url: told(MINT),
        cap: Sat::new(10_000_000),
    };
    let wallets = Wallets::new(
        ledger.clone(),
        [1; 64],
        vec![mint],
        clock.clone(),
        Arc::new(SystemEntropy),
    )
    .unwrap();
    let gateway = Gateway::new(GatewayParts {
        data_dir: std::path::PathBuf::new(),
        config: GatewayConfig {
            challenges_per_minute: 0,
            vault_cap: Sat::new(10_000_000),
            ..GatewayConfig::default()
        },
        network: Network::Simulated,
        public_url: "http://127.0.0.1:7402".to_owned(),
        agents: vec![shop::agent(&told(UPSTREAM), 1, &["l402", "nut24"])],
        ledger: ledger.clone(),
        wallets: wallets.clone(),
        lightning: Lightning::single(
            Arc::new(ParentLightning {
                http: http_client(Duration::from_secs(10)).unwrap(),
                url: told(LIGHTNING),
            }),
            clock.clone(),
        ),
        secret: [7; 32],
        clock,
        entropy: Arc::new(SystemEntropy),
        lifecycle: lifecycle.clone(),
    })
    .unwrap();
    wallets.recover().await.unwrap();
    gateway.recover().await.unwrap();
    let control = Router::new()
        .route("/control/redeem", post(redeem))
        .with_state(gateway.clone())
        .merge(
            Router::new()
                .route("/control/books", post(books))
                .with_state((ledger, wallets)),
        );
    serve(gateway, control, &lifecycle).await
}

async fn redeem(State(gateway): State<Gateway>) -> Json<Value> {
    let report = gateway.redeem_all().await.unwrap();
    gateway.sync_settled().await.unwrap();
    Json(json!(report))
}

/// The seller's books, and what its proofs really are.
async fn books(State((ledger, wallets)): State<(Ledger, Wallets)>) -> Json<Value> {
    let mint = std::env::var(MINT).unwrap();
    let audit = ledger.audit().await.unwrap();
    let held = wallets.balance(TREASURY, &mint).await.unwrap();
    let sat = |account: Account| audit.balances.get(account.as_str()).copied().unwrap_or(0) / 1_000;
    Json(json!({
        "clean": audit.is_clean(),
        "imbalance_msat": audit.imbalance_msat,
        "held": held.as_u64(),
        "treasury": sat(Account::wallet(TREASURY, &mint)),
        "vault": sat(Account::vault(&mint)),
        "in_flight": sat(Account::in_flight(&mint)),
        "owed": sat(Account::owed("data")),
        "fees": sat(Account::fees("ecash")),
        "lightning": sat(Account::lightning("parent")),
        "income": -sat(Account::income("data")),
        "unclaimed": -sat(Account::income("unclaimed")),
    }))
}

/// The parent's Lightning network over HTTP, as the account `seller`.
#[derive(Debug)]
struct ParentLightning {
    http: HttpClient,
    url: String,
}

impl ParentLightning {
    async fn ask(&self, path: &str, question: &Value) -> Result<Value, LightningError> {
        let fault = |error: feria::client::HttpError| LightningError::Unavailable {
            backend: self.name().to_owned(),
            reason: error.to_string(),
        };
        let request = self.http.post(format!("{}{path}", self.url)).json(question);
        request
            .send()
            .await
            .map_err(fault)?
            .json()
            .await
            .map_err(fault)
    }
}

#[async_trait]
impl LightningBackend for ParentLightning {
    fn name(&self) -> &str {
        "parent"
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        let question = json!([amount.as_u64(), description, expiry.as_secs()]);
        let made = self.ask("/invoice", &question).await?;
        Ok(Invoice {
            bolt11: made["bolt11"].as_str().unwrap().to_owned(),
            payment_hash: hash_of(&made),
            expires_at: made["expires_at"].as_u64().unwrap(),
        })
    }

    async fn invoice_state(&self, _: &PaymentHash) -> Result<InvoiceState, LightningError> {
        Ok(InvoiceState::NotFound)
    }

    /// The seller of this soak pays nobody.
    async fn pay(&self, _: &str, _: Msat, _: Duration) -> PaymentState {
        PaymentState::Failed {
            reason: "this seller does not pay".to_owned(),
        }
    }

    async fn payment_state(&self, _: &PaymentHash) -> PaymentState {
        PaymentState::Failed {
            reason: "this seller does not pay".to_owned(),
        }
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        let settled = self.ask("/settled", &json!(index)).await?;
        let settled = settled.as_array().unwrap().iter();
        Ok(settled
            .map(|one| SettledInvoice {
                index: one["index"].as_u64().unwrap(),
                payment_hash: hash_of(one),
                amount: Msat::new(one["amount_msat"].as_u64().unwrap()),
            })
            .collect())
    }
}

fn hash_of(document: &Value) -> PaymentHash {
    document["payment_hash"].as_str().unwrap().parse().unwrap()
}
