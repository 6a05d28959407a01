//! Selling: the pay-per-call gateway in front of this node's own agents.
//!
//! The rules of the 402 are the paywall crate's; here are its traits over our
//! wallets, ledger and Lightning backend, and the proxy behind it. Refusals are
//! answers, not errors. Nothing here speaks Nostr, and no request is served whose
//! payment was not claimed in `ledger.db` first.
//!
//! | file | decides |
//! |---|---|
//! | `routes` | which request is sold, and on what terms |
//! | `pricer` | what it costs, where somebody else is asked |
//! | `charge` | how invoices are made and tokens swapped |
//! | `credentials` | which credentials were used, and withdrawing them |
//! | `passes` | which calls need no claim of their own |
//! | `paid_call` | the states of a call, and what a restart does with them |
//! | `forward` | how a call reaches the upstream |
//! | `refund` | how value goes back |
//! | `redeemer` | when ecash accepted offline is redeemed |
//! | `settled` | how Lightning income is booked |
//! | `counts` | what was given away |
//! | `page` | what a person in a browser sees |
//! | `bare` | the proxy by itself, for the benches |
//! | `undecided` | what happens to ends of calls that the ledger did not take |
//! | `watch` | who is told that an invoice was paid |

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use feria_paywall::layer::PaywallLayer;
use feria_paywall::service::{Paywall, strip_payment};
use feria_paywall::xcashu::MintInfo;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tower::{Layer, Service};

use crate::client::ClientError;
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::{AgentConfig, ConfigError, GatewayConfig, Network};
use crate::lifecycle::Lifecycle;
use crate::lightning::{Lightning, LightningError};
use crate::store::StoreError;
use crate::store::ledger::Ledger;
use crate::wallet::{MintKeys, WalletError, Wallets};

mod bare;
mod charge;
mod counts;
mod credentials;
mod forward;
mod page;
mod paid_call;
mod passes;
mod pricer;
mod redeemer;
mod refund;
mod routes;
mod settled;
mod undecided;
mod watch;

pub use bare::BareProxy;
pub use counts::GivenAway;
pub use feria_paywall::service::{Body, ClientAddr};
pub use paid_call::GatewayRecovery;
pub use redeemer::RedeemReport;
pub use refund::RefundOutcome;
pub use watch::{InvoiceNews, InvoiceWatch, NoNews};

use counts::Counts;
use forward::{Forward, GrpcCall, Upstreams};
use pricer::HttpPricer;
use routes::{Matched, Routes};

/// Put into a request's extensions by the listener when its connection came from a
/// proxy that the owner trusts: what it says in `X-Forwarded-*` is passed on, and
/// its own address is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxy(pub IpAddr);

/// What a [`Gateway`] is made of.
#[derive(Debug)]
pub struct GatewayParts {
    /// Limits and deadlines.
    pub config: GatewayConfig,
    /// A node of simulated money says so on its pages.
    pub network: Network,
    /// The node's public address, without trailing slash.
    pub public_url: String,
    /// What is sold.
    pub agents: Vec<AgentConfig>,
    /// The folder that `file:` references of agents start from.
    pub data_dir: PathBuf,
    /// Keeps the claims.
    pub ledger: Ledger,
    /// Takes and gives ecash.
    pub wallets: Wallets,
    /// Makes invoices; without one that does, nothing is sold over L402.
    pub lightning: Lightning,
    /// Signs macaroons; derived from the node's seed.
    pub secret: [u8; 32],
    /// Tells the time.
    pub clock: SharedClock,
    /// Gives ids.
    pub entropy: SharedEntropy,
    /// Finishes calls whose client hangs up.
    pub lifecycle: Lifecycle,
}

/// The gateway. Clones share everything.
#[derive(Clone)]
pub struct Gateway {
    core: Arc<Core>,
    paywall: Paywall<Forward>,
}

/// A mint's keys, and what the paywall makes of them.
type KnownMint = (Arc<MintKeys>, Arc<MintInfo>);

