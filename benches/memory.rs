//! What a node needs when nothing happens, and what unpaid requests leave behind.
//!
//! Each case runs in a process of its own, so that what made the data does not
//! count: `idle` is the program itself (`feria up`), `challenges` this one again.

#[path = "support/corpus.rs"]
mod corpus;
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use feria::clock::{Clock, SystemClock, SystemEntropy, random_bytes};
use feria::lightning::{
    Invoice, InvoiceState, Lightning, LightningBackend, LightningError, PaymentState,
    SettledInvoice,
};
use feria::market::{Indexer, Policy};
use feria::store::index::Index;
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use http::StatusCode;
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};

use corpus::listing;
use support::load::{Payment, Target, closed};
use support::report::{Case, Goal};
use support::shop::{FAST_PATH, Shop, ShopParts};
use support::{Scale, is_wanted};

const BENCH: &str = "memory";
/// Set in the process that measures itself.
const CHILD: &str = "FERIA_BENCH_CHILD";
/// Listings in the index.
const LISTINGS: u32 = 100_000;
/// Unpaid requests.
const CHALLENGES: u64 = 100_000;
/// Unpaid requests before the first look: allocators and connections are warm.
const WARM_UP: u64 = 5_000;
/// How long a node may take to start.
const START_PATIENCE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let scale = Scale::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if std::env::var_os(CHILD).is_some() {
        return runtime.block_on(challenge_growth(scale));
    }
    if is_wanted("idle") {
        runtime.block_on(idle(scale))?;
    }
    if is_wanted("challenges") {
        let own = std::env::current_exe()?;
        let ended = Command::new(own)
            .args(std::env::args().skip(1))
            .env(CHILD, "challenges")
            .status()?;
        ensure!(ended.success(), "the measured process failed");
    }
    Ok(())
}

