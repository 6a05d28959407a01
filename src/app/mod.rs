//! The composition root: opens the stores, builds every part, and runs them.
//!
//! The only place that knows all parts. Starting has an order: bind the sockets
//! (the public URL must be known), build, recover, and only then serve and pay:
//!
//! ```text
//! Listeners::bind ─► App::build ─► recover ─► App::start ─► requests
//! ```
//!
//! Recovery settles what a crash left open, the wallets first because everything
//! else asks them.

mod background;
mod lightning;
mod listeners;
mod local;
mod lock;

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nostr::event::Event;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::access::Access;
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::{
    ACCESS_SECRET, AgentConfig, Config, Network, NodeSeed, PAYWALL_SECRET, PolicyConfig,
};
use crate::gateway::{Gateway, GatewayParts, GatewayRecovery};
use crate::http::relay_endpoint::{RelayEndpoint, RelayEndpointParts, RelayInfo, RelayPolicy};
use crate::http::state::Pages;
use crate::http::{self, Agents, Node};
use crate::lifecycle::Lifecycle;
use crate::lightning::{Lightning, LightningBackend};
use crate::market::{Market, Policy};
use crate::relay::{RelayOptions, Relays};
use crate::spend::{SpendParts, SpendRecovery, Spender};
use crate::store::index::Index;
use crate::store::ledger::Ledger;
use crate::transfer::{Reconciled, TransferParts, Transfers};
use crate::wallet::{MintTrust, RecoveryReport, Wallets};

pub use crate::config::{NODE_FILE, TOKEN_FILE};
pub use listeners::{Addresses, Listeners};
pub(crate) use lock::take as lock_data_dir;

/// New events that wait for live subscriptions of the relay endpoint.
const LIVE_EVENTS: usize = 1_024;
/// How long shutdown waits for requests and payments to end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);
/// Limits of connections to relays.
const RELAY_OPTIONS: RelayOptions = RelayOptions {
    connect_timeout: Duration::from_secs(10),
    answer_timeout: Duration::from_secs(10),
    max_frame_bytes: 512 * 1024,
};

/// What a node is made with, beside its configuration.
#[derive(Debug)]
pub struct AppParts {
    /// The node's secret.
    pub seed: NodeSeed,
    /// Tells the time.
    pub clock: SharedClock,
    /// Gives random bytes.
    pub entropy: SharedEntropy,
    /// Lightning backends beside those of the configuration, such as those that the
    /// caller must keep in hand.
    pub lightning: Vec<Arc<dyn LightningBackend>>,
    /// Runs its background tasks.
    pub lifecycle: Lifecycle,
}

/// What recovery found at start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recovered {
    /// Ecash operations and agent wallets.
    pub wallets: RecoveryReport,
    /// Paid calls that were open.
    pub gateway: GatewayRecovery,
    /// Purchases that were open.
    pub spend: SpendRecovery,
    /// Ecash by message that was on its way.
    pub transfers: Reconciled,
}

impl Recovered {
    /// Says what was found, a line for each thing; nothing when all was in order.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let lists = [
            ("ecash operation finished", &self.wallets.completed),
            ("ecash operation undone", &self.wallets.rolled_back),
            ("ecash operation still open", &self.wallets.unknown),
            ("purchase paid, answer not received", &self.spend.paid),
            ("purchase undone, money home", &self.spend.released),
            ("purchase still open", &self.spend.unknown),
        ];
        let counts = [
            ("paid calls given back", self.gateway.released),
            ("swaps that payers continue", self.gateway.interrupted),
            ("refunds made", self.gateway.paid_out),
            ("refunds still owed", self.gateway.open),
        ];
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        lists
            .into_iter()
            .flat_map(|(what, ids)| ids.iter().map(move |id| format!("{what}: {id}")))
            .chain(counted.map(|(what, count)| format!("{what}: {count}")))
    }
}

