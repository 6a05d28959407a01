//! The demo's world: two mints, a Lightning network and a wallet on it for visitors,
//! two relays, a seller node and a buyer node, all in this process and on loopback.
//!
//! With a data folder the world comes back where it was: the ports taken at the
//! first start are written to `demo.json` before any money exists, because a
//! mint's address is part of every proof and of every account. Programs that visit
//! the demo find all of it by that file.
//!
//! Order of a start, and why: mints and Lightning first; then the relays; then the
//! seller, who redeems what it had accepted; then the buyer, whose open payments
//! can only be judged when the seller's are settled.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use feria_paywall::amount::{Msat, Sat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::app::{Addresses, App, AppParts, Listeners};
use crate::clock::{OffsetClock, SharedClock, SystemEntropy};
use crate::config::{AgentConfig, Config, MintEntry, Network, NodeSeed, RelayEntry, write_private};
use crate::lifecycle::Lifecycle;
use crate::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use crate::sandbox::front::PaymentFront;
use crate::sandbox::mint::{SandboxMint, SandboxMintConfig};
use crate::sandbox::upstream::{Sample, SampleUpstream};

/// What routing takes on the simulated network.
const ROUTING_FEE: Msat = Msat::new(1_000);
/// How much one mint may hold for a node of the demo.
const MINT_CAP: Sat = Sat::new(1_000_000);
/// The mints: name and input fee in thousandths of a satoshi per proof.
const MINTS: [(&str, u64); 2] = [("free", 0), ("fee", 100)];
/// How long the parts may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The ports taken at the first start; 0 before.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Ports {
    mints: [u16; 2],
    /// Of the front that pays invoices for visitors.
    front: u16,
    relays: [u16; 2],
    relay_admins: [u16; 2],
    seller: [u16; 2],
    buyer: [u16; 2],
}

impl Ports {
    fn file(folder: &Path) -> PathBuf {
        folder.join("demo.json")
    }

    fn load(folder: &Path) -> anyhow::Result<Self> {
        match std::fs::read(Self::file(folder)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .context("demo.json is damaged: take another folder with --data-dir"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("cannot read demo.json"),
        }
    }

    /// Replaces the file in one step, so that a kill leaves the old or the new one.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        write_private(&Self::file(folder), &serde_json::to_string(self)?)?;
        Ok(())
    }
}

/// A node of the demo and where it is reached.
pub(super) struct Node {
    pub(super) app: App,
    pub(super) addresses: Addresses,
}

/// Everything that runs.
pub(super) struct World {
    pub(super) clock: Arc<OffsetClock>,
    pub(super) network: SimulatedNetwork,
    pub(super) mints: Vec<(SandboxMint, &'static str, u64)>,
    pub(super) relay_urls: Vec<String>,
    pub(super) seller: Node,
    pub(super) buyer: Node,
    pub(super) recovered: Vec<String>,
    front: PaymentFront,
    relays: Vec<Node>,
    lifecycle: Lifecycle,
}

impl World {
    /// Starts everything on `folder`.
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut ports = Ports::load(folder)?;
        let clock = Arc::new(OffsetClock::default());
        let lifecycle = Lifecycle::default();
        let network = SimulatedNetwork::open(
            Some(&folder.join("lightning.jsonl")),
            Arc::clone(&clock) as SharedClock,
            Arc::new(SystemEntropy),
        )?;
        network.set_fee(ROUTING_FEE);
        let mints = start_mints(folder, &mut ports, &network, &lifecycle).await?;
        let front = PaymentFront::start(loopback(ports.front), network.clone(), &lifecycle).await?;
        ports.front = port_of(&front.url)?;
        let mint_entries: Vec<MintEntry> = mints
            .iter()
            .map(|(mint, _, _)| MintEntry {
                url: mint.url.clone(),
                cap: MINT_CAP,
            })
            .collect();

        let mut relays = Vec::new();
        for index in 0..ports.relays.len() {
            let mut config = Config::new(Network::Simulated, folder.join(format!("relay-{index}")));
            config.public.open_inbox = true;
            let ports = [&mut ports.relays[index], &mut ports.relay_admins[index]];
            relays.push(start_node(config, ports, &clock, None).await?);
        }
        let relay_urls: Vec<String> = relays
            .iter()
            .map(|node| format!("ws://{}", node.addresses.public))
            .collect();

        let seller_dir = folder.join("seller");
        write_agents(&seller_dir, &lifecycle).await?;
        let seller_config = node_config(&seller_dir, &relay_urls, &mint_entries);
        let [public, admin] = &mut ports.seller;
        let backend = SimulatedBackend::new(network.clone(), "seller");
        let seller = start_node(seller_config, [public, admin], &clock, Some(backend)).await?;
        let redeemed = seller.app.gateway.redeem_all().await?;

        let buyer_config = node_config(&folder.join("buyer"), &relay_urls, &mint_entries);
        let [public, admin] = &mut ports.buyer;
        let backend = SimulatedBackend::new(network.clone(), "buyer");
        let buyer = start_node(buyer_config, [public, admin], &clock, Some(backend)).await?;
        ports.save(folder)?;

        let of = |name: &str, node: &Node| -> Vec<String> {
            let lines = node.app.recovered.lines();
            lines.map(|line| format!("{name}: {line}")).collect()
        };
        let mut recovered = of("seller", &seller);
        if redeemed.redeemed_sat > 0 {
            recovered.push(format!(
                "seller: redeemed {} sat accepted before",
                redeemed.redeemed_sat
            ));
        }
        recovered.extend(of("buyer", &buyer));
        Ok(Self {
            clock,
            network,
            mints,
            relay_urls,
            seller,
            buyer,
            recovered,
            front,
            relays,
            lifecycle,
        })
    }

