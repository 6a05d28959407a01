//! What a node does beside answering requests.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nostr::event::Event;
use nostr::key::PublicKey;
use parking_lot::Mutex;

use super::App;
use crate::gateway::Gateway;
use crate::http::Node;
use crate::http::relay_endpoint::{EventSink, SinkAnswer};
use crate::lifecycle::Lifecycle;
use crate::market::Indexer;
use crate::transfer::Inbox;
use crate::wallet::TREASURY;

/// Redeems what was accepted offline, and books settled invoices.
const REDEEM_EVERY: Duration = Duration::from_secs(20);
/// Closes agent wallets that are past their end.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// Asks what became of operations and purchases whose outcome is open.
const RECOVER_EVERY: Duration = Duration::from_secs(60);
/// Asks what became of ecash on its way, and opens inboxes for new agents.
const TRANSFER_EVERY: Duration = Duration::from_secs(30);
/// Publishes own listings again, well before they expire.
const PUBLISH_EVERY: Duration = Duration::from_secs(3 * 3_600);
/// Removes expired events from the index.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// Runs `work` now and again after each `pause`, until shutdown. A run that has
/// begun is finished: it may be in the middle of a payment.
fn every<W, F>(lifecycle: &Lifecycle, pause: Duration, work: W)
where
    W: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    every_or_when(lifecycle, pause, std::future::pending, work);
}

/// As [`every`], and also whenever `wanted` resolves.
fn every_or_when<N, G, W, F>(lifecycle: &Lifecycle, pause: Duration, wanted: N, work: W)
where
    N: Fn() -> G + Send + Sync + 'static,
    G: Future<Output = ()> + Send + 'static,
    W: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let stopping = lifecycle.stopping();
    lifecycle.spawn_draining(async move {
        tokio::pin!(stopping);
        loop {
            work().await;
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(pause) => {}
                () = wanted() => {}
            }
        }
    });
}

/// Takes events that clients publish at the node's own relay endpoint.
#[derive(Debug)]
pub(super) struct MarketSink(pub(super) Indexer);

#[async_trait]
impl EventSink for MarketSink {
    async fn offer(&self, event: Event, _authenticated: &[PublicKey]) -> SinkAnswer {
        let admission = self.0.admit(event, None).await;
        SinkAnswer {
            accepted: admission.accepted,
            message: admission.reason.to_string(),
            // The indexer announces what is new itself, wherever it came from.
            is_new: false,
        }
    }
}

