//! Calls that are served for nothing: shadow mode and free trials.

use std::sync::atomic::Ordering;

use feria::gateway::GivenAway;
use http::StatusCode;

use super::shop::{Mode, Shop, l402, paid};

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_everything_passes_and_nothing_is_taken() {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    let credential = shop.buy().await;
    let token = shop.plain_token(110).await;
    shop.change(|agent| agent.shadow = true);

    let bare = shop.call(&[], "x").await;
    let with_token = shop.call(&[paid(&token)], "x").await;
    let with_credential = shop.call(&[l402(&credential)], "x").await;

    for answer in [bare, with_token, with_credential] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.header("feria-shadow"), Some("100 sat"));
        assert_eq!(answer.header("payment-receipt"), None);
    }
    assert!(!shop.upstream.saw_payment.load(Ordering::SeqCst));
    assert_eq!(shop.gateway.given_away("data").shadow_calls, 3);
    assert_eq!(shop.gateway.given_away("data").shadow_msat, 300_000);
    shop.change(|_| ());
    assert_eq!(
        shop.call(&[l402(&credential)], "y").await.status,
        StatusCode::OK
    );
    assert_eq!(shop.call(&[paid(&token)], "y").await.status, StatusCode::OK);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_can_put_all_agents_into_shadow_mode() {
    let shop = Shop::open_agent(|_, config| config.shadow = true).await;

    let answer = shop.call(&[], "x").await;
    let head = shop.request("HEAD", &[], "").await;

    assert_eq!(answer.header("feria-shadow"), Some("100 sat"));
    assert_eq!(head.status, StatusCode::NOT_FOUND, "nothing is sold by GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_free_calls_and_then_pays() {
    let shop = Shop::open_agent(|agent, _| {
        agent.trial_calls = 2;
        agent.trial_window_secs = 100;
    })
    .await;

    let first = shop.call(&[], "a").await;
    shop.upstream.set(Mode::Fail);
    let failed = shop.call(&[], "b").await;
    shop.upstream.set(Mode::Work);
    let second = shop.call(&[], "c").await;
    let over = shop.call(&[], "d").await;
    shop.advance(100);
    let later = shop.call(&[], "e").await;

    assert_eq!(first.header("x-trial-remaining"), Some("1"));
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed.header("x-trial-remaining"), Some("1"));
    assert_eq!(second.header("x-trial-remaining"), Some("0"));
    assert_eq!(over.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(later.header("x-trial-remaining"), Some("1"));
    let expected = GivenAway {
        trial_calls: 3,
        ..GivenAway::default()
    };
    assert_eq!(shop.gateway.given_away("data"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_payment_does_not_fall_back_to_a_free_call() {
    let shop = Shop::open_agent(|agent, _| agent.trial_calls = 1).await;

    let refused = shop.call(&[paid("cashuBgarbage")], "x").await;
    let free = shop.call(&[], "x").await;

    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(free.header("x-trial-remaining"), Some("0"));
}
