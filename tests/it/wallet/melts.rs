//! Invoices paid with ecash: paid, failed, pending, and lied about.

use super::line::Cut;
use super::*;

async fn melt(market: &Market, wallets: &Wallets, id: &str, sat: u64) -> MeltOutcome {
    let bolt11 = market.invoice(sat).await;
    let offer = wallets
        .melt_offer(TREASURY, &market.line.url, &bolt11)
        .await
        .unwrap();
    let to = Account::expense(TREASURY);
    let outcome = wallets.melt(id, TREASURY, &offer, to, "test").await;
    if let MeltOutcome::Paid {
        preimage: Some(preimage),
        ..
    } = &outcome
    {
        assert!(preimage.opens(&offer.payment_hash));
    }
    outcome
}

#[tokio::test]
async fn a_melt_pays_the_invoice_and_brings_preimage_and_change() {
    let market = Market::funded(100).await;
    market.network.set_fee(Sat::new(1).into());

    let outcome = melt(&market, &market.wallets, "m1", 100).await;

    let MeltOutcome::Paid {
        preimage: Some(preimage),
        fee,
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(market.held(TREASURY).await, FUNDED - 100 - fee.as_u64());
    assert_eq!(market.booked(Account::expense(TREASURY)).await, 100);
    let again = market.wallets.melt_state("m1").await;
    assert!(
        matches!(&again, MeltOutcome::Paid { preimage: Some(again), .. }
            if again.expose() == preimage.expose())
    );
    market.check(0).await;
}

#[tokio::test]
async fn a_failed_melt_costs_nothing() {
    let market = Market::funded(100).await;
    market.network.set_behaviour(Behaviour::Fail);

    let outcome = melt(&market, &market.wallets, "m1", 100).await;

    assert!(matches!(outcome, MeltOutcome::Failed { .. }), "{outcome:?}");
    assert_eq!(market.held(TREASURY).await, FUNDED);
    market.check(0).await;
}

#[tokio::test]
async fn a_pending_melt_is_unknown_until_the_mint_knows() {
    for (resolution, left) in [
        (Resolution::Settle, FUNDED - 100),
        (Resolution::Fail, FUNDED),
    ] {
        let market = Market::funded(0).await;
        market.wallets.set_melt_patience(Duration::from_millis(300));
        market.network.set_behaviour(Behaviour::Pending);
        let bolt11 = market.invoice(100).await;
        let offer = market
            .wallets
            .melt_offer(TREASURY, &market.line.url, &bolt11)
            .await
            .unwrap();

        let to = Account::expense(TREASURY);
        let outcome = market
            .wallets
            .melt("m1", TREASURY, &offer, to, "test")
            .await;
        assert!(
            matches!(outcome, MeltOutcome::Unknown { .. }),
            "{outcome:?}"
        );
        let node = market.restarted();
        assert_eq!(node.recover().await.unwrap().unknown, ["m1"]);

        market
            .network
            .resolve_pending(&offer.payment_hash, resolution)
            .unwrap();
        let outcome = loop {
            match node.melt_state("m1").await {
                MeltOutcome::Unknown { .. } => tokio::task::yield_now().await,
                outcome => break outcome,
            }
        };
        assert_eq!(
            matches!(outcome, MeltOutcome::Paid { .. }),
            resolution == Resolution::Settle
        );
        assert_eq!(market.held(TREASURY).await, left);
        market.check(0).await;
    }
}

#[tokio::test]
async fn a_melt_whose_answer_died_is_completed_with_change_and_preimage() {
    let market = Market::funded(100).await;
    let bolt11 = market.invoice(100).await;
    let offer = market
        .wallets
        .melt_offer(TREASURY, &market.line.url, &bolt11)
        .await
        .unwrap();
    let to = Account::expense(TREASURY);
    market.line.cut(Cut::HoldReply, "POST /v1/melt/bolt11 ");
    tokio::select! {
        outcome = market.wallets.melt("m1", TREASURY, &offer, to, "test") => panic!("{outcome:?}"),
        () = market.line.reached() => {}
    }

    market.line.mend();
    let node = market.restarted();
    let report = node.recover().await.unwrap();

    assert_eq!(report.completed, ["m1"]);
    assert!(matches!(
        node.melt_state("m1").await,
        MeltOutcome::Paid {
            preimage: Some(_),
            ..
        }
    ));
    market.check(0).await;
}

#[tokio::test]
async fn a_preimage_that_opens_nothing_is_not_passed_on() {
    let market = Market::funded(0).await;
    market.network.set_behaviour(Behaviour::WrongPreimage);

    let outcome = melt(&market, &market.wallets, "m1", 100).await;

    assert!(
        matches!(outcome, MeltOutcome::Paid { preimage: None, .. }),
        "{outcome:?}"
    );
    assert_eq!(market.held(TREASURY).await, FUNDED - 100);
    market.check(0).await;
}
