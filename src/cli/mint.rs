//! `feria mint`: the mints this node trusts with money.
//!
//! Both work on `feria.toml`; a running node reads it at its next start.

use clap::Subcommand;
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::{table, time};
use super::{Context, Output, parse};
use crate::config::MintEntry;

/// What an owner hears whose node trusts no mint.
pub(super) const NONE_TRUSTED: &str = "No mint is trusted, so this node cannot pay or take ecash: \
feria mint add URL --cap 10000sat";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trust a mint with at most this much: a mint can vanish with what it holds.
    Add {
        /// Its URL.
        url: String,
        /// The most it may hold for this node.
        #[arg(long, value_name = "AMOUNT", default_value = "10000sat", value_parser = parse::sat)]
        cap: Sat,
    },
    /// List the mints that are trusted; a running node says how they are doing.
    List,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::Add { url, cap } => {
                let mint = MintEntry { url, cap };
                let file = mint.trust(&context.data_dir, &context.environment)?;
                let is_running = NodeClient::find(&context.data_dir).await?.is_some();
                let report = json!({
                    "mint": mint.url,
                    "cap_sat": cap.as_u64(),
                    "file": file,
                    "needs_restart": is_running,
                });
                output.show(&report, |_| {
                    format!(
                        "Wrote {}: {} may hold up to {cap}.",
                        file.display(),
                        mint.url
                    )
                })?;
                output.note(if is_running {
                    "Restart the node: it reads its mints at start."
                } else {
                    "Next: feria up"
                });
                output.note("Then pay some ecash in: feria wallet fund treasury --amount 1000sat");
            }
            Self::List => {
                if let Some(client) = NodeClient::find(&context.data_dir).await? {
                    let found = client.get(&["mints"], &[]).await?;
                    output.show(&found, doing)?;
                    return Ok(ExitCode::Ok);
                }
                let mints: Vec<Value> = context
                    .config()?
                    .mints
                    .iter()
                    .map(|mint| json!({"url": mint.url, "cap_sat": mint.cap.as_u64()}))
                    .collect();
                output.show(&json!({"items": mints}), |mints| {
                    table(
                        &mints["items"],
                        &[("MINT", "url"), ("CAP SAT", "cap_sat")],
                        NONE_TRUSTED,
                    )
                })?;
            }
        }
        Ok(ExitCode::Ok)
    }
}

/// Renders mints with what the node has seen of them.
fn doing(found: &Value) -> String {
    let mut rows = found["items"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        let health = row["health"].clone();
        for key in [
            "requests",
            "failures",
            "median_ms",
            "p90_ms",
            "missing_nuts",
        ] {
            row[key] = health[key].clone();
        }
        let ends = health["keyset_expires_at"].as_u64().map(time);
        row["keys_end"] = json!(ends);
    }
    table(
        &rows,
        &[
            ("MINT", "url"),
            ("HELD SAT", "held_sat"),
            ("CAP SAT", "cap_sat"),
            ("REQUESTS", "requests"),
            ("FAILED", "failures"),
            ("MEDIAN MS", "median_ms"),
            ("P90 MS", "p90_ms"),
            ("KEYS END", "keys_end"),
            ("LACKS NUT", "missing_nuts"),
        ],
        NONE_TRUSTED,
    )
}
