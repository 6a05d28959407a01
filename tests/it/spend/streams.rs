//! Answers that pass through as they come.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::*;

const PARTS: usize = 4;

/// Serves so many parts, or after `cut` of them nothing more, with a broken connection.
pub(super) fn in_parts(seller: &Seller, cut: Option<usize>) -> Response<Body> {
    seller.served.fetch_add(1, Ordering::SeqCst);
    let parts = stream::iter(0..PARTS).then(move |n| async move {
        // What is there goes out first: the server writes when it has to wait.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        match cut {
            Some(cut) if n == cut => Err(std::io::Error::other("cut")),
            _ => Ok(Bytes::from(format!("data: {n}\n\n"))),
        }
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert("content-type", "text/event-stream".parse().unwrap());
    response
}

/// Where nobody should go with a credential.
pub(super) fn elsewhere() -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert("location", "http://127.0.0.1:9/trap".parse().unwrap());
    reply(StatusCode::TEMPORARY_REDIRECT, headers)
}

fn whole() -> String {
    (0..PARTS).map(|n| format!("data: {n}\n\n")).collect()
}

async fn state_of(market: &Market, key: &str) -> String {
    let purchases = market.spender.list_purchases(None, 9).await.unwrap();
    assert_eq!(purchases.len(), 1, "{key}: {purchases:?}");
    purchases[0].outcome.clone()
}

#[tokio::test]
async fn a_paid_stream_passes_through_and_is_delivered_at_its_end() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Streams);

    let mut answer = market.spender.open(market.keyed("k")).await.unwrap();

    assert_eq!(answer.purchase.as_ref().unwrap().outcome, "paid");
    assert_eq!(state_of(&market, "k").await, "paid");
    let mut seen = Vec::new();
    while let Some(part) = answer.body.next().await {
        seen.extend_from_slice(&part.unwrap());
    }
    assert_eq!(String::from_utf8(seen).unwrap(), whole());
    assert_eq!(state_of(&market, "k").await, "delivered");
    drop(answer);
    // The kept answer comes again, and the seller is not asked.
    let again = market.spender.fetch(market.keyed("k")).await.unwrap();
    assert_eq!(again.body, whole());
    assert_eq!(
        (
            market.payments(),
            market.seller.served.load(Ordering::SeqCst)
        ),
        (1, 1)
    );
    market.close().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_paid_and_fetched_again_without_paying() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::BreaksOff);

    let broken = market.spender.fetch(market.keyed("k")).await;

    assert!(
        matches!(&broken, Err(SpendError::PaidNotDelivered { .. })),
        "{broken:?}"
    );
    assert_eq!(state_of(&market, "k").await, "paid");
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    assert_eq!(market.payments(), 1);
    assert_eq!(market.balance().await, 1_000 - PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn a_reader_that_goes_leaves_the_purchase_paid() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Streams);

    let mut answer = market.spender.open(market.keyed("k")).await.unwrap();
    answer.body.next().await.unwrap().unwrap();
    drop(answer);

    assert_eq!(state_of(&market, "k").await, "paid");
    market.close().await;
}

#[tokio::test]
async fn an_endless_answer_is_read_as_long_as_it_is_wanted() {
    let market = Market::open("nut24", 1_000).await;
    let block = Bytes::from(vec![b'x'; 1 << 20]);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(move || {
        let block = block.clone();
        let blocks = stream::repeat_with(move || Ok::<_, Infallible>(block.clone()));
        std::future::ready(Response::new(Body::from_stream(blocks)))
    });
    market.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });

    let request = FetchRequest::get(&market.wallet_id, url);
    let mut answer = market.spender.open(request).await.unwrap();
    let mut read = 0;
    while read < 64 << 20 {
        read += answer.body.next().await.unwrap().unwrap().len();
    }

    assert!(answer.purchase.is_none());
    drop(answer);
    market.close().await;
}
