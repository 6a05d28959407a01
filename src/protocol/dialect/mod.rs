//! The listing formats of the field: one file per event kind, one table of readers.
//!
//! To add a dialect, write its file with a `read` function and add one line to
//! [`READERS`] and to [`super::kinds::LISTINGS`].

use nostr::event::{Event, EventBuilder, Kind};
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use super::kinds;
use super::listing::{CatalogOffer, Listing};
use super::tags;

pub mod classified;
pub mod paid_service;
#[cfg(test)]
mod tests;

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

/// Reads the offers of one event of its kind.
type Reader = fn(&Event) -> Vec<CatalogOffer>;

/// The dialects that are understood.
const READERS: &[(u16, Reader)] = &[
    (kinds::PAID_SERVICE, paid_service::read),
    (kinds::CLASSIFIED, classified::read),
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
    if !tags::first(event, "d").is_none_or(super::text::is_visible) {
        return Vec::new();
    }
    READERS
        .iter()
        .find(|(kind, _)| *kind == event.kind.as_u16())
        .map(|(_, read)| read(event))
        .unwrap_or_default()
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
        let topic = super::text::clean(topic, 64).to_lowercase();
        if !topic.is_empty() && !cleaned.contains(&topic) && cleaned.len() < MAX_TOPICS {
            cleaned.push(topic);
        }
    }
    cleaned
}

/// Returns our name of a payment method that a listing names. `None` for what is no method's name.
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

/// Returns the HTTP method in `word`, or `GET`.
fn method_of(word: Option<&str>) -> String {
    let method = word.unwrap_or_default().trim().to_ascii_uppercase();
    match method.as_str() {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" => method,
        _ => "GET".to_owned(),
    }
}
