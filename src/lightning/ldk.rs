//! A Lightning node inside this one (crate `ldk-node`, cargo feature `ldk`).
//!
//! Its keys come from the node's seed; its channels do not: their state is in
//! `lightning/NAME/` of the data folder and changes with every payment. A copy of an
//! old state is worse than none, because the other side may take what an old state
//! still shows: stop the node before copying it, and never run two of one copy.
//!
//! States of a payment, and what is found after a kill:
//!
//! ```text
//! (nothing) ──noted──► handed over ──► pending ──► succeeded
//!                           │             └──────► failed
//!                           └─ refused by the node: failed
//! ```
//!
//! | noted | in the node's list | answer |
//! |---|---|---|
//! | no | no | failed: never begun |
//! | yes | no | unknown: killed while it was begun |
//! | any | pending | pending |
//! | any | succeeded, with a preimage that opens the hash | succeeded |
//! | any | succeeded without one | unknown |
//! | any | failed | failed |

mod channels;
mod handed;
mod node;
mod received;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::l402::check_invoice;
use feria_paywall::payment::{PaymentHash, Preimage};
use ldk_node::lightning::ln::channelmanager::PaymentId;
use ldk_node::lightning::routing::router::RouteParametersConfig;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::payment::{PaymentDetails, PaymentDirection, PaymentKind, PaymentStatus};
use ldk_node::{Node, NodeError};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};

use self::handed::HandedOver;
use self::node::{Listening, Settings};
use self::received::Received;
use super::{
    ChannelControl, Invoice, InvoiceState, LightningBackend, LightningError, PaymentState,
    SettledInvoice, fitting,
};
use crate::clock::SharedClock;
use crate::config::{ChainSource, ConfigError, LdkConfig, Network, NodeSeed};
use crate::lifecycle::Lifecycle;

/// How long the outcome of a payment may stay unseen when its news is missed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Own invoices whose expiry is remembered; of others only an estimate is known.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);
/// The expiry of an invoice made before the last start.
const ASSUMED_EXPIRY_SECS: u64 = 3_600;

/// What an embedded node needs beside its settings.
pub struct LdkParts<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Which money it moves.
    pub network: Network,
    /// The folder of all files of our node.
    pub data_dir: &'a Path,
    /// Where its keys come from.
    pub seed: &'a NodeSeed,
    /// Tells the time.
    pub clock: SharedClock,
    /// Stops it.
    pub lifecycle: Lifecycle,
}

/// An embedded node, as a backend.
pub struct LdkBackend {
    name: String,
    settings: Arc<Settings>,
    node: OnceCell<Arc<Node>>,
    handed_over: HandedOver,
    received: Arc<Received>,
    news: Arc<Notify>,
    expiries: Mutex<LruCache<PaymentHash, u64>>,
    clock: SharedClock,
    lifecycle: Lifecycle,
}

