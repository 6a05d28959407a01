//! `feria wallet`: wallets of own agents.

use std::time::Duration;

use clap::{Args, Subcommand};
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::{facts, table, time};
use super::{Context, Output, parse};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Give an agent a wallet with a limit and an end.
    Create(Create),
    /// Show what is held; without a wallet, all of them and the treasury.
    Balance {
        /// A wallet's id, or the name of its agent.
        wallet: Option<String>,
    },
    /// Show a wallet's log and check its chain.
    Audit {
        /// A wallet's id, or the name of its agent.
        wallet: String,
    },
    /// Sweep the rest into the treasury and close.
    Close {
        /// A wallet's id, or the name of its agent.
        wallet: String,
    },
    /// Move ecash in from the treasury; `treasury` itself gets an invoice to pay.
    Fund(Fund),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The agent it is for: a-z, 0-9, - and _. The wallet is called by this name.
    name: String,
    /// The most it may hold.
    #[arg(long, value_name = "AMOUNT", default_value = "10000sat", value_parser = parse::sat)]
    limit: Sat,
    /// How long it lives, such as 1h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse::duration)]
    ttl: Duration,
    /// The mint that holds it [default: where the treasury holds most].
    #[arg(long, value_name = "URL")]
    mint: Option<String>,
    /// Move this in from the treasury at once.
    #[arg(long, value_name = "AMOUNT", value_parser = parse::sat)]
    fund: Option<Sat>,
}

#[derive(Debug, Args)]
pub(super) struct Fund {
    /// A wallet's id, the name of its agent, or `treasury`.
    wallet: String,
    /// How much.
    #[arg(long, value_name = "AMOUNT", required_unless_present = "quote", value_parser = parse::sat)]
    amount: Option<Sat>,
    /// Take what was paid on the invoice of an earlier call.
    #[arg(long, value_name = "ID")]
    quote: Option<String>,
}

const COLUMNS: &[(&str, &str)] = &[
    ("AGENT", "agent"),
    ("STATE", "state"),
    ("BALANCE SAT", "balance_sat"),
    ("LIMIT SAT", "limit_sat"),
    ("ENDS AT", "expires_at"),
    ("WALLET", "id"),
];

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let client = NodeClient::open(&context.data_dir).await?;
        match self {
            Self::Create(create) => {
                let request = json!({
                    "agent": create.name,
                    "limit_sat": create.limit.as_u64(),
                    "ttl_secs": create.ttl.as_secs(),
                    "mint": create.mint,
                    "fund_sat": create.fund.map(Sat::as_u64),
                });
                let wallet = client.post(&["wallets"], &request).await?;
                output.show(&wallet, |wallet| rows(&json!([wallet]), ""))?;
                if create.fund.is_none() {
                    output.note(&format!(
                        "Next: feria wallet fund {0} --amount 100sat (from the treasury), then \
                         feria fetch --wallet {0} URL",
                        create.name
                    ));
                }
            }
            Self::Balance { wallet: Some(id) } => {
                let wallet = client.get(&["wallets", &id], &[]).await?;
                output.show(&wallet, |wallet| rows(&json!([wallet]), ""))?;
            }
            Self::Balance { wallet: None } => {
                let wallets = client.get(&["wallets"], &[]).await?;
                output.show(&wallets, all)?;
            }
            Self::Audit { wallet } => return audit(&client, &wallet, output).await,
            Self::Close { wallet } => {
                let swept = client
                    .post(&["wallets", &wallet, "close"], &json!({}))
                    .await?;
                output.show(&swept, |swept| {
                    facts(swept, &[("Swept sat", "swept_sat"), ("Fee sat", "fee_sat")])
                })?;
            }
            Self::Fund(fund) => {
                let request = json!({
                    "amount_sat": fund.amount.map(Sat::as_u64),
                    "quote_id": fund.quote,
                });
                let answer = client
                    .post(&["wallets", &fund.wallet, "fund"], &request)
                    .await?;
                output.show(&answer, funded)?;
            }
        }
        Ok(ExitCode::Ok)
    }
}

fn rows(wallets: &Value, empty: &str) -> String {
    let mut rows = wallets.clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["expires_at"] = row["expires_at"]
            .as_u64()
            .map_or(Value::Null, |at| json!(time(at)));
    }
    table(&rows, COLUMNS, empty)
}

fn all(wallets: &Value) -> String {
    let agents = rows(
        &wallets["items"],
        "No agent has a wallet. Give one: feria wallet create NAME --limit 500sat --ttl 1h",
    );
    let holdings = table(
        &wallets["holdings"],
        &[
            ("HELD BY", "wallet"),
            ("MINT", "mint"),
            ("BALANCE SAT", "balance_sat"),
        ],
        "No ecash is held. Pay some in: feria wallet fund treasury --amount 1000sat",
    );
    format!("{agents}\n\n{holdings}")
}

fn funded(answer: &Value) -> String {
    match answer["invoice"].as_str() {
        Some(invoice) => format!(
            "Pay this invoice, then: feria wallet fund treasury --quote {}\n{invoice}",
            answer["quote_id"].as_str().unwrap_or_default()
        ),
        None => facts(
            answer,
            &[("Amount sat", "amount_sat"), ("Fee sat", "fee_sat")],
        ),
    }
}

async fn audit(client: &NodeClient, wallet: &str, output: &mut Output<'_>) -> Outcome {
    let log = client.get(&["wallets", wallet, "audit"], &[]).await?;
    output.show(&log, |log| {
        let mut rows = log["entries"].clone();
        for row in rows.as_array_mut().into_iter().flatten() {
            row["at"] = row["at"].as_u64().map_or(Value::Null, |at| json!(time(at)));
        }
        let entries = table(
            &rows,
            &[
                ("SEQ", "seq"),
                ("AT", "at"),
                ("KIND", "kind"),
                ("MSAT", "amount_msat"),
                ("REFERENCE", "reference"),
            ],
            "The log is empty.",
        );
        format!("{entries}\n\n{}", verdict(log))
    })?;
    if log["ok"].as_bool() == Some(true) {
        Ok(ExitCode::Ok)
    } else {
        Err(Fault::new("general", verdict(&log)))
    }
}

fn verdict(log: &Value) -> String {
    match log["fault"].as_str() {
        Some(fault) => format!("The chain is broken: {fault}"),
        None => "The chain is whole.".to_owned(),
    }
}
