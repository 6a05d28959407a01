//! The gateway against a real mint, simulated Lightning and a real upstream over HTTP.

use std::sync::atomic::Ordering;

use feria::gateway::RefundOutcome;
use feria::store::ledger::Account;
use feria_paywall::amount::Sat;
use http::StatusCode;

use self::shop::{Answer, Mode, Shop, l402, paid};

mod asked;
#[path = "../support/buyer.rs"]
mod buyer;
mod doors;
mod float;
mod forwarding;
mod grpc;
#[path = "../support/kept_port.rs"]
mod kept_port;
mod ledger_faults;
mod metered;
#[path = "../support/mint_front.rs"]
pub(crate) mod mint_front;
mod mpp;
mod phases;
mod refused;
mod reload;
mod repeats;
#[path = "../support/rough_upstream.rs"]
mod rough_upstream;
mod routes;
mod shop;
mod soaks;
#[path = "../support/stall.rs"]
mod stall;
mod stand;
mod time;
mod unpaid;
mod vault;
mod websocket;

#[path = "../soak/float_cost.rs"]
mod float_cost;
#[path = "../soak/gateway_crash.rs"]
mod gateway_crash;
#[path = "../soak/parallel_budget.rs"]
mod parallel_budget;
#[path = "../soak/pay_crash.rs"]
mod pay_crash;
#[path = "../soak/replay_race.rs"]
mod replay_race;
#[path = "../soak/upstream_faults.rs"]
mod upstream_faults;

