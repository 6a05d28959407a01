//! `feria fetch`: calls a URL, and pays for it if it asks.
//!
//! The body goes out as it comes, so an event stream or a large file takes no
//! memory; with `--json` it is part of one document instead.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::call::Call;
use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output};
use crate::spend::Reply;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    call: Call,
    /// Write the answer to a file instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on with a file that has the beginning of the answer.
    #[arg(short = 'c', long = "continue", requires = "output")]
    is_continued: bool,
    /// Stop before paying and say what would be paid.
    #[arg(long, conflicts_with = "no_pay")]
    dry_run: bool,
    /// Pay nothing: show what the endpoint answers.
    #[arg(long)]
    no_pay: bool,
    /// Names this purchase: the same key again never pays again.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Go on with a purchase that was paid and not answered; the call must be the same.
    #[arg(long, value_name = "ID", conflicts_with_all = ["idempotency_key", "dry_run", "no_pay"])]
    resume: Option<String>,
}

/// Where the answer goes.
struct Sink {
    file: File,
    /// What of the answer it has.
    begun: u64,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        // Before anything is paid: an answer that was paid for must have a place to go.
        let sink = match &self.output {
            Some(path) => Some(Sink::open(path, self.is_continued)?),
            None => None,
        };
        let range = sink
            .as_ref()
            .filter(|sink| sink.begun > 0)
            .map(|sink| format!("bytes={}-", sink.begun));
        let more: Vec<_> = range
            .iter()
            .map(|range| ("range", range.as_str()))
            .collect();
        let mut request = self.call.to_json(&more)?;
        request["dry_run"] = json!(self.dry_run);
        request["no_pay"] = json!(self.no_pay);
        request["idempotency_key"] = json!(self.idempotency_key);
        request["resume"] = json!(self.resume);
        let client = NodeClient::open(&context.data_dir).await?;
        if self.dry_run {
            let fetched = client.post(&["fetch"], &request).await?;
            output.show(&fetched, decision)?;
            return Ok(refused_unpaid(&fetched).unwrap_or(ExitCode::DryRun));
        }
        if output.is_json() && sink.is_none() {
            let fetched = client.post(&["fetch"], &request).await?;
            output.show(&fetched, |_| String::new())?;
            return Ok(self.end(&fetched));
        }
        let mut answer = client.stream(request).await?;
        match sink {
            Some(sink) => sink.write(&mut answer).await?,
            None => print(&mut answer, output).await?,
        }
        let mut fetched = json!({ "status": answer.status, "purchase": answer.purchase });
        if let Some(id) = fetched["purchase"]["id"].as_str().map(str::to_owned) {
            // What it cost, and that it was delivered, is known at its end.
            fetched["purchase"] = client.get(&["purchases", &id], &[]).await?["purchase"].take();
        }
        if output.is_json() {
            output.show(&fetched, |_| String::new())?;
        }
        output.note(&summary(&fetched));
        Ok(self.end(&fetched))
    }

    /// A 402 is what was asked for when nothing is to be paid.
    fn end(&self, fetched: &Value) -> ExitCode {
        if self.no_pay && fetched["status"] == 402 {
            return ExitCode::Ok;
        }
        refused_unpaid(fetched).unwrap_or(ExitCode::Ok)
    }
}

impl Sink {
    fn open(path: &Path, is_continued: bool) -> Result<Self, Fault> {
        let cannot = |error| Fault::usage(format!("cannot write {}: {error}", path.display()));
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(cannot)?;
        let begun = if is_continued {
            file.metadata().map_err(cannot)?.len()
        } else {
            0
        };
        Ok(Self { file, begun })
    }

    /// Writes the answer: after what is there if it is the rest of it, else in its place.
    async fn write(mut self, answer: &mut Reply) -> Result<(), Fault> {
        match answer.status {
            // There is no more than the file has.
            416 if self.begun > 0 => return Ok(()),
            206 if self.begun > 0 => {}
            _ => self.file.set_len(0)?,
        }
        while let Some(part) = answer.chunk().await? {
            self.file.write_all(&part)?;
        }
        Ok(self.file.sync_all()?)
    }
}

/// Writes the answer to standard output.
async fn print(answer: &mut Reply, output: &mut Output<'_>) -> Result<(), Fault> {
    let mut is_line_ended = true;
    while let Some(part) = answer.chunk().await? {
        is_line_ended = part.ends_with(b"\n");
        output.bytes(&part)?;
    }
    // A file gets the answer as it is; a person gets a line that ends.
    if !is_line_ended && std::io::stdout().is_terminal() {
        output.bytes(b"\n")?;
    }
    Ok(())
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
        416 => None,
        404 | 410 => Some(ExitCode::NotFound),
        401 | 403 => Some(ExitCode::Denied),
        429 => Some(ExitCode::RateLimited),
        400..=499 => Some(ExitCode::Usage),
        500.. => Some(ExitCode::Network),
        _ => None,
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
