//! What a buyer pays, keeps and gets back.

use super::*;

#[tokio::test]
async fn an_invoice_is_paid_by_a_melt_and_its_credential_used_again() {
    let market = Market::open("l402", 1_000).await;

    let first = market.spender.fetch(market.request()).await.unwrap();
    let second = market.spender.fetch(market.request()).await.unwrap();

    let (first, second) = (first.purchase.unwrap(), second.purchase.unwrap());
    assert_eq!(
        (first.rail.as_str(), first.price_msat),
        ("l402", PRICE_SAT * 1_000)
    );
    assert_eq!(
        (second.rail.as_str(), second.price_msat),
        ("l402-cached", 0)
    );
    assert_eq!(first.outcome, "delivered");
    assert!(market.balance().await <= 1_000 - PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn a_used_up_credential_leads_to_a_new_purchase() {
    let market = Market::open("l402", 1_000).await;
    for _ in 0..2 {
        market.spender.fetch(market.request()).await.unwrap();
    }

    let third = market.spender.fetch(market.request()).await.unwrap();

    assert_eq!(third.purchase.unwrap().rail, "l402");
    market.close().await;
}

#[tokio::test]
async fn ecash_is_locked_unless_told_otherwise() {
    let market = Market::open("l402 nut24", 1_000).await;

    let locked = market.spender.fetch(market.request()).await.unwrap();
    let plain = FetchRequest {
        lock: LockPolicy::Never,
        ..market.request()
    };
    let plain = market.spender.fetch(plain).await.unwrap();

    assert_eq!(locked.purchase.unwrap().rail, "nut24-offline");
    assert_eq!(plain.purchase.unwrap().rail, "nut24-swap");
    assert_eq!(market.balance().await, 1_000 - 2 * PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn a_mint_of_the_seller_is_never_melted_at() {
    let market = Market::open("l402 nut24", 1_000).await;
    let request = FetchRequest {
        rail: Rail::Lightning,
        ..market.request()
    };

    let refused = market.spender.fetch(request).await;

    assert!(matches!(
        refused,
        Err(SpendError::Refused { refusal: Refusal::NoRail(reasons), .. })
            if reasons.iter().any(|reason| reason.contains("no preimage"))
    ));
    assert_eq!(market.balance().await, 1_000);
    market.close().await;
}

#[tokio::test]
async fn a_refund_comes_home() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Refunds);

    let fetched = market.spender.fetch(market.keyed("k")).await.unwrap();
    let again = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert_eq!(fetched.status, 502);
    assert_eq!(fetched.purchase.unwrap().outcome, "refunded");
    assert_eq!(again.purchase.unwrap().outcome, "refunded");
    assert_eq!(market.balance().await, 1_000);
    assert_eq!(market.payments(), 1);
    market.close().await;
}

#[tokio::test]
async fn a_plain_token_that_was_not_taken_comes_home() {
    for manner in [Manner::Fails, Manner::Refuses] {
        let market = Market::open("nut24", 1_000).await;
        market.seller_is(manner);
        let request = FetchRequest {
            lock: LockPolicy::Never,
            ..market.request()
        };

        let outcome = market.spender.fetch(request).await;

        match manner {
            Manner::Fails => assert_eq!(outcome.unwrap().purchase.unwrap().outcome, "refunded"),
            _ => assert!(matches!(outcome, Err(SpendError::PaymentFailed { .. }))),
        }
        assert_eq!(market.balance().await, 1_000);
        market.close().await;
    }
}

#[tokio::test]
async fn a_locked_token_that_was_refused_blocks_until_the_mint_knows() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Refuses);

    let refused = market.spender.fetch(market.request()).await;
    let blocked = market.spender.fetch(market.request()).await;
    let early = market.spender.recover().await.unwrap();
    // The seller said no, and redeems it all the same.
    let token = market.seller.tokens.lock().pop().unwrap();
    redeem(&market.seller, 9, &token).await;
    let late = market.spender.recover().await.unwrap();

    assert!(matches!(refused, Err(SpendError::Unknown { .. })));
    assert!(matches!(blocked, Err(SpendError::Unknown { .. })));
    assert_eq!(early.unknown.len(), 1);
    assert_eq!(late.paid.len(), 1);
    assert_eq!(market.balance().await, 1_000 - PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn a_lost_answer_is_fetched_again_without_paying_again() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::GoesSilent);

    let lost = market.spender.fetch(market.keyed("k")).await;
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert!(matches!(lost, Err(SpendError::Unknown { .. })));
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    assert_eq!(market.payments(), 1);
    assert_eq!(market.balance().await, 1_000 - PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn recovery_books_a_payment_whose_answer_was_lost() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::GoesSilent);
    let lost = market.spender.fetch(market.keyed("k")).await;
    assert!(matches!(lost, Err(SpendError::Unknown { .. })));

    let report = market.spender.recover().await.unwrap();
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert_eq!(report.paid.len(), 1);
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    assert_eq!(market.payments(), 1);
    market.close().await;
}

