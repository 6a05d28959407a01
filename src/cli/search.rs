//! `feria search`: finds what agents sell.

use clap::Args;
use feria_paywall::amount::Msat;
use nostr::key::PublicKey;
use nostr::nips::nip19::ToBech32;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::table;
use super::{Context, Output};
use crate::clock::{Clock, SystemClock};
use crate::protocol::dialect;
use crate::store::index::{Index, Search};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Words; none lists the newest.
    query: Vec<String>,
    /// Only what can be paid this way.
    #[arg(long, value_parser = ["l402", "nut24"])]
    rail: Option<String>,
    /// Only what costs at most this a call, such as 50sat.
    #[arg(long, value_name = "AMOUNT")]
    max_price: Option<Msat>,
    /// Only what has this interface (CEP-15): sellers of it are interchangeable.
    #[arg(long, value_name = "HASH", value_parser = interface)]
    interface: Option<String>,
    /// Rows at most.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let found = match NodeClient::find(&context.data_dir).await? {
            Some(client) => self.ask_node(&client).await?,
            None => self.read_index(context).await?,
        };
        output.show(&found, render)?;
        Ok(ExitCode::Ok)
    }

    async fn ask_node(&self, client: &NodeClient) -> Result<Value, Fault> {
        let mut query = vec![
            ("q", self.query.join(" ")),
            ("limit", self.limit.to_string()),
        ];
        query.extend(self.rail.clone().map(|rail| ("rail", rail)));
        query.extend(
            self.max_price
                .map(|price| ("max_price_msat", price.as_u64().to_string())),
        );
        query.extend(self.interface.clone().map(|hash| ("schema_hash", hash)));
        client.get(&["search"], &query).await
    }

    async fn read_index(self, context: &Context) -> Result<Value, Fault> {
        context.config()?;
        let index = Index::open(&context.data_dir.join("index.db"))?;
        let search = Search {
            text: self.query.join(" "),
            rail: self.rail,
            max_price: self.max_price,
            schema_hash: self.interface,
            limit: self.limit,
            ..Search::default()
        };
        let rows = index.search(search, SystemClock.now()).await?;
        Ok(json!({"items": rows, "next_offset": null}))
    }
}

/// Reads the hash of an interface.
fn interface(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hash
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "it is 64 hex digits: schema_hash of `feria search --json`".to_owned())
}

fn render(found: &Value) -> String {
    let mut rows = found["items"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["price"] = match row["price_msat"].as_u64() {
            Some(msat) => json!(Msat::new(msat).to_string()),
            // The seller names no price in bitcoin; the 402 says it.
            None => match row["price_fiat"].as_str() {
                Some(fiat) => json!(format!("ask ({fiat})")),
                None => json!("ask"),
            },
        };
        let kind = row["dialect"].as_str().and_then(|kind| kind.parse().ok());
        row["dialect"] = json!(kind.and_then(dialect::name));
        row["seller"] = match row["seller"].as_str() {
            Some(key) => json!(short(key)),
            None => Value::Null,
        };
    }
    table(
        &rows,
        &[
            ("NAME", "name"),
            ("PRICE", "price"),
            ("RAILS", "rails"),
            ("SELLER", "seller"),
            ("LISTED AS", "dialect"),
            ("ENDPOINT", "endpoint"),
        ],
        "Nothing found. A node finds more while it runs (feria up) and reads relays \
         (relays.toml); `feria status` says how many listings it knows.",
    )
}

/// Returns enough of a public key to tell sellers apart.
fn short(key: &str) -> String {
    let bytes = hex::decode(key).unwrap_or_default();
    let npub = PublicKey::from_slice(&bytes)
        .ok()
        .and_then(|key| key.to_bech32().ok());
    match npub {
        Some(npub) => format!("{}…{}", &npub[..10], &npub[npub.len() - 4..]),
        None => key.chars().take(8).collect(),
    }
}
