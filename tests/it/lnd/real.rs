//! L402 over two real lnds with a channel. Run by `tests/lightning/run`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use feria::clock::SystemClock;
use feria::config::{BackendConfig, Network};
use feria::lightning::{
    Invoice, InvoiceState, LightningBackend, LightningError, LndBackend, PaymentState,
    SettledInvoice,
};
use feria::spend::{Rail, SpendError};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::PaymentHash;
use serde_json::{Value, json};

use super::net::{Lnd, Net, signal};
use crate::pair::{Backend, PRICE, Pair, until};

/// Purchases in a row.
const CALLS: usize = 20;
/// What a side must keep in the channel: below it, nothing can be spent.
const RESERVE_SAT: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs btcd and lnd: tests/lightning/run builds them"]
async fn real_lnds_sell_and_buy() {
    let started = Instant::now();
    let mut net = Net::start().await;
    report("start", &json!({ "ms": millis(started) }));

    Box::pin(calls_are_bought_one_after_another(&net)).await;
    Box::pin(an_empty_channel_costs_nothing_and_ecash_pays(&net)).await;
    Box::pin(a_payment_survives_the_death_of_both_payers(&mut net)).await;
}

/// Both sides have their lnd from the configuration.
async fn calls_are_bought_one_after_another(net: &Net) {
    let pair = Pair::open(configured(&net.poor), configured(&net.rich)).await;
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
        assert_eq!(purchase.price_msat, PRICE.as_u64());
        fees += purchase.fee_msat;
    }

    let paid = Msat::new(PRICE.as_u64() * CALLS as u64);
    pair.seller_holds(paid).await;
    let spent = pair.buyer.lightning().await;
    assert_eq!(spent, -i64::try_from(paid.as_u64() + fees).unwrap());
    let checked = opening_preimages(&net.rich).await;
    assert_eq!((checked, pair.upstream.calls()), (CALLS, CALLS as u64));
    took.sort_unstable();
    report(
        "purchases",
        &json!({ "calls": CALLS, "preimages_that_open": checked, "fee_msat": fees,
            "ms_p50": took[CALLS / 2], "ms_max": took[CALLS - 1] }),
    );
    pair.close().await;
}

/// The poor side buys from the rich one: the channel holds next to nothing for it.
async fn an_empty_channel_costs_nothing_and_ecash_pays(net: &Net) {
    let pair = Pair::open(configured(&net.rich), configured(&net.poor)).await;
    pair.buyer.app.gateway.sync_settled().await.unwrap();
    let booked = pair.buyer.lightning().await;
    let held = net.poor.get("/v1/balance/channels").await;
    let held: u64 = held["local_balance"]["sat"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(held < RESERVE_SAT, "{held}");

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
        &json!({ "held_sat": held, "lightning": reason, "lightning_ms": refused_ms,
            "then_by": purchase.rail, "ecash_ms": paid_ms }),
    );
    pair.close().await;
}

/// The payee's lnd stands still once the payment is due, so that it hangs; then the
/// payer's lnd is killed, the payer's own node restarted, and both come back.
async fn a_payment_survives_the_death_of_both_payers(net: &mut Net) {
    let payer = lnd_backend(&net.rich);
    let stopped = Backend::Brought(Arc::new(StopsPayee {
        payer,
        payee: net.poor.pid(),
    }));
    let pair = Pair::open(configured(&net.poor), stopped).await;
    let before = opening_preimages(&net.rich).await;
    let sold = PRICE.as_u64() * before as u64;
    pair.seller_holds(Msat::new(sold)).await;

    let hung = pair.fetch("hung", Rail::Lightning).await;
    net.rich.kill();
    let started = Instant::now();
    let again = pair.fetch("hung", Rail::Lightning).await;
    let other_rail = pair.fetch("hung", Rail::Auto).await;
    let pair = Box::pin(pair.restart_buyer(Backend::Brought(lnd_backend(&net.rich)))).await;
    let still = pair.buyer.app.recovered.spend.clone();
    net.rich.spawn();
    net.rich.is_ready().await;
    net.poor.signal("CONT");
    until("the payment is decided", async || {
        let recovered = pair.buyer.app.spender.recover().await.unwrap();
        !recovered.paid.is_empty()
    })
    .await;
    let settled_ms = millis(started);
    let fetched = pair.fetch("hung", Rail::Lightning).await.unwrap();

    for unknown in [hung, again, other_rail] {
        assert!(
            matches!(unknown, Err(SpendError::Unknown { .. })),
            "{unknown:?}"
        );
    }
    assert_eq!((still.unknown.len(), still.released.len()), (1, 0));
    assert_eq!(fetched.status, 200);
    assert_eq!(fetched.purchase.unwrap().outcome, "delivered");
    assert_eq!(opening_preimages(&net.rich).await, before + 1);
    assert_eq!(pair.upstream.calls(), 1);
    pair.seller_holds(Msat::new(sold + PRICE.as_u64())).await;
    report(
        "stopped in the middle",
        &json!({ "kill_to_paid_ms": settled_ms, "payments": 1, "served": 1 }),
    );
    net.channel_is_active().await;
    pair.close().await;
}

/// Counts the payments that `lnd` calls succeeded, each with a preimage that opens its hash.
async fn opening_preimages(lnd: &Lnd) -> usize {
    let list = lnd.get("/v1/payments?include_incomplete=false").await;
    let payments = list["payments"].as_array().unwrap();
    for payment in payments {
        let text = |name: &str| payment[name].as_str().unwrap().to_owned();
        let preimage: feria_paywall::payment::Preimage = text("payment_preimage").parse().unwrap();
        assert_eq!(preimage.payment_hash().to_string(), text("payment_hash"));
    }
    payments.len()
}

fn configured(lnd: &Lnd) -> Backend {
    Backend::Configured(BackendConfig::Lnd(lnd.config()))
}

fn lnd_backend(lnd: &Lnd) -> Arc<LndBackend> {
    let here = std::path::Path::new("/");
    let clock = Arc::new(SystemClock);
    Arc::new(LndBackend::open("rich", &lnd.config(), Network::Regtest, here, clock).unwrap())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap()
}

#[allow(clippy::print_stdout)]
fn report(case: &str, figures: &Value) {
    println!(
        "{}",
        json!({ "lightning": "lnd", "case": case, "figures": figures })
    );
}

/// An lnd whose payee stands still from the first payment on.
struct StopsPayee {
    payer: Arc<LndBackend>,
    payee: u32,
}

impl fmt::Debug for StopsPayee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.payer.fmt(f)
    }
}

#[async_trait]
impl LightningBackend for StopsPayee {
    fn name(&self) -> &str {
        self.payer.name()
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        self.payer.create_invoice(amount, description, expiry).await
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.payer.invoice_state(hash).await
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        signal(self.payee, "STOP");
        self.payer.pay(bolt11, fee_limit, patience).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        self.payer.payment_state(hash).await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.payer.settled_since(index).await
    }
}
