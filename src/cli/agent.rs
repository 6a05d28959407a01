//! `feria agent`: what this node sells.

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::table;
use super::{Context, Output};
use crate::config::AgentConfig;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put a price on an HTTP service.
    Add(Add),
    /// List own agents.
    List,
    /// Have the running node read the agents' files again.
    Reload,
    /// Publish the listing of an agent now.
    Publish {
        /// The agent.
        name: String,
    },
    /// Say what keeps an agent's listing from being seen.
    Check {
        /// The agent.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its name: a-z, 0-9, - and _.
    name: String,
    /// Where calls are forwarded to.
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// What one payment costs, such as 21sat.
    #[arg(long, value_name = "AMOUNT")]
    price: Msat,
    /// What it does, in a sentence.
    #[arg(long, default_value = "")]
    summary: String,
    /// The capability sold, one word.
    #[arg(long)]
    capability: Option<String>,
    /// The HTTP method of the priced call.
    #[arg(long)]
    method: Option<String>,
    /// The path of the priced call.
    #[arg(long)]
    path: Option<String>,
    /// Words to be found by; may be repeated.
    #[arg(long = "topic", value_name = "WORD")]
    topics: Vec<String>,
    /// How it may be paid; may be repeated [default: both].
    #[arg(long = "rail", value_name = "RAIL", value_parser = ["l402", "nut24"])]
    rails: Vec<String>,
    /// Calls that one Lightning payment buys; 0 is any number within an hour, or the
    /// file's `valid_secs`.
    #[arg(long)]
    uses: Option<u32>,
    /// Replace an agent of this name.
    #[arg(long)]
    force: bool,
}

/// What a seller hears who could not be paid by anyone.
const NO_WAY_TO_BE_PAID: &str = "This node trusts no mint and has no Lightning, so nobody can pay \
it yet: feria mint add URL --cap 10000sat, and for Lightning without a node a backend of \
kind \"mint\" in feria.toml";

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::Add(add) => add.execute(context, output).await,
            Self::List => list(context, output).await,
            Self::Reload => reload(context, output).await,
            Self::Publish { name } => {
                let client = NodeClient::open(&context.data_dir).await?;
                let report = client
                    .post(&["agents", &name, "publish"], &json!({}))
                    .await?;
                output.show(&report, published)?;
                if reached_a_relay(&report) {
                    output.note(&format!("Next: feria agent check {name}"));
                    Ok(ExitCode::Ok)
                } else {
                    Err(Fault::new("no_relay_took_it", "no relay took the listing")
                        .next(format!("see why, relay by relay: feria agent check {name}")))
                }
            }
            Self::Check { name } => {
                let client = NodeClient::open(&context.data_dir).await?;
                let report = client.get(&["agents", &name, "check"], &[]).await?;
                output.show(&report, checked)?;
                Ok(if report["ok"].as_bool() == Some(true) {
                    ExitCode::Ok
                } else {
                    ExitCode::General
                })
            }
        }
    }
}

impl Add {
    async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let config = context.config()?;
        let is_forced = self.force;
        let agent = self.agent();
        agent
            .check()
            .map_err(|(key, reason)| Fault::usage(format!("the agent's {key}: {reason}")))?;
        let path = AgentConfig::file(&context.data_dir, &agent.name);
        if path.exists() && !is_forced {
            return Err(Fault::usage(format!("{} exists", path.display()))
                .next("edit that file, or replace it with --force"));
        }
        agent.save(&context.data_dir)?;
        let client = NodeClient::find(&context.data_dir).await?;
        if let Some(client) = &client {
            client.post(&["agents", "reload"], &json!({})).await?;
        }
        let report = json!({"agent": agent, "file": path, "is_live": client.is_some()});
        output.show(&report, |_| {
            format!("Wrote {}: {} a call.", path.display(), agent.price)
        })?;
        if config.mints.is_empty() && config.lightning.backends.is_empty() {
            output.note(NO_WAY_TO_BE_PAID);
        }
        output.note(&if client.is_some() {
            format!(
                "Next: feria agent publish {0} && feria agent check {0}",
                agent.name
            )
        } else {
            "Next: feria up".to_owned()
        });
        Ok(ExitCode::Ok)
    }

    fn agent(self) -> AgentConfig {
        let defaults = AgentConfig::new(&self.name, &self.upstream, self.price);
        AgentConfig {
            summary: self.summary,
            capability: self.capability.unwrap_or(defaults.capability),
            method: self.method.unwrap_or(defaults.method),
            path: self.path.unwrap_or(defaults.path),
            topics: self.topics,
            rails: if self.rails.is_empty() {
                defaults.rails
            } else {
                self.rails
            },
            uses: self.uses.unwrap_or(defaults.uses),
            ..AgentConfig::new(&self.name, &self.upstream, self.price)
        }
    }
}

