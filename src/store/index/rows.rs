//! What goes into the index and what comes out.

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

/// What became of an event offered to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is stored now and was not before.
    New,
    /// It was stored before; the sighting was noted.
    Duplicate,
    /// An event with the same address is newer, or was and is gone.
    Superseded,
    /// Its author deleted it, or it has expired.
    Deleted,
    /// Too many of its like are stored.
    OverQuota,
}

/// A search of the catalog.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Words; each must occur, as a whole or as the beginning of a word. Empty: everything, newest first.
    pub text: String,
    /// Only offers that take this rail (`l402`, `nut24`).
    pub rail: Option<String>,
    /// Only offers with a known price up to this.
    pub max_price: Option<Msat>,
    /// Rows to return.
    pub limit: usize,
    /// Rows to skip.
    pub offset: usize,
}

/// One row of the catalog: an offer of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRow {
    /// `kind:pubkey:d` of the listing; for a projection, of its original.
    pub coordinate: String,
    /// The event this row was read from, hex.
    pub event_id: String,
    /// The author's public key, hex.
    pub seller: String,
    /// The kind of the event this row was read from.
    pub dialect: String,
    /// The listing's name.
    pub name: String,
    /// What it is, one or two sentences.
    pub summary: String,
    /// What is sold, as the listing names it.
    pub capability: String,
    /// Subjects, lower case.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Price of one call; `None` when unknown or not in bitcoin.
    pub price_msat: Option<u64>,
    /// The price as the listing says it, for people.
    #[serde(default)]
    pub price_text: String,
    /// Where to call it.
    pub endpoint: Option<String>,
    /// HTTP method.
    pub method: String,
    /// How it can be paid: `l402`, `nut24`.
    pub rails: Vec<String>,
    /// Mints whose ecash is taken.
    pub mints: Vec<String>,
    /// Unix seconds.
    pub published_at: u64,
    /// Unix seconds.
    pub expires_at: Option<u64>,
    /// Where the event was seen; filled in when read.
    pub relays: Vec<String>,
}
