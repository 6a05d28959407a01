//! `feria fetch`: calls a URL, and pays for it if it asks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
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
    /// The HTTP method [default: POST with a body, else the one in the listing, else GET].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header to send; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse::header)]
    headers: Vec<(String, String)>,
    /// The body to send; `@FILE` reads it from a file, `@-` from standard input.
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    body: Option<String>,
    /// Write the answer to a file instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
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
        let body = self.body.map(read_body).transpose()?;
        let method = self
            .method
            .or_else(|| body.as_ref().map(|_| "POST".to_owned()));
        let headers: BTreeMap<String, String> = self.headers.into_iter().collect();
        let request = json!({
            "wallet": self.wallet,
            "url": self.url,
            "method": method,
            "headers": headers,
            "body": body.unwrap_or_default(),
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
        // Before anything is paid: an answer that was paid for must have a place to go.
        let file = self.output.as_deref().map(create).transpose()?;
        let fetched = NodeClient::open(&context.data_dir)
            .await?
            .post(&["fetch"], &request)
            .await?;
        if self.dry_run {
            output.show(&fetched, decision)?;
            return Ok(refused_unpaid(&fetched).unwrap_or(ExitCode::DryRun));
        }
        let answer = body_of(&fetched);
        match file {
            Some(mut file) => file.write_all(&answer)?,
            None if output.is_json() => {}
            None => {
                output.bytes(&answer)?;
                // A file gets the answer as it is; a person gets a line that ends.
                if !answer.ends_with(b"\n") && std::io::stdout().is_terminal() {
                    output.bytes(b"\n")?;
                }
            }
        }
        if output.is_json() {
            output.show(&fetched, |_| String::new())?;
        }
        output.note(&summary(&fetched));
        Ok(refused_unpaid(&fetched).unwrap_or(ExitCode::Ok))
    }
}

fn create(path: &Path) -> Result<File, Fault> {
    File::create(path)
        .map_err(|error| Fault::usage(format!("cannot write {}: {error}", path.display())))
}

fn read_body(text: String) -> Result<String, Fault> {
    let read = match text.strip_prefix('@') {
        None => return Ok(text),
        Some("-") => std::io::read_to_string(std::io::stdin()),
        Some(path) => std::fs::read_to_string(path),
    };
    read.map_err(|error| Fault::usage(format!("cannot read the body from {text}: {error}")))
}

/// Returns what a dry run found out.
fn decision(fetched: &Value) -> String {
    match &fetched["purchase"] {
        Value::Null => format!("The call costs nothing: HTTP {}.", fetched["status"]),
        purchase => purchase["decision"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Returns how a call ends that cost nothing because the seller did not want it.
fn refused_unpaid(fetched: &Value) -> Option<ExitCode> {
    if !fetched["purchase"].is_null() {
        return None;
    }
    match fetched["status"].as_u64()? {
        404 | 410 => Some(ExitCode::NotFound),
        401 | 403 => Some(ExitCode::Denied),
        429 => Some(ExitCode::RateLimited),
        400..=499 => Some(ExitCode::Usage),
        500.. => Some(ExitCode::Network),
        _ => None,
    }
}

fn body_of(fetched: &Value) -> Vec<u8> {
    match fetched["body"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD
            .decode(fetched["body_base64"].as_str().unwrap_or_default())
            .unwrap_or_default(),
    }
}

/// Says what the call cost; the body has standard output for itself.
fn summary(fetched: &Value) -> String {
    let status = fetched["status"].as_u64().unwrap_or_default();
    let purchase = &fetched["purchase"];
    if purchase.is_null() {
        return format!("HTTP {status}, nothing paid.");
    }
    let amount = |key: &str| Msat::new(purchase[key].as_u64().unwrap_or_default()).to_string();
    format!(
        "HTTP {status}, {} for {} and {} in fees ({}) in {} ms; purchase {}",
        purchase["outcome"].as_str().unwrap_or_default(),
        amount("price_msat"),
        amount("fee_msat"),
        purchase["rail"].as_str().unwrap_or_default(),
        purchase["duration_ms"],
        purchase["id"].as_str().unwrap_or_default(),
    )
}
