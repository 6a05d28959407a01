//! Credentials that buy time: any number of calls until they expire.

use std::sync::atomic::Ordering;

use feria::store::ledger::Account;
use feria_paywall::l402::{Caveat, Macaroon};
use http::StatusCode;

use super::shop::{Mode, Shop, l402};

async fn open() -> Shop {
    Shop::open_with(0, &["l402"], |agent| agent.valid_secs = 600).await
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_booked_once_and_ends() {
    let shop = open().await;
    let credential = shop.buy().await;

    for body in ["a", "a", "b", "c"] {
        let answer = shop.call(&[l402(&credential)], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.header("x-uses-remaining"), None);
        assert!(answer.header("payment-receipt").is_some());
    }
    shop.advance(601);
    let late = shop.call(&[l402(&credential)], "d").await;

    assert_eq!(late.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(late.code(), "credential_expired");
    assert_eq!(shop.upstream.calls.load(Ordering::Relaxed), 4);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_takes_no_time() {
    let shop = open().await;
    let credential = shop.buy().await;

    for is_broken in [true, false, true, false] {
        shop.upstream
            .set(if is_broken { Mode::Fail } else { Mode::Work });
        let answer = shop.call(&[l402(&credential)], "a").await;
        if is_broken {
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
            assert!(answer.body.contains("nothing was taken from it"));
        } else {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_time_ends_at_once() {
    let shop = open().await;
    let credential = shop.buy().await;
    let first = shop.call(&[l402(&credential)], "a").await;
    let second = shop.call(&[l402(&credential)], "a").await;

    let used = shop.gateway.list_credentials(None, None, 9).await.unwrap();
    shop.gateway
        .revoke_credential(used[0].token_id)
        .await
        .unwrap();
    let third = shop.call(&[l402(&credential)], "a").await;

    assert_eq!((used.len(), used[0].bought), (1, 0));
    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(third.code(), "credential_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_request_has_it_served_once() {
    let shop = open().await;
    let credential = shop.buy().await;
    let named = [l402(&credential), ("idempotency-key", "order 7".to_owned())];
    shop.call(&[l402(&credential)], "a").await;

    let first = shop.call(&named, "a").await;
    let again = shop.call(&named, "a").await;

    assert_eq!(first.body, again.body);
    assert_eq!(shop.upstream.calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_time_can_be_given_away_and_is_counted() {
    let shop = open().await;
    let (whole, preimage) = shop.buy().await;
    shop.call(&[l402(&(whole.clone(), preimage.clone()))], "a")
        .await;
    let narrowed = Macaroon::parse(&whole)
        .unwrap()
        .attenuate(&Caveat::new("uses", "1").unwrap())
        .unwrap();
    let narrowed = (narrowed.to_base64(), preimage);

    let first = shop.call(&[l402(&narrowed)], "b").await;
    let second = shop.call(&[l402(&narrowed)], "c").await;

    assert_eq!(first.header("x-uses-remaining"), Some("0"));
    assert_eq!(second.code(), "credential_used_up");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_402_says_that_calls_are_not_counted() {
    let shop = open().await;

    let answer = shop.call(&[], "").await;

    let terms = answer.json();
    assert_eq!(terms["terms"]["uses"], serde_json::Value::Null);
    assert_eq!(terms["terms"]["balance_msat"], serde_json::Value::Null);
    assert!(terms["terms"]["valid_until"].is_u64());
}
