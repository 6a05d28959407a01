//! What a call costs with and without a float: calls per second, and requests to the
//! mint while calls are made, the seller's among them. What the seller redeems later
//! is counted apart: it asks the mint once for each token, with a float or without.

use std::time::Instant;

use axum::Router;
use feria::config::{GatewayConfig, SpendConfig};
use feria::lightning::Lightning;
use feria::spend::FetchRequest;
use feria::wallet::TREASURY;
use feria_paywall::amount::{Msat, Sat};
use http::Method;
use serde_json::{Value, json};

use super::buyer::Buyer;
use super::mint_front::Front;
use super::shop::{Setup, Shop};
use super::stall::serve;

/// Tokens of one float.
const FLOAT_CALLS: u32 = 32;

/// Runs so many calls without a float and then with one, and returns the figures.
pub(crate) async fn run(calls: usize) -> Value {
    let without = side(calls, 0).await;
    let with = side(calls, 1).await;
    let ratio = |name: &str| with[name].as_f64().unwrap() / without[name].as_f64().unwrap();
    json!({
        "calls": calls,
        "float_calls": FLOAT_CALLS,
        "without": without,
        "with": with,
        "calls_per_sec_ratio": ratio("calls_per_sec"),
        "mint_requests_ratio": ratio("mint_requests_per_call"),
        "redeem_requests_ratio": ratio("redeem_requests_per_call"),
    })
}

async fn side(calls: usize, float_after_calls: u32) -> Value {
    let mut setup = Setup::new(1, &["nut24"]);
    setup.config = GatewayConfig {
        challenges_per_minute: 0,
        vault_cap: Sat::new(10_000_000),
        ..GatewayConfig::default()
    };
    let mut front = None;
    let shop = Shop::set_up(setup, async |mint: String| {
        let made = Front::before(&mint).await;
        let url = made.url.clone();
        front = Some(made);
        url
    })
    .await;
    let front = front.unwrap();
    let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
    let url = format!("{url}/a/data/v1/query");
    let config = SpendConfig {
        max_price: Msat::new(1_000_000),
        max_fee: Msat::new(20_000),
        float_after_calls,
        float_calls: FLOAT_CALLS,
        float_max: Sat::new(100_000),
        ..SpendConfig::default()
    };
    let buyer = Buyer::open_with(None, &[&shop.mint.url], Lightning::default(), config);
    let sat = Sat::new(calls as u64 * 120 + 10_000);
    let quote = buyer
        .wallets
        .request_funding(TREASURY, &shop.mint.url, sat)
        .await
        .unwrap();
    shop.pay(&quote.bolt11).await;
    while buyer
        .wallets
        .claim_funding(&quote.quote_id)
        .await
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    let call = async |n: usize| {
        let request = FetchRequest {
            method: Method::POST,
            body: format!("call {n}").into(),
            ..FetchRequest::get(TREASURY, &url)
        };
        let fetched = buyer.spender.fetch(request).await.unwrap();
        assert_eq!(fetched.purchase.unwrap().outcome, "delivered");
    };
    // Keys are fetched, and a seller is known as one called often.
    call(calls).await;
    call(calls + 1).await;
    let (asked, started) = (front.asked(), Instant::now());

    for n in 0..calls {
        call(n).await;
    }

    let secs = started.elapsed().as_secs_f64();
    let calling = front.asked() - asked;
    shop.gateway.redeem_all().await.unwrap();
    let redeeming = front.asked() - asked - calling;
    shop.check_books().await;
    let audit = buyer.ledger.audit().await.unwrap();
    assert!(audit.is_clean());
    assert_eq!(buyer.wallets.verify_books().await.unwrap(), [""; 0]);
    json!({
        "calls_per_sec": calls as f64 / secs,
        "mint_requests_per_call": calling as f64 / calls as f64,
        "redeem_requests_per_call": redeeming as f64 / calls as f64,
    })
}
