//! Kind 31402, paid API service: the canonical record of a listing.
//!
//! Several proposals share the number; an event is one of ours when it has both
//! a `url` and a `pmi` tag. We write a superset of the draft: `about` beside
//! `summary` and whole satoshi in `price` for the readers that need them, the
//! exact price in `msat`, rails mirrored into indexed tags.
//!
//! <https://github.com/nostr-protocol/nips/pull/2291>

use feria_paywall::amount::Msat;
use nostr::event::{Event, EventBuilder};
use serde_json::{Value, json};

use super::{
    MAX_MINTS, MAX_NAME_CHARS, MAX_OFFERS, MAX_SUMMARY_CHARS, ProjectionContext, clean_topics,
    coordinate, method_of, rails_of, topics_of,
};
use crate::protocol::kinds::PAID_SERVICE;
use crate::protocol::listing::{CatalogOffer, Listing, join_endpoint};
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::tags::{self, tag};
use crate::protocol::text;

/// The namespace of the rail labels.
const RAIL_LABEL: &str = "market.rail";
/// Content beyond this is not parsed.
const MAX_CONTENT_BYTES: usize = 64 * 1_024;
/// Content nested deeper is not parsed.
const MAX_CONTENT_DEPTH: usize = 20;
/// `url` tags that are looked at.
const MAX_URLS: usize = 10;

/// Builds the canonical event of `listing`.
pub(super) fn build(listing: &Listing, context: &ProjectionContext) -> EventBuilder {
    let content = json!({
        "version": "1.0.0",
        "capabilities": listing.offers.iter().map(|offer| json!({
            "name": offer.capability,
            "description": offer.description,
            "endpoint": offer.endpoint,
            "method": offer.method,
        })).collect::<Vec<_>>(),
    });
    let status = if listing.is_active {
        "active"
    } else {
        "inactive"
    };
    let d_tag = tags::clean_d(&listing.d_tag);
    let mut event = context
        .event(PAID_SERVICE, content.to_string())
        .tag(tag("d", &[&d_tag]))
        .tag(tag("name", &[&listing.name]))
        .tags(
            listing
                .urls
                .iter()
                .take(MAX_URLS)
                .map(|url| tag("url", &[url])),
        )
        .tag(tag("about", &[&listing.summary]))
        .tag(tag("summary", &[&listing.summary]))
        .tag(tag("picture", &[&context.image(listing)]))
        .tags(listing.rails.iter().map(|rail| match rail.as_str() {
            "l402" => tag("pmi", &["l402", "lightning"]),
            "nut24" => tag("pmi", &["xcashu"]),
            other => tag("pmi", &[other]),
        }));
    for offer in &listing.offers {
        let name = offer.capability.as_str();
        let sat = offer.price.ceil_sat().as_u64().to_string();
        let msat = offer.price.as_u64().to_string();
        event = event
            .tag(tag("price", &[name, &sat, "sat"]))
            .tag(tag("unit", &[name, "request", "1"]))
            .tag(tag("msat", &[name, &msat]));
    }
    event
        .tags(listing.mints.iter().map(|mint| tag("mint", &[mint, "sat"])))
        .tag(tag("refund", &["auto", "5xx", "timeout"]))
        .tag(tag("L", &[RAIL_LABEL]))
        .tags(
            listing
                .rails
                .iter()
                .map(|rail| tag("l", &[rail, RAIL_LABEL])),
        )
        .tags(topics_of(listing).iter().map(|topic| tag("t", &[topic])))
        .tags(endpoints(listing).iter().map(|url| tag("r", &[url])))
        .tag(tag("status", &[status]))
        .tag(tag("source", &["self"]))
        .tag(tag("alt", &[&format!("Paid API: {}", listing.name)]))
        .tag(tag(
            "expiration",
            &[&context.expires_at(listing).to_string()],
        ))
}

