//! What the paywall costs a call, against the same proxy without it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria::clock::{SystemClock, SystemEntropy};
use feria::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use feria::lightning::{
    Invoice, InvoiceState, Lightning, LightningBackend, LightningError, PaymentState,
    SettledInvoice,
};
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use hdrhistogram::Histogram;
use http::StatusCode;

use support::load::{Payment, Target, closed, open};
use support::report::{Case, Goal};
use support::shop::{FAST, FAST_PATH, SLOW, SLOW_PATH, Shop, ShopParts};
use support::{DURABILITY, Scale, is_wanted, median, median_ratio};

const BENCH: &str = "gateway";
/// Keep-alive connections of the load generator.
const CONNECTIONS: usize = 128;
/// Calls of a quick round.
const CALLS: u64 = 6_000;
/// How long the slow backend takes for an invoice.
const SLOW_INVOICE: Duration = Duration::from_millis(200);

fn main() -> anyhow::Result<()> {
    let scale = Scale::from_arguments();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(scale))
}

async fn run(scale: Scale) -> anyhow::Result<()> {
    let network = SimulatedNetwork::open(None, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let backend = Arc::new(SimulatedBackend::new(network, "seller"));
    let shop = open_shop(backend.clone()).await?;
    if is_wanted("one_credential") {
        one_credential(&shop, scale).await?;
    }
    if is_wanted("counted_credential") {
        counted_credential(&shop, scale).await?;
    }
    if is_wanted("fresh_credentials") {
        fresh_credentials(&shop, scale).await?;
    }
    if is_wanted("challenges") {
        challenges(&shop, scale).await?;
    }
    if is_wanted("added_latency") {
        added_latency(&shop, scale).await?;
    }
    if is_wanted("head_of_line") {
        head_of_line(scale, backend).await?;
    }
    Ok(())
}

async fn open_shop(backend: Arc<dyn LightningBackend>) -> anyhow::Result<Shop> {
    Shop::open(ShopParts {
        lightning: Lightning::single(backend, Arc::new(SystemClock)),
        mints: Vec::new(),
    })
    .await
}

fn bare(shop: &Shop) -> Target {
    Target {
        address: shop.bare,
        path: FAST_PATH,
        payment: Payment::None,
        status: StatusCode::OK,
    }
}

fn paid(shop: &Shop, payment: Payment) -> Target {
    Target {
        address: shop.gateway,
        path: FAST_PATH,
        payment,
        status: StatusCode::OK,
    }
}

/// One credential that bought time: verified at every call, claimed at the first.
async fn one_credential(shop: &Shop, scale: Scale) -> anyhow::Result<()> {
    let calls = CALLS * scale.factor;
    let target = paid(shop, Payment::l402(shop.credential(FAST, 0)?));
    closed(&target, CONNECTIONS, calls / 4).await?;
    let (mut figures, mut references) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        references.push(closed(&bare(shop), CONNECTIONS, calls).await?);
        figures.push(closed(&target, CONNECTIONS, calls).await?);
    }
    Case::of_rates(BENCH, "one_credential", "calls/s", &figures, &references)
        .with("reference: the same proxy without paywall")
        .with("it bought time")
        .print(Goal::RatioAtLeast(0.85))
}

/// One credential with more uses than anyone needs: each is counted and claimed durably.
async fn counted_credential(shop: &Shop, scale: Scale) -> anyhow::Result<()> {
    let calls = CALLS * scale.factor;
    let target = paid(shop, Payment::l402(shop.credential(FAST, u32::MAX)?));
    closed(&target, CONNECTIONS, calls / 4).await?;
    let (mut figures, mut references) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        references.push(closed(&bare(shop), CONNECTIONS, calls).await?);
        figures.push(closed(&target, CONNECTIONS, calls).await?);
    }
    Case::of_rates(
        BENCH,
        "counted_credential",
        "calls/s",
        &figures,
        &references,
    )
    .with("reference: the same proxy without paywall")
    .with(DURABILITY)
    .print(Goal::None)
}

/// Each call with a single-use credential of its own.
async fn fresh_credentials(shop: &Shop, scale: Scale) -> anyhow::Result<()> {
    let calls = CALLS * scale.factor;
    let (mut figures, mut references) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let target = paid(shop, Payment::fresh_l402(shop.credentials(calls)?));
        references.push(closed(&bare(shop), CONNECTIONS, calls).await?);
        figures.push(closed(&target, CONNECTIONS, calls).await?);
    }
    Case::of_rates(BENCH, "fresh_credentials", "calls/s", &figures, &references)
        .with("reference: the same proxy without paywall")
        .with(DURABILITY)
        .print(Goal::RatioAtLeast(0.5))
}

