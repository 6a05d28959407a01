//! L402 over two embedded nodes with a channel.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feria::clock::{Clock, SystemClock};
use feria::config::{LdkConfig, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::{LdkBackend, LdkParts, LightningBackend, PaymentState};
use feria::spend::{Rail, SpendError};
use feria_paywall::amount::{Msat, Sat};
use serde_json::{Value, json};

use super::chain::Chain;
use crate::pair::{Backend, MAX_FEE, PRICE, Pair, until};

/// Purchases in a row.
const CALLS: usize = 20;
/// What the funded side puts into the channel.
const CHANNEL: Sat = Sat::new(1_000_000);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// An embedded node that can be stopped and started again on its folder.
struct Embedded {
    name: &'static str,
    folder: tempfile::TempDir,
    config: LdkConfig,
    backend: Arc<LdkBackend>,
    lifecycle: Lifecycle,
}

impl Embedded {
    fn open(name: &'static str, chain: &Chain) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = LdkConfig {
            chain_url: chain.url(),
            listen: vec![port.local_addr().unwrap().to_string()],
            ..LdkConfig::default()
        };
        drop(port);
        let folder = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::default();
        let backend = backend(name, &config, folder.path(), &lifecycle);
        Self {
            name,
            folder,
            config,
            backend,
            lifecycle,
        }
    }

    fn brought(&self) -> Backend {
        Backend::Brought(self.backend.clone())
    }

    async fn stop(&self) {
        assert!(self.lifecycle.shut_down(STOP_PATIENCE).await);
    }

    fn start_again(&mut self) {
        self.lifecycle = Lifecycle::default();
        self.backend = backend(self.name, &self.config, self.folder.path(), &self.lifecycle);
    }
}

fn backend(
    name: &str,
    config: &LdkConfig,
    data_dir: &Path,
    lifecycle: &Lifecycle,
) -> Arc<LdkBackend> {
    let byte = name.as_bytes()[0];
    let parts = LdkParts {
        name,
        network: Network::Regtest,
        data_dir,
        seed: &NodeSeed::from_bytes([byte; 64]),
        clock: Arc::new(SystemClock),
        lifecycle: lifecycle.clone(),
    };
    Arc::new(LdkBackend::open(config, parts).unwrap())
}

/// The chain, and `rich` with a channel to `poor`.
struct Net {
    chain: Chain,
    rich: Embedded,
    poor: Embedded,
    lifecycle: Lifecycle,
}

impl Net {
    async fn start() -> Self {
        let lifecycle = Lifecycle::default();
        let chain = Chain::start(SystemClock.now(), &lifecycle).await;
        let net = Self {
            rich: Embedded::open("rich", &chain),
            poor: Embedded::open("poor", &chain),
            chain,
            lifecycle,
        };
        let rich = net.rich.backend.channels().unwrap();
        for node in [&net.rich, &net.poor] {
            let control = node.backend.channels().unwrap();
            let address = control.funding_address().await.unwrap();
            net.chain.give(&address, 10_000_000);
        }
        net.chain.mine(6);
        for node in [&net.rich, &net.poor] {
            until("the node sees its coins", async || {
                let status = node.backend.channels().unwrap().status().await;
                status.unwrap().spendable_onchain_sat > 0
            })
            .await;
        }
        let poor = net.poor.backend.channels().unwrap().status().await.unwrap();
        let peer = format!("{}@{}", poor.id, net.poor.config.listen[0]);
        rich.open_channel(&peer, CHANNEL).await.unwrap();
        until("the channel is on its way", async || {
            net.chain.waiting() > 0
        })
        .await;
        net.chain.mine(6);
        net.channel_is_usable().await;
        net
    }

