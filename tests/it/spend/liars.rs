//! Sellers, mints and wallets that lie: nothing is paid twice, and where the money
//! is has a name.

use feria::clock::SystemClock;
use feria::lightning::simulated::SimulatedBackend;
use serde_json::Value;

use super::*;
use crate::gateway::mint_front::{Lie, Rule};

/// Lies about the answers at `path`.
fn about(path: &'static str, lie: Lie) -> [Rule; 1] {
    [Rule {
        path,
        honest: 0,
        lie,
    }]
}

async fn outcome(market: &Market) -> String {
    let purchases = market.spender.list_purchases(None, 9).await.unwrap();
    purchases[0].outcome.clone()
}

#[tokio::test]
async fn a_402_for_ever_is_paid_once() {
    let market = Market::open("l402", 1_000).await;
    market.seller_is(Manner::Insatiable);

    let first = market.spender.fetch(market.keyed("k")).await;
    let balance = market.balance().await;
    let second = market.spender.fetch(market.keyed("k")).await;

    for answer in [&first, &second] {
        assert!(
            matches!(answer, Err(SpendError::PaidNotDelivered { reason, .. }) if reason.contains("asks for payment again")),
            "{answer:?}"
        );
    }
    assert_eq!(market.balance().await, balance);
    assert_eq!(outcome(&market).await, "paid");
    market.close().await;
}

#[tokio::test]
async fn a_402_for_ever_gets_no_second_token() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Insatiable);

    let first = market.spender.fetch(market.keyed("k")).await;
    let again = market.spender.fetch(market.keyed("k")).await;
    let other = market.spender.fetch(market.request()).await;

    for answer in [&first, &again, &other] {
        assert!(
            matches!(answer, Err(SpendError::Unknown { .. })),
            "{answer:?}"
        );
    }
    assert_eq!(market.balance().await, 1_000 - PRICE_SAT);
    market.close().await;
}

/// The trap at the other address is closed: going there would fail the call.
#[tokio::test]
async fn a_redirect_of_a_paid_call_is_its_answer() {
    for rails in ["nut24", "l402"] {
        let market = Market::open(rails, 1_000).await;
        market.seller_is(Manner::Redirects);

        let fetched = market.spender.fetch(market.request()).await.unwrap();

        assert_eq!(
            (fetched.status, &fetched.headers["location"]),
            (
                307,
                &"http://127.0.0.1:9/trap"
                    .parse::<http::HeaderValue>()
                    .unwrap()
            )
        );
        assert_eq!(fetched.purchase.unwrap().outcome, "delivered");
        market.close().await;
    }
}

#[tokio::test]
async fn a_mint_that_signs_wrongly_leaves_the_outcome_open() {
    let market = Market::open("nut24", 1_000).await;
    let forged = |answer: &mut Value| {
        if let Some(first) = answer["signatures"].get_mut(0) {
            // The generator: a point, and nobody's signature.
            first["C_"] =
                "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".into();
        }
    };
    market.front.lie(&[
        Rule {
            path: "/v1/swap",
            honest: 0,
            lie: Lie::Rewrite(forged),
        },
        Rule {
            path: "/v1/restore",
            honest: 0,
            lie: Lie::Rewrite(forged),
        },
    ]);

    let lied = market.spender.fetch(market.keyed("k")).await;
    let blocked = market.spender.fetch(market.request()).await;

    assert!(matches!(lied, Err(SpendError::Unknown { .. })), "{lied:?}");
    assert!(
        matches!(blocked, Err(SpendError::Unknown { .. })),
        "{blocked:?}"
    );
    assert_eq!(market.payments(), 0);
    market.front.lie(&[]);
    market.wallets.recover().await.unwrap();
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    assert_eq!(market.payments(), 1);
    market.close().await;
}

#[tokio::test]
async fn a_mint_that_quotes_another_amount_is_not_melted_at() {
    let market = Market::open("l402", 1_000).await;
    let doubled = |answer: &mut Value| {
        if let Some(amount) = answer["amount"].as_u64() {
            answer["amount"] = (2 * amount).into();
        }
    };
    market
        .front
        .lie(&about("/v1/melt/quote", Lie::Rewrite(doubled)));

    let refused = market.spender.fetch(market.request()).await;

    assert!(
        matches!(&refused, Err(SpendError::Refused { refusal: Refusal::NoRail(reasons), .. })
            if reasons.iter().any(|reason| reason.contains("asks 20 sat for an invoice over 10 sat"))),
        "{refused:?}"
    );
    assert_eq!(market.balance().await, 1_000);
    market.close().await;
}

