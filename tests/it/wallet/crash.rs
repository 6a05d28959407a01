//! The process dies, or the answer is lost, at each arrow of the state table.

use super::line::Cut;
use super::*;

#[tokio::test]
async fn a_send_that_died_before_its_request_is_rolled_back() {
    let market = Market::funded(0).await;
    market.line.cut(Cut::HoldRequest, "/v1/swap");
    tokio::select! {
        sent = market.wallets.send(order(&market, "s1", 10)) => panic!("{sent:?}"),
        () = market.line.reached() => {}
    }

    market.line.mend();
    let node = market.restarted();
    let report = node.recover().await.unwrap();

    assert_eq!(report.rolled_back, ["s1"]);
    assert!(node.token("s1").await.unwrap().is_none());
    node.send(order(&market, "s1", 10)).await.unwrap();
    assert_eq!(market.held(TREASURY).await, FUNDED - 10);
    market.check(0).await;
}

#[tokio::test]
async fn a_send_that_died_before_its_answer_is_completed() {
    let market = Market::funded(100).await;
    market.line.cut(Cut::HoldReply, "/v1/swap");
    tokio::select! {
        sent = market.wallets.send(order(&market, "s1", 10)) => panic!("{sent:?}"),
        () = market.line.reached() => {}
    }

    market.line.mend();
    let node = market.restarted();
    let report = node.recover().await.unwrap();

    assert_eq!(report.completed, ["s1"]);
    let sent = node.token("s1").await.unwrap().unwrap();
    assert_eq!(
        node.send(order(&market, "s1", 10)).await.unwrap().token,
        sent.token
    );
    node.reclaim("s1").await.unwrap();
    market.check(0).await;
}

#[tokio::test]
async fn a_receipt_that_died_anywhere_is_completed() {
    let market = Market::funded(0).await;
    for (id, cut) in [("1", Cut::HoldRequest), ("2", Cut::HoldReply)] {
        let sent = market.wallets.send(order(&market, id, 10)).await.unwrap();
        market
            .wallets
            .settle(id, Account::expense(TREASURY))
            .await
            .unwrap();
        let id = format!("r{id}");
        market.line.cut(cut, "/v1/swap");
        tokio::select! {
            received = market.wallets.receive(receipt(&id, &sent)) => panic!("{received:?}"),
            () = market.line.reached() => {}
        }

        market.line.mend();
        let report = market.restarted().recover().await.unwrap();

        assert_eq!(report.completed, [id]);
    }
    assert_eq!(market.held(TREASURY).await, FUNDED);
    market.check(0).await;
}

#[tokio::test]
async fn a_lost_answer_is_found_again_at_once() {
    let market = Market::funded(0).await;
    market.line.cut(Cut::CloseOnReply, "/v1/swap");

    let sent = market.wallets.send(order(&market, "s1", 10)).await.unwrap();

    assert_eq!(sent.amount, Sat::new(10));
    market.check(0).await;
}

#[tokio::test]
async fn a_silent_mint_leaves_the_outcome_unknown_and_the_proofs_reserved() {
    let market = Market::funded(0).await;
    market.wallets.mint_keys(&market.line.url).await.unwrap();
    market.line.cut(Cut::CloseOnReply, "/v1/");

    let sent = market.wallets.send(order(&market, "s1", FUNDED)).await;

    assert!(matches!(sent, Err(WalletError::Unknown(id)) if id == "s1"));
    market.line.mend();
    let sent = market
        .wallets
        .send(order(&market, "s1", FUNDED))
        .await
        .unwrap();
    assert_eq!(sent.amount, Sat::new(FUNDED));
    market.check(0).await;
}

#[tokio::test]
async fn ecash_whose_issue_died_is_issued_once() {
    let market = Market::start(0).await;
    let quote = market
        .wallets
        .request_funding(TREASURY, &market.line.url, Sat::new(77))
        .await
        .unwrap();
    assert!(
        market
            .wallets
            .claim_funding(&quote.quote_id)
            .await
            .unwrap()
            .is_none()
    );
    market.pay(&quote.bolt11).await;
    market.line.cut(Cut::HoldReply, "POST /v1/mint/bolt11 ");
    tokio::select! {
        () = async {
            while market.wallets.claim_funding(&quote.quote_id).await.unwrap().is_none() {}
        } => panic!("claimed"),
        () = market.line.reached() => {}
    }

    market.line.mend();
    let node = market.restarted();
    let report = node.recover().await.unwrap();

    assert_eq!(report.completed.len(), 1);
    let claimed = node.claim_funding(&quote.quote_id).await.unwrap().unwrap();
    assert_eq!(claimed.amount, Sat::new(77));
    assert_eq!(market.held(TREASURY).await, 77);
    market.check(0).await;
}

#[tokio::test]
async fn a_ledger_put_back_from_a_backup_still_pays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("l.db"), folder.path().join("b.db"));
    let mut market = Market::start(0).await;
    market.ledger = Ledger::open(&path).unwrap();
    market.wallets = market.restarted();
    market.fund(TREASURY, 512).await;
    market.fund(TREASURY, 256).await;
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
    // Spends the 256 and takes counters that the backup does not know of.
    market
        .wallets
        .send(order(&market, "lost", 200))
        .await
        .unwrap();

    market.ledger = Ledger::open(&backup).unwrap();
    market.wallets = market.restarted();
    let sent = market
        .wallets
        .send(order(&market, "s1", 300))
        .await
        .unwrap();

    assert_eq!(sent.amount, Sat::new(300));
    assert_eq!(market.wallets.verify_books().await.unwrap(), [""; 0]);
}
