//! What a call paid with ecash costs: taken offline, against the bare check of the
//! same proofs, and against swapping first.

#[path = "support/mint.rs"]
mod mint;
mod support;

use std::num::NonZero;
use std::time::Instant;

use anyhow::{Context, ensure};
use feria::lightning::Lightning;
use feria_paywall::xcashu::cashu::nuts::Proofs;
use http::{HeaderValue, StatusCode};

use mint::Mint;
use support::load::{Payment, Rate, Target, closed};
use support::report::{Case, Goal};
use support::shop::{FAST, FAST_PATH, PRICE, Shop, ShopParts};
use support::{DURABILITY, Scale, median, median_ratio};

const BENCH: &str = "nut24";
/// Keep-alive connections of the load generator.
const CONNECTIONS: usize = 32;
/// Tokens taken offline in a quick round.
const OFFLINE: usize = 900;
/// Tokens swapped in a quick round; a swap takes about 100 times as long.
const SWAPPED: usize = 150;

fn main() -> anyhow::Result<()> {
    let scale = Scale::from_arguments();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(scale))
}

async fn run(scale: Scale) -> anyhow::Result<()> {
    let mint = Mint::start().await?;
    let shop = Shop::open(ShopParts {
        lightning: Lightning::default(),
        mints: vec![mint.url.clone()],
    })
    .await?;
    let lock_key = shop.wallets.lock_key(FAST)?;
    // The first call asks the mint for its keys.
    offline(
        &shop,
        &mint,
        &mint.tokens(10, PRICE, Some(&lock_key)).await?,
    )
    .await?;
    let mut rates = Rates::default();
    for _ in 0..scale.rounds {
        let count = OFFLINE * usize::try_from(scale.factor)?;
        let locked = mint.tokens(count, PRICE, Some(&lock_key)).await?;
        let plain = mint.tokens(SWAPPED, PRICE, None).await?;
        rates.verified.push(verify_all(&mint, &locked)?);
        let offline = offline(&shop, &mint, &locked).await?;
        rates.offline.push(offline.per_second);
        rates.offline_cpu.push(offline.cpu_micros);
        rates
            .swapped
            .push(paid(&shop, &mint, &plain).await?.per_second);
    }
    rates.print()
}

/// Calls a second, round by round.
#[derive(Default)]
struct Rates {
    verified: Vec<f64>,
    offline: Vec<f64>,
    /// Microseconds of processor time a call.
    offline_cpu: Vec<f64>,
    swapped: Vec<f64>,
}

impl Rates {
    fn print(self) -> anyhow::Result<()> {
        let ratio = median_ratio(&self.offline, &self.verified);
        let to_swap = median_ratio(&self.offline, &self.swapped);
        let offline = median(self.offline);
        Case::new(BENCH, "offline_to_dleq", offline, "calls/s")
            .against(median(self.verified), ratio)
            .with(&format!(
                "3 proofs a call, {:.0} microseconds of CPU, client and upstream included",
                median(self.offline_cpu)
            ))
            .with("reference: NUT-12 of the same proofs and nothing else, on all cores")
            .with(DURABILITY)
            .print(Goal::RatioAtLeast(0.7))?;
        Case::new(BENCH, "offline_to_swap", offline, "calls/s")
            .against(median(self.swapped), to_swap)
            .with("3 proofs a call; reference: unlocked tokens, swapped at a mint in this process")
            .with(DURABILITY)
            .print(Goal::RatioAtLeast(10.0))
    }
}

/// Pays with locked tokens; the mint is not asked.
async fn offline(shop: &Shop, mint: &Mint, tokens: &[Proofs]) -> anyhow::Result<Rate> {
    let before = shop.held()?;
    let rate = paid(shop, mint, tokens).await?;
    let taken = shop.held()? - before;
    ensure!(
        taken == tokens.len() as u64,
        "{taken} tokens were taken offline"
    );
    Ok(rate)
}

async fn paid(shop: &Shop, mint: &Mint, tokens: &[Proofs]) -> anyhow::Result<Rate> {
    let headers = tokens
        .iter()
        .map(|proofs| Ok(HeaderValue::from_str(&mint.text(proofs)?)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let target = Target {
        address: shop.gateway,
        path: FAST_PATH,
        payment: Payment::fresh_tokens(headers),
        status: StatusCode::OK,
    };
    closed(&target, CONNECTIONS, tokens.len() as u64).await
}

/// Verifies the DLEQ proofs of `tokens` on all cores; returns tokens a second.
fn verify_all(mint: &Mint, tokens: &[Proofs]) -> anyhow::Result<f64> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let parts: Vec<_> = tokens
            .chunks(tokens.len().div_ceil(cores))
            .map(|part| scope.spawn(move || verify(mint, part)))
            .collect();
        parts.into_iter().try_for_each(|part| {
            part.join()
                .map_err(|_| anyhow::anyhow!("a verifier failed"))?
        })
    })?;
    Ok(tokens.len() as f64 / started.elapsed().as_secs_f64())
}

fn verify(mint: &Mint, tokens: &[Proofs]) -> anyhow::Result<()> {
    for proof in tokens.iter().flatten() {
        let key = mint.keyset.keys.amount_key(proof.amount);
        proof.verify_dleq(key.context("no key for an amount")?)?;
    }
    Ok(())
}
