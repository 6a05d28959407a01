//! A seller on real sockets: its gateway, the same proxy bare, and an upstream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use feria::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use feria::config::{AgentConfig, GatewayConfig, Network};
use feria::gateway::{BareProxy, ClientAddr, Gateway, GatewayParts};
use feria::lifecycle::Lifecycle;
use feria::lightning::Lightning;
use feria::store::ledger::Ledger;
use feria::wallet::{MintTrust, Wallets};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::{Identifier, Issuer, Terms};
use feria_paywall::payment::Preimage;
use http::HeaderValue;
use http_body_util::{BodyExt, Limited};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The agent that answers at once.
pub(crate) const FAST: &str = "data";
/// The agent whose upstream takes [`SLOW_UPSTREAM`].
pub(crate) const SLOW: &str = "slow";
/// Where [`FAST`] is called.
pub(crate) const FAST_PATH: &str = "/a/data/v1/query";
/// Where [`SLOW`] is called.
pub(crate) const SLOW_PATH: &str = "/a/slow/v1/slow";
/// How long the slow upstream takes.
pub(crate) const SLOW_UPSTREAM: Duration = Duration::from_millis(200);
/// What a call costs: three proofs in ecash.
pub(crate) const PRICE: Sat = Sat::new(21);
/// The node's secret for macaroons.
const SECRET: [u8; 32] = [7; 32];
/// As the public listener's own limit.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// What the upstream answers: as much as a small JSON document.
const ANSWER: &str = concat!(
    r#"{"answer":"between 17 and 23 degrees, dry, with a light wind from the west","#,
    r#""source":"a model of the weather","confidence":0.83,"valid_until":"2026-01-01T00:00:00Z","#,
    r#""units":"celsius"}"#
);

/// What the shop is opened with.
pub(crate) struct ShopParts {
    /// Makes invoices.
    pub(crate) lightning: Lightning,
    /// Mints whose ecash it takes.
    pub(crate) mints: Vec<String>,
}

/// A seller with two agents.
pub(crate) struct Shop {
    /// The gateway.
    pub(crate) gateway: SocketAddr,
    /// The same proxy without paywall.
    pub(crate) bare: SocketAddr,
    /// What is behind both.
    pub(crate) upstream: SocketAddr,
    /// Its ecash.
    pub(crate) wallets: Wallets,
    pub(crate) ledger: Ledger,
    issuer: Issuer,
    folder: TempDir,
    _lifecycle: Lifecycle,
}

impl Shop {
    /// Opens the shop on free ports, its ledger on the disk that holds the build folder.
    pub(crate) async fn open(parts: ShopParts) -> anyhow::Result<Self> {
        let lifecycle = Lifecycle::default();
        // Not the system's folder for temporary files, which may be in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let ledger = Ledger::open(&folder.path().join("ledger.db"))?;
        let upstream = serve(upstream(), &lifecycle).await?;
        let agents: Vec<_> = [(FAST, "/v1/query"), (SLOW, "/v1/slow")]
            .into_iter()
            .map(|(name, path)| agent(name, path, upstream))
            .collect();
        let trust = |url: &String| MintTrust {
            url: url.clone(),
            cap: Sat::new(100_000_000),
        };
        let wallets = Wallets::new(
            ledger.clone(),
            [1; 64],
            parts.mints.iter().map(trust).collect(),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        )?;
        let gateway = Gateway::new(GatewayParts {
            config: GatewayConfig {
                challenges_per_minute: 0,
                vault_cap: Sat::new(100_000_000),
                ..GatewayConfig::default()
            },
            network: Network::Simulated,
            public_url: "http://127.0.0.1:7402".to_owned(),
            agents: agents.clone(),
            data_dir: PathBuf::new(),
            ledger: ledger.clone(),
            wallets: wallets.clone(),
            lightning: parts.lightning,
            secret: SECRET,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            lifecycle: lifecycle.clone(),
        })?;
        let bare = BareProxy::new(agents, &GatewayConfig::default(), lifecycle.clone())?;
        Ok(Self {
            gateway: serve(paid(gateway), &lifecycle).await?,
            bare: serve(unpaid(bare), &lifecycle).await?,
            upstream,
            wallets,
            ledger,
            issuer: Issuer::new(&SECRET),
            folder,
            _lifecycle: lifecycle,
        })
    }