    async fn channel_is_usable(&self) {
        for node in [&self.rich, &self.poor] {
            until("the channel is usable", async || {
                let status = node.backend.channels().unwrap().status().await.unwrap();
                status.channels.iter().any(|channel| channel.is_usable)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_nodes_sell_and_buy() {
    let started = Instant::now();
    let mut net = Net::start().await;
    report("start", &json!({ "ms": millis(started) }));

    Box::pin(calls_are_bought_one_after_another(&net)).await;
    Box::pin(an_empty_channel_costs_nothing_and_ecash_pays(&net)).await;
    Box::pin(a_payment_survives_its_payee_and_its_payer(&mut net)).await;
    Box::pin(a_channel_is_closed(&net)).await;
    net.rich.stop().await;
    net.poor.stop().await;
    net.lifecycle.shut_down(STOP_PATIENCE).await;
}

async fn calls_are_bought_one_after_another(net: &Net) {
    let pair = Pair::open(net.poor.brought(), net.rich.brought()).await;
    let (mut took, mut fees) = (Vec::new(), 0);
    for call in 0..CALLS {
        let started = Instant::now();
        let fetched = pair
            .fetch(&format!("call-{call}"), Rail::Auto)
            .await
            .unwrap();
        took.push(millis(started));
        let purchase = fetched.purchase.unwrap();
        assert_eq!((fetched.status, purchase.rail.as_str()), (200, "l402"));
        fees += purchase.fee_msat;
    }

    let paid = Msat::new(PRICE.as_u64() * CALLS as u64);
    pair.seller_holds(paid).await;
    let spent = pair.buyer.lightning().await;
    assert_eq!(spent, -i64::try_from(paid.as_u64() + fees).unwrap());
    let settled = net.poor.backend.settled_since(0).await.unwrap();
    let mut preimages = 0;
    for invoice in &settled {
        let state = net.rich.backend.payment_state(&invoice.payment_hash).await;
        let PaymentState::Succeeded { preimage, .. } = state else {
            panic!("{state:?}");
        };
        assert!(preimage.opens(&invoice.payment_hash));
        preimages += 1;
    }
    assert_eq!((preimages, pair.upstream.calls()), (CALLS, CALLS as u64));
    took.sort_unstable();
    report(
        "purchases",
        &json!({ "calls": CALLS, "preimages_that_open": preimages, "fee_msat": fees,
            "ms_p50": took[CALLS / 2], "ms_max": took[CALLS - 1] }),
    );
    pair.close().await;
}

async fn an_empty_channel_costs_nothing_and_ecash_pays(net: &Net) {
    let pair = Pair::open(net.rich.brought(), net.poor.brought()).await;
    pair.buyer.app.gateway.sync_settled().await.unwrap();
    let booked = pair.buyer.lightning().await;
    let started = Instant::now();
    let failed = pair.fetch("by-lightning", Rail::Lightning).await;
    let refused_ms = millis(started);
    pair.fund_buyer(Sat::new(100)).await;
    let started = Instant::now();
    let fetched = pair.fetch("by-any-rail", Rail::Auto).await.unwrap();
    let paid_ms = millis(started);

    let Err(SpendError::PaymentFailed { reason, .. }) = failed else {
        panic!("{failed:?}");
    };
    let purchase = fetched.purchase.unwrap();
    assert_eq!(purchase.rail, "nut24-offline");
    assert_eq!(pair.upstream.calls(), 1);
    assert_eq!(pair.buyer.lightning().await, booked);
    report(
        "empty channel",
        &json!({ "lightning": reason, "lightning_ms": refused_ms,
            "then_by": purchase.rail, "ecash_ms": paid_ms }),
    );
    pair.close().await;
}

/// The payee is stopped after it made its invoice, so nothing can be paid; then the
/// payer is stopped over a payment that has just begun, and both start again.
async fn a_payment_survives_its_payee_and_its_payer(net: &mut Net) {
    let payee = net.poor.backend.clone();
    let patience = Duration::from_secs(600);
    let lost = payee.create_invoice(PRICE, "x", patience).await.unwrap();
    let kept = payee.create_invoice(PRICE, "x", patience).await.unwrap();
    net.poor.stop().await;
    until("the payer sees that the payee is gone", async || {
        let status = net.rich.backend.channels().unwrap().status().await.unwrap();
        status.channels.iter().all(|channel| !channel.is_usable)
    })
    .await;
    let unreachable = net
        .rich
        .backend
        .pay(&lost.bolt11, MAX_FEE, Duration::from_secs(15))
        .await;
    net.poor.start_again();
    net.poor.backend.channels().unwrap().status().await.unwrap();
    // A node goes to its peers when it starts, and then once a minute.
    net.rich.stop().await;
    net.rich.start_again();
    net.channel_is_usable().await;

    let payer = net.rich.backend.clone();
    let paying = payer.pay(&kept.bolt11, MAX_FEE, Duration::ZERO);
    let begun = paying.await;
    let started = Instant::now();
    net.rich.stop().await;
    let away = payer.payment_state(&kept.payment_hash).await;
    net.rich.start_again();
    net.channel_is_usable().await;
    let mut state = net.rich.backend.payment_state(&kept.payment_hash).await;
    until("the payment is decided", async || {
        state = net.rich.backend.payment_state(&kept.payment_hash).await;
        matches!(
            state,
            PaymentState::Succeeded { .. } | PaymentState::Failed { .. }
        )
    })
    .await;
    let again = net
        .rich
        .backend
        .pay(&kept.bolt11, MAX_FEE, Duration::from_secs(15))
        .await;

    assert!(
        matches!(unreachable, PaymentState::Failed { .. }),
        "{unreachable:?}"
    );
    assert!(
        matches!(
            begun,
            PaymentState::Pending | PaymentState::Succeeded { .. }
        ),
        "{begun:?}"
    );
    assert!(!matches!(away, PaymentState::Failed { .. }), "{away:?}");
    let settled = net.poor.backend.settled_since(0).await.unwrap();
    let arrived = settled
        .iter()
        .filter(|one| one.payment_hash == kept.payment_hash)
        .count();
    let PaymentState::Succeeded { preimage, .. } = &again else {
        panic!("{state:?} then {again:?}");
    };
    assert!(preimage.opens(&kept.payment_hash));
    assert_eq!(arrived, 1);
    report(
        "stopped in the middle",
        &json!({ "then": format!("{begun:?}").split([' ', '{']).next(),
            "stop_to_decided_ms": millis(started), "arrived": arrived }),
    );
}

async fn a_channel_is_closed(net: &Net) {
    let control = net.rich.backend.channels().unwrap();
    let status = control.status().await.unwrap();
    let id = status.channels[0].id.clone();

    let unknown = control
        .close_channel("no such channel", feria::lightning::Closing::Agreed)
        .await;
    control
        .close_channel(&id, feria::lightning::Closing::Agreed)
        .await
        .unwrap();
    until("the channel is gone", async || {
        net.chain.mine(1);
        control.status().await.unwrap().channels.is_empty()
    })
    .await;

    assert!(unknown.is_err());
    let after = control.status().await.unwrap();
    report(
        "closed",
        &json!({ "onchain_before_sat": status.onchain_sat, "onchain_after_sat": after.onchain_sat }),
    );
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap()
}

#[allow(clippy::print_stdout)]
fn report(case: &str, figures: &Value) {
    println!(
        "{}",
        json!({ "lightning": "ldk", "case": case, "figures": figures })
    );
}
