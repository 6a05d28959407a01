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
    /// Only offers with the interface of this hash, 64 hex digits.
    pub schema_hash: Option<String>,
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
    /// Whether it is hidden while another event says the same with more authority.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_projection: bool,
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
    /// The tag or the member of the content that says the price; empty when none does.
    #[serde(default)]
    pub price_source: String,
    /// The price in another currency, such as `2.50 USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_fiat: Option<String>,
    /// Why the price could not be understood, or what the listing says against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_note: Option<String>,
    /// Identity of the interface (CEP-15): offers that share it are interchangeable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_hash: Option<String>,
    /// What is wrong with what the listing claims about its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_note: Option<String>,
    /// When the interface became another under the same name, in Unix seconds; filled in when read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_changed_at: Option<u64>,
    /// Other listings of the same endpoint; filled in when read.
    #[serde(default, skip_serializing_if = "Alike::is_none")]
    pub same_endpoint: Alike,
    /// Other listings with the same interface; filled in when read.
    #[serde(default, skip_serializing_if = "Alike::is_none")]
    pub same_interface: Alike,
    /// Where to call it.
    pub endpoint: Option<String>,
    /// HTTP method.
    pub method: String,
    /// How it can be paid: `l402`, `nut24` in the call; `lightning`, `cashu` elsewhere.
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

/// Other listings that have something in common with a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alike {
    /// How many there are; counted up to a limit.
    pub listings: u32,
    /// The cheapest of their offers; `None` when no price is known.
    pub min_price_msat: Option<u64>,
    /// The dearest of their offers.
    pub max_price_msat: Option<u64>,
}

impl Alike {
    /// Returns whether there is no other.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.listings == 0
    }

    /// Returns whether one of them names another price than `price_msat`.
    #[must_use]
    pub fn disagrees(&self, price_msat: Option<u64>) -> bool {
        let differs = |other: Option<u64>| other.is_some() && other != price_msat;
        price_msat.is_some() && (differs(self.min_price_msat) || differs(self.max_price_msat))
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