/// An embedded node that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum LdkError {
    /// The password of the bitcoind is missing, or not safely kept.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its folder cannot be written to.
    #[error("use the folder of the Lightning node {name}")]
    Folder {
        /// Its name in the configuration.
        name: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl LdkBackend {
    /// Makes its folder; the node itself starts when it is first needed.
    ///
    /// # Errors
    /// When the folder cannot be used, or the bitcoind's password is not there.
    pub fn open(config: &LdkConfig, parts: LdkParts<'_>) -> Result<Self, LdkError> {
        let storage = parts.data_dir.join("lightning").join(parts.name);
        let fault = |source| LdkError::Folder {
            name: parts.name.to_owned(),
            source,
        };
        // The outer folder of the two exists with the inner one.
        let handed_over = HandedOver::open(&storage.join("handed-over")).map_err(fault)?;
        let received = Received::open(&storage.join("received")).map_err(fault)?;
        let rpc_password = match config.chain {
            ChainSource::Bitcoind => Some(config.rpc_password.read(parts.data_dir)?),
            ChainSource::Esplora | ChainSource::Electrum => None,
        };
        Ok(Self {
            name: parts.name.to_owned(),
            settings: Arc::new(Settings {
                config: config.clone(),
                rpc_password,
                network: parts.network,
                storage,
                seed: parts.seed.lightning_seed(parts.name),
            }),
            node: OnceCell::new(),
            handed_over,
            received: Arc::new(received),
            news: Arc::default(),
            expiries: Mutex::new(LruCache::new(REMEMBERED)),
            clock: parts.clock,
            lifecycle: parts.lifecycle,
        })
    }

    /// Returns the node, started if it was not.
    async fn running(&self) -> Result<Arc<Node>, LightningError> {
        let start = || async {
            if self.lifecycle.is_stopping() {
                return Err(self.unavailable("it is stopping"));
            }
            let (settings, runtime) = (Arc::clone(&self.settings), Handle::current());
            let started = tokio::task::spawn_blocking(move || node::start(&settings, runtime));
            let node = match started.await {
                Ok(Ok(node)) => Arc::new(node),
                Ok(Err(reason)) => return Err(self.unavailable(&reason)),
                Err(_) => return Err(self.unavailable("it broke down at its start")),
            };
            self.lifecycle.spawn_draining(node::listen(
                Arc::clone(&node),
                Listening {
                    received: Arc::clone(&self.received),
                    news: Arc::clone(&self.news),
                    clock: Arc::clone(&self.clock),
                    lifecycle: self.lifecycle.clone(),
                },
            ));
            Ok(node)
        };
        self.node.get_or_try_init(start).await.cloned()
    }

    /// Has the node do `work`, which may block.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, LightningError> {
        let node = self.running().await?;
        match tokio::task::spawn_blocking(move || work(&node)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(NodeError::NotRunning)) => Err(self.unavailable("it is stopping")),
            Ok(Err(error)) => Err(self.refused(error.to_string())),
            Err(_) => Err(self.unavailable("it broke down over this")),
        }
    }

    /// Looks once; `None` when the node has no such payment in its list.
    async fn look(&self, hash: PaymentHash) -> Result<Option<PaymentState>, LightningError> {
        let found = self
            .call(move |node| Ok(node.payment(&PaymentId(*hash.as_bytes()))))
            .await?;
        let outbound = found.filter(|payment| payment.direction == PaymentDirection::Outbound);
        Ok(outbound.map(|payment| read(&payment, &hash)))
    }

    /// Begins to pay. `Err` is the outcome, when it is known at once.
    async fn hand_over(
        &self,
        hash: PaymentHash,
        bolt11: &str,
        fee_limit: Msat,
    ) -> Result<(), PaymentState> {
        let failed = |reason: String| PaymentState::Failed { reason };
        let invoice: Bolt11Invoice = bolt11
            .trim()
            .parse()
            .map_err(|_| failed("the invoice cannot be read".to_owned()))?;
        // An earlier try that a kill cut off stays in doubt, whatever this one meets.
        let not_begun = |reason: String| match self.handed_over.is_noted(&hash) {
            true => PaymentState::Unknown { reason },
            false => PaymentState::Failed { reason },
        };
        let node = match self.running().await {
            Ok(node) => node,
            Err(error) => return Err(not_begun(error.to_string())),
        };
        match self.look(hash).await {
            Err(error) => return Err(not_begun(error.to_string())),
            Ok(Some(PaymentState::Failed { .. })) => {}
            Ok(Some(PaymentState::Pending)) => return Ok(()),
            Ok(Some(known)) => return Err(known),
            // Killed while it was begun: it may be on its way.
            Ok(None) if self.handed_over.is_noted(&hash) => return Err(begun()),
            Ok(None) => {}
        }
        if let Err(error) = self.handed_over.note(&hash) {
            return Err(failed(format!("it cannot be written down: {error}")));
        }
        let limits =
            RouteParametersConfig::default().with_max_total_routing_fee_msat(fee_limit.as_u64());
        let sending =
            tokio::task::spawn_blocking(move || node.bolt11_payment().send(&invoice, Some(limits)));
        let sent = sending.await;
        match sent {
            Ok(Ok(_) | Err(NodeError::DuplicatePayment)) => Ok(()),
            // The node says these before it begins anything.
            Ok(Err(
                error @ (NodeError::NotRunning
                | NodeError::InvalidInvoice
                | NodeError::PaymentSendingFailed),
            )) => {
                self.handed_over.forget(&hash);
                Err(failed(error.to_string()))
            }
            Ok(Err(error)) => Err(PaymentState::Unknown {
                reason: error.to_string(),
            }),
            Err(_) => Err(begun()),
        }
    }

    /// Waits until a payment that was handed over is final.
    async fn follow(&self, hash: PaymentHash) -> PaymentState {
        loop {
            let news = self.news.notified();
            match self.look(hash).await {
                Ok(Some(PaymentState::Pending)) => {}
                Ok(Some(state)) => return state,
                Ok(None) => return begun(),
                Err(error) => {
                    return PaymentState::Unknown {
                        reason: error.to_string(),
                    };
                }
            }
            let _ = tokio::time::timeout(LOOK_EVERY, news).await;
        }
    }

    fn settle(&self, hash: &PaymentHash, state: PaymentState) -> PaymentState {
        if let PaymentState::Succeeded { .. } | PaymentState::Failed { .. } = state {
            self.handed_over.forget(hash);
        }
        state
    }

    fn unavailable(&self, reason: &str) -> LightningError {
        LightningError::Unavailable {
            backend: self.name.clone(),
            reason: reason.to_owned(),
        }
    }

    fn refused(&self, reason: String) -> LightningError {
        LightningError::Refused {
            backend: self.name.clone(),
            reason,
        }
    }
}

