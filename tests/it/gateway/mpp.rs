//! The scheme `Payment` over the real ledger and the simulated Lightning network.

use std::sync::atomic::Ordering;

use feria::store::ledger::Account;
use feria_paywall::mpp::{Challenge, Credential, Receipt};
use http::StatusCode;

use super::shop::{Mode, Shop, l402};

/// Pays an invoice of a fresh 402 and returns what both schemes make of it.
async fn buy(shop: &Shop) -> (Credential, (String, String)) {
    let answer = shop.call(&[], "x").await;
    let token = feria_paywall::l402::Challenge::parse_all(answer.headers()).remove(0);
    let challenge = Challenge::parse_all(answer.headers()).remove(0);
    let preimage = shop.pay(&token.invoice).await;
    let pair = (token.token, preimage.expose_hex());
    let credential = Credential {
        challenge,
        preimage,
    };
    (credential, pair)
}

fn mpp(credential: &Credential) -> (&'static str, String) {
    ("authorization", credential.expose_value().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mpp_payment_buys_one_call_and_is_booked_once() {
    let shop = Shop::open(1, &["l402"]).await;
    let (credential, pair) = buy(&shop).await;

    let first = shop.call(&[mpp(&credential)], "a").await;
    let again = shop.call(&[mpp(&credential)], "a").await;
    let other = shop.call(&[mpp(&credential)], "b").await;
    let by_l402 = shop.call(&[l402(&pair)], "c").await;
    shop.gateway.sync_settled().await.unwrap();

    assert_eq!(first.status, StatusCode::OK);
    let receipt = Receipt::parse(first.header("payment-receipt").unwrap()).unwrap();
    assert_eq!(receipt.challenge_id, Some(credential.challenge.id.clone()));
    assert_eq!(credential.challenge.realm, "127.0.0.1:7402");
    assert_eq!(again.body, first.body);
    assert_eq!(
        again.header("payment-receipt"),
        first.header("payment-receipt")
    );
    for refused in [other, by_l402] {
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(refused.code(), "credential_used_up");
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    assert!(!shop.upstream.saw_payment.load(Ordering::SeqCst));
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_calls_by_both_schemes_reach_the_upstream_once() {
    let shop = Shop::open(1, &["l402"]).await;
    let (credential, pair) = buy(&shop).await;
    let (one, two) = ([mpp(&credential)], [l402(&pair)]);
    let bodies: Vec<String> = (0..16).map(|number| number.to_string()).collect();

    let calls = bodies
        .iter()
        .enumerate()
        .map(|(number, body)| shop.call(if number % 2 == 0 { &one } else { &two }, body));
    let answers = futures_util::future::join_all(calls).await;

    let served = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(served.count(), 1);
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upstream_leaves_the_mpp_payment_good() {
    let shop = Shop::open(1, &["l402"]).await;
    let (credential, _) = buy(&shop).await;

    shop.upstream.set(Mode::Fail);
    let failed = shop.call(&[mpp(&credential)], "a").await;
    shop.upstream.set(Mode::Work);
    let served = shop.call(&[mpp(&credential)], "a").await;

    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(failed.header("payment-receipt"), None);
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    shop.check_books().await;
}
