//! `feria demo`: a whole market on this machine, with play money.
//!
//! Two nodes, two relays, two Cashu mints and a simulated Lightning network, all
//! real parts but the last, all on loopback. [`script`] tells what happens,
//! [`world`] what it happens in, [`report`] what is said at the end.

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;

use crate::clock::{Clock, SystemClock};
use crate::lifecycle::Lifecycle;

mod books;
mod report;
mod script;
mod tiers;
mod world;

pub use report::{
    DemoReport, LedgerLine, MessageLine, MintLine, PurchaseLine, TierLine, TotalLine, WalletLine,
};
use world::World;

/// How the demo is run.
#[derive(Debug, Default)]
pub struct DemoOptions {
    /// End when the script does, instead of keeping the pages open.
    pub once: bool,
    /// Keep the state here; `None` takes a temporary folder that is removed at the end.
    pub data_dir: Option<PathBuf>,
    /// Is told each step as it happens.
    pub narrator: Narrator,
}

/// Is called with each line.
type Tell = dyn Fn(&str) + Send + Sync;

/// Where the demo tells what happens, a line at a time.
#[derive(Default)]
pub struct Narrator(Option<Box<Tell>>);

impl Narrator {
    /// Returns a narrator that calls `tell` with each line.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    fn line(&self, text: &str) {
        if let Some(tell) = &self.0 {
            tell(text);
        }
    }
}

impl fmt::Debug for Narrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Narrator(..)")
    }
}

/// Plays the demo and returns what it did. Without `once` it then waits until
/// `lifecycle` stops, its pages open.
///
/// # Errors
/// When the world cannot be started or stopped; a step that goes wrong is in the
/// report instead.
pub async fn run(options: DemoOptions, lifecycle: Lifecycle) -> anyhow::Result<DemoReport> {
    let temporary;
    let folder = if let Some(folder) = &options.data_dir {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        folder.clone()
    } else {
        temporary = tempfile::Builder::new().prefix("feria-demo-").tempdir()?;
        temporary.path().to_owned()
    };
    let say = &options.narrator;
    let started = SystemClock.now_millis();
    say.line("Starting two mints, two relays and two nodes (network: SIMULATED, play money).");
    let world = World::start(&folder).await?;
    for line in &world.recovered {
        say.line(&format!("Resolved from before: {line}"));
    }
    let paid_before = books::paid_so_far_msat(&world).await?;
    let outcome = script::play(&world, say).await;
    let paid = books::paid_so_far_msat(&world).await? - paid_before;
    let report = assemble(&world, outcome, started, paid).await?;
    if !options.once {
        say.line(&report.to_string());
        for (what, url) in world.pages() {
            say.line(&format!("{what}: {url}"));
        }
        let commands = world.commands().await?;
        say.line("Try it yourself, in another terminal:");
        for command in commands {
            say.line(&format!("  {command}"));
        }
        say.line("Ctrl-C ends the demo.");
        lifecycle.stopping().await;
    }
    world.stop().await;
    Ok(report)
}

async fn assemble(
    world: &World,
    outcome: script::Outcome,
    started: u64,
    paid_msat: i64,
) -> anyhow::Result<DemoReport> {
    let ledger = books::add_up(world).await?;
    let mut faults = outcome.faults.clone();
    if ledger.imbalance_msat != 0 || ledger.difference_msat != 0 || !ledger.book_faults.is_empty() {
        faults.push("the books do not add up".to_owned());
    }
    Ok(DemoReport {
        network: "simulated".to_owned(),
        relays: world.relay_urls.clone(),
        mints: world
            .mints
            .iter()
            .map(|(mint, name, input_fee_ppk)| MintLine {
                name: (*name).to_owned(),
                url: mint.url.clone(),
                input_fee_ppk: *input_fee_ppk,
            })
            .collect(),
        listings_indexed: outcome.listings_indexed,
        totals: outcome.totals(),
        paid_in_all_msat: paid_msat.unsigned_abs(),
        purchases: outcome.purchases,
        messages: outcome.messages,
        wallet: outcome.wallet,
        tiers: outcome.tiers,
        ledger,
        recovered: world.recovered.clone(),
        duration_ms: SystemClock.now_millis().saturating_sub(started),
        ok: faults.is_empty(),
        faults,
    })
}
