//! The running node: how it is started, listened to and stopped.
//!
//! ```text
//! (not started) ──first question──► running ──shutdown──► stopped
//!        ▲                 │
//!        └──chain is away──┘  the next question tries again
//! ```
//!
//! Its calls block, so each runs on a thread for that; a fault inside it ends the
//! call, not the node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use ldk_node::bitcoin::Network as Chain;
use ldk_node::config::Config;
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::logger::{LogLevel, LogRecord, LogWriter};
use ldk_node::payment::{PaymentDirection, PaymentStatus};
use ldk_node::{Builder, Event, Node};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use url::Url;
use zeroize::Zeroizing;

use super::received::Received;
use crate::clock::SharedClock;
use crate::config::{ChainSource, LdkConfig, Network};
use crate::lifecycle::Lifecycle;

/// How long to wait before an event that could not be written down is taken again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// How often invoices that nobody paid are looked for, and how old they must be.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const UNPAID_SECS: u64 = 24 * 3_600;

/// What the node is made of.
pub(super) struct Settings {
    pub(super) config: LdkConfig,
    pub(super) rpc_password: Option<Zeroizing<String>>,
    pub(super) network: Network,
    /// Of this node alone.
    pub(super) storage: std::path::PathBuf,
    pub(super) seed: Zeroizing<[u8; 64]>,
}

/// What the events of the node are written to.
pub(super) struct Listening {
    pub(super) received: Arc<Received>,
    pub(super) news: Arc<Notify>,
    pub(super) clock: SharedClock,
    pub(super) lifecycle: Lifecycle,
}

/// Builds and starts the node; blocks until the chain was asked.
pub(super) fn start(settings: &Settings, runtime: Handle) -> Result<Node, String> {
    let addresses: Vec<SocketAddress> = settings
        .config
        .listen
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    let mut builder = Builder::from_config(Config {
        storage_dir_path: path_text(&settings.storage)?,
        network: match settings.network {
            Network::Mainnet => Chain::Bitcoin,
            _ => Chain::Regtest,
        },
        listening_addresses: (!addresses.is_empty()).then_some(addresses),
        ..Config::default()
    });
    builder.set_runtime(runtime);
    builder.set_custom_logger(Arc::new(Log));
    builder.set_entropy_seed_bytes(*settings.seed);
    set_chain_source(&mut builder, settings)?;
    let node = builder.build().map_err(|error| error.to_string())?;
    node.start().map_err(|error| error.to_string())?;
    Ok(node)
}

fn path_text(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or("the data folder's name is not text")?;
    Ok(text.to_owned())
}

fn set_chain_source(builder: &mut Builder, settings: &Settings) -> Result<(), String> {
    let config = &settings.config;
    let url = config.chain_url.clone();
    match config.chain {
        ChainSource::Esplora => builder.set_chain_source_esplora(url, None),
        ChainSource::Electrum => builder.set_chain_source_electrum(url, None),
        ChainSource::Bitcoind => {
            let url = Url::parse(&url).map_err(|error| error.to_string())?;
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
                return Err("the bitcoind has no host and port".to_owned());
            };
            let password = settings.rpc_password.as_ref();
            builder.set_chain_source_bitcoind_rpc(
                host.to_owned(),
                port,
                config.rpc_user.clone(),
                password.map(|text| text.to_string()).unwrap_or_default(),
            )
        }
    };
    Ok(())
}

/// Takes the node's events until shutdown, then stops it.
pub(super) async fn listen(node: Arc<Node>, listening: Listening) {
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    let stopping = listening.lifecycle.stopping();
    tokio::pin!(stopping);
    loop {
        let event = tokio::select! {
            () = &mut stopping => break,
            _ = prune.tick() => {
                let (node, now) = (Arc::clone(&node), listening.clock.now());
                blocking(move || forget_unpaid(&node, now)).await;
                continue;
            }
            event = node.next_event_async() => event,
        };
        if let Err(error) = listening.write_down(&event) {
            tracing::error!(%error, "a Lightning payment received could not be written down");
            tokio::time::sleep(WRITE_AGAIN).await;
            continue;
        }
        let handled = Arc::clone(&node);
        blocking(move || {
            if let Err(error) = handled.event_handled() {
                tracing::warn!(%error, "an event of the Lightning node comes again");
            }
        })
        .await;
        listening.news.notify_waiters();
    }
    blocking(move || {
        if let Err(error) = node.stop() {
            tracing::warn!(%error, "the Lightning node did not stop as it should");
        }
    })
    .await;
}

/// A fault inside is logged by the runtime; the node goes on.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    let _ = tokio::task::spawn_blocking(work).await;
}

impl Listening {
    fn write_down(&self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::PaymentReceived {
                payment_hash,
                amount_msat,
                ..
            } => {
                let hash = PaymentHash::new(payment_hash.0);
                self.received.append(&hash, Msat::new(*amount_msat))
            }
            Event::ChannelReady { .. } => {
                tracing::info!("a Lightning channel is ready");
                Ok(())
            }
            Event::ChannelClosed { .. } => {
                tracing::warn!("a Lightning channel was closed");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Each invoice has a row in the node's store: those of yesterday that nobody paid go.
fn forget_unpaid(node: &Node, now: u64) {
    let unpaid = node.list_payments_with_filter(|payment| {
        payment.direction == PaymentDirection::Inbound
            && payment.status == PaymentStatus::Pending
            && payment.latest_update_timestamp.saturating_add(UNPAID_SECS) < now
    });
    for payment in unpaid {
        if let Err(error) = node.remove_payment(&payment.id) {
            tracing::debug!(%error, "an unpaid invoice could not be forgotten");
        }
    }
}

/// Passes on what the node complains of; its talk below that names peers and payments.
#[derive(Debug)]
struct Log;

impl LogWriter for Log {
    fn log(&self, record: LogRecord<'_>) {
        match record.level {
            LogLevel::Error => tracing::warn!(target: "feria::ldk", "{}", record.args),
            LogLevel::Warn => tracing::debug!(target: "feria::ldk", "{}", record.args),
            _ => {}
        }
    }
}
