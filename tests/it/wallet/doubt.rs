//! A mint that answers late, wrongly or not at all must not make ecash go missing.

use super::line::Cut;
use super::*;

const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow";
const INTERNAL: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n\
     content-length: 34\r\n\r\n{\"code\":50000,\"detail\":\"internal\"}";
const PENDING: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
     content-length: 33\r\n\r\n{\"code\":11002,\"detail\":\"pending\"}";
const NO_KEYSETS: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
     content-length: 14\r\n\r\n{\"keysets\":[]}";

/// Begins `work` and drops it where the line is cut.
async fn die<F: Future>(market: &Market, cut: Cut, work: F) {
    market.line.cut(cut, "/v1/swap");
    tokio::select! {
        _ = work => panic!("it ended"),
        () = market.line.reached() => {}
    }
    market.line.mend();
}

#[tokio::test]
async fn a_receipt_that_is_open_is_never_called_untouched() {
    let market = Market::funded(0).await;
    let sent = market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    let to = Account::expense(TREASURY);
    market.wallets.settle("s1", to).await.unwrap();
    let receiving = market.wallets.receive(receipt("r1", &sent));
    die(&market, Cut::HoldReply, receiving).await;

    // A new run has no keys cached, and the mint is down.
    let node = market.restarted();
    market.line.cut(Cut::CloseOnReply, "/v1/");
    let received = node.receive(receipt("r1", &sent)).await;

    assert!(
        matches!(&received, Err(WalletError::Unknown(id)) if id == "r1"),
        "{received:?}"
    );
    market.line.mend();
    let received = node.receive(receipt("r1", &sent)).await.unwrap();
    assert_eq!(received.amount, Sat::new(10));
    market.check(0).await;
}

#[tokio::test]
async fn a_payment_is_not_rolled_back_while_its_request_may_arrive() {
    let market = Market::funded(0).await;
    let sending = market.wallets.send(order(&market, "s1", 10));
    die(&market, Cut::HoldRequest, sending).await;

    let soon = market.wallets.recover().await.unwrap();
    market.clock.advance(Duration::from_secs(61));
    let later = market.wallets.recover().await.unwrap();

    assert_eq!(soon.unknown, ["s1"]);
    assert_eq!(later.rolled_back, ["s1"]);
    market.check(0).await;
}

#[tokio::test]
async fn a_reclaim_that_died_is_not_taken_for_the_payees() {
    let market = Market::funded(0).await;
    market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    die(&market, Cut::HoldReply, market.wallets.reclaim("s1")).await;

    let state = market.wallets.in_flight_state("s1").await.unwrap();
    let to = Account::expense(TREASURY);
    let settled = market.wallets.settle("s1", to.clone()).await;

    assert_eq!(state, InFlightState::Unspent);
    assert!(
        matches!(settled, Err(WalletError::Unknown(_))),
        "{settled:?}"
    );
    market.wallets.recover().await.unwrap();
    let home = market.wallets.reclaim("s1").await.unwrap();
    assert_eq!(home.amount, Sat::new(10));
    market.wallets.settle("s1", to.clone()).await.unwrap();
    assert_eq!(market.booked(to).await, 0);
    market.check(0).await;
}

#[tokio::test]
async fn a_mint_that_fails_after_the_work_has_done_it() {
    let market = Market::funded(0).await;
    market
        .line
        .cut(Cut::AnswerAfter(INTERNAL), "POST /v1/swap ");

    let sent = market.wallets.send(order(&market, "s1", 10)).await.unwrap();

    assert_eq!(sent.amount, Sat::new(10));
    market.check(0).await;
}

#[tokio::test]
async fn a_limit_on_requests_says_nothing_about_the_token() {
    let market = Market::funded(0).await;
    let sent = market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    market.line.cut(Cut::Answer(TOO_MANY), "POST /v1/swap ");

    let received = stranger(&market).receive(receipt("r1", &sent)).await;

    assert!(
        matches!(received, Err(WalletError::MintUnavailable { .. })),
        "{received:?}"
    );
}

#[tokio::test]
async fn pending_inputs_of_a_repeated_request_may_be_its_own() {
    let market = Market::funded(0).await;
    let sending = market.wallets.send(order(&market, "s1", 10));
    die(&market, Cut::HoldRequest, sending).await;
    market.line.cut(Cut::Answer(PENDING), "POST /v1/swap ");

    let sent = market.wallets.send(order(&market, "s1", 10)).await;

    assert!(matches!(sent, Err(WalletError::Unknown(_))), "{sent:?}");
    market.line.mend();
    market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    market.check(0).await;
}

#[tokio::test]
async fn a_wallet_whose_keyset_the_mint_hides_is_not_written_off() {
    let market = Market::funded(0).await;
    let wallet = market.agent_wallet(200).await;
    market
        .wallets
        .fund_agent_wallet(&wallet.id, Sat::new(200))
        .await
        .unwrap();
    market.clock.advance(Duration::from_secs(3_601));
    market.line.cut(Cut::Answer(NO_KEYSETS), "GET /v1/keysets ");

    let closed = market.wallets.close_agent_wallet(&wallet.id).await;

    assert!(
        matches!(closed, Err(WalletError::MintUnavailable { .. })),
        "{closed:?}"
    );
    assert_eq!(market.held(&wallet.id).await, 200);
    market.line.mend();
    market.clock.advance(Duration::from_secs(3_601));
    let swept = market.wallets.close_agent_wallet(&wallet.id).await.unwrap();
    assert_eq!(swept.amount, Sat::new(200));
    market.check(0).await;
}
