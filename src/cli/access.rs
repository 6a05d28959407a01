//! `feria access`: tokens for the node's API.
//!
//! Both work on the node's files: issuing needs the seed, which only the operator
//! has, and inspecting needs nothing.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::json;

use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output, parse};
use crate::access::{Access, IssueRequest, Tier, inspect};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::{ACCESS_SECRET, NodeSeed};
use crate::store::ledger::Ledger;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Issue a token and print it, this once.
    Issue(Issue),
    /// Say in plain words what a token permits.
    Inspect {
        /// The token; `-` or nothing reads it from standard input.
        token: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// What it may do: `read-only`, `invoice-only`, `pay-only` or `agent-commerce`.
    #[arg(long)]
    tier: Tier,
    /// Words for you, such as who gets it.
    #[arg(long, default_value = "")]
    label: String,
    /// The only agent it acts for.
    #[arg(long)]
    agent: Option<String>,
    /// How long it is good, such as 7d [default: until revoked].
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// The most one call may cost, such as 500sat.
    #[arg(long, value_name = "AMOUNT")]
    max_amount: Option<Msat>,
    /// The only host it pays; may be repeated.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The only rail it pays on; may be repeated.
    #[arg(long = "rail", value_name = "RAIL", value_parser = ["cashu", "lightning"])]
    rails: Vec<String>,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::Issue(issue) => issue.execute(context, output).await,
            Self::Inspect { token } => show(token, output),
        }
    }
}

impl Issue {
    async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let config = context.config()?;
        let seed = NodeSeed::load(&config.seed, &config.data_dir)?;
        let ledger = Ledger::open(&config.data_dir.join("ledger.db"))?;
        let access = Access::new(
            seed.secret(ACCESS_SECRET),
            ledger,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        let expires_at = self
            .ttl
            .map(|ttl| SystemClock.now().saturating_add(ttl.as_secs()));
        let issued = access
            .issue(IssueRequest {
                tier: self.tier,
                label: self.label,
                agent: self.agent,
                expires_at,
                max_amount: self.max_amount,
                hosts: self.hosts,
                rails: self.rails,
            })
            .await
            .map_err(|error| Fault::from(anyhow::Error::new(error)))?;
        let document = json!({
            "id": issued.id,
            "tier": self.tier,
            "expires_at": expires_at,
            "token": issued.text,
        });
        output.show(&document, |_| issued.text.clone())?;
        output.note(
            "Shown this once. What it permits, in words: feria access inspect TOKEN\n\
             To use it: Authorization: Bearer TOKEN",
        );
        Ok(ExitCode::Ok)
    }
}

fn show(token: Option<String>, output: &mut Output<'_>) -> Outcome {
    let token = match token.filter(|token| token != "-") {
        Some(token) => token,
        None => std::io::read_to_string(std::io::stdin())?,
    };
    let found = inspect(&token).map_err(|error| {
        Fault::usage(format!("cannot {error}"))
            .next("copy the token again, as a whole; `feria access issue` prints one")
    })?;
    let document = json!({
        "id": found.id,
        "tier": found.tier,
        "allowed": found.allowed,
        "agent": found.agent,
        "expires_at": found.expires_at,
        "max_amount_msat": found.max_amount.map(Msat::as_u64),
        "sentences": found.sentences,
        "unknown": found.unknown,
    });
    output.show(&document, |_| {
        let allowed: Vec<&str> = found.allowed.iter().map(|one| one.as_str()).collect();
        let mut lines = vec![format!("Token {}", found.id)];
        lines.push(format!("Permits: {}", allowed.join(", ")));
        lines.extend(found.sentences.iter().map(|line| format!("- {line}")));
        lines.extend(
            found
                .unknown
                .iter()
                .map(|line| format!("- unknown, so the node refuses it: {line}")),
        );
        lines.join("\n")
    })?;
    Ok(ExitCode::Ok)
}
