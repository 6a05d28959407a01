//! `feria access`: tokens for the node's API.
//!
//! All of them work on the node's files or on none: issuing, listing and revoking
//! need the ledger, which only the operator has; inspecting and narrowing need
//! nothing but the token, so its holder can do both on another machine.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::{table, time};
use super::{Context, Output, parse};
use crate::access::{
    Access, IssueRequest, Restriction, Tier, TokenTextError, Window, attenuate, inspect,
};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::{ACCESS_SECRET, NodeSeed};
use crate::store::ledger::Ledger;

/// The most tokens that are listed.
const MAX_LISTED: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Issue a token and print it, this once.
    Issue(Issue),
    /// Say in plain words what a token permits.
    Inspect {
        /// The token; `-` or nothing reads it from standard input.
        token: Option<String>,
    },
    /// Print a copy of a token that may do less; needs no node.
    Narrow(Narrow),
    /// List the tokens that were issued.
    List,
    /// End a token, and with it all copies narrowed from it.
    Revoke {
        /// The token's id, as `list` and `inspect` show it.
        id: String,
    },
}

/// What a token can be bound to.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// The only agent it acts for.
    #[arg(long)]
    agent: Option<String>,
    /// How long it is good, such as 7d [default: until revoked].
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// The most one call may cost, fees included, such as 500sat.
    #[arg(long, value_name = "AMOUNT")]
    max_amount: Option<Msat>,
    /// The most that all calls in any so long may cost, such as 500sat/1d.
    #[arg(long, value_name = "AMOUNT/DURATION", value_parser = window)]
    window: Option<Window>,
    /// The only host it pays; may be repeated.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The only rail it pays on; may be repeated.
    #[arg(long = "rail", value_name = "RAIL", value_parser = ["cashu", "lightning"])]
    rails: Vec<String>,
    /// The only HTTP method of paid calls; may be repeated.
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// What it may do: `read-only`, `invoice-only`, `pay-only` or `agent-commerce`.
    #[arg(long)]
    tier: Tier,
    /// Words for you, such as who gets it.
    #[arg(long, default_value = "")]
    label: String,
    #[command(flatten)]
    bounds: Bounds,
}

#[derive(Debug, Args)]
pub(super) struct Narrow {
    /// The token; `-` or nothing reads it from standard input.
    token: Option<String>,
    /// The only tier that the copy has of the token's.
    #[arg(long)]
    tier: Option<Tier>,
    #[command(flatten)]
    bounds: Bounds,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        match self {
            Self::Issue(issue) => issue.execute(context, output).await,
            Self::Inspect { token } => show(&read(token)?, output),
            Self::Narrow(narrow) => narrow.execute(output),
            Self::List => list(context, output).await,
            Self::Revoke { id } => revoke(context, &id, output).await,
        }
    }
}

impl Bounds {
    fn expires_at(&self) -> Option<u64> {
        self.ttl
            .map(|ttl| SystemClock.now().saturating_add(ttl.as_secs()))
    }

