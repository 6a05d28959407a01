//! How the node is doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use crate::http::Node;
use crate::http::admin::guard::{About, Caller};

pub(in crate::http::admin) async fn status(caller: Caller) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let audit = node.ledger.audit().await?;
    let mints: Vec<Value> = node
        .wallets
        .mints()
        .into_iter()
        .map(|mint| json!({"url": mint.url, "cap_sat": mint.cap.as_u64()}))
        .collect();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "network": node.config.network.as_str(),
        "public_url": node.config.public.url,
        "node_key": node.seed.nostr_keys("").public_key().to_hex(),
        "agents": node.agents.list().len(),
        "listings_indexed": node.index.count_listings(node.clock.now()).await?,
        "relays": node.relays.health(),
        "mints": mints,
        "lightning": node.lightning.health(),
        "held_msat": audit.class_msat("assets"),
        "earned_msat": -audit.class_msat("income"),
        "spent_msat": audit.class_msat("expense"),
        "fees_msat": audit.class_msat("fees"),
        "owed_msat": -audit.class_msat("owed"),
        "imbalance_msat": audit.imbalance_msat,
    })))
}

/// The process runs.
pub(in crate::http::admin) async fn healthz() -> &'static str {
    "ok\n"
}

/// The stores answer and, when relays are configured, one is connected.
pub(in crate::http::admin) async fn readyz(
    State(node): State<Arc<Node>>,
) -> (StatusCode, Json<Value>) {
    let now = node.clock.now();
    let stores = node.index.count_listings(now).await.is_ok() && node.ledger.audit().await.is_ok();
    let relays = node.config.relays.is_empty()
        || node
            .relays
            .health()
            .iter()
            .any(|relay| relay.state == "connected");
    let status = if stores && relays {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"stores": stores, "relays": relays})))
}
