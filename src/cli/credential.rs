//! `feria credential`: Lightning credentials that paid for calls of own agents.

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::table;
use super::{Context, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List credentials that were used, the newest first.
    List(List),
    /// Refuse a credential from now on; its holder is asked to pay again.
    Revoke {
        /// Its token id, as `feria credential list` shows it.
        token_id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Those of this agent alone.
    #[arg(long)]
    agent: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on where a page ended: its `next`.
    #[arg(long)]
    cursor: Option<String>,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let client = NodeClient::open(&context.data_dir).await?;
        match self {
            Self::List(list) => {
                let mut query = vec![("limit", list.limit.to_string())];
                query.extend(list.agent.map(|agent| ("agent", agent)));
                query.extend(list.cursor.map(|cursor| ("cursor", cursor)));
                let page = client.get(&["credentials"], &query).await?;
                output.show(&page, listed)?;
            }
            Self::Revoke { token_id } => {
                let revoked = client
                    .post(&["credentials", &token_id, "revoke"], &json!({}))
                    .await?;
                output.show(&revoked, |_| format!("{token_id} is refused from now on."))?;
            }
        }
        Ok(ExitCode::Ok)
    }
}

fn listed(page: &Value) -> String {
    let mut rows = page["items"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        let amount = |key: &str| row[key].as_u64().map(Msat::new);
        let left = match (row["uses_left"].as_u64(), amount("balance_left_msat")) {
            (Some(uses), _) => format!("{uses} of {} calls", row["uses_bought"]),
            (None, Some(balance)) => balance.to_string(),
            (None, None) => "any number of calls".to_owned(),
        };
        row["paid"] = json!(amount("paid_msat").unwrap_or_default().to_string());
        row["left"] = json!(left);
        row["state"] = json!(if row["revoked_at"].is_null() {
            "good"
        } else {
            "revoked"
        });
    }
    table(
        &rows,
        &[
            ("TOKEN ID", "token_id"),
            ("AGENT", "agent"),
            ("PAID", "paid"),
            ("LEFT", "left"),
            ("STATE", "state"),
        ],
        "No credential was used yet.",
    )
}
