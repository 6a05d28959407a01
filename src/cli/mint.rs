//! `feria mint`: the mints this node trusts with money.
//!
//! Both work on `feria.toml`; a running node reads it at its next start.

use clap::Subcommand;
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::table;
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
    /// List the mints that are trusted.
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
