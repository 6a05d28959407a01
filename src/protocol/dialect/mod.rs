//! The listing formats of the field: one file per event kind, one table of readers.
//!
//! To add a dialect, write its file with a `read` function and add one line to
//! [`READERS`] and to [`super::kinds::LISTINGS`].

use nostr::event::{Event, EventBuilder, Kind};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use serde_json::Value;

use super::listing::{CatalogOffer, Listing};
use super::price::ListedPrice;
use super::{kinds, tags, text};

mod agent_capability;
mod agent_service;
pub mod classified;
mod inference_provider;
mod interface;
mod job_handler;
mod mcp;
pub mod paid_service;
mod product;
#[cfg(test)]
mod tests;

/// Counts the meanings of catalog rows: raise it when a reader reads events
/// otherwise, so that nodes read what they have again.
pub const READERS_VERSION: u32 = 1;

/// How long a listing lives unless refreshed, in seconds: 14 days.
pub const LIFETIME_SECS: u64 = 14 * 24 * 60 * 60;
/// When to publish a listing again, in seconds: half its life, so that one missed turn does not end it.
pub const REFRESH_SECS: u64 = LIFETIME_SECS / 2;

/// Offers of one event that are read; the rest is ignored.
const MAX_OFFERS: usize = 100;
/// Topics that are read and written.
const MAX_TOPICS: usize = 50;
/// Characters of names that are kept.
const MAX_NAME_CHARS: usize = 256;
/// Characters of summaries that are kept.
const MAX_SUMMARY_CHARS: usize = 1_000;
/// Mints that are read.
const MAX_MINTS: usize = 20;
/// Prices of one offer that are looked at.
const MAX_PRICES: usize = 20;

/// Content beyond this is not parsed.
const MAX_CONTENT_BYTES: usize = 64 * 1_024;
/// Content nested deeper is not parsed.
const MAX_CONTENT_DEPTH: usize = 20;

/// Reads the offers of one event of its kind.
type Reader = fn(&Event) -> Vec<CatalogOffer>;

/// The dialects that are understood: kind, name for people, reader.
const READERS: &[(u16, &str, Reader)] = &[
    (kinds::PAID_SERVICE, "paid API service", paid_service::read),
    (kinds::CLASSIFIED, "classified, NIP-99", classified::read),
    (kinds::HANDLER, "job handler, NIP-89", job_handler::read),
    (kinds::MCP_SERVER, "ContextVM server", mcp::read_server),
    (kinds::MCP_TOOLS, "ContextVM tools", mcp::read_tools),
    (kinds::DVMCP_SERVER, "DVMCP server", mcp::read_server),
    (kinds::DVMCP_TOOLS, "DVMCP tools", mcp::read_tools),
    (
        kinds::AGENT_CAPABILITY,
        "agent capability, NIP-A5",
        agent_capability::read,
    ),
    (
        kinds::INFERENCE_PROVIDER,
        "inference provider, Routstr",
        inference_provider::read,
    ),
    (
        kinds::AGENT_SERVICE,
        "agent service, agent-discovery",
        agent_service::read,
    ),
    (kinds::PRODUCT, "product, NIP-15", product::read),
];

/// What a listing's events say beside the listing itself.
#[derive(Debug, Clone)]
pub struct ProjectionContext {
    /// The agent's key.
    pub pubkey: PublicKey,
    /// Relays the events go to; the first is the hint in references.
    pub relays: Vec<String>,
    /// Where the agent takes private messages.
    pub inbox_relays: Vec<String>,
    /// Mints whose ecash the agent takes.
    pub mints: Vec<String>,
    /// The agent's P2PK key, 33 bytes compressed, hex. Never its Nostr key.
    pub lock_key: Option<String>,
    /// The node's public URL without trailing slash.
    pub node_url: String,
    /// Unix seconds; becomes `created_at`.
    pub now: u64,
    /// How long the events live.
    pub lifetime_secs: u64,
}

/// Returns all listing events of `listing`: the canonical one first, then its projections.
#[must_use]
pub fn project(listing: &Listing, context: &ProjectionContext) -> Vec<EventBuilder> {
    let mut events = vec![paid_service::build(listing, context)];
    events.extend(classified::build(listing, context));
    events
}

/// Returns the offers of `event`; empty when its kind is no known dialect, it is
/// not for sale now, it cannot be read, or its address would show as something
/// that it is not.
#[must_use]
pub fn read(event: &Event) -> Vec<CatalogOffer> {
    if !tags::first(event, "d").is_none_or(text::is_visible) {
        return Vec::new();
    }
    READERS
        .iter()
        .find(|(kind, ..)| *kind == event.kind.as_u16())
        .map(|(_, _, read)| read(event))
        .unwrap_or_default()
}

/// Returns the name of the dialect of `kind`, for people. `None` when it is not one.
#[must_use]
pub fn name(kind: u16) -> Option<&'static str> {
    let found = READERS.iter().find(|(known, ..)| *known == kind);
    found.map(|(_, name, _)| *name)
}

impl ProjectionContext {
    /// Returns the address of the canonical event of the listing `d_tag`.
    #[must_use]
    pub fn coordinate(&self, d_tag: &str) -> String {
        coordinate(kinds::PAID_SERVICE, &self.pubkey, d_tag)
    }

    fn event(&self, kind: u16, content: String) -> EventBuilder {
        EventBuilder::new(Kind::from_u16(kind), content)
            .custom_created_at(Timestamp::from_secs(self.now))
    }

