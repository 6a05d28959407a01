//! Prices that a pricer is asked for over HTTP.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use feria::config::{PriceFallback, PricerConfig};
use feria_paywall::amount::Msat;
use http::StatusCode;
use serde_json::{Value, json};

use super::shop::{Shop, l402, paid};

/// What was asked, and how often.
#[derive(Default)]
struct Seen {
    questions: AtomicU64,
    last: parking_lot::Mutex<Value>,
}

/// Asks for as many satoshi as the request's query says, or misbehaves as its own
/// address says.
async fn price(
    State(seen): State<Arc<Seen>>,
    Query(how): Query<HashMap<String, String>>,
    axum::Json(question): axum::Json<Value>,
) -> Response {
    seen.questions.fetch_add(1, Ordering::SeqCst);
    let size: u64 = question["query"]
        .as_str()
        .and_then(|query| query.strip_prefix("size="))
        .and_then(|size| size.parse().ok())
        .unwrap_or(1);
    *seen.last.lock() = question;
    match how.get("mode").map(String::as_str) {
        None => axum::Json(json!({"price_msat": size * 1_000})).into_response(),
        Some("silent") => pending().await,
        Some("error") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some("long") => format!("{{\"price_msat\": 1{}}}", " ".repeat(5_000)).into_response(),
        Some(garbage) => garbage.to_owned().into_response(),
    }
}

async fn pricer() -> (Arc<Seen>, String) {
    let seen = Arc::new(Seen::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/price", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/price", post(price))
        .with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (seen, url)
}

async fn open(edit: impl FnOnce(&mut PricerConfig)) -> (Arc<Seen>, Shop) {
    let (seen, url) = pricer().await;
    let mut pricer = PricerConfig::new(&url);
    // Long enough for a slow machine; the test of silence shortens it.
    pricer.timeout_ms = 10_000;
    edit(&mut pricer);
    let shop = Shop::open_agent(|agent, _| agent.pricer = Some(pricer)).await;
    (seen, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pricer_is_asked_for_the_402_and_never_for_the_paid_call() {
    let (seen, shop) = open(|_| ()).await;

    let cheap = shop.buy_at("POST", "/v1/query?size=7").await;
    let dear = shop
        .request_at("POST", "/v1/query?size=70", &[l402(&cheap)], "x")
        .await;
    let asked = seen.questions.load(Ordering::SeqCst);
    let right = shop
        .request_at("POST", "/v1/query?size=7", &[l402(&cheap)], "x")
        .await;

    assert_eq!(dear.code(), "credential_for_other_service");
    assert_eq!(dear.json()["price_msat"], 70_000);
    assert_eq!(right.status, StatusCode::OK, "{}", right.body);
    assert_eq!((asked, seen.questions.load(Ordering::SeqCst)), (2, 2));
    assert_eq!(
        shop.booked(feria::store::ledger::Account::income("data"))
            .await,
        -7
    );
    let question = json!({
        "service": "data", "capability": "call", "method": "POST", "path": "/v1/query",
        "query": "size=70",
    });
    assert_eq!(*seen.last.lock(), question);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_at_the_price_that_its_payer_was_told() {
    let (seen, shop) = open(|_| ()).await;
    let path = "/v1/query?size=20";
    let (told, untold) = (shop.locked_token(20).await, shop.locked_token(20).await);

    let head = shop.request_at("HEAD", path, &[], "").await;
    let asked = shop.request_at("POST", path, &[], "x").await;
    shop.change(|agent| {
        agent.pricer.as_mut().unwrap().url += "?mode=error";
    });
    let served = shop.request_at("POST", path, &[paid(&told)], "x").await;
    let refused = shop
        .request_at("POST", "/v1/query?size=21", &[paid(&untold)], "x")
        .await;

    assert_eq!(head.header("x-price-msat"), Some("20000"));
    assert_eq!(asked.json()["price_msat"], 20_000);
    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    assert_eq!(served.header("feria-settlement"), Some("offline"));
    assert_eq!(
        refused.code(),
        "amount_too_low",
        "the listed price is 100 sat"
    );
    assert_eq!(seen.questions.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_answer_the_fallback_is_done() {
    for mode in [
        "error",
        "long",
        "{}",
        "{\"price_msat\":-1}",
        "{\"price_msat\":0}",
        "[1",
    ] {
        check_fallback(mode, 10_000).await;
    }
    check_fallback("silent", 50).await;
    // More than max_price.
    check_fallback("{\"price_msat\":10000001}", 10_000).await;
}

async fn check_fallback(mode: &str, timeout_ms: u64) {
    let (_, url) = pricer().await;
    let mode: String = url::form_urlencoded::byte_serialize(mode.as_bytes()).collect();
    let mut pricer = PricerConfig {
        timeout_ms,
        ..PricerConfig::new(&format!("{url}?mode={mode}"))
    };
    let shop = Shop::open_agent(|agent, _| agent.pricer = Some(pricer.clone())).await;

    let listed = shop.call(&[], "x").await;
    pricer.fallback = PriceFallback::Refuse;
    shop.change(|agent| agent.pricer = Some(pricer));
    let refused = shop.call(&[], "x").await;

    assert_eq!(listed.status, StatusCode::PAYMENT_REQUIRED, "{mode}");
    assert_eq!(listed.json()["price_msat"], 100_000, "{mode}");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{mode}");
    assert_eq!(refused.code(), "price_unavailable", "{mode}");
    assert_eq!(refused.json()["money"], "none");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_the_price_is_asked_for_and_its_lack_stops_nothing() {
    let (_, shop) = open(|pricer| pricer.fallback = PriceFallback::Refuse).await;
    shop.change(|agent| agent.shadow = true);

    let priced = shop.request_at("POST", "/v1/query?size=3", &[], "x").await;
    shop.change(|agent| {
        agent.shadow = true;
        agent.pricer.as_mut().unwrap().max_price = Msat::new(1);
    });
    let unknown = shop.call(&[], "x").await;

    assert_eq!(priced.header("feria-shadow"), Some("3 sat"));
    assert_eq!(
        (unknown.status, unknown.header("feria-shadow")),
        (StatusCode::OK, Some("unknown"))
    );
}
