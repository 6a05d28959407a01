//! What `fetch`, `quote` and `proxy` say alike about the calls they make.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::fault::Fault;
use super::parse;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RailName {
    Auto,
    Cashu,
    Lightning,
}

impl RailName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cashu => "cashu",
            Self::Lightning => "lightning",
        }
    }
}

/// Who pays, and how much at most.
#[derive(Debug, Clone, Args)]
pub(super) struct Limits {
    /// The wallet that pays: its id, or the name of its agent.
    #[arg(long, visible_alias = "agent", value_name = "WALLET")]
    pub(super) wallet: String,
    /// The most a call may cost, fees left out, such as 50sat.
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
}

impl Limits {
    /// Returns the members of the API's request.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "wallet": self.wallet,
            "max_cost_msat": self.max_cost.map(Msat::as_u64),
            "max_fee_msat": self.max_fee.map(Msat::as_u64),
            "rail": self.rail.as_str(),
            "lock": if self.unlocked { "never" } else { "auto" },
        })
    }
}

/// The call itself, in the words of curl.
#[derive(Debug, Args)]
pub(super) struct Call {
    /// What to call.
    url: String,
    #[command(flatten)]
    limits: Limits,
    /// The HTTP method [default: POST with a body, else the one in the listing, else GET].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header to send; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse::header)]
    headers: Vec<(String, String)>,
    /// The body to send; `@FILE` reads it from a file, `@-` from standard input.
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    body: Option<String>,
}

impl Call {
    /// Returns the request of the API. Reads the body if it is in a file.
    pub(super) fn to_json(&self, more: &[(&str, &str)]) -> Result<Value, Fault> {
        let body = self.body.as_deref().map(read_body).transpose()?;
        let method = self.method.clone();
        let method = method.or_else(|| body.as_ref().map(|_| "POST".to_owned()));
        let mut headers: BTreeMap<&str, &str> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        headers.extend(more.iter().copied());
        let mut request = self.limits.to_json();
        request["url"] = json!(self.url);
        request["method"] = json!(method);
        request["headers"] = json!(headers);
        match body.map(String::from_utf8) {
            None => {}
            Some(Ok(text)) => request["body"] = json!(text),
            Some(Err(bytes)) => request["body_base64"] = json!(STANDARD.encode(bytes.as_bytes())),
        }
        Ok(request)
    }
}

fn read_body(text: &str) -> Result<Vec<u8>, Fault> {
    let read = match text.strip_prefix('@') {
        None => return Ok(text.as_bytes().to_vec()),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        }
        Some(path) => std::fs::read(path),
    };
    read.map_err(|error| Fault::usage(format!("cannot read the body from {text}: {error}")))
}