    fn expires_at(&self, listing: &Listing) -> u64 {
        listing
            .expires_at
            .unwrap_or_else(|| self.now.saturating_add(self.lifetime_secs))
    }

    /// Returns the URL of the listing's picture: its own, or the node's card.
    pub(crate) fn image(&self, listing: &Listing) -> String {
        listing.image.clone().unwrap_or_else(|| {
            let d_tag = tags::clean_d(&listing.d_tag);
            format!("{}/card/{d_tag}.png", self.node_url)
        })
    }
}

/// Returns `kind:pubkey:d`.
#[must_use]
pub fn coordinate(kind: u16, pubkey: &PublicKey, d_tag: &str) -> String {
    format!("{kind}:{}:{d_tag}", pubkey.to_hex())
}

/// Returns the topics to publish: the listing's own, and one per rail.
fn topics_of(listing: &Listing) -> Vec<String> {
    let own = listing.topics.iter().map(String::as_str);
    let rails = listing.rails.iter().map(|rail| match rail.as_str() {
        "nut24" => "cashu",
        other => other,
    });
    clean_topics(std::iter::once("ai-agent").chain(own).chain(rails))
}

/// Returns topics in lower case, each once.
fn clean_topics<'a>(topics: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut cleaned: Vec<String> = Vec::new();
    for topic in topics {
        let topic = text::clean(topic, 64).to_lowercase();
        if !topic.is_empty() && !cleaned.contains(&topic) && cleaned.len() < MAX_TOPICS {
            cleaned.push(topic);
        }
    }
    cleaned
}

/// Returns an offer with what the events of all dialects say in the same way.
fn offer_of(event: &Event) -> CatalogOffer {
    let kind = event.kind.as_u16();
    let d_tag = tags::first(event, "d").filter(|_| event.kind.is_addressable());
    CatalogOffer {
        coordinate: coordinate(kind, &event.pubkey, d_tag.unwrap_or_default()),
        is_projection: false,
        dialect: kind,
        name: String::new(),
        summary: String::new(),
        capability: String::new(),
        topics: clean_topics(tags::values(event, "t")),
        price: ListedPrice::missing(),
        schema_hash: None,
        schema_note: None,
        endpoint: None,
        method: String::new(),
        rails: Vec::new(),
        mints: mints_of(event),
        published_at: event.created_at.as_secs(),
        expires_at: tags::expiration(event),
    }
}

/// Returns whether the seller has taken the offer back, or a prober found it dead.
fn is_withdrawn(event: &Event) -> bool {
    matches!(
        tags::first(event, "status"),
        Some("sold" | "inactive" | "unreachable")
    )
}

fn mints_of(event: &Event) -> Vec<String> {
    tags::values(event, "mint")
        .filter_map(text::http_url)
        .map(|url| String::from(url).trim_end_matches('/').to_owned())
        .take(MAX_MINTS)
        .collect()
}

/// Returns the text `member` of a JSON object, without spaces around it. `None` when it has none.
fn text_in<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    let text = object.get(member).and_then(Value::as_str).map(str::trim);
    text.filter(|text| !text.is_empty())
}

/// Returns the price that counts when a listing names several: the dearest in
/// bitcoin for one call, else the first. A seller who means less loses nothing by
/// asking less.
fn dearest(prices: impl Iterator<Item = ListedPrice>) -> ListedPrice {
    let prices: Vec<ListedPrice> = prices.take(MAX_PRICES).collect();
    let known = prices.iter().filter(|price| price.msat.is_ok());
    let Some(first) = prices.first() else {
        return ListedPrice::missing();
    };
    let found = known
        .max_by_key(|price| price.msat.unwrap_or_default())
        .unwrap_or(first);
    let other = prices.iter().find(|price| price.text != found.text);
    match other {
        Some(other) => found.clone().doubted(&format!("also says {}", other.text)),
        None => found.clone(),
    }
}

/// Returns our name of a payment method of an HTTP call that a listing names.
/// `None` for what is no method's name.
fn rail_of(word: &str) -> Option<String> {
    let word = word.trim().to_ascii_lowercase();
    let rail = match word.as_str() {
        "l402" | "lsat" | "bitcoin-lightning-bolt11" => "l402",
        "nut24" | "cashu" | "xcashu" | "bitcoin-cashu" | "bitcoin-cashu-xcashu" => "nut24",
        "x402" | "payment" | "lnurlcash" => &word,
        _ => return None,
    };
    Some(rail.to_owned())
}

/// Returns our names of the payment methods, each once.
fn rails_of<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut rails: Vec<String> = words.filter_map(rail_of).collect();
    rails.sort_unstable();
    rails.dedup();
    rails
}

/// Returns the payment methods of what is not paid in an HTTP call: they need
/// another client than L402 and NUT-24 do, so they have names of their own.
fn settlements_of<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut settlements = rails_of(words);
    for settlement in &mut settlements {
        match settlement.as_str() {
            "l402" => "lightning".clone_into(settlement),
            "nut24" => "cashu".clone_into(settlement),
            _ => {}
        }
    }
    settlements.sort_unstable();
    settlements
}

/// Returns the HTTP method in `word`, or `GET`.
fn method_of(word: Option<&str>) -> String {
    let method = word.unwrap_or_default().trim().to_ascii_uppercase();
    match method.as_str() {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" => method,
        _ => "GET".to_owned(),
    }
}