/// A whole node.
pub struct App {
    /// What it was told.
    pub config: Config,
    /// Its books.
    pub ledger: Ledger,
    /// What it has seen.
    pub index: Index,
    /// Its ecash.
    pub wallets: Wallets,
    /// Its links to relays.
    pub relays: Relays,
    /// What it publishes and finds.
    pub market: Market,
    /// Sells.
    pub gateway: Gateway,
    /// Buys.
    pub spender: Spender,
    /// Pays and is paid by message.
    pub transfers: Transfers,
    /// Who may use its API.
    pub access: Arc<Access>,
    /// What its listeners serve.
    pub node: Arc<Node>,
    /// What recovery found at start.
    pub recovered: Recovered,
    live: broadcast::Sender<Arc<Event>>,
    inboxes: background::Inboxes,
    lifecycle: Lifecycle,
    /// Held for as long as anything of the node may write to its folder.
    _lock: File,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .field("recovered", &self.recovered)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Opens the stores, builds every part, and settles what a crash left open.
    /// `config.public.url` must be complete: [`Listeners::bind`] comes first.
    ///
    /// # Errors
    /// When a store cannot be opened, a part cannot be built, or recovery fails.
    pub async fn build(config: Config, parts: AppParts) -> anyhow::Result<Self> {
        refuse_pretended_parts(&config, &parts)?;
        let lock = lock::take(&config.data_dir)?;
        let ledger = Ledger::open(&config.data_dir.join("ledger.db"))
            .context("open the ledger; if it is damaged, restore it from the backup")?;
        let index = Index::open(&config.data_dir.join("index.db"))
            .context("open the index; it can be deleted, it is rebuilt from the relays")?;
        let agents = AgentConfig::load_all(&config.data_dir)?;
        let wallets = build_wallets(&config, &parts, &ledger)?;
        let relays = Relays::new(
            RELAY_OPTIONS,
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
            parts.lifecycle.clone(),
        );
        if config.network != Network::Simulated {
            let mut own: Vec<String> = config
                .relays
                .iter()
                .map(|relay| relay.url.clone())
                .collect();
            own.extend(lightning::wallet_relays(&config)?);
            relays.keep_strangers_public(&own);
        }
        let market = Market::new(
            index.clone(),
            relays.clone(),
            Policy::default(),
            Arc::clone(&parts.clock),
        );
        refresh_catalog(&market).await?;
        let lightning = lightning::open(&lightning::Sources {
            config: &config,
            parts: &parts,
            ledger: &ledger,
            wallets: &wallets,
            relays: &relays,
        })?;
        let gateway = build_gateway(&config, &parts, &ledger, &wallets, &lightning)?;
        let spender = Spender::new(SpendParts {
            config: config.spend.clone(),
            ledger: ledger.clone(),
            wallets: wallets.clone(),
            index: index.clone(),
            lightning: lightning.clone(),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
        })?;
        spender.set_policies(PolicyConfig::load_all(&config.data_dir)?);
        let transfers = Transfers::new(TransferParts {
            ledger: ledger.clone(),
            wallets: wallets.clone(),
            relays: relays.clone(),
            index: Some(index.clone()),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
            lifecycle: parts.lifecycle.clone(),
        });
        let access = Arc::new(Access::new(
            parts.seed.secret(ACCESS_SECRET),
            ledger.clone(),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
        ));
        let (live, _) = broadcast::channel(LIVE_EVENTS);
        let relay_endpoint = build_relay_endpoint(&config, &parts, &market, live.clone());
        let node = Arc::new(Node {
            config: config.clone(),
            seed: parts.seed,
            agents: Agents::default(),
            ledger: ledger.clone(),
            index: index.clone(),
            wallets: wallets.clone(),
            market: market.clone(),
            access: Arc::clone(&access),
            relays: relays.clone(),
            gateway: gateway.clone(),
            spender: spender.clone(),
            transfers: transfers.clone(),
            relay_endpoint,
            lightning,
            pages: Pages::new(Arc::clone(&parts.clock), Arc::clone(&parts.entropy)),
            clock: parts.clock,
            entropy: parts.entropy,
        });
        node.set_agents(agents)?;
        let mut app = Self {
            config,
            ledger,
            index,
            wallets,
            relays,
            market,
            gateway,
            spender,
            transfers,
            access,
            node,
            recovered: Recovered::default(),
            live,
            inboxes: background::Inboxes::new(parts.lifecycle.clone()),
            lifecycle: parts.lifecycle,
            _lock: lock,
        };
        app.recovered = app.recover().await?;
        Ok(app)
    }

    /// Settles what a crash left open; the wallets first, because all else asks them.
    async fn recover(&self) -> anyhow::Result<Recovered> {
        let wallets = self
            .wallets
            .recover()
            .await
            .context("recover the wallets")?;
        let gateway = self.gateway.recover().await.context("recover paid calls")?;
        let spend = self.spender.recover().await.context("recover purchases")?;
        for agent in self.node.agents.list().iter() {
            let keys = self.node.seed.nostr_keys(&agent.name);
            self.transfers.register(&agent.name, keys);
        }
        let transfers = self
            .transfers
            .reconcile()
            .await
            .context("recover transfers")?;
        Ok(Recovered {
            wallets,
            gateway,
            spend,
            transfers,
        })
    }

    /// Serves both listeners and starts all background work. Returns the addresses.
    ///
    /// # Errors
    /// When a part cannot be started.
    pub async fn start(&self, listeners: Listeners) -> anyhow::Result<Addresses> {
        let addresses = listeners.addresses()?;
        http::serve_public(&self.node, listeners.public, &self.lifecycle);
        http::serve_admin(&self.node, listeners.admin, &self.lifecycle);
        self.announce_changes();
        self.follow_market();
        self.start_ticks();
        tracing::info!(
            network = self.config.network.as_str(),
            public = %addresses.public,
            admin = %addresses.admin,
            "the node is up"
        );
        Ok(addresses)
    }

