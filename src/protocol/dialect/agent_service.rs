//! Kind 38990, service of an agent (agent-discovery).
//!
//! One price for all capabilities of the event. It names no endpoint: it is ordered
//! by message and paid to a Lightning address.
//!
//! <https://github.com/jeletor/agent-discovery/blob/main/PROTOCOL.md>

use nostr::event::Event;

use super::{
    MAX_NAME_CHARS, MAX_OFFERS, MAX_SUMMARY_CHARS, clean_topics, dearest, is_withdrawn, offer_of,
};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::{tags, text};

/// Reads the capabilities of a kind 38990.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let d_tag = tags::first(event, "d").unwrap_or_default();
    if d_tag.is_empty() || is_withdrawn(event) {
        return Vec::new();
    }
    let mut capabilities = clean_topics(tags::values(event, "c"));
    capabilities.truncate(MAX_OFFERS);
    if capabilities.is_empty() {
        capabilities.push(text::clean(d_tag, MAX_NAME_CHARS));
    }
    let takes_lightning = tags::first(event, "ln").is_some();
    let shared = CatalogOffer {
        name: text::clean(tags::first(event, "name").unwrap_or(d_tag), MAX_NAME_CHARS),
        summary: text::clean(&event.content, MAX_SUMMARY_CHARS),
        price: dearest(tags::all(event, "price").map(price_of)),
        rails: if takes_lightning {
            vec!["lightning".to_owned()]
        } else {
            Vec::new()
        },
        ..offer_of(event)
    };
    capabilities
        .into_iter()
        .map(|capability| CatalogOffer {
            capability,
            ..shared.clone()
        })
        .collect()
}

/// Reads `amount, currency, per`; sats and one request unless they say otherwise.
fn price_of(values: &[String]) -> ListedPrice {
    let word = |at: usize, default: &'static str| values.get(at).map_or(default, String::as_str);
    parse_price(word(0, ""), word(1, "sats"))
        .per(word(2, "request"))
        .said_in("price tag")
}
