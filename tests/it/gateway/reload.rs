//! Prices and routes that change while buyers are on their way.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::State;
use feria::gateway::{Body, ClientAddr};
use feria::store::ledger::Account;
use feria_paywall::amount::Msat;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::sync::Notify;

use super::shop::{Shop, l402, paid};

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_counts_at_the_price_it_was_bought_at() {
    let shop = Shop::open(2, &["l402"]).await;
    let credential = shop.buy().await;

    shop.change(|agent| {
        agent.price = Msat::new(300_000);
        agent.uses = 1;
    });
    let first = shop.call(&[l402(&credential)], "a").await;
    let second = shop.call(&[l402(&credential)], "b").await;
    let fresh = shop.call(&[], "c").await;

    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(fresh.json()["price_msat"], 300_000);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    shop.gateway.sync_settled().await.unwrap();
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_at_the_price_that_was_told_while_that_is_open() {
    let shop = Shop::open(1, &["nut24"]).await;
    let (told, late) = (shop.locked_token(100).await, shop.locked_token(100).await);
    shop.call(&[], "x").await;

    shop.change(|agent| agent.price = Msat::new(101_000));
    let served = shop.call(&[paid(&told)], "x").await;
    let elsewhere = shop
        .request_at("POST", "/v1/query?other", &[paid(&late)], "x")
        .await;
    shop.advance(601);
    let too_late = shop.call(&[paid(&late)], "x").await;
    let again = shop.call(&[paid(&told)], "x").await;

    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    assert_eq!(served.header("feria-settlement"), Some("offline"));
    assert_eq!(elsewhere.code(), "amount_too_low");
    assert_eq!(too_late.code(), "amount_too_low");
    // Its answer was kept for 600 s only.
    assert_eq!(again.code(), "amount_too_low");
    // One token alone was taken, with the satoshi that its redeeming costs.
    assert_eq!(shop.booked(Account::income("data")).await, -101);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_found_again_after_the_price_rose() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.locked_token(100).await;
    let served = shop.call(&[paid(&token)], "x").await;

    shop.change(|agent| agent.price = Msat::new(200_000));
    let again = shop.call(&[paid(&token)], "x").await;

    assert_eq!((again.status, again.body), (StatusCode::OK, served.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_price_falls_the_lower_one_counts() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.locked_token(60).await;
    shop.call(&[], "x").await;

    shop.change(|agent| agent.price = Msat::new(60_000));
    let served = shop.call(&[paid(&token)], "x").await;

    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_goes_on_while_its_route_is_taken_away() {
    let gate = Arc::new(Notify::new());
    let upstream = two_parts(&gate).await;
    let shop = Shop::open_agent(|agent, config| {
        agent.upstream = upstream;
        config.upstream_timeout_secs = 60;
    })
    .await;
    let (name, value) = l402(&shop.buy().await);
    let request = Request::post("/a/data/v1/query")
        .header(name, value)
        .extension(ClientAddr(IpAddr::from([127, 0, 0, 1])))
        .body(Body::new(Empty::new().map_err(|never| match never {})))
        .unwrap();

    let mut answer = shop.gateway.handle("data", request).await.into_body();
    let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    shop.change(|agent| agent.path = "/v2/query".to_owned());
    let gone = shop.call(&[], "x").await;
    gate.notify_one();
    let rest = answer.collect().await.unwrap().to_bytes();

    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!((&first[..], &rest[..]), (&b"first "[..], &b"second"[..]));
    shop.check_books().await;
}

/// Serves a body in two parts, the second once `gate` opens.
async fn two_parts(gate: &Arc<Notify>) -> String {
    async fn serve(State(gate): State<Arc<Notify>>) -> AxumBody {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("first ")]);
        let second = futures_util::stream::once(async move {
            gate.notified().await;
            Ok("second")
        });
        AxumBody::from_stream(first.chain(second))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(serve).with_state(Arc::clone(gate));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}
