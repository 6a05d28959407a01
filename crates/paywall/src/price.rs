//! What a request costs, and what the payment buys.

use async_trait::async_trait;
use http::header::HeaderName;
use http::request::Parts;
use sha2::{Digest, Sha256};

use crate::amount::Msat;

/// Says what a request costs.
///
/// Asked for every request, on the request's own task: answer from memory. A
/// price that needs a look-up is a [`Pricer`]'s.
pub trait Pricing: Send + Sync {
    /// Returns the terms of `request`; `None` lets it pass without payment.
    fn terms(&self, request: &Parts) -> Option<Terms>;
}

impl<F> Pricing for F
where
    F: Fn(&Parts) -> Option<Terms> + Send + Sync,
{
    fn terms(&self, request: &Parts) -> Option<Terms> {
        self(request)
    }
}

/// Says what a request costs right now, where that takes a question to somebody else.
///
/// Asked before a price is told and for ecash whose payer was told none, of requests
/// whose terms say [`Terms::asks_pricer`]; never for an L402 credential, which
/// carries the price it was bought at.
#[async_trait]
pub trait Pricer: Send + Sync {
    /// Returns the price of `request`; above 0. `terms.price` is what is listed.
    /// The headers may hold secrets of the client.
    ///
    /// # Errors
    /// When there is none: the request is answered 503.
    async fn price(&self, request: &Parts, terms: &Terms) -> Result<Msat, NoPrice>;
}

/// No price can be told; why is for the pricer's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ask for a price")]
pub struct NoPrice;

/// The terms of one priced endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Names the service in the macaroon: `services=<service>:0`. No comma, colon or `=`.
    pub service: String,
    /// Names the endpoint in the macaroon: `<service>_capabilities=<capability>`.
    pub capability: String,
    /// One line for the invoice and the page.
    pub description: String,
    /// What one payment costs; of a metered call, the most that it may cost.
    /// Invoices and ecash round up to whole satoshi.
    pub price: Msat,
    /// Whether the layer's [`Pricer`] is asked for the price; `price` is then what is
    /// listed. A credential is bound to method and target then, for another request
    /// may cost more.
    pub asks_pricer: bool,
    /// Whether requests pass without payment and only the response says the price.
    pub is_shadow: bool,
    /// Free calls to try it with.
    pub trial: Option<Trial>,
    /// How many calls one Lightning payment buys; 0 is as many as wanted within
    /// `valid_secs`. An ecash payment buys one, and a metered Lightning payment as
    /// many as its balance covers.
    pub uses: u32,
    /// The service says after each call what it cost; `None` for a fixed price.
    pub metered: Option<Metered>,
    /// When a call counts as delivered.
    pub commit: CommitAt,
    /// How long a credential stays good after its challenge. Seconds.
    pub valid_secs: u64,
    /// How long the invoice can be paid. Seconds.
    pub invoice_expiry_secs: u64,
    /// Whether L402 is offered.
    pub lightning: bool,
    /// The ecash taken, or `None` when it is not.
    pub ecash: Option<EcashTerms>,
    /// Values of `Link` headers, such as the OpenAPI document and the listing.
    pub links: Vec<String>,
}

/// When a call counts as delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommitAt {
    /// When the head of the answer is there, and the body too if it is short.
    #[default]
    Head,
    /// When the last byte of the answer is there: an answer that breaks off is
    /// not paid for. Change and refund then wait for `POST /v1/refund`, because
    /// the head of the answer is long gone.
    BodyEnd,
}

/// How a metered call is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered {
    /// What one Lightning payment buys: the balance that calls are taken from.
    /// At least the price of one call.
    pub deposit: Msat,
    /// The header, or trailer, in which the service says what the call cost, in
    /// millisatoshi. More than the price, or no number, counts as the price.
    pub cost_header: HeaderName,
}

/// Free calls that each client has, counted per address (of IPv6 per /64) in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// How many in a window.
    pub calls: u32,
    /// How long a window is, from the client's first free call. Seconds.
    pub window_secs: u64,
}

/// Which ecash is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcashTerms {
    /// Canonical addresses of the mints; never empty.
    pub mints: Vec<String>,
    /// The P2PK key to lock to, 33 bytes as hexadecimal. A locked token is taken
    /// without asking the mint.
    pub lock_key: Option<String>,
    /// How far in the future the locktime of a locked token must be. Seconds.
    pub min_locktime_secs: u64,
}

impl Terms {
    /// Returns terms at a fixed price: one call a payment over Lightning alone, an
    /// invoice for ten minutes and a credential for an hour.
    #[must_use]
    pub fn new(service: &str, capability: &str, price: Msat) -> Self {
        Self {
            service: service.to_owned(),
            capability: capability.to_owned(),
            description: service.to_owned(),
            price,
            asks_pricer: false,
            is_shadow: false,
            trial: None,
            uses: 1,
            metered: None,
            commit: CommitAt::Head,
            valid_secs: 3_600,
            invoice_expiry_secs: 600,
            lightning: true,
            ecash: None,
            links: Vec::new(),
        }
    }

    /// Binds the capability to the method and target of `request`, if the price is
    /// that of this request alone.
    pub(crate) fn bind(&mut self, request: &Parts) {
        if !self.asks_pricer {
            return;
        }
        let target = request.uri.path_and_query();
        let digest = Sha256::new()
            .chain_update(request.method.as_str())
            .chain_update(b" ")
            .chain_update(target.map_or("/", |target| target.as_str()))
            .finalize();
        self.capability = format!("{}.{}", self.capability, hex::encode(&digest[..16]));
    }

    /// Returns what the invoice of a challenge asks for.
    #[must_use]
    pub fn invoice_amount(&self) -> Msat {
        let amount = match &self.metered {
            Some(metered) => metered.deposit.max(self.price),
            None => self.price,
        };
        amount.ceil_sat().to_msat()
    }

    /// Returns, in words, what one Lightning payment buys.
    #[must_use]
    pub fn bought_by_lightning(&self) -> String {
        match (&self.metered, self.uses) {
            (Some(_), _) => format!(
                "a balance of {}, of which each call takes what it cost",
                self.invoice_amount()
            ),
            (None, 0) => "any number of calls".to_owned(),
            (None, 1) => "one call".to_owned(),
            (None, uses) => format!("{uses} calls"),
        }
    }

    /// Returns how many calls one Lightning payment buys; `None` when they are not
    /// counted, because time or a balance was bought.
    #[must_use]
    pub fn counted_uses(&self) -> Option<u32> {
        (self.metered.is_none() && self.uses > 0).then_some(self.uses)
    }

    /// Returns when a credential issued at `now` expires. Unix seconds.
    #[must_use]
    pub const fn valid_until(&self, now: u64) -> u64 {
        now.saturating_add(self.valid_secs)
    }
}