async fn list(context: &Context, output: &mut Output<'_>) -> Outcome {
    let listed = if let Some(client) = NodeClient::find(&context.data_dir).await? {
        client.get(&["agents"], &[]).await?
    } else {
        context.config()?;
        let agents: Vec<Value> = AgentConfig::load_all(&context.data_dir)?
            .into_iter()
            .map(|agent| {
                json!({
                    "name": agent.name,
                    "summary": agent.summary,
                    "price_msat": agent.price.as_u64(),
                    "rails": agent.rails,
                    "method": agent.method,
                    "url": null,
                    "upstream": agent.upstream,
                })
            })
            .collect();
        json!({"items": agents})
    };
    output.show(&listed, |listed| {
        let mut rows = listed["items"].clone();
        for row in rows.as_array_mut().into_iter().flatten() {
            row["price"] =
                json!(Msat::new(row["price_msat"].as_u64().unwrap_or_default()).to_string());
        }
        table(
            &rows,
            &[
                ("NAME", "name"),
                ("PRICE", "price"),
                ("RAILS", "rails"),
                ("UPSTREAM", "upstream"),
                ("SUMMARY", "summary"),
            ],
            "No agents. Add one: feria agent add NAME --upstream URL --price 21sat",
        )
    })?;
    Ok(ExitCode::Ok)
}

async fn reload(context: &Context, output: &mut Output<'_>) -> Outcome {
    let client = NodeClient::open(&context.data_dir).await?;
    let report = client.post(&["agents", "reload"], &json!({})).await?;
    let changed: Vec<&str> = report["changed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    output.show(&report, |report| {
        let count = report["items"].as_array().map_or(0, Vec::len);
        let changed = match changed.as_slice() {
            [] => "none has changed".to_owned(),
            names => format!("changed: {}", names.join(", ")),
        };
        format!("Agents on sale: {count}; {changed}.")
    })?;
    for name in &changed {
        output.note(&format!("Next: feria agent publish {name}"));
    }
    Ok(ExitCode::Ok)
}

/// A listing that is nowhere is no success.
fn reached_a_relay(report: &Value) -> bool {
    let mut relays = report["events"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|event| event["relays"].as_array().into_iter().flatten());
    relays.any(|relay| relay["accepted"].as_bool() == Some(true))
}

fn published(report: &Value) -> String {
    let mut rows = Vec::new();
    for event in report["events"].as_array().into_iter().flatten() {
        for relay in event["relays"].as_array().into_iter().flatten() {
            rows.push(json!({
                "kind": event["kind"],
                "relay": relay["relay"],
                "accepted": relay["accepted"],
                "message": relay["message"],
            }));
        }
    }
    table(
        &Value::Array(rows),
        &[
            ("KIND", "kind"),
            ("RELAY", "relay"),
            ("ACCEPTED", "accepted"),
            ("MESSAGE", "message"),
        ],
        "Nothing was published.",
    )
}

fn checked(report: &Value) -> String {
    let relays = table(
        &report["relays"],
        &[
            ("RELAY", "relay"),
            ("LISTING", "state"),
            ("CLASSIFIED", "has_classified"),
            ("MESSAGE", "message"),
        ],
        "No relay is written to.",
    );
    let clients = table(
        &report["clients"],
        &[
            ("CLIENT", "client"),
            ("SHOWS IT", "accepts"),
            ("MISSES", "faults"),
        ],
        "",
    );
    let verdict = match report["fix"].as_str() {
        Some(fix) => format!("Fix first: {fix}"),
        None => "Nothing is wrong: others can find it and its price is what the endpoint asks."
            .to_owned(),
    };
    let parts = [relays, clients, verdict];
    let shown: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    shown.join("\n\n")
}
