//! An agent with several paths, each at its own price.

use std::sync::atomic::Ordering;

use feria::config::RouteConfig;
use feria::store::ledger::Account;
use feria_paywall::amount::Msat;
use http::StatusCode;

use super::shop::{Shop, l402};

async fn open() -> Shop {
    Shop::open_agent(|agent, _| {
        agent.rails = vec!["l402".to_owned()];
        agent.routes = vec![
            RouteConfig {
                path: "/v1/models/{name}".to_owned(),
                methods: vec!["GET".to_owned()],
                price: Some(Msat::new(1_000)),
                capability: Some("models".to_owned()),
                uses: Some(2),
                ..RouteConfig::default()
            },
            RouteConfig {
                path: "/health".to_owned(),
                methods: vec!["GET".to_owned()],
                free: true,
                ..RouteConfig::default()
            },
        ];
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheap_credential_does_not_open_a_dear_route() {
    let shop = open().await;
    let cheap = shop.buy_at("GET", "/v1/models/a").await;

    let dear = shop.call(&[l402(&cheap)], "x").await;
    let first = shop
        .request_at("GET", "/v1/models/a", &[l402(&cheap)], "")
        .await;
    let second = shop
        .request_at("GET", "/v1/models/b", &[l402(&cheap)], "")
        .await;

    assert_eq!(dear.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(dear.code(), "credential_for_other_service");
    assert_eq!(dear.json()["price_msat"], 100_000);
    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(shop.booked(Account::income("data")).await, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_route_passes_without_showing_a_payment_to_the_upstream() {
    let shop = open().await;
    let credential = shop.buy().await;

    let free = shop
        .request_at("GET", "/health", &[l402(&credential)], "")
        .await;
    let with_head = shop.request_at("HEAD", "/health", &[], "").await;
    let other_method = shop.request_at("POST", "/health", &[], "").await;
    let not_listed = shop.request_at("GET", "/healthz", &[], "").await;
    let paid = shop.call(&[l402(&credential)], "x").await;

    assert_eq!(
        (free.status, with_head.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(other_method.status, StatusCode::NOT_FOUND);
    assert_eq!(not_listed.status, StatusCode::NOT_FOUND);
    assert_eq!(paid.status, StatusCode::OK);
    assert!(!shop.upstream.saw_payment.load(Ordering::SeqCst));
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_the_price_of_each_route() {
    let shop = open().await;

    let own = shop.request_at("HEAD", "/v1/query", &[], "").await;
    let further = shop.request_at("HEAD", "/v1/models/x", &[], "").await;

    assert_eq!(own.header("x-price-msat"), Some("100000"));
    assert_eq!(further.header("x-price-msat"), Some("1000"));
}