/// The state of a mint that has begun and does not say more, however it spells it.
#[tokio::test]
async fn a_melt_that_is_reserved_or_pending_for_ever_blocks() {
    let reserved = |answer: &mut Value| {
        if answer.get("state").is_some() {
            answer["state"] = "PENDING".into();
            answer["payment_preimage"] = Value::Null;
        }
        for state in answer["states"].as_array_mut().into_iter().flatten() {
            state["state"] = "RESERVED".into();
        }
    };
    let market = Market::open("l402", 1_000).await;
    market.wallets.set_melt_patience(Duration::from_millis(100));
    market.front.lie(&[
        Rule {
            path: "/v1/melt/bolt11",
            honest: 0,
            lie: Lie::Rewrite(reserved),
        },
        Rule {
            path: "/v1/checkstate",
            honest: 0,
            lie: Lie::Rewrite(reserved),
        },
        // The first is the quote itself.
        Rule {
            path: "/v1/melt/quote",
            honest: 1,
            lie: Lie::Rewrite(reserved),
        },
    ]);

    let pending = market.spender.fetch(market.keyed("k")).await;
    let blocked = market.spender.fetch(market.request()).await;
    market.wallets.recover().await.unwrap();
    let report = market.spender.recover().await.unwrap();

    assert!(
        matches!(pending, Err(SpendError::Unknown { .. })),
        "{pending:?}"
    );
    assert!(
        matches!(blocked, Err(SpendError::Unknown { .. })),
        "{blocked:?}"
    );
    assert_eq!(report.unknown.len(), 1);
    market.front.lie(&[]);
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    market.close().await;
}

#[tokio::test]
async fn a_mint_whose_preimage_opens_nothing_is_paid_once() {
    let market = Market::open("l402", 1_000).await;
    market.network.set_behaviour(Behaviour::WrongPreimage);

    let lied = market.spender.fetch(market.keyed("k")).await;
    let balance = market.balance().await;
    let again = market.spender.fetch(market.keyed("k")).await;
    let other = market.spender.fetch(market.request()).await;

    for answer in [&lied, &again, &other] {
        assert!(
            matches!(answer, Err(SpendError::Unknown { reason, .. }) if reason.contains("preimage")),
            "{answer:?}"
        );
    }
    assert_eq!(market.balance().await, balance);
    market.close().await;
}

/// A wallet that claims success and shows a preimage of something else.
#[tokio::test]
async fn a_backend_with_a_wrong_preimage_is_paid_once() {
    let market = Market::open("l402", 1_000).await;
    market.network.faucet("node", Msat::new(1_000_000)).unwrap();
    market.network.set_behaviour(Behaviour::WrongPreimage);
    let backend = Arc::new(SimulatedBackend::new(market.network.clone(), "node"));
    let spender = Spender::new(SpendParts {
        lightning: Lightning::single(backend, Arc::new(SystemClock)),
        ..parts(&market)
    })
    .unwrap();
    let request = || FetchRequest {
        idempotency_key: Some("k".to_owned()),
        ..FetchRequest::get(TREASURY, &market.url)
    };

    let lied = spender.fetch(request()).await;
    let balance = market.network.balance("node");
    let again = spender.fetch(request()).await;

    for answer in [&lied, &again] {
        assert!(
            matches!(answer, Err(SpendError::Unknown { reason, .. }) if reason.contains("preimage")),
            "{answer:?}"
        );
    }
    assert_eq!(market.network.balance("node"), balance);
    market.lifecycle.shut_down(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_credential_that_the_seller_forgot_is_replaced() {
    let market = Market::open("l402", 1_000).await;
    market.spender.fetch(market.request()).await.unwrap();
    // A server that takes each credential once says 401 to the second call.
    market.seller_is(Manner::Strict);
    market.seller.uses.lock().clear();

    let next = market.spender.fetch(market.request()).await.unwrap();

    assert_eq!(next.purchase.unwrap().rail, "l402");
    market.close().await;
}

fn parts(market: &Market) -> SpendParts {
    SpendParts {
        config: SpendConfig {
            timeout_secs: 3,
            ..SpendConfig::default()
        },
        ledger: market.ledger.clone(),
        wallets: market.wallets.clone(),
        index: Index::in_memory().unwrap(),
        lightning: Lightning::default(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SeededEntropy::new(8)),
    }
}
