//! What is sold: as own agents describe it, and as foreign events say it.

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::price::ListedPrice;

/// What an own agent sells; the source of all its listing events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Names the listing among those of its key.
    pub d_tag: String,
    /// For people.
    pub name: String,
    /// One or two sentences.
    pub summary: String,
    /// Base URLs, clearnet first.
    pub urls: Vec<String>,
    /// What it sells.
    pub offers: Vec<Offer>,
    /// Subjects; written in lower case.
    pub topics: Vec<String>,
    /// `l402`, `nut24`
    pub rails: Vec<String>,
    /// Mints whose ecash is taken.
    pub mints: Vec<String>,
    /// URL of a picture. `None`: the node's card.
    pub image: Option<String>,
    /// When it was first published, Unix seconds.
    pub published_at: u64,
    /// Unix seconds. `None`: the context's lifetime from now.
    pub expires_at: Option<u64>,
    /// Whether it can be bought now.
    pub is_active: bool,
}

/// One priced capability of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What is sold, a short name.
    pub capability: String,
    /// What it does.
    pub description: String,
    /// Price of one call.
    pub price: Msat,
    /// Path below the listing's URL.
    pub endpoint: String,
    /// HTTP method.
    pub method: String,
}

impl Listing {
    /// Returns the full URL of `offer`; empty when the listing has no URL.
    #[must_use]
    pub fn endpoint_url(&self, offer: &Offer) -> String {
        self.urls
            .first()
            .map(|url| join_endpoint(url, &offer.endpoint))
            .unwrap_or_default()
    }
}

/// Returns the base URL and the path joined by exactly one slash; `base` alone for an empty path.
#[must_use]
pub(crate) fn join_endpoint(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    match path.trim_start_matches('/') {
        "" if path.is_empty() => base.to_owned(),
        rest => format!("{base}/{rest}"),
    }
}

/// One offer read from an event of any dialect. Everything in it is foreign
/// text: cleaned and cut, but true only as far as its author is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogOffer {
    /// `kind:pubkey:d` of the listing; for a projection, of its original.
    pub coordinate: String,
    /// Whether another event says the same with more authority, and hides this one while it is here.
    pub is_projection: bool,
    /// The kind it was read from.
    pub dialect: u16,
    /// The listing's name.
    pub name: String,
    /// What it is.
    pub summary: String,
    /// What is sold.
    pub capability: String,
    /// Subjects, lower case.
    pub topics: Vec<String>,
    /// Price of one call.
    pub price: ListedPrice,
    /// Identity of its interface ([`super::schema`]). `None` when it describes none.
    pub schema_hash: Option<String>,
    /// What is wrong with what it claims about its interface.
    pub schema_note: Option<String>,
    /// Where to call it. `None` when it is ordered by message.
    pub endpoint: Option<String>,
    /// HTTP method, upper case; empty without an endpoint.
    pub method: String,
    /// How it can be paid: `l402`, `nut24` in the call; `lightning`, `cashu` elsewhere.
    pub rails: Vec<String>,
    /// Mints whose ecash is taken.
    pub mints: Vec<String>,
    /// Unix seconds.
    pub published_at: u64,
    /// Unix seconds.
    pub expires_at: Option<u64>,
}
