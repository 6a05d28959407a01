//! The layer: everything the paywall needs, put together once.

use std::sync::Arc;

use tower_layer::Layer;
use zeroize::Zeroizing;

use crate::challenge::{ChallengePage, PlainPage};
use crate::journal::Journal;
use crate::l402::Issuer;
use crate::mpp;
use crate::price::{Pricer, Pricing};
use crate::quote::Quotes;
use crate::reuse::Reuse;
use crate::scheme::{InvoiceMaker, Redeemer, World};
use crate::service::Paywall;
use crate::streaming::Streaming;
use crate::throttle::Throttle;
use crate::trial::Trials;

/// Challenges a client may ask for in a minute unless told otherwise.
const DEFAULT_CHALLENGES_PER_MINUTE: u32 = 30;
/// Longest response that is kept for a repeat unless told otherwise.
const DEFAULT_KEPT_RESPONSE_BYTES: usize = 256 * 1_024;

/// Puts a [`Paywall`] in front of a service. Clones share everything.
#[derive(Clone)]
pub struct PaywallLayer {
    shared: Arc<Shared>,
}

/// What all requests share; read only, but for the tables of clients.
pub(crate) struct Shared {
    pub(crate) issuer: Issuer,
    /// Present when the scheme `Payment` is offered.
    pub(crate) mpp: Option<mpp::Issuer>,
    pub(crate) pricing: Arc<dyn Pricing>,
    pub(crate) pricer: Option<Arc<dyn Pricer>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) invoices: Option<Arc<dyn InvoiceMaker>>,
    pub(crate) redeemer: Option<Arc<dyn Redeemer>>,
    pub(crate) world: Arc<dyn World>,
    pub(crate) page: Arc<dyn ChallengePage>,
    pub(crate) throttle: Throttle,
    /// Counts tokens that were sent to a mint and turned out bad.
    pub(crate) bad_tokens: Throttle,
    pub(crate) reuse: Reuse,
    /// Counts questions to the pricer.
    pub(crate) price_asks: Throttle,
    /// Prices that were told to payers of ecash.
    pub(crate) quotes: Quotes,
    pub(crate) trials: Trials,
    pub(crate) kept_response_bytes: usize,
    /// Answers whose copies are not there yet.
    pub(crate) streaming: Streaming,
}

impl Shared {
    /// Returns Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        self.world.now_millis() / 1_000
    }
}

/// Collects the parts of a [`PaywallLayer`].
pub struct PaywallBuilder {
    shared: Shared,
    secret: Zeroizing<[u8; 32]>,
    challenges_per_minute: u32,
}

impl PaywallLayer {
    /// Starts a layer that issues macaroons under `secret`, which must survive a
    /// restart and stay private: whoever knows it makes credentials.
    #[must_use]
    pub fn builder(
        secret: &[u8; 32],
        pricing: Arc<dyn Pricing>,
        journal: Arc<dyn Journal>,
        world: Arc<dyn World>,
    ) -> PaywallBuilder {
        PaywallBuilder {
            shared: Shared {
                issuer: Issuer::new(secret),
                mpp: None,
                pricing,
                pricer: None,
                journal,
                invoices: None,
                redeemer: None,
                world,
                page: Arc::new(PlainPage),
                throttle: Throttle::new(0),
                bad_tokens: Throttle::new(0),
                reuse: Reuse::new(0),
                price_asks: Throttle::new(0),
                quotes: Quotes::default(),
                trials: Trials::default(),
                streaming: Streaming::default(),
                kept_response_bytes: DEFAULT_KEPT_RESPONSE_BYTES,
            },
            secret: Zeroizing::new(*secret),
            challenges_per_minute: DEFAULT_CHALLENGES_PER_MINUTE,
        }
    }
}

impl PaywallBuilder {
    /// Takes Lightning payments.
    #[must_use]
    pub fn invoices(mut self, invoices: Arc<dyn InvoiceMaker>) -> Self {
        self.shared.invoices = Some(invoices);
        self
    }

    /// Offers the scheme `Payment` (MPP) beside L402, for the same invoices. `realm`
    /// names the protection space, such as the public host; what was paid for under
    /// another realm is not taken.
    #[must_use]
    pub fn mpp(mut self, realm: &str) -> Self {
        self.shared.mpp = Some(mpp::Issuer::new(&self.secret, realm));
        self
    }

    /// Takes ecash.
    #[must_use]
    pub fn redeemer(mut self, redeemer: Arc<dyn Redeemer>) -> Self {
        self.shared.redeemer = Some(redeemer);
        self
    }

    /// Asks `pricer` for the price where the terms say so.
    #[must_use]
    pub fn pricer(mut self, pricer: Arc<dyn Pricer>) -> Self {
        self.shared.pricer = Some(pricer);
        self
    }

    /// Renders the 402 for browsers with `page`.
    #[must_use]
    pub fn page(mut self, page: Arc<dyn ChallengePage>) -> Self {
        self.shared.page = page;
        self
    }

    /// Limits the challenges that make an invoice, and likewise the tokens that
    /// their mint refuses and the questions to the pricer, for each client a
    /// minute; 0 for no limit.
    #[must_use]
    pub const fn challenges_per_minute(mut self, challenges: u32) -> Self {
        self.challenges_per_minute = challenges;
        self
    }

    /// Gives a client the last unpaid challenge of a route again for so many seconds,
    /// without a new invoice; 0, the default, makes each challenge new. Two payers
    /// behind one address share it then, and only one can pay.
    #[must_use]
    pub fn invoice_reuse_secs(mut self, secs: u64) -> Self {
        self.shared.reuse = Reuse::new(secs);
        self
    }

    /// Keeps responses of up to this many bytes for a repeat of the same request.
    #[must_use]
    pub const fn kept_response_bytes(mut self, bytes: usize) -> Self {
        self.shared.kept_response_bytes = bytes;
        self
    }

    /// Returns the layer.
    #[must_use]
    pub fn build(mut self) -> PaywallLayer {
        self.shared.throttle = Throttle::new(self.challenges_per_minute);
        self.shared.bad_tokens = Throttle::new(self.challenges_per_minute);
        self.shared.price_asks = Throttle::new(self.challenges_per_minute);
        PaywallLayer {
            shared: Arc::new(self.shared),
        }
    }
}

impl<S> Layer<S> for PaywallLayer {
    type Service = Paywall<S>;

    fn layer(&self, inner: S) -> Paywall<S> {
        Paywall::new(inner, Arc::clone(&self.shared))
    }
}
