//! Kind 31402, paid API service: the canonical record of a listing.
//!
//! Several proposals share the number; an event is one of ours when it has both
//! a `url` and a `pmi` tag. We write a superset of the draft: `about` beside
//! `summary` and whole satoshi in `price` for the readers that need them, the
//! exact price in `msat`, rails mirrored into indexed tags.
//!
//! <https://github.com/nostr-protocol/nips/pull/2291>

use nostr::event::{Event, EventBuilder};
use serde_json::{Value, json};

use super::interface::{Interface, claimed_tools, identify};
use super::{
    MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_NAME_CHARS, MAX_OFFERS, MAX_SUMMARY_CHARS,
    ProjectionContext, dearest, is_withdrawn, method_of, offer_of, rails_of, topics_of,
};
use crate::protocol::kinds::PAID_SERVICE;
use crate::protocol::listing::{CatalogOffer, Listing, join_endpoint};
use crate::protocol::price::{ListedPrice, PriceFault, parse_price, parse_price_in_cents};
use crate::protocol::tags::{self, tag};
use crate::protocol::text;

/// The namespace of the rail labels.
const RAIL_LABEL: &str = "market.rail";
/// `url` tags that are looked at.
const MAX_URLS: usize = 10;
/// Tools of other names whose interface is looked for; each costs a hash per capability.
const MAX_ALIASES: usize = 4;

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
    input_schema: Option<Value>,
    output_schema: Option<Value>,
}

/// Reads the offers of a kind 31402.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let base = tags::values(event, "url")
        .take(MAX_URLS)
        .find_map(text::http_url)
        .map(String::from);
    let is_ours = tags::first(event, "pmi").is_some();
    let Some(base) = base.filter(|_| is_ours && !is_withdrawn(event)) else {
        return Vec::new();
    };
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let summary = tags::first(event, "summary")
        .or_else(|| tags::first(event, "about"))
        .unwrap_or_default();
    let capabilities = capabilities(&event.content);
    let shared = CatalogOffer {
        name: text::clean(tags::first(event, "name").unwrap_or(d_tag), MAX_NAME_CHARS),
        summary: text::clean(summary, MAX_SUMMARY_CHARS),
        endpoint: Some(base.clone()),
        method: method_of(None),
        rails: rails_of(tags::values(event, "pmi")),
        ..offer_of(event)
    };
    // The tool of an `i` tag may have another name than the capability that it describes.
    let is_alias = |tool: &&str| capabilities.iter().all(|known| known.name != *tool);
    let aliases: Vec<&str> = claimed_tools(event)
        .filter(is_alias)
        .take(MAX_ALIASES)
        .collect();
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
                if let Some(input) = &described.input_schema {
                    let interface = Interface {
                        name: &described.name,
                        input,
                        output: described.output_schema.as_ref(),
                        claim: None,
                    };
                    identify(&mut offer, event, &interface, &aliases);
                }
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
        tags::all(event, name)
            .filter(|values| values.first().is_some_and(|word| word == capability))
    };
    let word = |values: &[String], at: usize| values.get(at).cloned().unwrap_or_default();
    let rounded = dearest(of("price").map(|values| {
        parse_price_in_cents(&word(values, 1), &word(values, 2)).said_in("price tag")
    }));
    let exact =
        dearest(of("msat").map(|values| parse_price(&word(values, 1), "msat").said_in("msat tag")));
    let price = match (rounded.msat, exact.msat) {
        (Ok(whole), Ok(fine)) if fine.ceil_sat().to_msat() == whole => exact,
        (Ok(whole), Ok(fine)) if fine < whole => {
            rounded.doubted(&format!("its msat tag says {}", exact.text))
        }
        (Err(PriceFault::Missing), _) => exact,
        (_, Ok(_)) => exact.doubted(&format!("its price tag says {}", rounded.text)),
        (Ok(_), Err(fault)) if fault != PriceFault::Missing => {
            rounded.doubted(&format!("its msat tag says {}", exact.text))
        }
        _ => rounded,
    };
    let unit = of("unit").next();
    let quantity = unit.map(|values| word(values, 2)).unwrap_or_default();
    match unit.map(|values| word(values, 1)) {
        Some(unit) if matches!(quantity.as_str(), "" | "1") => price.per(&unit),
        Some(unit) => price.per(&format!("{quantity} {unit}")),
        None => price,
    }
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
    let schema = |value: &Value, key: &str| value.get(key).filter(|it| it.is_object()).cloned();
    list.iter()
        .take(MAX_OFFERS)
        .map(|value| Capability {
            name: word(value, "name"),
            description: text::clean(&word(value, "description"), MAX_SUMMARY_CHARS),
            path: word(value, "endpoint"),
            method: method_of(value.get("method").and_then(Value::as_str)),
            input_schema: schema(value, "schema"),
            output_schema: schema(value, "outputSchema"),
        })
        .filter(|capability| !capability.name.is_empty())
        .collect()
}
