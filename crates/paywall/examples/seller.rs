//! An axum service sold over Lightning and ecash, with play money.
//!
//! `cargo run --example seller`, then `curl -id hello http://127.0.0.1:3402/shout`
//! shows the 402. `examples/standalone-seller` at the top of the repository is the
//! same outside of it, with a wallet to pay with.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use feria_paywall::amount::Msat;
use feria_paywall::layer::PaywallLayer;
use feria_paywall::price::Terms;
use feria_paywall::testing::{MemoryJournal, MemoryMint, MemoryWorld};
use http::request::Parts;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let world = Arc::new(MemoryWorld::at(1_800_000_000));
    let mint = Arc::new(MemoryMint::new("https://mint.example", 1).ok_or("no mint")?);
    let ecash = mint.terms();
    let pricing = move |request: &Parts| {
        (request.uri.path() == "/shout").then(|| Terms {
            description: "Shouts a text".into(),
            ecash: Some(ecash.clone()),
            ..Terms::new("shout", "text", Msat::new(21_000))
        })
    };
    let journal = Arc::new(MemoryJournal::default());
    let paywall = PaywallLayer::builder(&[7; 32], Arc::new(pricing), journal, world.clone())
        .invoices(world)
        .redeemer(mint)
        .mpp("localhost")
        .build();
    let service = Router::new()
        .route(
            "/shout",
            post(|text: String| async move { text.to_uppercase() }),
        )
        .layer(paywall);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3402").await?;
    Ok(axum::serve(listener, service).await?)
}
