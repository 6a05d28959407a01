//! `feria approval`: purchases that wait for a person.
//!
//! Deciding takes the operator's key, which derives from the node's seed: no token
//! includes it, so that no agent agrees to its own purchase.

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::{facts, table, time};
use super::{Context, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List them, those that wait first.
    List {
        /// Only those of this agent.
        #[arg(long)]
        agent: Option<String>,
    },
    /// Let one be paid when its call comes again.
    Approve(Word),
    /// Refuse one for good.
    Deny(Word),
}

#[derive(Debug, Args)]
pub(super) struct Word {
    /// The purchase, as in the list.
    id: String,
    /// Words for the record, such as why.
    #[arg(long, default_value = "")]
    note: String,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::List { agent } => {
                let client = NodeClient::open(&context.data_dir).await?;
                let query: Vec<(&str, String)> =
                    agent.into_iter().map(|agent| ("agent", agent)).collect();
                let found = client.get(&["approvals"], &query).await?;
                output.show(&found, rows)?;
            }
            Self::Approve(word) => {
                let approval = word.send(context, "approve", output).await?;
                output.note(&format!(
                    "It is paid when its caller repeats it with the idempotency key {}, until {}.",
                    approval["idempotency_key"].as_str().unwrap_or_default(),
                    time(approval["expires_at"].as_u64().unwrap_or_default()),
                ));
            }
            Self::Deny(word) => drop(word.send(context, "deny", output).await?),
        }
        Ok(ExitCode::Ok)
    }
}

impl Word {
    async fn send(
        self,
        context: &Context,
        verb: &str,
        output: &mut Output<'_>,
    ) -> Result<Value, super::fault::Fault> {
        let client = NodeClient::open_as_operator(context).await?;
        let path = ["approvals", &self.id, verb];
        let approval = client.post(&path, &json!({"note": self.note})).await?;
        output.show(&approval, |approval| {
            facts(
                approval,
                &[
                    ("Purchase", "id"),
                    ("State", "state"),
                    ("Agent", "agent"),
                    ("Endpoint", "endpoint"),
                    ("Price msat", "price_msat"),
                    ("Rule", "rule"),
                ],
            )
        })?;
        Ok(approval)
    }
}

fn rows(found: &Value) -> String {
    let mut rows = found["items"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        let amount = |key: &str| row[key].as_u64().unwrap_or_default();
        let price = Msat::new(amount("price_msat")).to_string();
        let ends = time(amount("expires_at"));
        row["price"] = json!(price);
        row["ends"] = json!(ends);
    }
    table(
        &rows,
        &[
            ("PURCHASE", "id"),
            ("STATE", "state"),
            ("AGENT", "agent"),
            ("PRICE", "price"),
            ("ENDPOINT", "endpoint"),
            ("RULE", "rule"),
            ("ENDS AT", "ends"),
        ],
        "Nothing waits for a person. A policy draws the line: approve_above in policies/NAME.toml.",
    )
}
