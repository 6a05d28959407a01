//! Where the calls of each agent go, and how: client, deadlines, headers.
//!
//! Made when agents are put on sale, so that a secret that is missing stops the
//! sale and not a call. Replaced as a whole; a call that is running keeps what it
//! began with. Agents that ask for the same protocol share one client and its
//! connections, and keep it when they are loaded again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::RwLock;

use crate::client::{HttpClient, UpstreamProtocol, upstream_client};
use crate::config::{AgentConfig, GatewayConfig};
use crate::gateway::GatewayError;

/// How long each phase of a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until the head of the answer.
    pub(super) head: Duration,
    /// Between two parts of a body.
    pub(super) pause: Duration,
    /// In all.
    pub(super) call: Duration,
    /// Between two bytes of a tunnel, whichever way they go.
    pub(super) tunnel: Duration,
}

/// How calls of one agent reach its upstream. Holds secrets: never printed.
pub(super) struct Upstream {
    pub(super) client: HttpClient,
    pub(super) is_http2: bool,
    pub(super) patience: Patience,
    stripped: Vec<HeaderName>,
    stripped_from_answer: Vec<HeaderName>,
    injected: Vec<(HeaderName, HeaderValue)>,
}

impl Upstream {
    /// Takes out and puts in what the owner wants, over what the client sent.
    pub(super) fn edit_request(&self, headers: &mut HeaderMap) {
        for name in &self.stripped {
            headers.remove(name);
        }
        for (name, value) in &self.injected {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Takes out what the owner keeps from clients, and what was injected should
    /// the upstream send it back.
    pub(super) fn edit_response(&self, headers: &mut HeaderMap) {
        for name in &self.stripped_from_answer {
            headers.remove(name);
        }
        for (name, value) in &self.injected {
            if headers.get_all(name).iter().any(|found| found == value) {
                headers.remove(name);
            }
        }
    }
}

/// The upstreams of all agents on sale.
pub(in crate::gateway) struct Upstreams {
    config: GatewayConfig,
    data_dir: PathBuf,
    table: RwLock<Arc<Table>>,
}

#[derive(Default)]
pub(in crate::gateway) struct Table {
    by_agent: HashMap<String, Arc<Upstream>>,
    clients: HashMap<UpstreamProtocol, HttpClient>,
}

impl Upstreams {
    /// Returns an empty table. Files are looked for below `data_dir`.
    pub(in crate::gateway) fn new(config: &GatewayConfig, data_dir: PathBuf) -> Self {
        Self {
            config: config.clone(),
            data_dir,
            table: RwLock::default(),
        }
    }

    /// Reads what calls of `agents` need; [`Self::replace`] puts it to use.
    pub(in crate::gateway) fn read(&self, agents: &[AgentConfig]) -> Result<Table, GatewayError> {
        let known = Arc::clone(&self.table.read());
        let mut table = Table::default();
        for agent in agents {
            let upstream = self.open(agent, &known, &mut table)?;
            table
                .by_agent
                .insert(agent.name.clone(), Arc::new(upstream));
        }
        Ok(table)
    }

    pub(in crate::gateway) fn replace(&self, table: Table) {
        *self.table.write() = Arc::new(table);
    }

    pub(super) fn find(&self, agent: &str) -> Option<Arc<Upstream>> {
        self.table.read().by_agent.get(agent).cloned()
    }

    fn open(
        &self,
        agent: &AgentConfig,
        known: &Table,
        table: &mut Table,
    ) -> Result<Upstream, GatewayError> {
        let (node, own) = (&self.config, &agent.forward);
        let unusable = |source| GatewayError::Settings {
            agent: agent.name.clone(),
            source,
        };
        let or = |own: u64, node: u64| Duration::from_secs(if own == 0 { node } else { own });
        let protocol = UpstreamProtocol {
            connect_timeout: or(own.connect_timeout_secs, node.connect_timeout_secs),
            is_http2: agent.upstream_url().is_some_and(|(_, is_http2)| is_http2),
            authorities: own.read_authorities(&self.data_dir).map_err(unusable)?,
        };
        let found = table.clients.get(&protocol);
        let client = match found.or_else(|| known.clients.get(&protocol)) {
            Some(client) => client.clone(),
            None => upstream_client(&protocol)?,
        };
        let is_http2 = protocol.is_http2;
        table.clients.insert(protocol, client.clone());
        Ok(Upstream {
            client,
            is_http2,
            patience: Patience {
                head: or(own.upstream_timeout_secs, node.upstream_timeout_secs),
                pause: or(own.pause_timeout_secs, node.pause_timeout_secs),
                call: or(own.call_timeout_secs, node.call_timeout_secs),
                tunnel: or(own.tunnel_idle_timeout_secs, node.tunnel_idle_timeout_secs),
            },
            stripped: names(&own.strip_request_headers),
            stripped_from_answer: names(&own.strip_response_headers),
            injected: own.read_injected(&self.data_dir).map_err(unusable)?,
        })
    }
}

/// The configuration has checked that each is a name.
fn names(texts: &[String]) -> Vec<HeaderName> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