/// A node with a full index, up and waiting.
async fn idle(scale: Scale) -> anyhow::Result<()> {
    let listings = if scale.factor == 1 {
        LISTINGS / 10
    } else {
        LISTINGS
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let init = ["init", "--network", "simulated", "--no-relays"];
    let set_up = feria(folder.path()).args(init).output()?;
    ensure!(set_up.status.success(), "feria init: {set_up:?}");
    fill(&folder.path().join("index.db"), listings).await?;
    let node = Node::start(folder.path())?;
    node.search("weather")?;
    let rss = rss_bytes(&format!("/proc/{}/status", node.process.id()))?;
    Case::new(BENCH, "idle_rss", rss as f64 / 1e6, "MB")
        .with(&format!(
            "{listings} listings in the index, after one search"
        ))
        .print(Goal::AtMost(80.0))
}

/// Writes signed, verified listings into a new index.
async fn fill(path: &Path, listings: u32) -> anyhow::Result<()> {
    let index = Index::open(path)?;
    let indexer = Arc::new(Indexer::new(
        index.clone(),
        Arc::new(SystemClock),
        Policy::default(),
    ));
    let tasks: Vec<_> = (0..4)
        .map(|part| {
            let indexer = Arc::clone(&indexer);
            tokio::spawn(async move {
                for number in (part..listings).step_by(4) {
                    let admission = indexer.admit(listing(number)?, None).await;
                    ensure!(
                        admission.accepted,
                        "a listing was refused: {}",
                        admission.reason
                    );
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let live = index.count_listings(SystemClock.now()).await?;
    ensure!(live == u64::from(listings), "{live} listings are live");
    Ok(())
}

/// `feria up` as a user runs it.
struct Node<'a> {
    folder: &'a Path,
    process: Child,
}

impl<'a> Node<'a> {
    /// Starts it and waits until it says where it is.
    fn start(folder: &'a Path) -> anyhow::Result<Self> {
        let mut process = feria(folder)
            .args(["--json", "up"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let node = Self { folder, process };
        let (told, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            told.send(read.map(|_| line))
        });
        let line = line.recv_timeout(START_PATIENCE)??;
        ensure!(line.contains("\"public\""), "the node said: {line}");
        Ok(node)
    }

    fn search(&self, words: &str) -> anyhow::Result<()> {
        let found = feria(self.folder)
            .args(["--json", "search", words])
            .output()?;
        ensure!(found.status.success(), "feria search: {found:?}");
        let found: serde_json::Value = serde_json::from_slice(&found.stdout)?;
        ensure!(found["items"][0].is_object(), "nothing was found");
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn feria(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feria"));
    command
        .env_clear()
        .env("FERIA_PUBLIC__LISTEN", "127.0.0.1:0")
        .env("FERIA_ADMIN__LISTEN", "127.0.0.1:0")
        .env("FERIA_LIGHTNING__BACKENDS__NODE__KIND", "simulated")
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null());
    command
}

/// How much this process grows by unpaid requests.
async fn challenge_growth(scale: Scale) -> anyhow::Result<()> {
    let shop = Shop::open(ShopParts {
        lightning: Lightning::single(Arc::new(ForgetfulBackend), Arc::new(SystemClock)),
        mints: Vec::new(),
    })
    .await?;
    let target = Target {
        address: shop.gateway,
        path: FAST_PATH,
        payment: Payment::None,
        status: StatusCode::PAYMENT_REQUIRED,
    };
    let challenges = if scale.factor == 1 {
        CHALLENGES / 5
    } else {
        CHALLENGES
    };
    closed(&target, 32, WARM_UP).await?;
    let before = rss_bytes("/proc/self/status")?;
    closed(&target, 32, challenges).await?;
    let growth = rss_bytes("/proc/self/status")?.saturating_sub(before);
    Case::new(BENCH, "challenge_growth", growth as f64 / 1e6, "MB")
        .with(&format!(
            "{challenges} unpaid challenges after {WARM_UP} to warm up"
        ))
        .with("the Lightning node that remembers the invoices is elsewhere")
        .print(Goal::AtMost(5.0))
}

fn rss_bytes(status: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(status)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .context("the system does not tell VmRSS")?;
    Ok(kib.trim().parse::<u64>()? * 1_024)
}

/// Signs invoices as a Lightning node would, and remembers none: that is the memory
/// of the Lightning node, not of this one.
#[derive(Debug)]
struct ForgetfulBackend;

#[async_trait]
impl LightningBackend for ForgetfulBackend {
    fn name(&self) -> &str {
        "elsewhere"
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        let preimage: [u8; 32] = random_bytes(&SystemEntropy);
        let hash = sha256::Hash::hash(&preimage);
        let secp = Secp256k1::new();
        let key = SecretKey::from_slice(&[9; 32]).map_err(|error| refused(&error))?;
        let invoice = InvoiceBuilder::new(Currency::Regtest)
            .amount_milli_satoshis(amount.as_u64())
            .description(description.to_owned())
            .payment_hash(hash)
            .payment_secret(PaymentSecret(random_bytes(&SystemEntropy)))
            .duration_since_epoch(Duration::from_secs(SystemClock.now()))
            .expiry_time(expiry)
            .min_final_cltv_expiry_delta(18)
            .build_signed(|message| secp.sign_ecdsa_recoverable(message, &key))
            .map_err(|error| refused(&error))?;
        Ok(Invoice {
            bolt11: invoice.to_string(),
            payment_hash: PaymentHash::new(hash.to_byte_array()),
            expires_at: SystemClock.now() + expiry.as_secs(),
        })
    }

    async fn invoice_state(&self, _: &PaymentHash) -> Result<InvoiceState, LightningError> {
        Ok(InvoiceState::NotFound)
    }

    async fn pay(&self, _: &str, _: Msat, _: Duration) -> PaymentState {
        PaymentState::Failed {
            reason: "this node only receives".to_owned(),
        }
    }

    async fn payment_state(&self, _: &PaymentHash) -> PaymentState {
        PaymentState::Failed {
            reason: "this node only receives".to_owned(),
        }
    }

    async fn settled_since(&self, _: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        Ok(Vec::new())
    }
}

fn refused(error: &dyn std::fmt::Display) -> LightningError {
    LightningError::Refused {
        backend: "elsewhere".to_owned(),
        reason: error.to_string(),
    }
}