/// Unpaid requests: an invoice and a macaroon each, and nothing kept.
async fn challenges(shop: &Shop, scale: Scale) -> anyhow::Result<()> {
    let calls = CALLS * scale.factor;
    let target = Target {
        status: StatusCode::PAYMENT_REQUIRED,
        ..paid(shop, Payment::None)
    };
    let (rows, bytes) = (shop.ledger_rows()?, shop.disk_bytes()?);
    let (mut figures, mut references) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        references.push(closed(&bare(shop), CONNECTIONS, calls).await?);
        figures.push(closed(&target, CONNECTIONS, calls).await?);
    }
    let made = (calls * scale.rounds as u64) as f64;
    Case::of_rates(BENCH, "challenges", "402/s", &figures, &references)
        .with("simulated backend, which signs a real invoice for each")
        .print(Goal::AtLeast(4_000.0))?;
    let rows = (shop.ledger_rows()? - rows) as f64 / made;
    Case::new(BENCH, "challenge_rows", rows, "rows/402").print(Goal::AtMost(0.0))?;
    let bytes = shop.disk_bytes()?.saturating_sub(bytes) as f64 / made;
    Case::new(BENCH, "challenge_bytes", bytes, "bytes on disk/402").print(Goal::AtMost(0.0))
}

/// Latency at half of what the paywall can do, against the upstream without any proxy.
async fn added_latency(shop: &Shop, scale: Scale) -> anyhow::Result<()> {
    let calls = CALLS * scale.factor;
    let through = paid(shop, Payment::l402(shop.credential(FAST, u32::MAX)?));
    let direct = Target {
        address: shop.upstream,
        path: "/v1/query",
        ..bare(shop)
    };
    let rate = closed(&through, CONNECTIONS, calls).await?.per_second / 2.0;
    let mut rounds = Vec::new();
    for _ in 0..scale.rounds {
        let without = open(&direct, CONNECTIONS, rate, calls).await?;
        let with = open(&through, CONNECTIONS, rate, calls).await?;
        rounds.push((with, without));
    }
    for (case, quantile) in [
        ("added_latency_p50", 0.5),
        ("added_latency_p99", 0.99),
        ("added_latency_p99.9", 0.999),
    ] {
        let (mut figures, mut references, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for (with, without) in &rounds {
            let (with, without) = (millis(with, quantile), millis(without, quantile));
            figures.push(with);
            references.push(without);
            added.push(with - without);
        }
        let ratio = median_ratio(&figures, &references);
        Case::new(BENCH, case, median(added), "ms")
            .against(median(references), ratio)
            .with("reference: the upstream called directly")
            .with(&format!(
                "open loop, {rate:.0} calls/s, from when a call was due"
            ))
            .with(DURABILITY)
            .print(Goal::None)?;
    }
    Ok(())
}

fn millis(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}

/// Paid calls while others wait for a slow upstream and a slow Lightning backend.
async fn head_of_line(scale: Scale, backend: Arc<SimulatedBackend>) -> anyhow::Result<()> {
    let shop = open_shop(Arc::new(SlowBackend(backend))).await?;
    let calls = CALLS * scale.factor;
    let target = paid(&shop, Payment::l402(shop.credential(FAST, u32::MAX)?));
    let rate = closed(&target, CONNECTIONS, calls).await?.per_second / 4.0;
    let slow = Target {
        path: SLOW_PATH,
        ..paid(&shop, Payment::l402(shop.credential(SLOW, u32::MAX)?))
    };
    let unpaid = Target {
        payment: Payment::None,
        status: StatusCode::PAYMENT_REQUIRED,
        ..slow.clone()
    };
    let (mut figures, mut references) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        references.push(millis(
            &open(&target, CONNECTIONS, rate, calls).await?,
            0.99,
        ));
        let secs = calls as f64 / rate;
        // As many as keep waiting for all of that time.
        let waiting = (secs / SLOW_INVOICE.as_secs_f64()).ceil() as u64 * 50;
        let beside = [slow.clone(), unpaid.clone()]
            .map(|target| tokio::spawn(async move { closed(&target, 50, waiting).await }));
        figures.push(millis(
            &open(&target, CONNECTIONS, rate, calls).await?,
            0.99,
        ));
        for one in beside {
            one.await??;
        }
    }
    let ratio = median_ratio(&figures, &references);
    Case::new(BENCH, "head_of_line_p99", median(figures), "ms")
        .against(median(references), ratio)
        .with("50 calls wait for an upstream of 200 ms, 50 for an invoice of 200 ms")
        .with(&format!("open loop, {rate:.0} calls/s"))
        .with(DURABILITY)
        .print(Goal::RatioAtMost(2.0))
}

/// A backend that takes its time for an invoice.
#[derive(Debug)]
struct SlowBackend(Arc<SimulatedBackend>);

#[async_trait]
impl LightningBackend for SlowBackend {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        tokio::time::sleep(SLOW_INVOICE).await;
        self.0.create_invoice(amount, description, expiry).await
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.0.invoice_state(hash).await
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        self.0.pay(bolt11, fee_limit, patience).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        self.0.payment_state(hash).await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.0.settled_since(index).await
    }
}
