//! Kind 30018, product of a stall (NIP-15).
//!
//! Everything is in the content, as JSON; some publishers write tags of a classified
//! beside or instead. The currency of a product without one is its stall's, which is
//! another event: then the price is not understood.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/15.md>

use nostr::event::Event;
use serde_json::Value;

use super::{
    MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_NAME_CHARS, MAX_SUMMARY_CHARS, dearest, is_withdrawn,
    offer_of, text_in,
};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::{tags, text};

/// Reads the product of a kind 30018.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let content = text::bounded_json(&event.content, MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH)
        .unwrap_or_default();
    let is_sold_out = content.get("quantity").and_then(Value::as_i64) == Some(0);
    let name = text_in(&content, "name").or_else(|| tags::first(event, "name"));
    let Some(name) = name.filter(|_| !is_sold_out && !is_withdrawn(event)) else {
        return Vec::new();
    };
    let offer = offer_of(event);
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let summary = text_in(&content, "description").unwrap_or_default();
    vec![CatalogOffer {
        name: text::clean(name, MAX_NAME_CHARS),
        summary: text::clean(summary, MAX_SUMMARY_CHARS),
        capability: text::clean(d_tag, MAX_NAME_CHARS),
        price: price_in(&content)
            .unwrap_or_else(|| dearest(tags::all(event, "price").map(price_of))),
        ..offer
    }]
}

fn price_in(content: &Value) -> Option<ListedPrice> {
    let amount = match content.get("price")? {
        Value::String(amount) => amount.clone(),
        // Printed without an exponent, which the price did not have either.
        Value::Number(amount) if amount.is_f64() => amount.as_f64()?.to_string(),
        Value::Number(amount) => amount.to_string(),
        _ => return None,
    };
    let currency = text_in(content, "currency").unwrap_or_default();
    Some(parse_price(&amount, currency).said_in("content price"))
}

fn price_of(values: &[String]) -> ListedPrice {
    let word = |at: usize| values.get(at).map_or("", String::as_str);
    parse_price(word(0), word(1)).said_in("price tag")
}