    /// Returns what there is to look at in a browser: words and address.
    pub(super) fn pages(&self) -> Vec<(&'static str, String)> {
        let dashboard = |node: &Node| {
            let link = node.app.node.new_dashboard_link();
            format!("http://{}{link}", node.addresses.admin)
        };
        vec![
            (
                "Seller's market page",
                format!("http://{}/", self.seller.addresses.public),
            ),
            ("Seller's dashboard", dashboard(&self.seller)),
            (
                "Buyer's market page",
                format!("http://{}/", self.buyer.addresses.public),
            ),
            ("Buyer's dashboard", dashboard(&self.buyer)),
        ]
    }

    /// Lets commands reach both nodes, and returns some to try with play money.
    pub(super) async fn commands(&self) -> anyhow::Result<Vec<String>> {
        for node in [&self.seller, &self.buyer] {
            node.app.admit_local_commands(node.addresses).await?;
        }
        let buyer = self.buyer.app.config.data_dir.display();
        let seller = self.seller.addresses.public;
        let mut commands: Vec<String> = [
            "search weather".to_owned(),
            "wallet create me --limit 1000sat --ttl 1h --fund 800sat".to_owned(),
            format!("fetch --wallet me --max-cost 100sat http://{seller}/a/data/"),
            "wallet audit me".to_owned(),
        ]
        .map(|command| format!("feria --data-dir {buyer} {command}"))
        .into();
        commands.push(format!(
            "curl --json '{{\"invoice\": \"INVOICE OF A 402\"}}' {}",
            self.front.pay_url()
        ));
        Ok(commands)
    }

    /// Stops everything, the buyer first.
    pub(super) async fn stop(self) {
        for node in [&self.seller, &self.buyer] {
            node.app.dismiss_local_commands();
        }
        self.buyer.app.shut_down().await;
        self.seller.app.shut_down().await;
        for relay in &self.relays {
            relay.app.shut_down().await;
        }
        self.lifecycle.shut_down(STOP_PATIENCE).await;
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Returns the port in the base URL of a part.
fn port_of(url: &str) -> anyhow::Result<u16> {
    let address = url.trim_start_matches("http://");
    Ok(address.parse::<SocketAddr>()?.port())
}

async fn start_mints(
    folder: &Path,
    ports: &mut Ports,
    network: &SimulatedNetwork,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Vec<(SandboxMint, &'static str, u64)>> {
    let mut mints = Vec::new();
    for (index, (name, input_fee_ppk)) in MINTS.into_iter().enumerate() {
        let mint = SandboxMint::start(SandboxMintConfig {
            name: name.to_owned(),
            listen: loopback(ports.mints[index]),
            input_fee_ppk,
            network: network.clone(),
            data_dir: Some(folder.join(format!("mint-{name}"))),
            // Play money: the same keys in every demo keep a kept folder usable.
            seed: Sha256::digest(format!("feria demo mint {name}")).into(),
            lifecycle: lifecycle.clone(),
        })
        .await?;
        ports.mints[index] = port_of(&mint.url)?;
        mints.push((mint, name, input_fee_ppk));
    }
    // Before the first proof exists, or a restart would look for its mint elsewhere.
    ports.save(folder)?;
    Ok(mints)
}

fn node_config(folder: &Path, relay_urls: &[String], mints: &[MintEntry]) -> Config {
    let mut config = Config::new(Network::Simulated, folder);
    config.relays = relay_urls
        .iter()
        .map(|url| RelayEntry {
            url: url.clone(),
            read: true,
            write: true,
            inbox: true,
        })
        .collect();
    config.mints = mints.to_vec();
    config
}

async fn start_node(
    mut config: Config,
    ports: [&mut u16; 2],
    clock: &Arc<OffsetClock>,
    backend: Option<SimulatedBackend>,
) -> anyhow::Result<Node> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)?;
    let seed = NodeSeed::load_or_create(&config.seed, &config.data_dir, &SystemEntropy)?;
    let [public, admin] = ports;
    config.public.listen = loopback(*public);
    config.admin.listen = loopback(*admin);
    let listeners = Listeners::bind(&mut config).await?;
    let app = App::build(
        config,
        AppParts {
            seed,
            clock: Arc::clone(clock) as SharedClock,
            entropy: Arc::new(SystemEntropy),
            lightning: backend
                .into_iter()
                .map(|backend| Arc::new(backend) as _)
                .collect(),
            lifecycle: Lifecycle::default(),
        },
    )
    .await?;
    let addresses = app.start(listeners).await?;
    *public = addresses.public.port();
    *admin = addresses.admin.port();
    Ok(Node { app, addresses })
}

/// Starts the sample agents and writes what they are sold for.
async fn write_agents(folder: &Path, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let agents = [
        (Sample::Data, "data", 100, "l402", "Weather reports as JSON"),
        (
            Sample::Inference,
            "inference",
            500,
            "nut24",
            "Text completions",
        ),
        (
            Sample::Flaky,
            "flaky",
            200,
            "nut24",
            "Always fails after it was paid",
        ),
    ];
    for (sample, name, price_sat, rail, summary) in agents {
        let upstream = SampleUpstream::start(sample, lifecycle).await?;
        let mut agent = AgentConfig::new(name, &upstream.url, Sat::new(price_sat).to_msat());
        agent.summary = format!("{summary} (sample agent, play money)");
        agent.rails = vec![rail.to_owned()];
        agent.topics = vec!["ai-agent".to_owned(), name.to_owned()];
        if sample == Sample::Data {
            agent.method = "GET".to_owned();
            agent.uses = 3;
        }
        agent.save(folder)?;
    }
    Ok(())
}
