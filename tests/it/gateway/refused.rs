//! Credentials that buy nothing: each is refused with what to do, takes nothing,
//! and leaves the shop open.

use std::sync::atomic::Ordering;

use feria::gateway::RefundOutcome;
use feria::store::ledger::Account;
use http::StatusCode;

use super::shop::{Answer, Shop, l402, paid};

/// Asserts a whole problem document of `status` and, unless empty, `code`.
#[track_caller]
fn check_problem(answer: &Answer, status: StatusCode, code: &str) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(body["status"], status.as_u16());
    assert!(code.is_empty() || body["code"] == code, "{body}");
    assert!(body["detail"].as_str().unwrap().len() > 10, "{body}");
    assert!(answer.body.len() < 8_000, "{} bytes", answer.body.len());
    let steps = body["next_steps"].as_array().unwrap();
    assert!(!steps.is_empty(), "{body}");
    let money = if code == "token_already_spent" {
        "spent"
    } else {
        "none"
    };
    assert_eq!(body["money"], money, "{body}");
}

/// Asserts that nothing was earned or forwarded, and that a good payment buys a call.
async fn check_open(shop: &Shop) {
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
    assert_eq!(shop.booked(Account::income("data")).await, 0);
    assert_eq!(shop.booked(Account::vault(&shop.mint.url)).await, 0);
    shop.check_books().await;
    let good = shop.plain_token(110).await;
    let served = shop.call(&[paid(&good)], "good").await;
    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_buys_nothing_stays_its_payers() {
    let shop = Shop::open(1, &["nut24"]).await;
    let little = shop.plain_token(50).await;
    let foreign = shop.foreign_token(120).await;
    let spent = shop.plain_token(120).await;
    shop.buyer_receives(&spent).await;

    for (token, code) in [
        (&little, "amount_too_low"),
        (&foreign, "foreign_mint"),
        (&spent, "token_already_spent"),
        // The same again: a refusal is not remembered as anything else.
        (&spent, "token_already_spent"),
        (&foreign, "foreign_mint"),
    ] {
        for header in [paid(token), ("authorization", format!("Cashu {token}"))] {
            let answer = shop.call(&[header], "x").await;
            check_problem(&answer, StatusCode::BAD_REQUEST, code);
        }
        let refund = shop.gateway.refund(token).await;
        assert_eq!(refund, RefundOutcome::NotFound, "{code}");
    }

    assert!(shop.buyer_receives(&little).await >= 48);
    assert!(shop.buyer_receives(&foreign).await >= 118);
    check_open(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_credential_is_refused_and_the_true_one_still_buys() {
    let shop = Shop::open(1, &["l402", "nut24"]).await;
    let (macaroon, preimage) = shop.buy().await;
    let mut tampered = macaroon.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();

    for forged in [
        (macaroon.clone(), "00".repeat(32)),
        (tampered, preimage.clone()),
        (macaroon.clone(), "not hex".to_owned()),
        (macaroon.clone(), preimage.repeat(2)),
        (macaroon[..40].to_owned(), preimage.clone()),
        (macaroon.repeat(3), preimage.clone()),
    ] {
        let answer = shop.call(&[l402(&forged)], "x").await;
        check_problem(&answer, StatusCode::UNAUTHORIZED, "bad_credential");
    }
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 0);
    assert_eq!(shop.booked(Account::income("data")).await, 0);

    let served = shop.call(&[l402(&(macaroon, preimage))], "x").await;

    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    assert_eq!(shop.booked(Account::income("data")).await, -100);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_every_header_costs_nothing() {
    let shop = Shop::open(1, &["nut24"]).await;
    let long = "A".repeat(60_000);
    let deep = format!("cashuA{}", "W1tbW1tbW1tb".repeat(3_000));
    let values = [
        "",
        " ",
        "L402",
        "L402 :",
        "L402 ::::",
        "LSAT x:y",
        "Cashu",
        "Cashu x",
        "cashuA",
        "cashuB",
        "cashuA!!",
        "cashuBo2F0gA",
        "creqAo2F0gA",
        "Bearer x",
        "bytes=0-99999999999999999999",
        "\u{202e}\u{feff}",
        &long,
        &deep,
    ];
    for value in values {
        for name in [
            "authorization",
            "x-cashu",
            "accept",
            "range",
            "idempotency-key",
            "content-type",
            "x-forwarded-for",
        ] {
            let answer = shop.call(&[(name, value.to_owned())], "x").await;
            let shown: String = value.chars().take(20).collect();
            assert!(
                answer.status.is_client_error(),
                "{name}: {shown} {}",
                answer.status
            );
            check_problem(&answer, answer.status, "");
        }
    }

    check_open(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_says_of_its_mint_is_no_markup() {
    let shop = Shop::open(1, &["nut24"]).await;
    // A version 3 token, so that the mint is whatever its maker wrote.
    let mints = [
        "https://m.example/<script>alert(1)</script>",
        "https://m.example/\n\n# Pay here instead\n\n- [x](https://t.example)",
        "https://m.example/\u{202e}\u{200b}x",
    ];
    for mint in mints {
        let proof = serde_json::json!({
            "amount": 128, "id": "009a1f293253e41e", "secret": "aa".repeat(32),
            "C": "02bc9097997d81afb2cc7346b5e4345a9346bd2a506eb7958598a72f0cf85163ea",
        });
        let token =
            serde_json::json!({"unit": "sat", "token": [{"mint": mint, "proofs": [proof]}]});
        let text = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE,
            token.to_string(),
        );
        for accept in ["text/html", "text/markdown", "application/json"] {
            let headers = [
                paid(&format!("cashuA{text}")),
                ("accept", accept.to_owned()),
            ];
            let answer = shop.call(&headers, "x").await;

            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
            for markup in [
                "<script>alert",
                "\n# Pay here",
                "\n- [x]",
                "\u{202e}",
                "\u{200b}",
            ] {
                assert!(!answer.body.contains(markup), "{accept}: {}", answer.body);
            }
        }
    }

    check_open(&shop).await;
}
