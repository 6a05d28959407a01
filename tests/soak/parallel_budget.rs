//! Many calls at once by one agent whose budget is for a few.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use feria::app::{App, AppParts, Listeners};
use feria::clock::{SystemClock, SystemEntropy};
use feria::config::{Config, GatewayConfig, MintEntry, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::Lightning;
use feria::spend::{Budget, FetchRequest, Refusal, SpendError, Spender};
use feria::store::ledger::Ledger;
use feria::wallet::{NewAgentWallet, TREASURY, Wallets};
use feria_paywall::amount::Sat;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::buyer::Buyer;
use super::shop::{Setup, Shop};
use super::stall::serve;

/// What a call of the shop costs.
const PRICE_SAT: u64 = 100;
/// What the mint takes of a call at most: the token's fee and the seller's.
const FEES_SAT: u64 = 10;
/// Exit codes of `feria fetch`.
const OK: i32 = 0;
const REFUSED: i32 = 8;

pub(super) async fn shop() -> (Shop, String) {
    let mut setup = Setup::new(1, &["nut24"]);
    setup.config = GatewayConfig {
        challenges_per_minute: 0,
        vault_cap: Sat::new(10_000_000),
        ..GatewayConfig::default()
    };
    // A mint without fees would let the budget be a round number; this one has some.
    let shop = Shop::set_up(setup, std::future::ready).await;
    let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
    (shop, format!("{url}/a/data/v1/query"))
}

/// Funds an agent wallet that could pay for every call, and allows it a few.
pub(super) async fn wallet(
    shop: &Shop,
    wallets: &Wallets,
    spender: &Spender,
    calls: usize,
    affordable: usize,
) -> String {
    let sat = (calls as u64 + 2) * (PRICE_SAT + FEES_SAT);
    let mint = &shop.mint.url;
    let quote = wallets.request_funding(TREASURY, mint, Sat::new(sat + 100));
    let quote = quote.await.unwrap();
    shop.pay(&quote.bolt11).await;
    while wallets
        .claim_funding(&quote.quote_id)
        .await
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    let wallet = wallets
        .create_agent_wallet(NewAgentWallet {
            agent: "scout".to_owned(),
            limit: Sat::new(sat),
            ttl_secs: 3_600,
            mint: mint.clone(),
        })
        .await
        .unwrap();
    wallets
        .fund_agent_wallet(&wallet.id, Sat::new(sat))
        .await
        .unwrap();
    let budget = Budget {
        // Ten with their fees, and less than one more call.
        total_msat: Some((affordable as u64 * (PRICE_SAT + FEES_SAT)) * 1_000),
        ..Budget::default()
    };
    spender.set_budget(&wallet.id, budget).await.unwrap();
    wallet.id
}

/// What a run came to.
struct Run {
    delivered: usize,
    refused: usize,
    other: usize,
    millis: u128,
}

/// Asserts that so many were paid, by what callers, seller and books say.
async fn check(
    shop: &Shop,
    ledger: &Ledger,
    wallets: &Wallets,
    run: &Run,
    calls: usize,
    affordable: usize,
) -> Value {
    let worked = shop.upstream.calls.load(Ordering::SeqCst);
    let figures = json!({
        "calls": calls,
        "affordable": affordable,
        "delivered": run.delivered,
        "refused": run.refused,
        "other": run.other,
        "served_by_the_seller": worked,
        "millis": u64::try_from(run.millis).unwrap(),
    });
    assert_eq!(run.delivered, affordable, "{figures}");
    assert_eq!(run.refused, calls - affordable, "{figures}");
    assert_eq!(worked, affordable as u64, "{figures}");
    assert!(ledger.audit().await.unwrap().is_clean(), "{figures}");
    let differences = wallets.verify_books().await.unwrap();
    assert!(differences.is_empty(), "{differences:?}");
    shop.check_books().await;
    figures
}

/// All calls out of one process.
pub(crate) async fn one_process(calls: usize, affordable: usize) -> Value {
    let (shop, url) = shop().await;
    let buyer = Buyer::open(None, &[&shop.mint.url], Lightning::default());
    let wallet_id = wallet(&shop, &buyer.wallets, &buyer.spender, calls, affordable).await;
    let started = Instant::now();

    let ends = join_all((0..calls).map(|n| {
        let request = FetchRequest {
            method: http::Method::POST,
            body: format!("call {n}").into(),
            ..FetchRequest::get(&wallet_id, &url)
        };
        buyer.spender.fetch(request)
    }))
    .await;

    let delivered = ends.iter().filter(|end| end.is_ok()).count();
    let is_refused = |end: &&Result<_, SpendError>| {
        matches!(
            end,
            Err(SpendError::Refused {
                refusal: Refusal::OverBudget { .. },
                ..
            })
        )
    };
    let refused = ends.iter().filter(is_refused).count();
    let run = Run {
        delivered,
        refused,
        other: calls - delivered - refused,
        millis: started.elapsed().as_millis(),
    };
    check(
        &shop,
        &buyer.ledger,
        &buyer.wallets,
        &run,
        calls,
        affordable,
    )
    .await
}

/// Each call out of a process of its own, all on one data folder: every one goes
/// through the node that runs there, which alone writes the ledger.
pub(crate) async fn many_processes(program: &Path, calls: usize, affordable: usize) -> Value {
    let (shop, url) = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let (app, lifecycle) = node(&shop, folder.path()).await;
    let wallets = &app.node.wallets;
    wallet(&shop, wallets, &app.node.spender, calls, affordable).await;
    let started = Instant::now();

    let processes: Vec<_> = (0..calls)
        .map(|n| {
            Command::new(program)
                .env_clear()
                .arg("--data-dir")
                .arg(folder.path())
                .args([
                    "fetch",
                    "--wallet",
                    "scout",
                    "-d",
                    &format!("call {n}"),
                    &url,
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let waiting = tokio::task::spawn_blocking(|| {
        let ends = processes
            .into_iter()
            .map(|process| process.wait_with_output().unwrap());
        ends.collect::<Vec<_>>()
    });
    let ends = waiting.await.unwrap();

    let count = |code: i32| {
        ends.iter()
            .filter(|end| end.status.code() == Some(code))
            .count()
    };
    let (delivered, refused) = (count(OK), count(REFUSED));
    let run = Run {
        delivered,
        refused,
        other: calls - delivered - refused,
        millis: started.elapsed().as_millis(),
    };
    let odd = ends
        .iter()
        .find(|end| !matches!(end.status.code(), Some(OK | REFUSED)));
    assert!(odd.is_none(), "{odd:?}");
    let figures = check(&shop, &app.node.ledger, wallets, &run, calls, affordable).await;
    app.dismiss_local_commands();
    lifecycle.shut_down(std::time::Duration::from_secs(5)).await;
    figures
}

/// A node on `folder` that trusts the shop's mint.
pub(super) async fn node(shop: &Shop, folder: &Path) -> (App, Lifecycle) {
    let mut config = Config::new(Network::Simulated, folder);
    config.public.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = "127.0.0.1:0".parse().unwrap();
    config.mints = vec![MintEntry {
        url: shop.mint.url.clone(),
        cap: Sat::new(1_000_000),
    }];
    let lifecycle = Lifecycle::default();
    let listeners = Listeners::bind(&mut config).await.unwrap();
    let app = App::build(
        config,
        AppParts {
            seed: NodeSeed::from_bytes([7; 64]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            lightning: Vec::new(),
            lifecycle: lifecycle.clone(),
        },
    )
    .await
    .unwrap();
    let addresses = app.start(listeners).await.unwrap();
    app.admit_local_commands(addresses).await.unwrap();
    (app, lifecycle)
}
