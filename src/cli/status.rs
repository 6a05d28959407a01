//! `feria status`: how the running node is doing, and what it still lacks.

use clap::Args;
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::{facts, table};
use super::{Context, Output};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print nothing: the exit code says whether the node answers.
    #[arg(short, long)]
    quiet: bool,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let asked = match NodeClient::open(&context.data_dir).await {
            Ok(client) => client.get(&["status"], &[]).await,
            Err(fault) => Err(fault),
        };
        match asked {
            Err(fault) if self.quiet => Ok(fault.exit()),
            Err(fault) => Err(fault),
            Ok(_) if self.quiet => Ok(ExitCode::Ok),
            Ok(status) => {
                output.show(&status, render)?;
                for line in lacking(&status) {
                    output.note(&line);
                }
                Ok(ExitCode::Ok)
            }
        }
    }
}

fn render(status: &Value) -> String {
    let relays = status["relays"].as_array().map_or(&[][..], Vec::as_slice);
    let connected = relays.iter().filter(|relay| is_connected(relay)).count();
    let signed = |key: &str| {
        let msat = status[key].as_i64().unwrap_or_default();
        let sign = if msat < 0 { "-" } else { "" };
        format!("{sign}{}", Msat::new(msat.unsigned_abs()))
    };
    let overview = json!({
        "version": status["version"],
        "network": status["network"],
        "market": status["public_url"],
        "agents": status["agents"],
        "listings": status["listings_indexed"],
        "relays": format!("{connected} of {} connected", relays.len()),
        "lightning": lightning(&status["lightning"]),
        "money": format!(
            "held {}, earned {}, spent {}, fees {}, owed {}",
            signed("held_msat"),
            signed("earned_msat"),
            signed("spent_msat"),
            signed("fees_msat"),
            signed("owed_msat"),
        ),
        "books": match status["imbalance_msat"].as_i64() {
            Some(0) => "add up".to_owned(),
            off => format!("off by {} msat: feria ledger audit", off.unwrap_or_default()),
        },
    });
    let overview = facts(
        &overview,
        &[
            ("Version", "version"),
            ("Network", "network"),
            ("Market", "market"),
            ("Own agents", "agents"),
            ("Listings known", "listings"),
            ("Relays", "relays"),
            ("Lightning", "lightning"),
            ("Money", "money"),
            ("Books", "books"),
        ],
    );
    let relays = table(
        &status["relays"],
        &[
            ("RELAY", "url"),
            ("STATE", "state"),
            ("EVENTS", "events"),
            ("LAST ERROR", "last_error"),
        ],
        "",
    );
    let lightning = table(
        &status["lightning"],
        &[
            ("LIGHTNING", "name"),
            ("UP", "is_up"),
            ("RECEIVES", "receives"),
            ("PAYS", "pays"),
            ("AWAY SINCE", "away_since"),
            ("LAST ERROR", "last_error"),
        ],
        "",
    );
    let mints = table(
        &status["mints"],
        &[("MINT", "url"), ("CAP SAT", "cap_sat")],
        "",
    );
    [overview, relays, lightning, mints]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Names the backends, those that are away as such.
fn lightning(backends: &Value) -> String {
    let backends = backends.as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = backends
        .iter()
        .map(|backend| {
            let name = backend["name"].as_str().unwrap_or_default();
            match backend["is_up"].as_bool() {
                Some(false) => format!("{name} (away)"),
                _ => name.to_owned(),
            }
        })
        .collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn is_connected(relay: &Value) -> bool {
    relay["state"].as_str() == Some("connected")
}

/// What keeps the node from selling, paying or finding, and what to do.
fn lacking(status: &Value) -> Vec<String> {
    let is_empty = |key: &str| status[key].as_array().is_none_or(Vec::is_empty);
    let mut lines = Vec::new();
    if is_empty("mints") {
        lines.push(super::mint::NONE_TRUSTED.to_owned());
    }
    if is_empty("relays") {
        lines.push(
            "No relay is configured, so nothing is found: add one to relays.toml.".to_owned(),
        );
    }
    lines
}
