//! The ledger fails between two writes of a call: a trigger refuses the second one,
//! as a full disk would, and is taken away again.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use feria::gateway::RefundOutcome;
use feria::store::ledger::{Account, Ledger};
use http::StatusCode;

use super::shop::{Mode, Setup, Shop, l402, paid};

struct Disk {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    async fn open(rails: &[&str]) -> (Self, Shop) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.db");
        let setup = Setup {
            ledger: Ledger::open(&file).unwrap(),
            ..Setup::new(1, rails)
        };
        let shop = Shop::set_up(setup, std::future::ready).await;
        let disk = Self {
            file,
            _folder: folder,
        };
        (disk, shop)
    }

    /// From now on no call can become `state`.
    fn refuse(&self, state: &str) {
        self.run(&format!(
            "CREATE TRIGGER full BEFORE UPDATE ON paid_calls WHEN NEW.state = '{state}'
             BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        ));
    }

    fn mend(&self) {
        self.run("DROP TRIGGER full");
    }

    fn run(&self, sql: &str) {
        let connection = rusqlite::Connection::open(&self.file).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_is_made_up_for() {
    let (disk, shop) = Disk::open(&["nut24"]).await;
    let token = shop.plain_token(160).await;
    disk.refuse("committed");

    let served = shop.call(&[paid(&token)], "x").await;
    let meanwhile = shop.call(&[paid(&token)], "x").await;
    disk.mend();
    shop.gateway.redeem_due().await.unwrap();

    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    assert_eq!(meanwhile.status, StatusCode::CONFLICT, "{}", meanwhile.body);
    let spent = shop.call(&[paid(&token)], "x").await;
    assert_eq!(spent.code(), "token_already_spent");
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    let change = super::refund(&shop, &token).await;
    assert!(shop.buyer_receives(&change).await >= 58);
    assert_eq!(shop.booked(Account::owed("data")).await, 0);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_is_made_up_for() {
    let (disk, shop) = Disk::open(&["l402"]).await;
    let credential = shop.buy().await;
    shop.upstream.set(Mode::Fail);
    disk.refuse("released");

    let failed = shop.call(&[l402(&credential)], "x").await;
    let meanwhile = shop.call(&[l402(&credential)], "x").await;
    shop.upstream.set(Mode::Work);
    disk.mend();
    shop.gateway.redeem_due().await.unwrap();
    let retried = shop.call(&[l402(&credential)], "x").await;

    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let document = failed.json();
    assert_eq!(document["money"], "held");
    assert!(!failed.body.contains("was given back"), "{document}");
    assert_eq!(meanwhile.status, StatusCode::CONFLICT, "{}", meanwhile.body);
    assert_eq!(retried.status, StatusCode::OK, "{}", retried.body);
    shop.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_fails_after_the_swap_is_made_up_for() {
    let (disk, shop) = Disk::open(&["nut24"]).await;
    let token = shop.plain_token(101).await;
    disk.refuse("claimed");

    let refused = shop.call(&[paid(&token)], "x").await;
    disk.mend();
    shop.gateway.redeem_due().await.unwrap();
    let served = shop.call(&[paid(&token)], "x").await;

    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.code(), "journal_unavailable");
    assert_eq!(refused.json()["money"], "held");
    assert_eq!(served.status, StatusCode::OK, "{}", served.body);
    assert_eq!(shop.upstream.calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        shop.gateway.refund(&token).await,
        RefundOutcome::NothingOwed
    );
    shop.check_books().await;
}