fn endpoints(listing: &Listing) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for offer in &listing.offers {
        let url = listing.endpoint_url(offer);
        if !url.is_empty() && !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// What `content` says about one capability.
struct Capability {
    name: String,
    description: String,
    path: String,
    method: String,
}

/// Reads the offers of a kind 31402.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let base = tags::values(event, "url")
        .take(MAX_URLS)
        .find_map(text::http_url)
        .map(String::from);
    let is_ours = base.is_some() && tags::first(event, "pmi").is_some();
    let is_for_sale = !matches!(
        tags::first(event, "status"),
        Some("sold" | "inactive" | "unreachable")
    );
    if !is_ours || !is_for_sale {
        return Vec::new();
    }
    let base = base.unwrap_or_default();
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let name = text::clean(tags::first(event, "name").unwrap_or(d_tag), MAX_NAME_CHARS);
    let summary = tags::first(event, "summary")
        .or_else(|| tags::first(event, "about"))
        .unwrap_or_default();
    let summary = text::clean(summary, MAX_SUMMARY_CHARS);
    let capabilities = capabilities(&event.content);
    let shared = CatalogOffer {
        coordinate: coordinate(PAID_SERVICE, &event.pubkey, d_tag),
        dialect: PAID_SERVICE,
        name,
        summary,
        capability: String::new(),
        topics: clean_topics(tags::values(event, "t")),
        price: ListedPrice::missing(),
        endpoint: Some(base.clone()),
        method: method_of(None),
        rails: rails_of(tags::values(event, "pmi")),
        mints: tags::values(event, "mint")
            .filter_map(text::http_url)
            .map(|url| String::from(url).trim_end_matches('/').to_owned())
            .take(MAX_MINTS)
            .collect(),
        published_at: event.created_at.as_secs(),
        expires_at: tags::expiration(event),
    };
    capability_names(event, &capabilities)
        .into_iter()
        .map(|name| {
            let described = capabilities.iter().find(|known| known.name == name);
            let mut offer = CatalogOffer {
                price: price_of(event, &name),
                capability: text::clean(&name, MAX_NAME_CHARS),
                ..shared.clone()
            };
            if let Some(described) = described {
                describe(&mut offer, described, &base);
            }
            offer
        })
        .collect()
}

fn describe(offer: &mut CatalogOffer, capability: &Capability, base: &str) {
    if !capability.description.is_empty() {
        offer.summary.clone_from(&capability.description);
    }
    offer.method.clone_from(&capability.method);
    let url = match text::http_url(&capability.path) {
        // An absolute endpoint elsewhere would send the payer to a host that the listing does not name.
        Some(absolute) => Some(absolute)
            .filter(|url| text::http_url(base).is_some_and(|base| base.origin() == url.origin())),
        None => text::http_url(&join_endpoint(base, &capability.path)),
    };
    offer.endpoint = url.map(String::from).or_else(|| Some(base.to_owned()));
}

/// Names with a price first, then those that only the content knows; one unnamed offer if there is neither.
fn capability_names(event: &Event, capabilities: &[Capability]) -> Vec<String> {
    let priced = tags::all(event, "price")
        .chain(tags::all(event, "msat"))
        .filter_map(|values| values.first().map(String::as_str));
    let described = capabilities.iter().map(|known| known.name.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in priced.chain(described).take(2 * MAX_OFFERS) {
        if !name.is_empty() && !names.iter().any(|known| known == name) && names.len() < MAX_OFFERS
        {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        names.push(tags::first(event, "d").unwrap_or_default().to_owned());
    }
    names
}

/// Returns the price of `capability`: of `price` and the exact `msat`, unless they disagree, then the dearer.
fn price_of(event: &Event, capability: &str) -> ListedPrice {
    let of = |name| {
        tags::all(event, name).find(|values| values.first().is_some_and(|word| word == capability))
    };
    let rounded = of("price").map(|values| {
        let word = |at: usize| values.get(at).map_or("", String::as_str);
        parse_price(word(1), word(2))
    });
    let exact = of("msat").map(|values| parse_price(values.get(1).map_or("", |v| v), "msat"));
    match (rounded, exact) {
        (Some(rounded), Some(exact)) => match (rounded.msat, exact.msat) {
            (Ok(whole), Ok(fine)) if fine < whole && !is_rounding_of(whole, fine) => rounded,
            (_, Ok(_)) => exact,
            _ => rounded,
        },
        (Some(price), None) | (None, Some(price)) => price,
        (None, None) => ListedPrice::missing(),
    }
}

fn is_rounding_of(whole: Msat, fine: Msat) -> bool {
    fine.ceil_sat().to_msat() == whole
}

fn capabilities(content: &str) -> Vec<Capability> {
    let Some(content) = text::bounded_json(content, MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH) else {
        return Vec::new();
    };
    let Some(list) = content.get("capabilities").and_then(Value::as_array) else {
        return Vec::new();
    };
    let word = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    list.iter()
        .take(MAX_OFFERS)
        .map(|value| Capability {
            name: word(value, "name"),
            description: text::clean(&word(value, "description"), MAX_SUMMARY_CHARS),
            path: word(value, "endpoint"),
            method: method_of(value.get("method").and_then(Value::as_str)),
        })
        .filter(|capability| !capability.name.is_empty())
        .collect()
}
