//! What comes home of ecash that was locked ahead of calls.

use feria::clock::{Clock, ManualClock, SystemClock};

use super::*;

/// The mint goes by the real clock, so the buyer lives some hours ago: a locktime that
/// it has come to is past for the mint too.
const HOURS_AGO: u64 = 6;

#[tokio::test]
async fn what_nobody_uses_comes_home_at_the_locktime() {
    let market = Market::open("nut24", 1_000).await;
    market.seller_is(Manner::Blind);
    let clock = Arc::new(ManualClock::at(SystemClock.now() - HOURS_AGO * 3_600));
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    let ledger = Ledger::in_memory().unwrap();
    let buyer = wallets(&ledger, 5, std::slice::from_ref(&market.mint), &shared).await;
    let wallet_id = fund(&buyer, &market.network, &market.mint, 500).await;
    let spender = Spender::new(SpendParts {
        config: SpendConfig {
            timeout_secs: 3,
            float_after_calls: 1,
            float_calls: 4,
            ..SpendConfig::default()
        },
        ledger: ledger.clone(),
        wallets: buyer.clone(),
        index: Index::in_memory().unwrap(),
        lightning: Lightning::default(),
        clock: shared,
        entropy: Arc::new(SeededEntropy::new(8)),
    })
    .unwrap();
    let call = async || {
        let request = FetchRequest::get(&wallet_id, &market.url);
        spender.fetch(request).await.unwrap().purchase.unwrap()
    };
    let held = async || {
        buyer
            .balance(&wallet_id, &market.mint)
            .await
            .unwrap()
            .as_u64()
    };
    call().await;
    let second = call().await;
    assert_eq!(held().await, 500 - 5 * PRICE_SAT);

    let early = spender.recover().await.unwrap();
    clock.advance(Duration::from_secs(3 * 3_600));
    let late = spender.recover().await.unwrap();

    assert_eq!(second.outcome, "delivered");
    assert_eq!(early.floats_home, Sat::ZERO);
    assert_eq!(late.floats_home, Sat::new(3 * PRICE_SAT));
    assert_eq!(held().await, 500 - 2 * PRICE_SAT);
    // Nothing of it counts against the budget but the two calls.
    let counted = spender.list_purchases(Some(&wallet_id), 9).await.unwrap();
    let counted: u64 = counted
        .iter()
        .map(|purchase| purchase.price_msat + purchase.fee_msat)
        .sum();
    assert_eq!(counted, 2 * PRICE_SAT * 1_000);
    assert!(ledger.audit().await.unwrap().is_clean());
    assert_eq!(buyer.verify_books().await.unwrap(), [""; 0]);
    market.close().await;
}
