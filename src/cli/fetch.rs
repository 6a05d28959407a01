//! `feria fetch`: calls a URL, and pays for it if it asks.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::{Context, Output, parse};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RailName {
    Auto,
    Cashu,
    Lightning,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to call.
    url: String,
    /// The wallet that pays: its id, or the name of its agent.
    #[arg(long, value_name = "WALLET")]
    wallet: String,
    /// The HTTP method [default: GET, or POST with a body].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header to send; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse::header)]
    headers: Vec<(String, String)>,
    /// The body to send.
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    body: Option<String>,
    /// The most the call may cost, fees left out, such as 50sat.
    #[arg(long, value_name = "AMOUNT")]
    max_cost: Option<Msat>,
    /// The most that fees may add.
    #[arg(long, value_name = "AMOUNT")]
    max_fee: Option<Msat>,
    /// How to pay.
    #[arg(long, value_enum, default_value = "auto")]
    rail: RailName,
    /// Send plain ecash, not locked to the seller.
    #[arg(long)]
    unlocked: bool,
    /// Stop before paying and say what would be paid.
    #[arg(long)]
    dry_run: bool,
    /// Names this purchase: the same key again never pays again.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let default_method = if self.body.is_some() { "POST" } else { "GET" };
        let headers: BTreeMap<String, String> = self.headers.into_iter().collect();
        let request = json!({
            "wallet": self.wallet,
            "url": self.url,
            "method": self.method.unwrap_or_else(|| default_method.to_owned()),
            "headers": headers,
            "body": self.body.unwrap_or_default(),
            "max_cost_msat": self.max_cost.map(Msat::as_u64),
            "max_fee_msat": self.max_fee.map(Msat::as_u64),
            "rail": match self.rail {
                RailName::Auto => "auto",
                RailName::Cashu => "cashu",
                RailName::Lightning => "lightning",
            },
            "lock": if self.unlocked { "never" } else { "auto" },
            "dry_run": self.dry_run,
            "idempotency_key": self.idempotency_key,
        });
        let fetched = NodeClient::open(&context.data_dir)?
            .post("fetch", &request)
            .await?;
        output.show(&fetched, |fetched| render(fetched, self.dry_run))?;
        Ok(if self.dry_run {
            ExitCode::DryRun
        } else {
            ExitCode::Ok
        })
    }
}

/// The body is the data; a dry run has the decision instead.
fn render(fetched: &Value, is_dry_run: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if is_dry_run {
        return match &fetched["purchase"] {
            Value::Null => "The call costs nothing.".to_owned(),
            purchase => text(&purchase["decision"]),
        };
    }
    match &fetched["body"] {
        Value::String(body) => body.clone(),
        _ => text(&fetched["body_base64"]),
    }
}
