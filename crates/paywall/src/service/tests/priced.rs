//! Prices that are asked for, and calls that are served without one.

use super::*;
use crate::price::{NoPrice, Pricer};

/// Asks for as many millisatoshi as the query says; without one it has no price.
struct ByQuery;

#[async_trait::async_trait]
impl Pricer for ByQuery {
    async fn price(&self, request: &Parts, _terms: &Terms) -> Result<Msat, NoPrice> {
        let query = request.uri.query().and_then(|query| query.parse().ok());
        query.map(Msat::new).ok_or(NoPrice)
    }
}

fn market() -> Market {
    Market::with(|layer| layer.pricer(Arc::new(ByQuery)))
}

async fn buy_at(market: &Market, path: &str) -> String {
    let (macaroon, preimage) = market.buy_at(path).await;
    format!("L402 {}:{preimage}", macaroon.to_base64())
}

#[tokio::test]
async fn in_shadow_mode_a_call_passes_and_no_payment_is_touched() {
    let market = market();
    let credential = market.buy().await;

    let shadow = market
        .call_at("/paid/shadow", Some(&credential), "hello")
        .await;
    let failed = market.call_at("/paid/shadow", None, "panic").await;

    assert_eq!(
        (shadow.status(), shadow.body().as_str()),
        (StatusCode::OK, "hello")
    );
    assert_eq!(shadow.headers()["feria-shadow"], "1500 msat");
    assert_eq!(
        shadow.extensions().get(),
        Some(&Outcome::Shadow {
            price: Some(Msat::new(1_500))
        })
    );
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(
        market.call(Some(&credential), "").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn free_calls_come_first_and_a_payment_uses_none() {
    let market = market();
    let credential = market.buy().await;

    let paid = market.call_at("/paid/trial", Some(&credential), "a").await;
    let first = market.call_at("/paid/trial", None, "b").await;
    let failed = market.call_at("/paid/trial", None, "fail").await;
    let last = market.call_at("/paid/trial", None, "c").await;
    let over = market.call_at("/paid/trial", None, "d").await;

    assert!(matches!(
        paid.extensions().get(),
        Some(Outcome::Paid { .. })
    ));
    assert!(!paid.headers().contains_key("x-trial-remaining"));
    assert_eq!(first.headers()["x-trial-remaining"], "1");
    assert_eq!(
        (failed.status(), &failed.headers()["x-trial-remaining"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &"1".parse().unwrap())
    );
    assert_eq!(last.headers()["x-trial-remaining"], "0");
    assert_eq!(over.status(), StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn without_an_address_there_is_no_free_call() {
    let market = market();
    let request = Request::post("/paid/trial").body(Full::default()).unwrap();

    let answer = market.send(request).await;

    assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_credential_for_a_priced_request_opens_no_other() {
    let market = market();
    let cheap = buy_at(&market, "/paid/asked?1000").await;

    let dear = market.call_at("/paid/asked?9000", Some(&cheap), "").await;
    let plain = market.call(Some(&cheap), "").await;
    let right = market.call_at("/paid/asked?1000", Some(&cheap), "").await;

    for refused in [dear, plain] {
        assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
        assert!(refused.body().contains("credential_for_other_service"));
    }
    assert_eq!(right.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_price_that_cannot_be_told_is_not_a_price_of_nothing() {
    let market = market();

    for path in ["/paid/asked", "/paid/asked?0"] {
        let answer = market.call_at(path, None, "").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.body().contains("price_unavailable"));
    }
    assert_eq!(market.calls.load(Ordering::SeqCst), 0);
    assert_eq!(market.world.count_invoices(), 0);
}

#[tokio::test]
async fn head_is_told_the_price_that_was_asked_for() {
    let market = market();
    let request = Request::head("/paid/asked?7000").body(Full::default());

    let answer = market.send(request.unwrap()).await;

    assert_eq!(answer.headers()["x-price-msat"], "7000");
    assert_eq!(market.world.count_invoices(), 0);
}

#[tokio::test]
async fn a_stranger_cannot_wear_the_pricer_out() {
    let market = market();
    let mut last = StatusCode::OK;

    for _ in 0..31 {
        last = market.call_at("/paid/asked", None, "").await.status();
    }

    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}
