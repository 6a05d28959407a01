//! Nodes whose invoices are made and paid by a backend of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use feria::app::{App, AppParts, Listeners};
use feria::client::{HttpClient, http_client};
use feria::clock::{OffsetClock, SystemEntropy};
use feria::config::{AgentConfig, BackendConfig, Config, MintEntry, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::{Behaviour, Resolution, SimulatedNetwork};
use feria::lightning::{InvoiceState, LightningBackend, PaymentState};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::ledger::Account;
use feria::wallet::TREASURY;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::Challenge;
use feria_paywall::payment::{PaymentHash, Preimage};
use tempfile::TempDir;

mod mint;
mod nwc;
mod wallet;

/// No test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a call costs.
const PRICE: u64 = 21;

/// Mints, a Lightning network, and the time of all of them.
struct Market {
    network: SimulatedNetwork,
    clock: Arc<OffsetClock>,
    lifecycle: Lifecycle,
}

impl Market {
    fn open() -> Self {
        let clock = Arc::new(OffsetClock::default());
        let network = SimulatedNetwork::open(None, clock.clone(), Arc::new(SystemEntropy)).unwrap();
        network.faucet("bank", Sat::new(1_000_000).into()).unwrap();
        Self {
            network,
            clock,
            lifecycle: Lifecycle::default(),
        }
    }

    async fn mint(&self, name: &str) -> SandboxMint {
        SandboxMint::start(SandboxMintConfig {
            name: name.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            input_fee_ppk: 0,
            network: self.network.clone(),
            data_dir: None,
            seed: [9; 32],
            lifecycle: self.lifecycle.clone(),
        })
        .await
        .unwrap()
    }

    /// Pays as somebody outside all nodes.
    async fn pay(&self, bolt11: &str) -> Preimage {
        let paid = self.network.pay("bank", bolt11, Msat::ZERO, PATIENCE).await;
        match paid {
            PaymentState::Succeeded { preimage, .. } => preimage,
            other => panic!("{other:?}"),
        }
    }

    /// Makes an invoice of somebody outside all nodes.
    async fn invoice(&self, sat: u64) -> feria::lightning::Invoice {
        self.network
            .create_invoice("shop", Sat::new(sat).into(), "tea", PATIENCE * 60)
            .await
            .unwrap()
    }
}

/// A node that sells the agent `data`, and can be started again on the same folder.
struct Node {
    folder: TempDir,
    config: Config,
    seed: u8,
    app: App,
    public: SocketAddr,
}

impl Node {
    async fn open(market: &Market, seed: u8, edit: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(Network::Simulated, folder.path());
        config.public.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        edit(&mut config);
        let upstream = upstream(&market.lifecycle).await;
        let mut agent = AgentConfig::new("data", &upstream, Msat::new(PRICE * 1_000));
        agent.method = "GET".to_owned();
        agent.save(folder.path()).unwrap();
        let (app, public) = start(&config, market, seed).await;
        Self {
            folder,
            config,
            seed,
            app,
            public,
        }
    }

    /// Stops the node and starts it again.
    async fn restarted(self, market: &Market) -> Self {
        let Self {
            folder,
            config,
            seed,
            app,
            ..
        } = self;
        assert!(app.shut_down().await);
        drop(app);
        let (app, public) = start(&config, market, seed).await;
        Self {
            folder,
            config,
            seed,
            app,
            public,
        }
    }

    fn backend(&self, name: &str) -> &dyn LightningBackend {
        self.app.node.lightning.find(name).unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}/a/data", self.public)
    }

    /// Asks for a challenge.
    async fn challenge(&self) -> Challenge {
        let asked = http().get(self.url()).send().await.unwrap();
        assert_eq!(asked.status().as_u16(), 402);
        Challenge::parse_all(asked.headers()).remove(0)
    }

    /// Presents a credential; returns status and body.
    async fn call(&self, challenge: &Challenge, preimage: &Preimage) -> (u16, String) {
        let header = format!("L402 {}:{}", challenge.token, preimage.expose_hex());
        let request = http().get(self.url()).header("authorization", header);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn booked(&self, account: Account) -> i64 {
        self.app.ledger.balance_msat(account).await.unwrap()
    }

    async fn held_sat(&self) -> u64 {
        let held = self.app.wallets.holdings().await.unwrap();
        held.iter().map(|(_, _, sat)| sat.as_u64()).sum()
    }

    /// The books add up and agree with the proofs.
    async fn check_books(&self) {
        let audit = self.app.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        let faults = self.app.wallets.verify_books().await.unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }

    /// Puts ecash into the treasury.
    async fn fund(&self, market: &Market, mint: &str, sat: u64) {
        let wallets = &self.app.wallets;
        let quote = wallets
            .request_funding(TREASURY, mint, Sat::new(sat))
            .await
            .unwrap();
        market.pay(&quote.bolt11).await;
        let issued = async {
            while wallets
                .claim_funding(&quote.quote_id)
                .await
                .unwrap()
                .is_none()
            {
                tokio::task::yield_now().await;
            }
        };
        soon(issued).await;
    }
}

async fn start(config: &Config, market: &Market, seed: u8) -> (App, SocketAddr) {
    let mut config = config.clone();
    let listeners = Listeners::bind(&mut config).await.unwrap();
    let parts = AppParts {
        seed: NodeSeed::from_bytes([seed; 64]),
        clock: market.clock.clone(),
        entropy: Arc::new(SystemEntropy),
        lightning: Vec::new(),
        lifecycle: Lifecycle::default(),
    };
    let app = App::build(config, parts).await.unwrap();
    let public = app.start(listeners).await.unwrap().public;
    (app, public)
}

fn http() -> HttpClient {
    http_client(PATIENCE).unwrap()
}

/// Waits for what comes soon, or fails.
async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it never came")
}

/// A service that answers everything with `served`.
async fn upstream(lifecycle: &Lifecycle) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(async || "served");
    lifecycle.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    url
}
