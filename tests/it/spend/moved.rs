//! Ecash moved to the mint that the seller takes.

use super::*;

/// What the treasury holds at the seller's mint.
async fn arrived(market: &Market) -> u64 {
    let held = market.wallets.balance(TREASURY, &market.seller.mint).await;
    held.unwrap().as_u64()
}

#[tokio::test]
async fn a_seller_at_another_mint_is_paid_by_a_transfer() {
    let market = Market::open_at("nut24", 1_000, Mints::Apart).await;

    let fetched = market.spender.fetch(market.request()).await.unwrap();

    let purchase = fetched.purchase.unwrap();
    assert_eq!(purchase.outcome, "delivered");
    assert_eq!(purchase.rail, "nut24-offline");
    assert!(
        purchase.decision.contains("moved there from"),
        "{}",
        purchase.decision
    );
    assert_eq!(market.payments(), 1);
    // What left the wallet is what the purchase says it cost, and nothing is left over.
    let spent = 1_000 - market.balance().await;
    assert_eq!(spent * 1_000, purchase.price_msat + purchase.fee_msat);
    assert_eq!(arrived(&market).await, 0);
    let expense = Account::expense(&market.wallet_id);
    let booked = market.ledger.balance_msat(expense).await.unwrap();
    assert_eq!(booked, i64::try_from(PRICE_SAT * 1_000).unwrap());
    market.close().await;
}

#[tokio::test]
async fn lightning_is_taken_before_a_dearer_transfer() {
    let market = Market::open_at("l402 nut24", 1_000, Mints::Apart).await;

    let fetched = market.spender.fetch(market.request()).await.unwrap();

    let purchase = fetched.purchase.unwrap();
    assert_eq!(
        (purchase.rail.as_str(), purchase.outcome.as_str()),
        ("l402", "delivered")
    );
    market.close().await;
}

#[tokio::test]
async fn a_transfer_over_the_fee_limit_is_refused() {
    let market = Market::open_at("nut24", 1_000, Mints::Apart).await;
    market.network.set_fee(Msat::new(3_000));
    let request = FetchRequest {
        max_fee: Some(Msat::ZERO),
        ..market.request()
    };

    let refused = market.spender.fetch(request).await;

    assert!(
        matches!(&refused, Err(SpendError::Refused { refusal: Refusal::NoRail(reasons), .. })
            if reasons.iter().any(|reason| reason.contains("exceed"))),
        "{refused:?}"
    );
    assert_eq!(market.balance().await, 1_000);
    market.close().await;
}

#[tokio::test]
async fn an_open_melt_blocks_retry_and_the_other_rail_until_it_is_known() {
    let market = Market::open_at("nut24", 1_000, Mints::Apart).await;
    market.wallets.set_melt_patience(Duration::from_millis(100));
    market.network.set_behaviour(Behaviour::Pending);

    let open = market.spender.fetch(market.keyed("k")).await;
    let blocked = market.spender.fetch(market.request()).await;

    assert!(matches!(open, Err(SpendError::Unknown { .. })), "{open:?}");
    assert!(
        matches!(blocked, Err(SpendError::Unknown { .. })),
        "{blocked:?}"
    );
    assert_eq!(market.spender.recover().await.unwrap().unknown.len(), 1);
    let hash = market.network.pending().pop().unwrap();
    market
        .network
        .resolve_pending(&hash, Resolution::Settle)
        .unwrap();
    let report = settled(&market).await;

    // Nobody waits for the answer any more: the money stays where it arrived.
    assert_eq!((report.released.len(), report.unknown.len()), (1, 0));
    assert_eq!(arrived(&market).await, PRICE_SAT);
    assert_eq!(market.payments(), 0);
    market.close().await;
}

/// Recovers until the mints have heard how the payment ended.
async fn settled(market: &Market) -> feria::spend::SpendRecovery {
    for _ in 0..1_000 {
        market.wallets.recover().await.unwrap();
        let report = market.spender.recover().await.unwrap();
        if report.unknown.is_empty() {
            return report;
        }
        tokio::task::yield_now().await;
    }
    panic!("never settled");
}

#[tokio::test]
async fn what_a_seller_refuses_of_a_transfer_stays_in_the_treasury() {
    let market = Market::open_at("nut24", 1_000, Mints::Apart).await;
    market.seller_is(Manner::Refuses);
    let request = FetchRequest {
        lock: LockPolicy::Never,
        ..market.request()
    };

    let refused = market.spender.fetch(request).await;

    assert!(
        matches!(refused, Err(SpendError::PaymentFailed { .. })),
        "{refused:?}"
    );
    assert_eq!(arrived(&market).await, PRICE_SAT);
    let purchases = market.spender.list_purchases(None, 9).await.unwrap();
    assert_eq!(purchases[0].outcome, "failed");
    market.close().await;
}