/// What the paywall's traits are implemented on.
pub(crate) struct Core {
    config: GatewayConfig,
    public_url: String,
    routes: Routes,
    pricer: HttpPricer,
    counts: Counts,
    upstreams: Arc<Upstreams>,
    ledger: Ledger,
    wallets: Wallets,
    lightning: Lightning,
    clock: SharedClock,
    entropy: SharedEntropy,
    lifecycle: Lifecycle,
    /// The paywall's view of each mint, beside the keys it was made from.
    mint_infos: Mutex<HashMap<String, KnownMint>>,
    /// Accepted offline since the redeemer last looked, in satoshi; half of a cap calls it.
    accepted_sat: AtomicU64,
    redeem_wanted: tokio::sync::Notify,
    /// As many turns as there are cores, for what takes milliseconds of computing.
    computing: Arc<tokio::sync::Semaphore>,
    watchers: watch::Watchers,
    passes: passes::Passes,
    /// Held while batches are redeemed.
    redeem_turn: tokio::sync::Mutex<()>,
    /// Ends of calls that the ledger did not take.
    undecided: Mutex<Vec<undecided::End>>,
}

/// A gateway that cannot be set up, or a fault below it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The settings of an agent cannot be used.
    #[error("sell agent {agent}: its {what} cannot be used")]
    Agent {
        /// Its name.
        agent: String,
        /// The setting.
        what: &'static str,
    },
    /// What calls of an agent need cannot be read.
    #[error("sell agent {agent}")]
    Settings {
        /// Its name.
        agent: String,
        /// What is missing.
        source: ConfigError,
    },
    /// No outgoing calls are possible.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The ledger does not work.
    #[error("use the ledger")]
    Store(#[from] StoreError),
    /// Ecash could not be moved; what is owed stays owed.
    #[error("move ecash")]
    Wallet(#[from] WalletError),
    /// The Lightning backend does not answer.
    #[error("ask the Lightning backend")]
    Lightning(#[from] LightningError),
    /// Stored proofs cannot be read back.
    #[error("redeem stored proofs")]
    Proofs(#[from] feria_paywall::ecash::JoinError),
}

impl Core {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Puts `agents` on sale, or leaves everything as it was.
    fn sell(&self, agents: Vec<AgentConfig>) -> Result<(), GatewayError> {
        let upstreams = self.upstreams.read(&agents)?;
        self.routes.replace(agents, self.config.shadow)?;
        self.upstreams.replace(upstreams);
        Ok(())
    }

    /// Returns until when a response of now is kept.
    fn keep_until(&self) -> u64 {
        self.now().saturating_add(self.config.stored_response_secs)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Sets the gateway up. It serves nothing until [`Self::recover`] was called.
    ///
    /// # Errors
    /// When an agent's settings cannot be used.
    pub fn new(parts: GatewayParts) -> Result<Self, GatewayError> {
        let upstreams = Arc::new(Upstreams::new(&parts.config, parts.data_dir));
        let forward = Forward::new(Arc::clone(&upstreams), parts.lifecycle.clone());
        let (per_minute, reuse_secs, kept_bytes, has_mpp) = (
            parts.config.challenges_per_minute,
            parts.config.invoice_reuse_secs,
            parts.config.stored_response_max_bytes,
            parts.config.mpp,
        );
        let core = Arc::new(Core {
            config: parts.config,
            public_url: parts.public_url,
            routes: Routes::default(),
            upstreams,
            pricer: HttpPricer::new()?,
            counts: Counts::default(),
            ledger: parts.ledger,
            wallets: parts.wallets,
            lightning: parts.lightning,
            clock: parts.clock,
            entropy: parts.entropy,
            lifecycle: parts.lifecycle,
            mint_infos: Mutex::default(),
            accepted_sat: AtomicU64::new(0),
            redeem_wanted: tokio::sync::Notify::new(),
            computing: Arc::new(tokio::sync::Semaphore::new(cores())),
            watchers: watch::Watchers::default(),
            passes: passes::Passes::default(),
            redeem_turn: tokio::sync::Mutex::default(),
            undecided: Mutex::default(),
        });
        core.sell(parts.agents)?;
        let mut layer =
            PaywallLayer::builder(&parts.secret, core.clone(), core.clone(), core.clone())
                .invoices(core.clone())
                .redeemer(core.clone())
                .pricer(core.clone())
                .page(Arc::new(page::QrPage {
                    network: parts.network.as_str(),
                    core: Arc::clone(&core),
                }))
                .challenges_per_minute(per_minute)
                .invoice_reuse_secs(reuse_secs)
                .kept_response_bytes(kept_bytes);
        if has_mpp {
            layer = layer.mpp(realm_of(&core.public_url));
        }
        Ok(Self {
            core,
            paywall: layer.build().layer(forward),
        })
    }

    /// Answers a request for `agent`. Its URI may still carry `/a/<agent>`; the
    /// client's [`ClientAddr`] is looked for in its extensions.
    pub async fn handle(&self, agent: &str, mut request: Request<Body>) -> Response<Body> {
        let found = self
            .core
            .routes
            .find(agent, request.method(), request.uri());
        let Some(route) = found else {
            return not_found();
        };
        if route.terms().is_none() {
            // A credential of another route is nothing to show to the upstream.
            strip_payment(request.headers_mut());
        }
        request.extensions_mut().insert(Matched(route));
        let grpc = GrpcCall::of(request.headers());
        if let Some(grpc) = &grpc {
            request.extensions_mut().insert(grpc.clone());
        }
        let response = match self.paywall.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        self.core.counts.note(agent, &response);
        match grpc {
            Some(grpc) => grpc.dress(response),
            None => response,
        }
    }

    /// Returns whether `agent` answers to this method and path, paid or free.
    #[must_use]
    pub fn sells(&self, agent: &str, method: &Method, uri: &Uri) -> bool {
        self.core.routes.find(agent, method, uri).is_some()
    }

    /// Returns what `agent` gave away since the start.
    #[must_use]
    pub fn given_away(&self, agent: &str) -> GivenAway {
        self.core.counts.of(agent)
    }

    /// Returns what is owed to whoever paid with `token`.
    pub async fn refund(&self, token: &str) -> RefundOutcome {
        match self.core.refund(token).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "A refund could not be looked up");
                RefundOutcome::Unavailable
            }
        }
    }

    /// Replaces what is sold. Calls that are running go on under their old route.
    ///
    /// # Errors
    /// When an agent's settings cannot be used; nothing changes then.
    pub fn set_agents(&self, agents: Vec<AgentConfig>) -> Result<(), GatewayError> {
        self.core.sell(agents)
    }

    /// Says where the listing of `agent` is, for the `Link` header of its 402.
    pub fn set_listing(&self, agent: &str, naddr: &str) {
        self.core.routes.set_listing(agent, naddr);
    }

    /// Resolves every call that was open when the process died. Call it after
    /// [`Wallets::recover`] and before anything is served.
    ///
    /// # Errors
    /// When the ledger does not work.
    pub async fn recover(&self) -> Result<GatewayRecovery, GatewayError> {
        self.core.recover().await
    }

    /// Redeems what was accepted offline and is due by amount or age, forgets kept
    /// responses that are too old, and writes down what the ledger did not take
    /// before. Call it every few seconds.
    ///
    /// # Errors
    /// When the ledger does not work; a mint's silence is in the report.
    pub async fn redeem_due(&self) -> Result<RedeemReport, GatewayError> {
        self.core.redeem_due().await
    }

    /// Resolves once so much was accepted offline that redeeming should not wait for
    /// its turn: a full cap means that every payment is swapped first.
    pub async fn redeem_wanted(&self) {
        self.core.redeem_wanted.notified().await;
    }

    /// Redeems everything that was accepted offline, due or not.
    ///
    /// # Errors
    /// As [`Self::redeem_due`].
    pub async fn redeem_all(&self) -> Result<RedeemReport, GatewayError> {
        self.core.redeem_all().await
    }

    /// Books settled invoices; returns how many were new.
    ///
    /// # Errors
    /// When the backend or the ledger does not answer.
    pub async fn sync_settled(&self) -> Result<u64, GatewayError> {
        self.core.sync_settled().await
    }
}

/// Returns the realm of our challenges: host and port under which we are reached.
fn realm_of(public_url: &str) -> &str {
    let rest = public_url
        .split_once("://")
        .map_or(public_url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Returns how many threads can compute at once.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn not_found() -> Response<Body> {
    let body = concat!(
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"code\":\"not_found\",",
        "\"detail\":\"No agent sells this method and path here.\",\"retryable\":false,\"money\":\"none\",",
        "\"next_steps\":[\"Look up the endpoint in the listing or in /openapi.json\"]}"
    );
    let mut response = Response::new(Body::new(Full::from(body).map_err(|never| match never {})));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/problem+json"),
    );
    response
}
