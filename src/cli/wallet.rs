//! `feria wallet`: wallets of own agents.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::{facts, table, time};
use super::{Context, Output, parse};
use crate::wallet::AuditLog;

/// The largest log that is read from a file, in bytes.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;

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
    Audit(Audit),
    /// Let a wallet neither pay nor be funded; what comes home still does.
    Freeze {
        /// A wallet's id, or the name of its agent.
        wallet: String,
    },
    /// End a freeze.
    Thaw {
        /// A wallet's id, or the name of its agent.
        wallet: String,
    },
    /// Sweep what it holds into the treasury and leave it open.
    Sweep {
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
pub(super) struct Audit {
    /// A wallet's id, or the name of its agent.
    #[arg(required_unless_present = "file")]
    wallet: Option<String>,
    /// Check a log that was exported with --json instead; needs no node.
    #[arg(long, value_name = "FILE", conflicts_with = "wallet")]
    file: Option<PathBuf>,
    /// The hash that the last entry must have: an end that was cut off shows only so.
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
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
        if let Self::Audit(audit) = self {
            return audit.execute(context, output).await;
        }
        let client = NodeClient::open(&context.data_dir).await?;
        match self {
            Self::Audit(_) => {}
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
            Self::Freeze { wallet } => freeze(&client, &wallet, true, output).await?,
            Self::Thaw { wallet } => freeze(&client, &wallet, false, output).await?,
            Self::Sweep { wallet } => empty(&client, &wallet, "sweep", output).await?,
            Self::Close { wallet } => empty(&client, &wallet, "close", output).await?,
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

async fn freeze(
    client: &NodeClient,
    wallet: &str,
    frozen: bool,
    output: &mut Output<'_>,
) -> Result<(), Fault> {
    let path = ["wallets", wallet, "freeze"];
    let wallet = client.post(&path, &json!({"frozen": frozen})).await?;
    output.show(&wallet, |wallet| rows(&json!([wallet]), ""))
}

async fn empty(
    client: &NodeClient,
    wallet: &str,
    verb: &str,
    output: &mut Output<'_>,
) -> Result<(), Fault> {
    let swept = client.post(&["wallets", wallet, verb], &json!({})).await?;
    output.show(&swept, |swept| {
        facts(swept, &[("Swept sat", "swept_sat"), ("Fee sat", "fee_sat")])
    })
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

impl Audit {
    async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let mut log = match (&self.file, &self.wallet) {
            (Some(file), _) => read_log(file)?,
            (None, wallet) => {
                let client = NodeClient::open(&context.data_dir).await?;
                let wallet = wallet.as_deref().unwrap_or_default();
                let log = client.get(&["wallets", wallet, "audit"], &[]).await?;
                serde_json::from_value(log).map_err(|error| Fault::usage(error.to_string()))?
            }
        };
        // Computed here, too: what a file says of itself proves nothing.
        log.fault = log.check().or_else(|| {
            let last = log.entries.last().map_or("", |entry| &entry.hash);
            let is_expected = self.head.as_ref().is_none_or(|head| head == last);
            (!is_expected).then(|| "the end was cut off: the last hash is another".to_owned())
        });
        log.ok = log.fault.is_none();
        let document = serde_json::to_value(&log).unwrap_or_default();
        output.show(&document, |log| {
            format!("{}\n\n{}", entries(log), verdict(log))
        })?;
        if log.ok {
            return Ok(ExitCode::Ok);
        }
        Err(Fault::new("general", verdict(&document)))
    }
}

fn read_log(file: &Path) -> Result<AuditLog, Fault> {
    let unfit = |reason: String| Fault::usage(format!("{}: {reason}", file.display()));
    let size = std::fs::metadata(file)
        .map_err(|error| unfit(error.to_string()))?
        .len();
    if size > MAX_LOG_BYTES {
        return Err(unfit(format!("larger than {MAX_LOG_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unfit(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        unfit(format!("no exported log ({error})"))
            .next("export one: feria wallet audit NAME --json")
    })
}

fn entries(log: &Value) -> String {
    let mut rows = log["entries"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["at"] = row["at"].as_u64().map_or(Value::Null, |at| json!(time(at)));
    }
    table(
        &rows,
        &[
            ("SEQ", "seq"),
            ("AT", "at"),
            ("KIND", "kind"),
            ("MSAT", "amount_msat"),
            ("REFERENCE", "reference"),
        ],
        "The log is empty.",
    )
}

fn verdict(log: &Value) -> String {
    match log["fault"].as_str() {
        Some(fault) => format!("The chain is broken: {fault}"),
        None => {
            let last = log["entries"].as_array().and_then(|entries| entries.last());
            let head = last.and_then(|entry| entry["hash"].as_str()).unwrap_or("-");
            format!("The chain is whole. Its last hash: {head}")
        }
    }
}