    /// Returns a paid credential for `agent` that is good for `uses` calls, 0 for any
    /// number, as the value of `Authorization`. Its macaroon is what a 402 of this node hands out.
    pub(crate) fn credential(&self, agent: &str, uses: u32) -> anyhow::Result<HeaderValue> {
        let (mut preimage, mut token_id) = ([0; 32], [0; 32]);
        SystemEntropy.fill(&mut preimage);
        SystemEntropy.fill(&mut token_id);
        let preimage = Preimage::new(preimage);
        let caveats = Terms {
            service: agent.to_owned(),
            capability: "call".to_owned(),
            valid_until: Some(SystemClock.now() + 3_600),
            price: None,
            uses: Some(uses),
            balance: None,
            path_prefix: None,
        }
        .to_caveats()?;
        let identifier = Identifier {
            payment_hash: preimage.payment_hash(),
            token_id,
        };
        let macaroon = self.issuer.issue(&identifier, &caveats)?.to_base64();
        let value = format!("L402 {macaroon}:{}", preimage.expose_hex());
        Ok(HeaderValue::from_str(&value)?)
    }

    /// Returns so many credentials for one call each.
    pub(crate) fn credentials(&self, count: u64) -> anyhow::Result<Vec<HeaderValue>> {
        (0..count).map(|_| self.credential(FAST, 1)).collect()
    }

    /// Returns the rows of all tables of the ledger.
    pub(crate) fn ledger_rows(&self) -> anyhow::Result<u64> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(self.ledger_path(), flags)?;
        let tables = connection
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let mut rows = 0;
        for table in tables {
            let count = format!("SELECT count(*) FROM \"{table}\"");
            rows += connection.query_row(&count, [], |row| row.get::<_, u64>(0))?;
        }
        Ok(rows)
    }

    /// Returns how many tokens were taken without asking their mint.
    pub(crate) fn held(&self) -> anyhow::Result<u64> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(self.ledger_path(), flags)?;
        let held = "SELECT count(*) FROM vault_tokens WHERE state = 'held'";
        Ok(connection.query_row(held, [], |row| row.get(0))?)
    }

    /// Returns the bytes of all files of the shop.
    pub(crate) fn disk_bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.folder.path())? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    fn ledger_path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }
}

fn agent(name: &str, path: &str, upstream: SocketAddr) -> AgentConfig {
    let mut agent = AgentConfig::new(name, &format!("http://{upstream}"), Msat::from(PRICE));
    agent.path = path.to_owned();
    agent
}

fn upstream() -> Router {
    Router::new().fallback(async |request: Request| {
        let is_slow = request.uri().path().ends_with("/slow");
        // A server reads what it is sent before it answers.
        let _ = request.into_body().collect().await;
        if is_slow {
            tokio::time::sleep(SLOW_UPSTREAM).await;
        }
        ([("content-type", "application/json")], ANSWER)
    })
}

/// The gateway, called as the public listener calls it.
fn paid(gateway: Gateway) -> Router {
    let handle = async move |ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request| {
        let mut request = request.map(|body| Limited::new(body, MAX_BODY_BYTES).boxed_unsync());
        request.extensions_mut().insert(ClientAddr(client.ip()));
        let agent = agent_of(request.uri().path()).to_owned();
        let response = gateway.handle(&agent, request).await;
        response.map(axum::body::Body::new)
    };
    Router::new().fallback(handle)
}

/// The bare proxy behind the same listener.
fn unpaid(proxy: BareProxy) -> Router {
    let proxy = Arc::new(proxy);
    let handle = async move |ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request| {
        let mut request = request.map(|body| Limited::new(body, MAX_BODY_BYTES).boxed_unsync());
        request.extensions_mut().insert(ClientAddr(client.ip()));
        let agent = agent_of(request.uri().path()).to_owned();
        let response = proxy.handle(&agent, request).await;
        response.map(axum::body::Body::new)
    };
    Router::new().fallback(handle)
}

fn agent_of(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

async fn serve(router: Router, lifecycle: &Lifecycle) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("bind a loopback port")?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    lifecycle.spawn(async move {
        // Ends with the bench.
        let _ = axum::serve(listener, service).await;
    });
    Ok(address)
}
