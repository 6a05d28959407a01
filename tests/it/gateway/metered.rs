//! Metered agents: the upstream says what a call cost, the payer gets the rest back.

use feria::store::ledger::Account;
use feria_paywall::amount::Msat;
use http::StatusCode;

use super::shop::{Mode, Shop, l402, paid};

/// A shop whose calls cost at most 100 sat and, its upstream says, 30.
async fn open() -> Shop {
    Shop::open_with(1, &["l402", "nut24"], |agent| {
        agent.metered_deposit = Msat::new(150_000);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_pays_for_calls_until_the_next_might_not_be_covered() {
    let shop = open().await;
    let credential = shop.buy().await;

    let first = shop.call(&[l402(&credential)], "a").await;
    let second = shop.call(&[l402(&credential)], "b").await;
    shop.upstream.set(Mode::Fail);
    let failed = shop.call(&[l402(&credential)], "c").await;
    shop.upstream.set(Mode::Work);
    let third = shop.call(&[l402(&credential)], "d").await;

    assert_eq!(first.header("x-cost-msat"), Some("30000"));
    assert_eq!(first.header("x-balance-msat"), Some("120000"));
    assert_eq!(second.header("x-balance-msat"), Some("90000"));
    // 90 sat are left and a call may cost 100, whether the last one failed or not.
    assert_eq!(failed.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(third.code(), "credential_used_up");
    assert_eq!(shop.booked(Account::income("data")).await, -150);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_metered_call_takes_nothing_of_the_deposit() {
    let shop = open().await;
    let credential = shop.buy().await;

    shop.upstream.set(Mode::Fail);
    let failed = shop.call(&[l402(&credential)], "a").await;
    shop.upstream.set(Mode::Work);
    let first = shop.call(&[l402(&credential)], "a").await;

    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(first.header("x-balance-msat"), Some("120000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ecash_gets_the_rest_of_the_price_back_as_change() {
    let shop = open().await;
    let token = shop.plain_token(105).await;

    let answer = shop.call(&[paid(&token)], "a").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("x-cost-msat"), Some("30000"));
    let change = answer.header("x-cashu").expect("change").to_owned();
    let back = shop.buyer_receives(&change).await;
    // 105 sat less the cost, less the mint's fees for three swaps.
    assert!((70..75).contains(&back), "{back}");
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_402_says_what_a_deposit_buys() {
    let shop = open().await;

    let terms = shop.call(&[], "").await.json();

    assert_eq!(terms["price_msat"], 100_000);
    assert_eq!(terms["terms"]["balance_msat"], 150_000);
    assert_eq!(terms["terms"]["uses"], serde_json::Value::Null);
}