    /// Publishes the listings of all own agents now.
    pub async fn publish_all(&self) {
        publish_all(&self.node).await;
    }

    /// Opens inboxes for agents that are new since the last time, now instead of soon.
    pub async fn open_inboxes(&self) {
        self.inboxes.open(&self.node).await;
    }

    /// Stops everything and waits for it, at most 20 s. Returns whether all of it ended.
    pub async fn shut_down(&self) -> bool {
        self.lifecycle.shut_down(SHUTDOWN_PATIENCE).await
    }
}

/// A backend that only pretends must not sell for real money.
fn refuse_pretended_parts(config: &Config, parts: &AppParts) -> anyhow::Result<()> {
    let is_pretended = parts.lightning.iter().any(|backend| backend.is_simulated());
    anyhow::ensure!(
        !is_pretended || config.network == Network::Simulated,
        "a simulated Lightning backend needs network = \"simulated\" in feria.toml"
    );
    Ok(())
}

/// Reads the catalog again after an upgrade that reads listings otherwise.
async fn refresh_catalog(market: &Market) -> anyhow::Result<()> {
    let refreshed = market.indexer.refresh_catalog().await;
    if let Some(rows) =
        refreshed.context("read the catalog again; `feria index verify` says why")?
    {
        tracing::info!(rows, "the catalog was read again from the stored events");
    }
    Ok(())
}

fn build_wallets(config: &Config, parts: &AppParts, ledger: &Ledger) -> anyhow::Result<Wallets> {
    let mints = config
        .mints
        .iter()
        .map(|mint| MintTrust {
            url: mint.url.clone(),
            cap: mint.cap,
        })
        .collect();
    Ok(Wallets::new(
        ledger.clone(),
        parts.seed.wallet_seed(),
        mints,
        Arc::clone(&parts.clock),
        Arc::clone(&parts.entropy),
    )?)
}

fn build_gateway(
    config: &Config,
    parts: &AppParts,
    ledger: &Ledger,
    wallets: &Wallets,
    lightning: &Lightning,
) -> anyhow::Result<Gateway> {
    Ok(Gateway::new(GatewayParts {
        config: config.gateway.clone(),
        network: config.network,
        public_url: config.public.url.clone(),
        agents: Vec::new(),
        data_dir: config.data_dir.clone(),
        ledger: ledger.clone(),
        wallets: wallets.clone(),
        lightning: lightning.clone(),
        secret: parts.seed.secret(PAYWALL_SECRET),
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
        lifecycle: parts.lifecycle.clone(),
    })?)
}

fn build_relay_endpoint(
    config: &Config,
    parts: &AppParts,
    market: &Market,
    live: broadcast::Sender<Arc<Event>>,
) -> Arc<RelayEndpoint> {
    let websocket_url = config.public.url.replacen("http", "ws", 1);
    Arc::new(RelayEndpoint::new(RelayEndpointParts {
        index: market.index.clone(),
        sink: Arc::new(background::MarketSink(market.indexer.clone())),
        live,
        policy: RelayPolicy {
            public_urls: vec![websocket_url],
            is_open_inbox: config.public.open_inbox,
            ..RelayPolicy::default()
        },
        info: RelayInfo {
            name: "Feria node".to_owned(),
            description: format!(
                "Listings of agents, paid per call. Network: {}.",
                config.network.as_str()
            ),
            pubkey: Some(parts.seed.nostr_keys("").public_key()),
        },
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
        lifecycle: parts.lifecycle.clone(),
    }))
}

/// Publishes the listings of all own agents, and the node as their handler.
async fn publish_all(node: &Node) {
    let relays = node.relay_urls(|relay| relay.write);
    let agents = node.agents.list();
    if relays.is_empty() || agents.is_empty() {
        return;
    }
    for agent in agents.iter() {
        let name = agent.name.as_str();
        match node.own_agent(agent) {
            Ok(own) if own.listing.rails.is_empty() => tracing::warn!(
                agent.name = name,
                "{name} is not published: nobody could pay for it without a mint or Lightning; `feria mint add URL` adds a mint"
            ),
            Ok(own) => {
                let report = node.market.publisher.publish(&own).await;
                if report.is_published() {
                    tracing::info!(agent.name = name, "published the listing of {name}");
                } else {
                    tracing::warn!(
                        agent.name = name,
                        "the listing of {name} has reached no relay; `feria agent check {name}` says why"
                    );
                }
            }
            Err(error) => tracing::error!(agent.name = name, %error, "{name} cannot be published"),
        }
    }
    let keys = node.seed.nostr_keys("");
    let url = &node.config.public.url;
    node.market
        .publisher
        .publish_handler(&keys, "Feria node", url, &relays)
        .await;
}
