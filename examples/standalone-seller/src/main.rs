//! A web service that charges 21 sat a call, over Lightning and ecash.
//!
//! Clock, randomness and tasks are real; the Lightning node, the mint and the
//! journal are the play ones of the feature `testing`. To sell for real, put your
//! own behind the same traits: `InvoiceMaker`, `Redeemer` and `Journal`.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Path;
use axum::http::request::Parts;
use axum::routing::{get, post};
use feria_paywall::amount::Msat;
use feria_paywall::layer::PaywallLayer;
use feria_paywall::price::Terms;
use feria_paywall::scheme::{BoxFuture, World};
use feria_paywall::testing::{MemoryJournal, MemoryMint, MemoryWorld};
use rand::RngCore;

/// This machine.
struct Machine;

impl World for Machine {
    fn now_millis(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let lightning = Arc::new(MemoryWorld::default());
    let mint = Arc::new(MemoryMint::new("https://mint.example", 1).ok_or("no mint")?);
    let ecash = mint.terms();
    let pricing = move |request: &Parts| {
        (request.uri.path() == "/shout").then(|| Terms {
            description: "Shouts a text".into(),
            ecash: Some(ecash.clone()),
            ..Terms::new("shout", "text", Msat::new(21_000))
        })
    };
    let mut secret = [0; 32];
    rand::rng().fill_bytes(&mut secret);
    let journal = Arc::new(MemoryJournal::default());
    let paywall = PaywallLayer::builder(&secret, Arc::new(pricing), journal, Arc::new(Machine))
        .invoices(lightning.clone())
        .redeemer(mint.clone())
        .mpp("localhost")
        .build();

    // Last come the wallets of the payers, who live here too: this is play money.
    let pay_invoice = async move |Path(invoice): Path<String>| {
        let preimage = lightning.preimage(&invoice);
        preimage.map_or_else(String::new, |preimage| preimage.expose_hex())
    };
    let pay_request = async move |request: String| mint.pay(&request).unwrap_or_default();
    let service = Router::new()
        .route("/shout", post(async |text: String| text.to_uppercase()))
        .layer(paywall)
        .route("/play/invoice/{invoice}", get(pay_invoice))
        .route("/play/request", post(pay_request));
    let port = std::env::args().nth(1).unwrap_or_else(|| "3402".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, service).await?)
}
