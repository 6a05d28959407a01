//! Ecash locked to a seller ahead of calls.

use std::sync::Arc;

use axum::Router;
use feria::clock::SystemEntropy;
use feria::config::{GatewayConfig, SpendConfig};
use feria::lightning::Lightning;
use feria::spend::{FetchRequest, SpendParts, Spender};
use feria::store::index::Index;
use feria::store::ledger::{Account, Ledger};
use feria::wallet::{MintTrust, TREASURY, Wallets};
use feria_paywall::amount::{Msat, Sat};
use http::Method;

use super::float_cost;
use super::mint_front::Front;
use super::shop::{Setup, Shop};
use super::stall::serve;

struct Town {
    shop: Shop,
    front: Front,
    url: String,
    ledger: Ledger,
    wallets: Wallets,
    spender: Spender,
}

impl Town {
    /// A buyer whose second paid call locks ecash for four.
    async fn open() -> Self {
        let mut setup = Setup::new(1, &["nut24"]);
        setup.config = GatewayConfig {
            challenges_per_minute: 0,
            ..GatewayConfig::default()
        };
        let mut front = None;
        let shop = Shop::set_up(setup, async |mint: String| {
            let made = Front::before(&mint).await;
            let url = made.url.clone();
            front = Some(made);
            url
        })
        .await;
        let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
        let ledger = Ledger::in_memory().unwrap();
        let (wallets, spender) = buyer(&shop, &ledger);
        let quote = wallets
            .request_funding(TREASURY, &shop.mint.url, Sat::new(5_000))
            .await
            .unwrap();
        shop.pay(&quote.bolt11).await;
        while wallets
            .claim_funding(&quote.quote_id)
            .await
            .unwrap()
            .is_none()
        {
            tokio::task::yield_now().await;
        }
        Self {
            front: front.unwrap(),
            url: format!("{url}/a/data/v1/query"),
            shop,
            ledger,
            wallets,
            spender,
        }
    }

    async fn call(&self, question: &str) -> feria::spend::Purchase {
        let request = FetchRequest {
            method: Method::POST,
            body: question.to_owned().into(),
            ..FetchRequest::get(TREASURY, &self.url)
        };
        let fetched = self.spender.fetch(request).await.unwrap();
        assert_eq!(fetched.status, 200);
        fetched.purchase.unwrap()
    }

    /// What is locked or on its way, in satoshi.
    async fn in_flight(&self) -> i64 {
        let account = Account::in_flight(&self.shop.mint.url);
        self.ledger.balance_msat(account).await.unwrap() / 1_000
    }

    async fn check_books(&self) {
        assert!(self.ledger.audit().await.unwrap().is_clean());
        assert_eq!(self.wallets.verify_books().await.unwrap(), [""; 0]);
    }
}

fn buyer(shop: &Shop, ledger: &Ledger) -> (Wallets, Spender) {
    let wallets = Wallets::new(
        ledger.clone(),
        [9; 64],
        vec![MintTrust {
            url: shop.mint.url.clone(),
            cap: Sat::new(100_000),
        }],
        shop.clock.clone(),
        Arc::new(SystemEntropy),
    )
    .unwrap();
    let spender = Spender::new(SpendParts {
        config: SpendConfig {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            float_after_calls: 1,
            float_calls: 4,
            float_max: Sat::new(1_000),
            ..SpendConfig::default()
        },
        ledger: ledger.clone(),
        wallets: wallets.clone(),
        index: Index::in_memory().unwrap(),
        lightning: Lightning::default(),
        clock: shop.clock.clone(),
        entropy: Arc::new(SystemEntropy),
    })
    .unwrap();
    (wallets, spender)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_out_of_a_float_ask_no_mint() {
    let town = Town::open().await;
    town.call("first").await;
    town.call("makes the float").await;
    let asked = town.front.asked();

    let mut calls = Vec::new();
    for n in 0..3 {
        calls.push(town.call(&format!("call {n}")).await);
    }

    assert_eq!(town.front.asked(), asked);
    for call in &calls {
        assert_eq!(call.outcome, "delivered");
        assert_eq!(call.rail, "nut24-offline");
        assert!(call.decision.contains("lay ready"), "{}", call.decision);
    }
    assert_eq!(town.in_flight().await, 0);
    town.check_books().await;
    // Five calls were paid, and what they cost is what the seller earned, and fees.
    town.shop.gateway.redeem_all().await.unwrap();
    assert_eq!(town.shop.booked(Account::income("data")).await, -5 * 101);
    town.shop.check_books().await;
}

/// A new process on the same ledger goes on with what lies ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_float_outlives_the_process_that_made_it() {
    let mut town = Town::open().await;
    town.call("first").await;
    town.call("makes the float").await;
    (town.wallets, town.spender) = buyer(&town.shop, &town.ledger);
    town.wallets.recover().await.unwrap();
    town.spender.recover().await.unwrap();
    // The keys of the mint are asked for once.
    town.wallets.mint_keys(&town.shop.mint.url).await.unwrap();
    let asked = town.front.asked();

    let call = town.call("after").await;

    assert_eq!(call.outcome, "delivered");
    assert_eq!(town.front.asked(), asked);
    town.check_books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_float_saves_requests_to_the_mint() {
    let figures = float_cost::run(20).await;

    assert!(
        figures["mint_requests_ratio"].as_f64().unwrap() < 0.5,
        "{figures}"
    );
}