#[tokio::test(flavor = "multi_thread")]
async fn a_lightning_payment_buys_its_uses_and_no_more() {
    let shop = Shop::open(2, &["l402"]).await;
    let credential = shop.buy().await;

    let first = shop.call(&[l402(&credential)], "a").await;
    let second = shop.call(&[l402(&credential)], "b").await;
    let third = shop.call(&[l402(&credential)], "c").await;

    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(first.header("x-uses-remaining"), Some("1"));
    assert!(first.header("payment-receipt").is_some());
    assert_eq!(third.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(third.code(), "credential_used_up");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 2);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    assert!(!shop.upstream.saw_payment.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_gets_the_kept_response() {
    let shop = Shop::open(1, &["l402"]).await;
    let credential = shop.buy().await;

    let first = shop.call(&[l402(&credential)], "question").await;
    let again = shop.call(&[l402(&credential)], "question").await;
    let other = shop.call(&[l402(&credential)], "other").await;

    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    assert_eq!(
        again.header("payment-receipt"),
        first.header("payment-receipt")
    );
    assert_eq!(other.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_requests_with_one_credential_reach_the_upstream_once() {
    let shop = Shop::open(1, &["l402"]).await;
    let credential = shop.buy().await;
    let headers = [l402(&credential)];

    let answers = tokio::join!(
        shop.call(&headers, "x"),
        shop.call(&headers, "x"),
        shop.call(&headers, "x")
    );

    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    for answer in [answers.0, answers.1, answers.2] {
        assert!(
            [StatusCode::OK, StatusCode::CONFLICT].contains(&answer.status),
            "{} {}",
            answer.status,
            answer.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_credentials_are_refused_with_401() {
    let shop = Shop::open(1, &["l402"]).await;
    let (macaroon, preimage) = shop.buy().await;
    let mut tampered = macaroon.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();

    for credential in [
        (macaroon.clone(), "00".repeat(32)),
        (tampered, preimage),
        (macaroon, "not hex".to_owned()),
    ] {
        let answer = shop.call(&[l402(&credential)], "x").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_credential_gets_a_fresh_challenge_and_the_reason() {
    let shop = Shop::open(1, &["l402"]).await;
    let credential = shop.buy().await;
    shop.advance(7_200);

    let answer = shop.call(&[l402(&credential)], "x").await;

    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.code(), "credential_expired");
    assert!(answer.header("www-authenticate").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_given_back_when_the_upstream_fails() {
    let shop = Shop::open(1, &["l402"]).await;
    let credential = shop.buy().await;

    shop.upstream.set(Mode::Fail);
    let failed = shop.call(&[l402(&credential)], "x").await;
    shop.upstream.set(Mode::Work);
    let retried = shop.call(&[l402(&credential)], "x").await;

    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(retried.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_ecash_is_swapped_and_the_change_comes_back() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.plain_token(150).await;

    let answer = shop.call(&[paid(&token)], "x").await;
    let again = shop.call(&[paid(&token)], "x").await;
    let other = shop.call(&[paid(&token)], "y").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("feria-settlement"), Some("swap"));
    assert!(
        answer
            .header("access-control-expose-headers")
            .is_some_and(|exposed| exposed.contains("Feria-Settlement"))
    );
    let change = answer.header("x-cashu").unwrap();
    assert!(shop.buyer_receives(change).await > 40);
    assert_eq!(again.header("x-cashu"), Some(change));
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
    assert_eq!(other.code(), "token_already_spent");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_ecash_is_taken_without_its_mint_and_redeemed_later() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.locked_token(100).await;

    let answer = shop.call(&[paid(&token)], "x").await;
    let held = shop.booked(Account::vault(&shop.mint.url)).await;
    shop.advance(200);
    let report = shop.gateway.redeem_due().await.unwrap();
    let again = shop.call(&[paid(&token)], "other").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("feria-settlement"), Some("offline"));
    assert!(held >= 100, "{held}");
    assert!(report.redeemed_sat >= 100, "{report:?}");
    assert_eq!(shop.booked(Account::vault(&shop.mint.url)).await, 0);
    assert_eq!(again.code(), "token_already_spent");
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_payment_is_refunded_when_the_upstream_fails() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.plain_token(110).await;
    shop.upstream.set(Mode::Fail);

    let failed = shop.call(&[paid(&token)], "x").await;
    let first = refund(&shop, &token).await;
    let second = refund(&shop, &token).await;

    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(failed.code(), "upstream_failed");
    let handed_out = failed.header("x-cashu").unwrap().to_owned();
    assert_eq!((&first, &second), (&handed_out, &handed_out));
    assert!(shop.buyer_receives(&handed_out).await >= 100);
    shop.upstream.set(Mode::Work);
    let retried = shop.call(&[paid(&token)], "x").await;
    assert_eq!(retried.code(), "token_already_spent");
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_a_504_and_the_offline_token_pays_for_the_retry() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.locked_token(100).await;

    shop.upstream.set(Mode::Silent);
    let failed = shop.call(&[paid(&token)], "x").await;
    shop.upstream.set(Mode::Work);
    let retried = shop.call(&[paid(&token)], "x").await;

    assert_eq!(
        failed.status,
        StatusCode::GATEWAY_TIMEOUT,
        "{}",
        failed.body
    );
    assert_eq!(retried.status, StatusCode::OK, "{}", retried.body);
    assert_eq!(shop.booked(Account::owed("data")).await, 0);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_offline_payment_can_be_asked_back() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.locked_token(100).await;
    shop.upstream.set(Mode::Fail);
    shop.call(&[paid(&token)], "x").await;

    let refunded = refund(&shop, &token).await;

    // The token named its payer's refund key: only he can spend what comes back.
    let parsed = feria_paywall::xcashu::token::parse(&refunded, 65_536).unwrap();
    assert!(parsed.is_locked);
    assert!(parsed.amount >= Sat::new(98), "{parsed:?}");
    assert_eq!(refund(&shop, &token).await, refunded);
    shop.upstream.set(Mode::Work);
    let retried = shop.call(&[paid(&token)], "x").await;
    assert_eq!(retried.code(), "token_already_spent");
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_fit_are_left_untouched() {
    let shop = Shop::open(1, &["nut24"]).await;
    let little = shop.plain_token(50).await;
    let foreign = shop.foreign_token(120).await;
    let spent = shop.plain_token(120).await;
    shop.buyer_receives(&spent).await;

    let answers = [
        (shop.call(&[paid(&little)], "x").await, "amount_too_low"),
        (shop.call(&[paid(&foreign)], "x").await, "foreign_mint"),
        (shop.call(&[paid(&spent)], "x").await, "token_already_spent"),
    ];

    for (answer, code) in answers {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(answer.code(), code);
    }
    assert!(shop.buyer_receives(&little).await >= 48);
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_every_header_is_refused_and_never_a_server_error() {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    let long = "A".repeat(60_000);
    for value in [
        "", " ", "L402", "L402 :", "LSAT x:y", "Cashu", "Cashu x", "cashuB", "cashuA!!", "\u{7f}x",
        "Bearer x", &long,
    ] {
        for name in [
            "authorization",
            "x-cashu",
            "accept",
            "idempotency-key",
            "content-type",
        ] {
            let answer = shop.call(&[(name, value.to_owned())], "x").await;
            assert!(
                answer.status.is_client_error(),
                "{name}: {value:.20} {}",
                answer.status
            );
        }
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_challenge_has_the_exact_headers() {
    let shop = Shop::open(3, &["l402", "nut24"]).await;

    let answer = shop.call(&[], "x").await;

    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("L402 macaroon=\""), "{challenge}");
    assert!(answer.header("x-cashu").unwrap().starts_with("creqA"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("link").unwrap().contains("/openapi.json"));
    let body = answer.json();
    assert_eq!(body["price_msat"], 100_000);
    assert_eq!(body["terms"]["uses"], 3);
    assert_eq!(body["terms"]["mints"][0], shop.mint.url.as_str());
    assert_eq!(body["money"], "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_the_price_and_makes_no_invoice() {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    shop.network.set_down(true);

    let answer = shop.request("HEAD", &[], "").await;

    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.header("x-price-msat"), Some("100000"));
    assert_eq!(answer.header("www-authenticate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lightning_the_answer_is_503_and_nothing_is_free() {
    let shop = Shop::open(1, &["l402"]).await;
    shop.network.set_down(true);

    let answer = shop.call(&[], "x").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "lightning_unavailable");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_over_the_limit_are_429() {
    let shop = Shop::open(1, &["l402"]).await;
    for _ in 0..shop::CHALLENGES_PER_MINUTE {
        shop.call(&[], "x").await;
    }

    let answer = shop.call(&[], "x").await;

    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_invoices_are_booked_once_whoever_hears_of_them_first() {
    let shop = Shop::open(1, &["l402"]).await;
    let heard = shop.buy().await;

    assert_eq!(shop.gateway.sync_settled().await.unwrap(), 1);
    assert_eq!(shop.booked(Account::income("unclaimed")).await, -100);
    shop.call(&[l402(&heard)], "x").await;
    let used = shop.buy().await;
    shop.call(&[l402(&used)], "x").await;
    shop.gateway.sync_settled().await.unwrap();

    assert_eq!(shop.gateway.sync_settled().await.unwrap(), 0);
    assert_eq!(shop.booked(Account::income("unclaimed")).await, 0);
    assert_eq!(shop.booked(Account::income("data")).await, -200);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_paid_has_no_refund() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.plain_token(100).await;

    assert_eq!(shop.gateway.refund(&token).await, RefundOutcome::NotFound);
    assert_eq!(
        shop.gateway.refund("garbage").await,
        RefundOutcome::Malformed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_differ_in_their_bodies_each_get_their_kept_response() {
    let shop = Shop::open(2, &["l402"]).await;
    let credential = shop.buy().await;
    let first = shop.call(&[l402(&credential)], "a").await;
    shop.call(&[l402(&credential)], "b").await;

    let again = shop.call(&[l402(&credential)], "a").await;

    assert_eq!((again.status, again.body), (StatusCode::OK, first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_shown_to_their_mint_only_so_often() {
    let shop = Shop::open(1, &["nut24"]).await;
    let spent = shop.plain_token(110).await;
    shop.buyer_receives(&spent).await;

    for _ in 0..shop::CHALLENGES_PER_MINUTE {
        let answer = shop.call(&[paid(&spent)], "x").await;
        assert_eq!(answer.code(), "token_already_spent", "{}", answer.body);
    }
    let answer = shop.call(&[paid(&spent)], "x").await;

    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_hangs_up_during_the_swap_finds_his_answer() {
    let shop = Shop::open(1, &["nut24"]).await;
    let token = shop.plain_token(110).await;
    let headers = [paid(&token)];
    {
        let mut call = std::pin::pin!(shop.call(&headers, "x"));
        while shop.gateway.refund(&token).await != RefundOutcome::InProgress {
            assert!(futures_util::poll!(&mut call).is_pending());
        }
    }

    let mut answer = shop.call(&headers, "x").await;
    for _ in 0..100_000 {
        if answer.status != StatusCode::CONFLICT {
            break;
        }
        tokio::task::yield_now().await;
        answer = shop.call(&headers, "x").await;
    }

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    shop.check_books().await;
}

async fn refund(shop: &Shop, token: &str) -> String {
    match shop.gateway.refund(token).await {
        RefundOutcome::Token { token, amount, .. } => {
            assert!(amount > Sat::ZERO);
            token
        }
        other => panic!("{other:?}"),
    }
}

impl Answer {
    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}
