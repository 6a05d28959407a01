//! `feria budget`: what agents may still spend, and what another policy would have done.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::table;
use super::{Context, Output, parse};
use crate::config::PolicyConfig;

/// The largest policy file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show each limit and what is used of it; without a wallet, of all that are open.
    Show {
        /// A wallet's id, the name of its agent, or `treasury`.
        wallet: Option<String>,
    },
    /// Replay past purchases under another policy and say what it would have refused.
    Simulate(Simulate),
    /// Read policies/*.toml again.
    Reload,
}

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// The file of the policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Only the purchases of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only those of this long, such as 7d [default: all].
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    last: Option<Duration>,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::Show { wallet } => {
                let client = NodeClient::open(&context.data_dir).await?;
                let query: Vec<(&str, String)> =
                    wallet.into_iter().map(|name| ("wallet", name)).collect();
                let found = client.get(&["budget"], &query).await?;
                output.show(&found, standings)?;
            }
            Self::Simulate(simulate) => simulate.execute(context, output).await?,
            Self::Reload => {
                let client = NodeClient::open_as_operator(context).await?;
                let report = client.post(&["budget", "reload"], &json!({})).await?;
                output.show(&report, |report| {
                    let names: Vec<&str> = strings(&report["policies"]).collect();
                    match names.as_slice() {
                        [] => "No policies: only wallets' own limits and [spend] count.".to_owned(),
                        names => format!("Policies that count: {}.", names.join(", ")),
                    }
                })?;
            }
        }
        Ok(ExitCode::Ok)
    }
}

impl Simulate {
    async fn execute(self, context: &Context, output: &mut Output<'_>) -> Result<(), Fault> {
        // Here first, so that a fault in it names the file.
        PolicyConfig::load(&self.policy)?;
        let size = std::fs::metadata(&self.policy)?.len();
        if size > MAX_FILE_BYTES {
            return Err(Fault::usage(format!(
                "{} is larger than {MAX_FILE_BYTES} bytes",
                self.policy.display()
            )));
        }
        let request = json!({
            "policy": std::fs::read_to_string(&self.policy)?,
            "agent": self.agent,
            "last_secs": self.last.map(|last| last.as_secs()),
        });
        let client = NodeClient::open(&context.data_dir).await?;
        let simulated = client.post(&["budget", "simulate"], &request).await?;
        output.show(&simulated, summary)
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn figure(value: &Value, unit: &Value) -> Value {
    match (value.as_u64(), unit.as_str()) {
        (Some(value), Some("msat")) => json!(Msat::new(value).to_string()),
        (Some(value), _) => json!(format!("{value} calls")),
        _ => Value::Null,
    }
}

fn standings(found: &Value) -> String {
    let mut rows = Vec::new();
    for standing in found["items"].as_array().into_iter().flatten() {
        for limit in standing["limits"].as_array().into_iter().flatten() {
            let left = limit["limit"]
                .as_u64()
                .zip(limit["used"].as_u64())
                .map(|(limit, used)| limit.saturating_sub(used));
            rows.push(json!({
                "agent": standing["agent"],
                "policy": standing["policy"],
                "rule": limit["rule"],
                "limit": figure(&limit["limit"], &limit["unit"]),
                "used": figure(&limit["used"], &limit["unit"]),
                "left": figure(&json!(left), &limit["unit"]),
            }));
        }
    }
    table(
        &Value::Array(rows),
        &[
            ("AGENT", "agent"),
            ("POLICY", "policy"),
            ("LIMIT", "rule"),
            ("MOST", "limit"),
            ("USED", "used"),
            ("LEFT", "left"),
        ],
        "No wallet is open and no policy counts. Write one: policies/default.toml",
    )
}

fn summary(simulated: &Value) -> String {
    let amount = |key: &str| Msat::new(simulated[key].as_u64().unwrap_or_default());
    let mut lines = vec![format!(
        "Of {} purchases for {} it would have refused {} for {}, and held {} for a person.",
        simulated["purchases"],
        amount("spent_msat"),
        simulated["refused"],
        amount("refused_msat"),
        simulated["held"],
    )];
    for (rule, count) in simulated["by_rule"].as_object().into_iter().flatten() {
        lines.push(format!("{count:>6}  {rule}"));
    }
    let calls = table(
        &simulated["calls"],
        &[
            ("PURCHASE", "id"),
            ("AGENT", "agent"),
            ("WOULD BE", "verdict"),
            ("RULE", "rule"),
            ("WHY", "reason"),
            ("ENDPOINT", "endpoint"),
        ],
        "",
    );
    if !calls.is_empty() {
        lines.push(String::new());
        lines.push(calls);
    }
    lines.join("\n")
}
