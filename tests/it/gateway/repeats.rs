//! What was paid for is there again for its payer, whatever has changed meanwhile,
//! and however the payment is written.

use std::str::FromStr;
use std::sync::atomic::Ordering;

use feria_paywall::amount::Msat;
use feria_paywall::xcashu::cashu::nuts::Token;
use http::StatusCode;

use super::rough_upstream::{Rough, RoughUpstream};
use super::shop::{self, Mode, Setup, Shop, agent, l402, paid};

/// Writes a token of version 4 as one of version 3.
fn rewritten(token: &str) -> String {
    let other = Token::from_str(token).unwrap().to_v3_string();
    assert!(token.starts_with("cashuB") && other.starts_with("cashuA"));
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_credential_still_gets_what_it_bought() {
    let shop = Shop::open(2, &["l402"]).await;
    let credential = shop.buy().await;
    shop.advance(3_500);
    let bought = shop.call(&[l402(&credential)], "question").await;
    shop.advance(200);

    let again = shop.call(&[l402(&credential)], "question").await;
    let other = shop.call(&[l402(&credential)], "other").await;

    assert_eq!((again.status, again.body), (StatusCode::OK, bought.body));
    assert_eq!(other.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(other.code(), "credential_expired");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_still_gets_what_it_bought_when_the_price_has_risen() {
    let shop = Shop::open(1, &["nut24"]).await;
    for token in [shop.plain_token(101).await, shop.locked_token(100).await] {
        shop.gateway
            .set_agents(vec![agent(&shop.upstream_url, 1, &["nut24"])])
            .unwrap();
        let bought = shop.call(&[paid(&token)], "question").await;
        let mut dearer = agent(&shop.upstream_url, 1, &["nut24"]);
        dearer.price = Msat::new(200_000);
        shop.gateway.set_agents(vec![dearer]).unwrap();

        let again = shop.call(&[paid(&token)], "question").await;
        let other = shop.call(&[paid(&token)], "other").await;

        assert_eq!((again.status, again.body), (StatusCode::OK, bought.body));
        assert_eq!(other.code(), "amount_too_low");
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_while_the_answer_streams_is_told_to_wait() {
    let upstream = RoughUpstream::start().await;
    upstream.set(Rough::Stalls).await;
    let mut setup = Setup::new(1, &["l402"]);
    setup.upstream = Some(upstream.url.clone());
    setup.config.upstream_timeout_secs = 60;
    let shop = Shop::set_up(setup, std::future::ready).await;
    let headers = [l402(&shop.buy().await)];
    let mut first = std::pin::pin!(shop.call(&headers, "x"));
    tokio::select! {
        answer = &mut first => panic!("{}", answer.status),
        () = upstream.reached() => {}
    }

    // The first of these may come before the commit; the others do not.
    for _ in 0..50 {
        let again = shop.call(&headers, "x").await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
        assert!(futures_util::poll!(&mut first).is_pending());
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_ones_own_answer_again_is_no_bad_token() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.plain_token(101).await;
    for _ in 0..3 * shop::CHALLENGES_PER_MINUTE {
        let answer = shop.call(&[paid(&token)], "question").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_the_same_payment_however_it_is_written() {
    let shop = Shop::open(1, &["nut24"]).await;
    for token in [shop.plain_token(101).await, shop.locked_token(100).await] {
        let bought = shop.call(&[paid(&token)], "question").await;

        let again = shop.call(&[paid(&rewritten(&token))], "question").await;
        let other = shop.call(&[paid(&rewritten(&token))], "other").await;

        assert_eq!((again.status, again.body), (StatusCode::OK, bought.body));
        assert_eq!(other.code(), "token_already_spent");
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 2);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_given_for_the_same_proofs_however_they_are_written() {
    let shop = Shop::open(1, &["nut24"]).await;
    shop.upstream.set(Mode::Fail);
    for token in [shop.plain_token(101).await, shop.locked_token(100).await] {
        shop.call(&[paid(&token)], "x").await;

        let refund = super::refund(&shop, &rewritten(&token)).await;

        assert_eq!(super::refund(&shop, &token).await, refund);
    }
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_token_header_is_neither_taken_nor_passed_on() {
    let shop = Shop::open(1, &["nut24"]).await;
    let (first, second) = (shop.plain_token(101).await, shop.plain_token(101).await);

    let answer = shop.call(&[paid(&first), paid(&second)], "x").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!shop.upstream.saw_payment.load(Ordering::SeqCst));
    assert!(shop.buyer_receives(&second).await >= 100);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_beside_a_good_credential_is_untouched() {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    let (credential, token) = (shop.buy().await, shop.plain_token(101).await);
    let both = [l402(&credential), paid(&token)];

    let first = shop.call(&both, "x").await;
    shop.advance(700);
    // The credential is used up and its answer forgotten: now it is the token's turn.
    let second = shop.call(&both, "y").await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.header("feria-settlement"), None);
    assert_eq!(second.header("feria-settlement"), Some("swap"));
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 2);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_share_a_proof_pay_once() {
    let shop = Shop::open(1, &["nut24"]).await;
    for is_locked in [false, true] {
        let sat = if is_locked { 100 } else { 101 };
        let one = shop.token_of_purse(sat, is_locked).await;
        let other = shop.token_of_purse(sat, is_locked).await;
        let whole = joined(&[&one, &other]);
        let first = shop.call(&[paid(&one)], "x").await;

        let second = shop.call(&[paid(&whole)], "y").await;

        assert_eq!(first.status, StatusCode::OK, "{}", first.body);
        assert_eq!(second.code(), "token_already_spent", "{}", second.body);
        // What was not spent is still worth something.
        let third = shop.call(&[paid(&other)], "z").await;
        assert_eq!(third.status, StatusCode::OK, "{}", third.body);
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 4);
    shop.gateway.redeem_all().await.unwrap();
    shop.check_books().await;
}

/// One token of version 3 over the proofs of `tokens`.
fn joined(tokens: &[&str]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;

    let mut whole: Option<serde_json::Value> = None;
    for token in tokens {
        let text = rewritten(token);
        let bytes = URL_SAFE.decode(text.trim_start_matches("cashuA")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let Some(whole) = &mut whole else {
            whole = Some(document);
            continue;
        };
        let more = document["token"][0]["proofs"].as_array().unwrap().clone();
        let proofs = whole["token"][0]["proofs"].as_array_mut().unwrap();
        proofs.extend(more);
    }
    format!("cashuA{}", URL_SAFE.encode(whole.unwrap().to_string()))
}
