//! What a request costs, and what the payment buys.

use http::request::Parts;

use crate::amount::Msat;

/// Says what a request costs.
///
/// Asked for every request, on the request's own task: answer from memory. A
/// price that needs a look-up belongs into a cache that is refreshed elsewhere.
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

/// The terms of one priced endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Names the service in the macaroon: `services=<service>:0`. No comma, colon or `=`.
    pub service: String,
    /// Names the endpoint in the macaroon: `<service>_capabilities=<capability>`.
    pub capability: String,
    /// One line for the invoice and the page.
    pub description: String,
    /// What one payment costs. Invoices and ecash round up to whole satoshi.
    pub price: Msat,
    /// How many calls one Lightning payment buys; at least 1. An ecash payment buys one.
    pub uses: u32,
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
    /// Returns when a credential issued at `now` expires. Unix seconds.
    #[must_use]
    pub const fn valid_until(&self, now: u64) -> u64 {
        now.saturating_add(self.valid_secs)
    }
}
