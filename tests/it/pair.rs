//! A seller's node and a buyer's node, whole, over whatever Lightning a test gives them.
//!
//! The buyer pays from its treasury. Both trust one Cashu mint, whose own Lightning
//! is simulated: ecash is the other rail.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feria::app::{Addresses, App, AppParts, Listeners};
use feria::clock::{OffsetClock, SystemEntropy};
use feria::config::{AgentConfig, BackendConfig, Config, MintEntry, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::LightningBackend;
use feria::lightning::simulated::SimulatedNetwork;
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::sandbox::upstream::{Sample, SampleUpstream};
use feria::spend::{FetchRequest, Fetched, Rail, SpendError};
use feria::store::ledger::Account;
use feria::wallet::TREASURY;
use feria_paywall::amount::{Msat, Sat};

/// What one call costs.
pub(crate) const PRICE: Msat = Msat::new(21_000);
/// What fees may add to it.
pub(crate) const MAX_FEE: Msat = Msat::new(5_000);
/// How long a payment may take before its outcome is unknown, in seconds.
const TIMEOUT_SECS: u64 = 10;

/// The Lightning of one node.
pub(crate) enum Backend {
    /// Opened by the node from its configuration, under the name `node`.
    Configured(BackendConfig),
    /// Kept in hand by the test.
    Brought(Arc<dyn LightningBackend>),
}

/// A running node.
pub(crate) struct Node {
    pub(crate) app: App,
    pub(crate) addresses: Addresses,
    backend: String,
}

/// Both nodes, and the mint between them.
pub(crate) struct Pair {
    pub(crate) seller: Node,
    pub(crate) buyer: Node,
    pub(crate) upstream: SampleUpstream,
    folder: tempfile::TempDir,
    mint: SandboxMint,
    network: SimulatedNetwork,
    lifecycle: Lifecycle,
}

impl Node {
    /// Returns what its books say of its Lightning, in millisatoshi.
    pub(crate) async fn lightning(&self) -> i64 {
        let account = Account::lightning(&self.backend);
        self.app.ledger.balance_msat(account).await.unwrap()
    }
}

impl Pair {
    pub(crate) async fn open(seller: Backend, buyer: Backend) -> Self {
        let lifecycle = Lifecycle::default();
        let network = SimulatedNetwork::open(
            None,
            Arc::new(OffsetClock::default()),
            Arc::new(SystemEntropy),
        )
        .unwrap();
        let mint = SandboxMint::start(SandboxMintConfig {
            name: "between".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            input_fee_ppk: 0,
            network: network.clone(),
            data_dir: None,
            seed: [6; 32],
            lifecycle: lifecycle.clone(),
        })
        .await
        .unwrap();
        let upstream = SampleUpstream::start(Sample::Data, &lifecycle)
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let seller_dir = folder.path().join("seller");
        std::fs::create_dir(&seller_dir).unwrap();
        let mut agent = AgentConfig::new("data", &upstream.url, PRICE);
        agent.method = "GET".to_owned();
        agent.uses = 1;
        agent.save(&seller_dir).unwrap();
        let seller = start(&seller_dir, &mint.url, seller).await;
        let buyer_dir = folder.path().join("buyer");
        std::fs::create_dir(&buyer_dir).unwrap();
        let buyer = start(&buyer_dir, &mint.url, buyer).await;
        Self {
            seller,
            buyer,
            upstream,
            folder,
            mint,
            network,
            lifecycle,
        }
    }

    /// Stops the buyer's node and starts it again on its folder.
    pub(crate) async fn restart_buyer(mut self, backend: Backend) -> Self {
        assert!(self.buyer.app.shut_down().await);
        drop(self.buyer);
        let folder = self.folder.path().join("buyer");
        self.buyer = start(&folder, &self.mint.url, backend).await;
        self
    }

    pub(crate) fn request(&self, key: &str, rail: Rail) -> FetchRequest {
        let url = format!("http://{}/a/data/?call={key}", self.seller.addresses.public);
        FetchRequest {
            rail,
            idempotency_key: Some(key.to_owned()),
            ..FetchRequest::get(TREASURY, url)
        }
    }

    pub(crate) async fn fetch(&self, key: &str, rail: Rail) -> Result<Fetched, SpendError> {
        self.buyer.app.spender.fetch(self.request(key, rail)).await
    }

    /// Gives the buyer ecash at the mint.
    pub(crate) async fn fund_buyer(&self, amount: Sat) {
        let wallets = &self.buyer.app.wallets;
        let quote = wallets
            .request_funding(TREASURY, &self.mint.url, amount)
            .await
            .unwrap();
        self.network.faucet("bank", amount.to_msat()).unwrap();
        let patience = Duration::from_secs(5);
        self.network
            .pay("bank", &quote.bolt11, Msat::ZERO, patience)
            .await;
        let mut claimed = None;
        while claimed.is_none() {
            claimed = wallets.claim_funding(&quote.quote_id).await.unwrap();
        }
    }

    /// Waits until the seller's books say that its Lightning holds `amount`.
    pub(crate) async fn seller_holds(&self, amount: Msat) {
        let amount = i64::try_from(amount.as_u64()).unwrap();
        until("the seller books its income", async || {
            self.seller.app.gateway.sync_settled().await.unwrap();
            self.seller.lightning().await >= amount
        })
        .await;
        assert_eq!(self.seller.lightning().await, amount);
    }

    /// Checks the books of both, and stops everything.
    pub(crate) async fn close(self) {
        for node in [&self.seller, &self.buyer] {
            let audit = node.app.ledger.audit().await.unwrap();
            assert!(audit.is_clean(), "{audit:?}");
            let differences = node.app.wallets.verify_books().await.unwrap();
            assert!(differences.is_empty(), "{differences:?}");
            assert!(node.app.shut_down().await);
        }
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }
}

async fn start(folder: &Path, mint: &str, backend: Backend) -> Node {
    let mut config = Config::new(Network::Regtest, folder);
    config.public.listen = ([127, 0, 0, 1], 0).into();
    config.admin.listen = ([127, 0, 0, 1], 0).into();
    config.mints = vec![MintEntry {
        url: mint.to_owned(),
        cap: Sat::new(10_000),
    }];
    config.spend.max_fee = MAX_FEE;
    config.spend.timeout_secs = TIMEOUT_SECS;
    let mut lightning = Vec::new();
    let name = match backend {
        Backend::Configured(backend) => {
            config.lightning.backends.insert("node".to_owned(), backend);
            "node".to_owned()
        }
        Backend::Brought(backend) => {
            let name = backend.name().to_owned();
            lightning.push(backend);
            name
        }
    };
    let seed = NodeSeed::load_or_create(&config.seed, folder, &SystemEntropy).unwrap();
    let listeners = Listeners::bind(&mut config).await.unwrap();
    let parts = AppParts {
        seed,
        clock: Arc::new(OffsetClock::default()),
        entropy: Arc::new(SystemEntropy),
        lightning,
        lifecycle: Lifecycle::default(),
    };
    let app = App::build(config, parts).await.unwrap();
    let addresses = app.start(listeners).await.unwrap();
    Node {
        app,
        addresses,
        backend: name,
    }
}

/// Asks again and again, for a minute at most.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