#[async_trait]
impl LightningBackend for LdkBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn channels(&self) -> Option<&dyn ChannelControl> {
        Some(self)
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        let description = Description::new(fitting(description).to_owned())
            .map(Bolt11InvoiceDescription::Direct)
            .map_err(|error| self.refused(error.to_string()))?;
        let expiry_secs = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let invoice = self
            .call(move |node| {
                let payments = node.bolt11_payment();
                payments.receive(amount.as_u64(), &description, expiry_secs)
            })
            .await?;
        let bolt11 = invoice.to_string();
        let checked = check_invoice(&bolt11, amount, 0)
            .map_err(|refusal| self.refused(format!("its invoice is of no use: {refusal}")))?;
        self.expiries
            .lock()
            .put(checked.payment_hash, checked.expires_at);
        Ok(Invoice {
            bolt11,
            payment_hash: checked.payment_hash,
            expires_at: checked.expires_at,
        })
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        let id = PaymentId(*hash.as_bytes());
        let found = self.call(move |node| Ok(node.payment(&id))).await?;
        let Some(payment) = found.filter(|payment| payment.direction == PaymentDirection::Inbound)
        else {
            return Ok(InvoiceState::NotFound);
        };
        let remembered = self.expiries.lock().get(hash).copied();
        let made_at = payment.latest_update_timestamp;
        let expires_at = remembered.unwrap_or(made_at.saturating_add(ASSUMED_EXPIRY_SECS));
        Ok(match payment.status {
            PaymentStatus::Succeeded => InvoiceState::Settled {
                amount: Msat::new(payment.amount_msat.unwrap_or_default()),
            },
            PaymentStatus::Failed => InvoiceState::Expired,
            PaymentStatus::Pending if self.clock.now() >= expires_at => InvoiceState::Expired,
            PaymentStatus::Pending => InvoiceState::Open { expires_at },
        })
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        let hash = match check_invoice(bolt11, Msat::new(MAX_MSAT), 0) {
            Ok(invoice) => invoice.payment_hash,
            Err(refusal) => {
                return PaymentState::Failed {
                    reason: refusal.to_string(),
                };
            }
        };
        // What is noted is struck out where it is known that nothing was begun.
        if let Err(state) = self.hand_over(hash, bolt11, fee_limit).await {
            return state;
        }
        match tokio::time::timeout(patience, self.follow(hash)).await {
            Ok(state) => self.settle(&hash, state),
            Err(_) => PaymentState::Pending,
        }
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        let state = match self.look(*hash).await {
            Ok(Some(state)) => state,
            Ok(None) if self.handed_over.is_noted(hash) => begun(),
            Ok(None) => PaymentState::Failed {
                reason: "the node never began this payment".to_owned(),
            },
            Err(error) => PaymentState::Unknown {
                reason: error.to_string(),
            },
        };
        self.settle(hash, state)
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        // Whoever waits for income wants the node to run.
        self.running().await?;
        self.received
            .since(index)
            .map_err(|error| self.unavailable(&error.to_string()))
    }
}

fn read(payment: &PaymentDetails, hash: &PaymentHash) -> PaymentState {
    let preimage = match &payment.kind {
        PaymentKind::Bolt11 { preimage, .. } => preimage.as_ref(),
        _ => None,
    };
    match (payment.status, preimage) {
        (PaymentStatus::Pending, _) => PaymentState::Pending,
        (PaymentStatus::Failed, _) => PaymentState::Failed {
            reason: "no route worked".to_owned(),
        },
        (PaymentStatus::Succeeded, Some(preimage)) => {
            let preimage = Preimage::new(preimage.0);
            if !preimage.opens(hash) {
                return PaymentState::Unknown {
                    reason: "the node has paid with another preimage than the invoice's".to_owned(),
                };
            }
            PaymentState::Succeeded {
                preimage,
                fee: Msat::new(payment.fee_paid_msat.unwrap_or_default()),
            }
        }
        (PaymentStatus::Succeeded, None) => PaymentState::Unknown {
            reason: "the node says that it paid, and shows no preimage".to_owned(),
        },
    }
}

fn begun() -> PaymentState {
    PaymentState::Unknown {
        reason: "the node was stopped while the payment was begun".to_owned(),
    }
}

impl fmt::Debug for LdkBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LdkBackend({})", self.name)
    }
}