    fn restrictions(self) -> Vec<Restriction> {
        let expires_at = self.expires_at();
        let some = |names: Vec<String>| (!names.is_empty()).then_some(names);
        [
            self.agent.map(Restriction::Agent),
            expires_at.map(Restriction::ExpiresAt),
            self.max_amount.map(Restriction::MaxAmount),
            self.window.map(Restriction::Window),
            some(self.hosts).map(Restriction::Hosts),
            some(self.rails).map(Restriction::Rails),
            some(self.methods).map(Restriction::Methods),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Issue {
    async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let expires_at = self.bounds.expires_at();
        let bounds = self.bounds;
        let issued = open(context)?
            .issue(IssueRequest {
                tier: self.tier,
                label: self.label,
                agent: bounds.agent,
                expires_at,
                max_amount: bounds.max_amount,
                hosts: bounds.hosts,
                rails: bounds.rails,
                window: bounds.window,
                methods: bounds.methods,
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
             A copy that may do less, without the node: feria access narrow TOKEN\n\
             To use it: Authorization: Bearer TOKEN",
        );
        Ok(ExitCode::Ok)
    }
}

impl Narrow {
    fn execute(self, output: &mut Output<'_>) -> Outcome {
        let token = read(self.token)?;
        let tier = self.tier.map(Restriction::Tier);
        let restrictions: Vec<Restriction> =
            tier.into_iter().chain(self.bounds.restrictions()).collect();
        if restrictions.is_empty() {
            return Err(Fault::usage("say by what the copy may do less")
                .next("for example: feria access narrow TOKEN --max-amount 50sat --ttl 1h"));
        }
        let narrowed = attenuate(&token, &restrictions).map_err(unreadable)?;
        let document = json!({"token": narrowed});
        output.show(&document, |_| narrowed.clone())?;
        output.note("What it permits, in words: feria access inspect TOKEN");
        Ok(ExitCode::Ok)
    }
}

/// The door of the node whose files are in the data folder.
fn open(context: &Context) -> Result<Access, Fault> {
    let config = context.config()?;
    let seed = NodeSeed::load(&config.seed, &config.data_dir)?;
    let ledger = Ledger::open(&config.data_dir.join("ledger.db"))?;
    Ok(Access::new(
        seed.secret(ACCESS_SECRET),
        ledger,
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    ))
}

async fn list(context: &Context, output: &mut Output<'_>) -> Outcome {
    let tokens = open(context)?.list(MAX_LISTED).await?;
    let now = SystemClock.now();
    let items: Vec<Value> = tokens
        .into_iter()
        .map(|token| {
            let state = match (token.revoked_at, token.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(at)) if at <= now => "expired",
                _ => "good",
            };
            json!({
                "id": token.id,
                "state": state,
                "tier": token.tier,
                "agent": token.agent,
                "label": token.label,
                "created_at": token.created_at,
                "expires_at": token.expires_at,
                "revoked_at": token.revoked_at,
            })
        })
        .collect();
    output.show(&json!({"items": items}), |listed| {
        let mut rows = listed["items"].clone();
        for row in rows.as_array_mut().into_iter().flatten() {
            for key in ["created_at", "expires_at"] {
                row[key] = row[key].as_u64().map_or(Value::Null, |at| json!(time(at)));
            }
        }
        table(
            &rows,
            &[
                ("ID", "id"),
                ("STATE", "state"),
                ("TIER", "tier"),
                ("AGENT", "agent"),
                ("LABEL", "label"),
                ("ISSUED AT", "created_at"),
                ("ENDS AT", "expires_at"),
            ],
            "No token was issued. Issue one: feria access issue --tier read-only",
        )
    })?;
    Ok(ExitCode::Ok)
}

async fn revoke(context: &Context, id: &str, output: &mut Output<'_>) -> Outcome {
    if !open(context)?.revoke(id).await? {
        return Err(Fault::new("not_found", format!("there is no token {id}"))
            .next("see which there are: feria access list"));
    }
    output.show(&json!({"id": id, "revoked": true}), |_| {
        format!("Token {id} and all copies narrowed from it open nothing any more.")
    })?;
    Ok(ExitCode::Ok)
}

fn read(token: Option<String>) -> Result<String, Fault> {
    match token.filter(|token| token != "-") {
        Some(token) => Ok(token),
        None => Ok(std::io::read_to_string(std::io::stdin())?),
    }
}

fn unreadable(error: TokenTextError) -> Fault {
    Fault::usage(format!("cannot {}", anyhow::Error::new(error).root_cause()))
        .next("copy the token again, as a whole; `feria access issue` prints one")
}

/// Parses `500sat/1d`.
fn window(text: &str) -> Result<Window, String> {
    let (amount, span) = text
        .split_once('/')
        .ok_or_else(|| format!("{text:?} is no window; write for example 500sat/1d"))?;
    let amount: Msat = amount
        .parse()
        .map_err(|error: feria_paywall::amount::ParseAmountError| error.to_string())?;
    let secs = parse::duration(span)?.as_secs();
    Ok(Window { amount, secs })
}

fn show(token: &str, output: &mut Output<'_>) -> Outcome {
    let found = inspect(token).map_err(unreadable)?;
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
