//! `feria ledger`: the node's books.

use clap::Subcommand;
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::{facts, table};
use super::{Context, Output};
use crate::store::ledger::Ledger;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add up every row and say whether the books are right.
    Audit,
    /// Say why a purchase was paid that way, or not at all.
    Why {
        /// The purchase; `last` is the newest.
        id: String,
    },
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        if let Self::Why { id } = self {
            let client = NodeClient::open(&context.data_dir).await?;
            let found = client.get(&["purchases", &id], &[]).await?;
            output.show(&found, why)?;
            return Ok(ExitCode::Ok);
        }
        let audit = match NodeClient::find(&context.data_dir).await? {
            Some(client) => client.get(&["ledger", "audit"], &[]).await?,
            None => read(context).await?,
        };
        output.show(&audit, render)?;
        if audit["ok"].as_bool() == Some(true) {
            Ok(ExitCode::Ok)
        } else {
            Err(Fault::new("general", "the books do not add up")
                .next("keep a copy of the data folder before anything else"))
        }
    }
}

/// Reads the file of a node that does not run; its proofs are not compared then.
async fn read(context: &Context) -> Result<Value, Fault> {
    context.config()?;
    let ledger = Ledger::open(&context.data_dir.join("ledger.db"))?;
    let audit = ledger.audit().await?;
    Ok(json!({
        "ok": audit.is_clean(),
        "entries": audit.entries,
        "imbalance_msat": audit.imbalance_msat,
        "unbalanced_entries": audit.unbalanced_entries,
        "balances_msat": audit.balances,
    }))
}

fn why(found: &Value) -> String {
    if found["purchase"].is_null() {
        // It waits for a person, or waited in vain.
        return found["why"].as_str().unwrap_or_default().to_owned();
    }
    let mut text = purchase(&found["purchase"]);
    let limits = limits(&found["policy"]["checks"]);
    if !limits.is_empty() {
        text.push_str("\n\n");
        text.push_str(&limits);
    }
    text
}

/// Every limit that was looked at, with its figures at that moment.
fn limits(checks: &Value) -> String {
    let mut rows = checks.clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        if row["unit"].as_str() == Some("msat") {
            for key in ["limit", "used", "asked"] {
                let amount = Msat::new(row[key].as_u64().unwrap_or_default());
                row[key] = json!(amount.to_string());
            }
        }
    }
    table(
        &rows,
        &[
            ("LIMIT", "rule"),
            ("MOST", "limit"),
            ("USED BEFORE", "used"),
            ("ASKED", "asked"),
        ],
        "",
    )
}

fn purchase(purchase: &Value) -> String {
    facts(
        purchase,
        &[
            ("Purchase", "id"),
            ("Endpoint", "endpoint"),
            ("Listing", "listing"),
            ("Outcome", "outcome"),
            ("Rail", "rail"),
            ("Price msat", "price_msat"),
            ("Fee msat", "fee_msat"),
            ("Took ms", "duration_ms"),
            ("Decision", "decision"),
        ],
    )
}

fn render(audit: &Value) -> String {
    let mut lines: Vec<String> = audit["balances_msat"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(account, msat)| format!("{:>16} msat  {account}", msat.as_i64().unwrap_or(0)))
        .collect();
    lines.push(format!(
        "{} entries, imbalance {} msat",
        audit["entries"], audit["imbalance_msat"]
    ));
    for difference in audit["differences"].as_array().into_iter().flatten() {
        lines.push(format!("! {}", difference.as_str().unwrap_or_default()));
    }
    lines.push(if audit["ok"].as_bool() == Some(true) {
        "Everything adds up.".to_owned()
    } else {
        "The books do not add up.".to_owned()
    });
    lines.join("\n")
}
