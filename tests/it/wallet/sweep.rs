//! The soak of the wallets in short.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn wallets_of_a_process_that_is_killed_come_home() {
    let figures = wallet_sweep::run(WORKER, 8, 3, 1).await;
    wallet_sweep::check(&figures);
}

const WORKER: &str = "wallet::sweep::the_wallets_of_the_kills";

#[test]
#[ignore = "the process that is killed, started by its test"]
fn the_wallets_of_the_kills() {
    wallet_sweep::child();
}

#[tokio::test]
async fn a_swept_wallet_stays_open() {
    let market = Market::funded(100).await;
    let wallet = market.agent_wallet(200).await;
    let (id, wallets) = (&wallet.id, &market.wallets);
    wallets.fund_agent_wallet(id, Sat::new(100)).await.unwrap();

    let swept = wallets.sweep_agent_wallet(id).await.unwrap();
    let nothing = wallets.sweep_agent_wallet(id).await.unwrap();
    wallets.fund_agent_wallet(id, Sat::new(50)).await.unwrap();

    assert!(swept.amount > Sat::ZERO);
    assert_eq!(nothing.amount, Sat::ZERO);
    assert_eq!(market.held(id).await, 50);
    let closed = wallets.close_agent_wallet(id).await;
    assert!(closed.is_ok(), "{closed:?}");
    let again = wallets.sweep_agent_wallet(id).await;
    assert!(matches!(again, Err(WalletError::NoWallet(_))), "{again:?}");
    assert!(wallets.audit_log(id).await.unwrap().ok);
}
