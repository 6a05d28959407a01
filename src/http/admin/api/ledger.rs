//! The books, added up anew.

use axum::Json;
use serde_json::{Value, json};

use super::Answer;
use crate::http::admin::guard::{About, Caller};

/// Adds up every row, and compares the books with the proofs held.
pub(in crate::http::admin) async fn audit(caller: Caller) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let audit = node.ledger.audit().await?;
    let differences = node.wallets.verify_books().await?;
    Ok(Json(json!({
        "ok": audit.is_clean() && differences.is_empty(),
        "entries": audit.entries,
        "imbalance_msat": audit.imbalance_msat,
        "unbalanced_entries": audit.unbalanced_entries,
        "balances_msat": audit.balances,
        "differences": differences,
    })))
}
