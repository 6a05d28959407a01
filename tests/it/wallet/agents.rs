//! Limits, lifetimes, logs and restoration of agent wallets.

use super::line::Cut;
use super::*;

#[tokio::test]
async fn an_agent_wallet_is_funded_up_to_its_limit() {
    let market = Market::funded(100).await;
    let wallet = market.agent_wallet(200).await;

    let over = market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(201))
        .await;
    assert!(matches!(over, Err(WalletError::Limit(_))), "{over:?}");
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(150))
        .await
        .unwrap();
    let over = market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(51))
        .await;
    assert!(matches!(over, Err(WalletError::Limit(_))), "{over:?}");

    assert_eq!(market.held(&wallet.id).await, 150);
    market.check(0).await;
}

#[tokio::test]
async fn a_refund_above_the_limit_goes_to_the_treasury() {
    let market = Market::funded(0).await;
    let wallet = market.agent_wallet(100).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(90))
        .await
        .unwrap();
    let before = market.held(TREASURY).await;
    let sent = market.wallets.send(order(&market, "s1", 40)).await.unwrap();
    market
        .wallets
        .settle("s1", Account::expense(TREASURY))
        .await
        .unwrap();

    market
        .wallets
        .receive(ReceiveRequest {
            wallet_id: wallet.id.clone(),
            kind: EntryKind::Refund,
            ..receipt("r1", &sent)
        })
        .await
        .unwrap();

    assert_eq!(market.held(&wallet.id).await, 90);
    assert_eq!(market.held(TREASURY).await, before);
    market.check(0).await;
}

#[tokio::test]
async fn a_frozen_wallet_pays_nothing_but_takes_refunds() {
    let market = Market::funded(0).await;
    let wallet = market.agent_wallet(100).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(50))
        .await
        .unwrap();
    let from = |id| SendRequest {
        wallet_id: wallet.id.clone(),
        ..order(&market, id, 10)
    };
    market.wallets.send(from("s1")).await.unwrap();
    market.wallets.set_frozen(&wallet.id, true).await.unwrap();

    let refused = market.wallets.send(from("s2")).await;
    assert!(matches!(refused, Err(WalletError::NoWallet(_))));
    let refused = market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(1))
        .await;
    assert!(matches!(refused, Err(WalletError::NoWallet(_))));
    market.wallets.reclaim("s1").await.unwrap();
    assert_eq!(market.held(&wallet.id).await, 50);
    market.wallets.set_frozen(&wallet.id, false).await.unwrap();
    market.wallets.send(from("s3")).await.unwrap();
    market.check(0).await;
}

#[tokio::test]
async fn an_expired_wallet_is_swept_and_its_log_tells_the_whole_story() {
    let market = Market::funded(100).await;
    let wallet = market.agent_wallet(500).await;
    let id = wallet.id.clone();
    market
        .wallets
        .fund_agent_wallet(&id, Sat::new(300))
        .await
        .unwrap();
    let sent = market
        .wallets
        .send(SendRequest {
            wallet_id: id.clone(),
            ..order(&market, "s1", 100)
        })
        .await
        .unwrap();
    market
        .wallets
        .settle("s1", Account::expense(&id))
        .await
        .unwrap();
    market
        .wallets
        .note(&id, "refused", Sat::new(900).into(), "too dear")
        .await
        .unwrap();
    assert!(market.wallets.close_expired().await.unwrap().is_empty());

    market.clock.advance(Duration::from_secs(3_601));
    let expired = market.wallets.send(SendRequest {
        wallet_id: id.clone(),
        ..order(&market, "s2", 1)
    });
    assert!(matches!(expired.await, Err(WalletError::NoWallet(_))));
    let closed = market.wallets.close_expired().await.unwrap();

    let [(closed_id, swept)] = closed.as_slice() else {
        panic!("{closed:?}");
    };
    assert_eq!(*closed_id, id);
    assert_eq!(
        swept.amount.as_u64() + swept.fee.as_u64(),
        300 - 100 - sent.fee.as_u64()
    );
    assert_eq!(market.held(&id).await, 0);
    let log = market.wallets.audit_log(&id).await.unwrap();
    assert!(log.ok, "{log:?}");
    let kinds: Vec<_> = log
        .entries
        .iter()
        .map(|entry| entry.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "created", "funded", "paid", "settled", "refused", "swept", "closed"
        ]
    );
    assert!(matches!(
        market.wallets.close_agent_wallet(&id).await,
        Err(WalletError::NoWallet(_))
    ));
    let info = market
        .wallets
        .find_agent_wallet("research")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(info.state, "closed");
    market.check(100).await;
}

#[tokio::test]
async fn an_agent_wallet_is_restored_and_swept_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut market = Market::start(100).await;
    market.ledger = Ledger::open(&path).unwrap();
    market.wallets = market.restarted();
    market.fund(TREASURY, FUNDED).await;
    let wallet = market.agent_wallet(500).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(300))
        .await
        .unwrap();
    let from_agent = |id| SendRequest {
        wallet_id: wallet.id.clone(),
        ..order(&market, id, 60)
    };
    let kept = market.wallets.send(from_agent("s1")).await.unwrap();
    market.line.cut(Cut::HoldReply, "/v1/swap");
    tokio::select! {
        sent = market.wallets.send(from_agent("s2")) => panic!("{sent:?}"),
        () = market.line.reached() => {}
    }

    market.line.mend();
    market.ledger = Ledger::open(&path).unwrap();
    market.wallets = market.restarted();
    let report = market.wallets.recover().await.unwrap();

    assert_eq!(report.completed, ["s2"]);
    assert_eq!(report.wallets_swept, 1);
    assert_eq!(market.held(&wallet.id).await, 0);
    let log = market.wallets.audit_log(&wallet.id).await.unwrap();
    assert!(log.ok);
    let kinds: Vec<_> = log
        .entries
        .iter()
        .map(|entry| entry.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "created", "funded", "paid", "paid", "restored", "swept", "closed"
        ]
    );
    // The tokens that were handed out are still the payees'.
    market.check(0).await;
    let payee = stranger(&market);
    payee.receive(receipt("r1", &kept)).await.unwrap();
    // What comes home now finds the wallet closed.
    let before = market.held(TREASURY).await;
    let back = market.wallets.reclaim("s2").await.unwrap();
    assert_eq!(market.held(TREASURY).await, before + back.amount.as_u64());
    assert_eq!(market.wallets.verify_books().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn nothing_of_an_agent_wallet_or_a_handed_out_token_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut market = Market::start(0).await;
    market.ledger = Ledger::open(&path).unwrap();
    market.wallets = market.restarted();
    market.fund(TREASURY, FUNDED).await;
    let wallet = market.agent_wallet(500).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(300))
        .await
        .unwrap();
    let sent = market
        .wallets
        .send(SendRequest {
            wallet_id: wallet.id.clone(),
            ..order(&market, "s1", 1)
        })
        .await
        .unwrap();

    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let text = String::from_utf8_lossy(&bytes);

    let token: cdk::nuts::Token = sent.token.parse().unwrap();
    for secret in token.token_secrets() {
        assert!(!text.contains(&secret.to_string()));
    }
    // The treasury's proofs are there; the agent's are not.
    assert_eq!(market.held(&wallet.id).await, 299);
    assert!(text.contains("\"secret\""));
    let owners: String = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT group_concat(DISTINCT wallet_id) FROM proofs",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(owners, TREASURY);
}
