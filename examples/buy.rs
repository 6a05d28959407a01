//! Buys one call through a running node, and prints what it cost.
//!
//! ```text
//! cargo run --example buy -- DATA_DIR WALLET URL
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::Path;

use feria::spend::{Client, ClientError};
use feria_paywall::amount::Msat;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, wallet, url] = arguments.as_slice() else {
        println!("usage: buy DATA_DIR WALLET URL");
        return Ok(());
    };
    let client = Client::open(Path::new(data_dir))?;
    let mut answer = client
        .get(url.as_str())
        .wallet(wallet)
        .max_cost(Msat::new(50_000))
        .send()
        .await?;
    let (status, purchase) = (answer.status, answer.purchase.take());
    println!("{}", answer.text().await?);
    match purchase {
        Some(purchase) => println!("HTTP {status}: {}", purchase.decision),
        None => println!("HTTP {status}: nothing was asked"),
    }
    Ok(())
}
