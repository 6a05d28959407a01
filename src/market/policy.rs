//! The limits on what is taken into the index.

use std::collections::BTreeSet;

use nostr::key::PublicKey;

use crate::protocol::kinds;

/// Limits on foreign events.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Kinds taken, beside gift wraps.
    pub kinds: BTreeSet<u16>,
    /// Whose private messages are kept.
    pub gift_wraps: GiftWraps,
    /// Bytes of content and tags together.
    pub max_event_bytes: usize,
    /// Tags of one event.
    pub max_tags: usize,
    /// Bytes of the value of a single-letter tag; these are indexed.
    pub max_indexed_value_bytes: usize,
    /// Levels of brackets in the content of a listing.
    pub max_content_depth: usize,
    /// Seconds an event may be ahead of the clock.
    pub max_future_secs: u64,
    /// Listings of one key.
    pub max_listings_per_key: u64,
    /// Events of one key that are no listings.
    pub max_others_per_key: u64,
    /// Gift wraps waiting for one key.
    pub max_wraps_per_inbox: usize,
}

/// Whose gift wraps are kept. Their authors are throw-away keys, so only the recipient can be a criterion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiftWraps {
    /// Those for these keys.
    For(BTreeSet<PublicKey>),
    /// All: the node is a relay for others too.
    ForAnyone,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            kinds: kinds::SUBSCRIBED.iter().copied().collect(),
            gift_wraps: GiftWraps::For(BTreeSet::new()),
            max_event_bytes: 65_536,
            max_tags: 500,
            max_indexed_value_bytes: 1_024,
            max_content_depth: 20,
            max_future_secs: 15 * 60,
            max_listings_per_key: 500,
            max_others_per_key: 500,
            max_wraps_per_inbox: 5_000,
        }
    }
}