#[tokio::test]
async fn recovery_asks_the_seller_for_a_refund_whose_answer_was_lost() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Owes);
    let error = market.spender.fetch(market.request()).await.unwrap_err();
    assert!(matches!(error, SpendError::Unknown { .. }), "{error}");

    let report = market.spender.recover().await.unwrap();

    assert_eq!((report.paid.len(), report.released.len()), (0, 1));
    assert_eq!(market.balance().await, 1_000);
    market.close().await;
}

#[tokio::test]
async fn a_failed_l402_call_keeps_its_credential() {
    let market = Market::open("l402", 1_000).await;
    market.seller_is(Manner::Fails);

    let failed = market.spender.fetch(market.keyed("k")).await.unwrap();
    let balance = market.balance().await;
    market.seller_is(Manner::Honest);
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert_eq!(failed.purchase.unwrap().outcome, "paid");
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    assert_eq!(market.balance().await, balance);
    market.close().await;
}

#[tokio::test]
async fn a_pending_payment_blocks_until_it_is_resolved() {
    let market = Market::open("l402", 1_000).await;
    market.wallets.set_melt_patience(Duration::from_millis(100));
    market.network.set_behaviour(Behaviour::Pending);

    let pending = market.spender.fetch(market.keyed("k")).await;
    let hash = *market.seller.uses.lock().keys().next().unwrap();
    let blocked = market.spender.fetch(market.request()).await;
    market
        .network
        .resolve_pending(&hash, Resolution::Settle)
        .unwrap();
    let found = market.spender.fetch(market.keyed("k")).await.unwrap();

    assert!(
        matches!(pending, Err(SpendError::Unknown { .. })),
        "{pending:?}"
    );
    assert!(
        matches!(blocked, Err(SpendError::Unknown { .. })),
        "{blocked:?}"
    );
    assert_eq!(found.purchase.unwrap().outcome, "delivered");
    market.close().await;
}

#[tokio::test]
async fn what_is_over_the_budget_is_refused_before_paying() {
    let market = Market::open("nut24", 15).await;
    market.spender.fetch(market.request()).await.unwrap();

    let capped = FetchRequest {
        max_cost: Some(Msat::new(9_000)),
        ..market.request()
    };
    let capped = market.spender.fetch(capped).await;
    market.seller_is(Manner::Dear);
    let dear = market.spender.fetch(market.keyed("dear")).await;
    let again = market.spender.fetch(market.keyed("dear")).await;

    assert!(matches!(
        capped,
        Err(SpendError::Refused {
            refusal: Refusal::OverCap { .. },
            ..
        })
    ));
    assert!(matches!(dear, Err(SpendError::Refused { .. })));
    assert!(matches!(
        again,
        Err(SpendError::Refused {
            refusal: Refusal::Recorded(_),
            ..
        })
    ));
    assert_eq!(market.payments(), 1);
    let log = market.wallets.audit_log(&market.wallet_id).await.unwrap();
    assert_eq!(
        log.entries
            .iter()
            .filter(|entry| entry.kind == "refused")
            .count(),
        2
    );
    market.close().await;
}

#[tokio::test]
async fn parallel_calls_never_exceed_the_budget() {
    let market = Market::open("nut24", 1_000).await;
    let budget = feria::spend::Budget {
        total_msat: Some(5 * PRICE_SAT * 1_000),
        ..Default::default()
    };
    market
        .spender
        .set_budget(&market.wallet_id, budget)
        .await
        .unwrap();

    let calls = (0..20).map(|_| market.spender.fetch(market.request()));
    let outcomes = futures_util::future::join_all(calls).await;

    let paid = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(paid, 5, "{outcomes:?}");
    assert_eq!(market.payments(), 5);
    assert_eq!(market.balance().await, 1_000 - 5 * PRICE_SAT);
    market.close().await;
}

#[tokio::test]
async fn the_same_key_pays_once_even_at_the_same_time() {
    let market = Market::open("nut24", 1_000).await;

    let calls = (0..8).map(|_| market.spender.fetch(market.keyed("k")));
    let outcomes = futures_util::future::join_all(calls).await;

    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(market.payments(), 1);
    market.close().await;
}

#[tokio::test]
async fn a_dry_run_pays_nothing_and_names_the_price() {
    let market = Market::open("nut24", 1_000).await;
    let request = FetchRequest {
        dry_run: true,
        ..market.request()
    };

    let planned = market.spender.fetch(request).await.unwrap();

    let purchase = planned.purchase.unwrap();
    assert_eq!(
        (purchase.outcome.as_str(), purchase.price_msat),
        ("planned", 10_000)
    );
    assert_eq!(market.payments(), 0);
    assert!(
        market
            .spender
            .list_purchases(None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    market.close().await;
}