impl App {
    /// Reads the market from the read relays.
    pub(super) fn follow_market(&self) {
        let urls = self.node.relay_urls(|relay| relay.read);
        if urls.is_empty() {
            return;
        }
        let reader = self.market.reader();
        self.lifecycle.spawn(async move {
            if let Err(error) = reader.run(urls).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the market is not read from relays"
                );
            }
        });
    }

    /// Announces what the index took to live subscriptions of the relay endpoint.
    pub(super) fn announce_changes(&self) {
        let mut changes = self.market.indexer.changes();
        let live = self.live.clone();
        self.lifecycle.spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match changes.recv().await {
                    // Without subscribers nobody listens, which is no fault.
                    Ok(event) => drop(live.send(event)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Starts everything that comes again and again.
    pub(super) fn start_ticks(&self) {
        let lifecycle = &self.lifecycle;
        let (gateway, wanted) = (self.node.gateway.clone(), self.node.gateway.clone());
        let lightning = self.node.lightning.clone();
        every_or_when(
            lifecycle,
            REDEEM_EVERY,
            move || {
                let (wanted, lightning) = (wanted.clone(), lightning.clone());
                async move {
                    tokio::select! {
                        () = wanted.redeem_wanted() => {}
                        () = lightning.news() => {}
                    }
                }
            },
            move || {
                let gateway = gateway.clone();
                async move { collect(&gateway).await }
            },
        );
        let wallets = self.wallets.clone();
        every(lifecycle, SWEEP_EVERY, move || {
            let wallets = wallets.clone();
            async move {
                match wallets.close_expired().await {
                    Ok(closed) => {
                        for (wallet, swept) in closed {
                            tracing::info!(
                                wallet.id = %wallet,
                                amount_sat = swept.amount.as_u64(),
                                "wallet {wallet} ended and was swept"
                            );
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "expired wallets could not be swept; trying again");
                    }
                }
            }
        });
        let node = Arc::clone(&self.node);
        every(lifecycle, RECOVER_EVERY, move || {
            let node = Arc::clone(&node);
            async move { recover(&node).await }
        });
        let (node, inboxes) = (Arc::clone(&self.node), self.inboxes.clone());
        every(lifecycle, TRANSFER_EVERY, move || {
            let (node, inboxes) = (Arc::clone(&node), inboxes.clone());
            async move {
                inboxes.open(&node).await;
                if let Err(error) = node.transfers.reconcile().await {
                    tracing::warn!(%error, "transfers could not be settled; trying again");
                }
            }
        });
        let node = Arc::clone(&self.node);
        every(lifecycle, PUBLISH_EVERY, move || {
            let node = Arc::clone(&node);
            async move { super::publish_all(&node).await }
        });
        let (index, clock) = (self.index.clone(), Arc::clone(&self.node.clock));
        every(lifecycle, PRUNE_EVERY, move || {
            let (index, now) = (index.clone(), clock.now());
            async move {
                if let Err(error) = index.prune_expired(now).await {
                    tracing::warn!(%error, "expired events could not be removed; trying again");
                }
            }
        });
    }
}

/// Books what was paid over Lightning and redeems accepted ecash that is due.
async fn collect(gateway: &Gateway) {
    if let Err(error) = gateway.sync_settled().await {
        tracing::warn!(%error, "settled invoices could not be booked; trying again");
    }
    if let Err(error) = gateway.redeem_due().await {
        tracing::warn!(%error, "accepted ecash could not be redeemed; trying again");
    }
}

/// Settles what is open and nobody works on; the wallets first, because
/// purchases ask them.
async fn recover(node: &Node) {
    match node.wallets.recover().await {
        Ok(report) if report.completed.is_empty() && report.rolled_back.is_empty() => {}
        Ok(report) => tracing::info!(
            completed = report.completed.len(),
            rolled_back = report.rolled_back.len(),
            "open ecash operations were settled"
        ),
        Err(error) => {
            tracing::warn!(%error, "open ecash operations could not be settled; trying again");
        }
    }
    match node.spender.recover().await {
        Ok(report) if report.paid.is_empty() && report.released.is_empty() => {}
        Ok(report) => tracing::info!(
            paid = report.paid.len(),
            released = report.released.len(),
            "open purchases were settled"
        ),
        Err(error) => tracing::warn!(%error, "open purchases could not be settled; trying again"),
    }
}

/// The inboxes that are open; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Inboxes {
    open: Arc<Mutex<BTreeSet<String>>>,
    lifecycle: Lifecycle,
}

impl Inboxes {
    pub(super) fn new(lifecycle: Lifecycle) -> Self {
        Self {
            open: Arc::default(),
            lifecycle,
        }
    }

    /// Opens an inbox for every agent that sells or has a wallet and has none yet.
    /// What arrives goes to the treasury: an agent's wallet may end any time.
    pub(super) async fn open(&self, node: &Arc<Node>) {
        let relays = node.relay_urls(|relay| relay.inbox);
        if relays.is_empty() {
            return;
        }
        let wallets = node.wallets.list_agent_wallets().await.unwrap_or_default();
        let agents = node.agents.list();
        let names = agents
            .iter()
            .map(|agent| agent.name.clone())
            .chain(wallets.into_iter().map(|wallet| wallet.agent));
        for agent in names {
            if !self.open.lock().insert(agent.clone()) {
                continue;
            }
            let inbox = Inbox {
                keys: node.seed.nostr_keys(&agent),
                agent,
                relays: relays.clone(),
                wallet_id: TREASURY.to_owned(),
            };
            let (transfers, open) = (node.transfers.clone(), Arc::clone(&self.open));
            self.lifecycle.spawn(async move {
                let agent = inbox.agent.clone();
                if let Err(error) = transfers.run_inbox(inbox).await {
                    tracing::warn!(agent.name = %agent, %error, "the inbox of {agent} has ended; trying again");
                }
                open.lock().remove(&agent);
            });
        }
    }
}
