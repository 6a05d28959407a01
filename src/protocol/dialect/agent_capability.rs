//! Kind 38400, capability of an agent (NIP-A5, agent service agreements).
//!
//! The price names its model (`per-request`); several prices are several models, of
//! which the one for a call counts. The event has no name of its own: the first
//! line of its text is one.
//!
//! <https://github.com/nostr-protocol/nips/pull/2273>

use nostr::event::Event;

use super::{
    MAX_NAME_CHARS, MAX_SUMMARY_CHARS, clean_topics, dearest, is_withdrawn, method_of, offer_of,
};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::{tags, text};

/// Characters of the text's first line that serve as a name.
const MAX_TITLE_CHARS: usize = 80;

/// Reads the capability of a kind 38400.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let url_in = |tag: &'static str| {
        tags::values(event, tag)
            .find_map(text::http_url)
            .map(String::from)
    };
    let paid = url_in("l402");
    let is_paid_call = paid.is_some();
    let endpoint = paid.or_else(|| url_in("api_endpoint"));
    let has_substance = endpoint.is_some()
        || tags::first(event, "price").is_some()
        || tags::first(event, "s").is_some();
    if d_tag.is_empty() || !has_substance || is_withdrawn(event) {
        return Vec::new();
    }
    let first_line = event.content.trim().lines().next().unwrap_or_default();
    let title = text::clean(first_line, MAX_TITLE_CHARS);
    let name = match tags::first(event, "name") {
        Some(name) => text::clean(name, MAX_NAME_CHARS),
        None if title.is_empty() => text::clean(d_tag, MAX_NAME_CHARS),
        None => title,
    };
    let method = match &endpoint {
        Some(_) => method_of(tags::first(event, "api_method")),
        None => String::new(),
    };
    vec![CatalogOffer {
        name,
        summary: text::clean(&event.content, MAX_SUMMARY_CHARS),
        capability: text::clean(d_tag, MAX_NAME_CHARS),
        topics: clean_topics(tags::values(event, "s").chain(tags::values(event, "t"))),
        price: dearest(tags::all(event, "price").map(price_of)),
        endpoint,
        method,
        rails: if is_paid_call {
            vec!["l402".to_owned()]
        } else {
            Vec::new()
        },
        ..offer_of(event)
    }]
}

/// Reads `amount, unit, model`; the unit is sats and the model one request unless they say otherwise.
fn price_of(values: &[String]) -> ListedPrice {
    let word = |at: usize, default: &'static str| values.get(at).map_or(default, String::as_str);
    parse_price(word(0, ""), word(1, "sats"))
        .per(word(2, "per-request"))
        .said_in("price tag")
}
