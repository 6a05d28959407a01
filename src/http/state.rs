//! What the handlers of both listeners share.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::admin::Sessions;
use super::public::card::Cards;
use super::relay_endpoint::RelayEndpoint;
use crate::access::Access;
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::{
    AgentConfig, Config, ConfigError, Network, NodeSeed, PolicyConfig, RelayEntry,
};
use crate::gateway::{Gateway, GatewayError};
use crate::lightning::Lightning;
use crate::market::publisher::listing_of;
use crate::market::{GiftWraps, Market, OwnAgent};
use crate::relay::Relays;
use crate::spend::Spender;
use crate::store::index::Index;
use crate::store::ledger::Ledger;
use crate::transfer::{Transfers, lock_label};
use crate::wallet::{WalletError, Wallets};

/// Own agents as configured now; clones share the list, a reload replaces it.
#[derive(Debug, Clone, Default)]
pub struct Agents(Arc<RwLock<Arc<Vec<AgentConfig>>>>);

impl Agents {
    /// Returns the agents as they are now.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<AgentConfig>> {
        Arc::clone(&self.0.read())
    }

    /// Replaces all of them.
    pub fn replace(&self, agents: Vec<AgentConfig>) {
        *self.0.write() = Arc::new(agents);
    }

    /// Returns the agent `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<AgentConfig> {
        self.list().iter().find(|agent| agent.name == name).cloned()
    }
}

/// The parts of the node that requests reach.
pub struct Node {
    /// What the node was told; `public.url` is complete.
    pub config: Config,
    /// Derives the keys of own agents.
    pub seed: NodeSeed,
    /// Own agents.
    pub agents: Agents,
    /// The books.
    pub ledger: Ledger,
    /// The catalog.
    pub index: Index,
    /// All ecash.
    pub wallets: Wallets,
    /// What is published and what is seen.
    pub market: Market,
    /// Who may use the API.
    pub access: Arc<Access>,
    /// Links to relays.
    pub relays: Relays,
    /// Sells.
    pub gateway: Gateway,
    /// Buys.
    pub spender: Spender,
    /// Pays and is paid by message.
    pub transfers: Transfers,
    /// The node as a relay.
    pub relay_endpoint: Arc<RelayEndpoint>,
    /// Makes and pays invoices.
    pub lightning: Lightning,
    /// Tells the time.
    pub clock: SharedClock,
    /// Makes ids.
    pub entropy: SharedEntropy,
    /// Pictures of listings, and the dashboard's sessions.
    pub pages: Pages,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What the pages keep in memory.
#[derive(Debug)]
pub struct Pages {
    pub(crate) cards: Cards,
    pub(crate) sessions: Sessions,
}

impl Pages {
    /// Returns pages without cards and sessions.
    #[must_use]
    pub fn new(clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            cards: Cards::default(),
            sessions: Sessions::new(clock, entropy),
        }
    }
}

impl Node {
    /// Returns whether money here is pretended.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.config.network == Network::Simulated
    }

    /// Returns the address that `agent` is called at.
    #[must_use]
    pub fn endpoint(&self, agent: &AgentConfig) -> String {
        format!("{}/a/{}{}", self.config.public.url, agent.name, agent.path)
    }

    /// Returns the path of a link that opens the dashboard once, within an hour.
    #[must_use]
    pub fn new_dashboard_link(&self) -> String {
        format!("/login?code={}", self.pages.sessions.new_link_code())
    }

    /// Returns what the market publishes for `agent`, with those of its rails that
    /// this node can be paid on; without any it must not be published.
    ///
    /// # Errors
    /// When its P2PK key cannot be derived.
    pub fn own_agent(&self, agent: &AgentConfig) -> Result<OwnAgent, WalletError> {
        let mints: Vec<String> = self
            .wallets
            .mints()
            .into_iter()
            .map(|mint| mint.url)
            .collect();
        let url = &self.config.public.url;
        let mut listing = listing_of(agent, url, &mints, self.clock.now());
        // A listing promises only what a 402 of this node can ask for.
        listing.rails.retain(|rail| match rail.as_str() {
            "l402" => self.lightning.receiver().is_some(),
            _ => !mints.is_empty(),
        });
        Ok(OwnAgent {
            keys: self.seed.nostr_keys(&agent.name),
            listing,
            write_relays: self.relay_urls(|relay| relay.write),
            inbox_relays: self.relay_urls(|relay| relay.inbox),
            lock_key: Some(self.wallets.lock_key(&lock_label(&agent.name))?),
            mints,
            node_url: url.clone(),
        })
    }

    /// Returns the configured relays that `is_wanted` picks.
    pub fn relay_urls(&self, is_wanted: impl Fn(&RelayEntry) -> bool) -> Vec<String> {
        self.config
            .relays
            .iter()
            .filter(|relay| is_wanted(relay))
            .map(|relay| relay.url.clone())
            .collect()
    }

    /// Reads the files of own agents again and sells by them from now on. Calls that
    /// are running go on as they began. Returns the names of agents that are new or
    /// not as before; their listings say the old until they are published.
    ///
    /// # Errors
    /// When a file cannot be used; nothing changes then.
    pub fn reload_agents(&self) -> Result<Vec<String>, ConfigError> {
        let agents = AgentConfig::load_all(&self.config.data_dir)?;
        let before = self.agents.list();
        let changed = agents
            .iter()
            .filter(|agent| !before.contains(agent))
            .map(|agent| agent.name.clone())
            .collect();
        self.set_agents(agents)?;
        Ok(changed)
    }

    /// Reads the policies again; purchases that are open keep what they were judged
    /// by. Returns their names.
    ///
    /// # Errors
    /// When a file cannot be used; nothing changes then.
    pub fn reload_policies(&self) -> Result<Vec<String>, ConfigError> {
        let policies = PolicyConfig::load_all(&self.config.data_dir)?;
        let names = policies.keys().cloned().collect();
        self.spender.set_policies(policies);
        Ok(names)
    }

    /// Sells `agents` from now on, and takes messages for them.
    ///
    /// # Errors
    /// When the settings of one cannot be used; nothing changes then.
    pub fn set_agents(&self, agents: Vec<AgentConfig>) -> Result<(), ConfigError> {
        let data_dir = &self.config.data_dir;
        self.gateway
            .set_agents(agents.clone())
            .map_err(|error| match error {
                GatewayError::Agent { agent, what } => ConfigError::Value {
                    origin: AgentConfig::file(data_dir, &agent).display().to_string(),
                    key: what.to_owned(),
                    reason: "the gateway cannot sell by it".to_owned(),
                },
                other => ConfigError::Value {
                    origin: data_dir.display().to_string(),
                    key: "agents".to_owned(),
                    reason: other.to_string(),
                },
            })?;
        let keys: Vec<_> = agents
            .iter()
            .map(|agent| self.seed.nostr_keys(&agent.name).public_key())
            .collect();
        self.relay_endpoint.set_inbox_keys(keys.clone());
        let gift_wraps = if self.config.public.open_inbox {
            GiftWraps::ForAnyone
        } else {
            GiftWraps::For(keys.into_iter().collect())
        };
        self.market.indexer.set_gift_wraps(gift_wraps);
        self.agents.replace(agents);
        Ok(())
    }
}
