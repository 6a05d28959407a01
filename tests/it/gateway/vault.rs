//! When ecash that was accepted offline is redeemed, and what an outage does.

use std::time::Duration;

use feria::store::ledger::Account;
use feria_paywall::amount::Sat;
use http::StatusCode;

use super::shop::{Shop, paid};

async fn open(vault_cap: u64) -> Shop {
    Shop::open_agent(|agent, limits| {
        agent.rails = vec!["nut24".to_owned()];
        limits.vault_cap = Sat::new(vault_cap);
    })
    .await
}

async fn pay_offline(shop: &Shop, body: &str) {
    let token = shop.locked_token(100).await;
    let answer = shop.call(&[paid(&token)], body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("feria-settlement"), Some("offline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_cap_calls_the_redeemer() {
    let shop = open(450).await;
    pay_offline(&shop, "a").await;
    let early = shop.gateway.redeem_due().await.unwrap();
    pay_offline(&shop, "b").await;
    pay_offline(&shop, "c").await;

    let called = tokio::time::timeout(Duration::from_secs(5), shop.gateway.redeem_wanted()).await;
    let report = shop.gateway.redeem_due().await.unwrap();

    assert_eq!(early.redeemed_sat, 0);
    assert!(called.is_ok());
    assert!(report.redeemed_sat >= 300, "{report:?}");
    assert_eq!(shop.booked(Account::vault(&shop.mint.url)).await, 0);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_mint_is_away_one_batch_waits_and_nothing_is_lost() {
    let shop = open(5_000).await;
    pay_offline(&shop, "a").await;
    shop.mint.set_available(false);
    shop.advance(300);
    let away = shop.gateway.redeem_due().await.unwrap();
    shop.mint.set_available(true);
    pay_offline(&shop, "b").await;
    shop.mint.set_available(false);
    shop.advance(300);
    let still_away = shop.gateway.redeem_due().await.unwrap();
    shop.mint.set_available(true);

    let back = shop.gateway.redeem_due().await.unwrap();

    assert!(
        away.waiting_sat >= 100 && away.redeemed_sat == 0,
        "{away:?}"
    );
    // The second token is held back: it would cost a fee of its own.
    assert_eq!(still_away.waiting_sat, away.waiting_sat);
    assert!(back.redeemed_sat >= 200, "{back:?}");
    assert_eq!((back.lost_sat, back.waiting_sat), (0, 0));
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_ends_soon_is_an_alarm() {
    let shop = open(5_000).await;
    pay_offline(&shop, "a").await;
    shop.mint.set_available(false);

    // The lock holds for two hours; half of the shortest lock is half an hour.
    shop.advance(5_400);
    let report = shop.gateway.redeem_due().await.unwrap();

    assert!(report.at_risk_sat >= 100, "{report:?}");
}
