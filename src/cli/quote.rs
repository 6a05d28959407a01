//! `feria quote`: what a call would cost, by which ways; nothing is paid.

use clap::Args;
use feria_paywall::amount::Msat;
use serde_json::{Value, json};

use super::call::Call;
use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::Outcome;
use super::output::table;
use super::{Context, Output};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    call: Call,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let request = self.call.to_json(&[])?;
        let client = NodeClient::open(&context.data_dir).await?;
        let quote = client.post(&["quote"], &request).await?;
        output.show(&quote, render)?;
        Ok(match quote["refusal"].as_str() {
            Some(code) => ExitCode::of_problem(code),
            None => ExitCode::Ok,
        })
    }
}

fn render(quote: &Value) -> String {
    let mut lines = vec![format!(
        "HTTP {}: {}",
        quote["status"],
        quote["price_msat"]
            .as_u64()
            .map_or("no price".to_owned(), |msat| Msat::new(msat).to_string())
    )];
    if let Some(listing) = quote["listing"].as_str() {
        let listed = quote["listed_msat"].as_u64().map(Msat::new);
        lines.push(format!(
            "Listing {listing}: {}",
            listed.map_or("no price".to_owned(), |msat| msat.to_string())
        ));
    }
    let amount = |value: &Value| value.as_u64().map(|msat| Msat::new(msat).to_string());
    let ways: Vec<Value> = quote["ways"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|way| {
            json!({
                "way": way["way"],
                "price": amount(&way["price_msat"]),
                "fee": amount(&way["fee_msat"]),
                "latency": way["latency_ms"].as_u64().map(|ms| format!("{ms} ms")),
                "excluded": way["excluded"].as_str().unwrap_or("open"),
            })
        })
        .collect();
    if !ways.is_empty() {
        let columns = [
            ("WAY", "way"),
            ("PRICE", "price"),
            ("FEE AT MOST", "fee"),
            ("TOOK", "latency"),
            ("STATE", "excluded"),
        ];
        lines.push(table(&Value::Array(ways), &columns, ""));
    }
    if quote["has_credential"] == true {
        lines.push("A credential bought earlier would be used first.".to_owned());
    }
    let words = |key: &str| quote[key].as_str().unwrap_or_default().to_owned();
    lines.push(words("decision"));
    lines.join("\n")
}
