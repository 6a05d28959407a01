//! Kind 30402, classified listing (NIP-99 with the Gamma additions): what shops show.
//!
//! The shape written here is the only one that all known clients accept:
//! - exactly one `price` tag, currency `SAT`: one client wants three letters;
//! - at least one `image`, a `stock` above 0, a `location`, a `summary` and a
//!   `published_at` not later than the event: each is missed by one that hides
//!   the listing without it;
//! - every tag of two elements or more, every `a` tag of exactly three;
//! - `d` of letters, digits, `-` and `_`.
//!
//! `feria agent check` replays these rules, see `market::check`.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/99.md>

use nostr::event::{Event, EventBuilder};

use super::{
    MAX_NAME_CHARS, MAX_SUMMARY_CHARS, ProjectionContext, coordinate, dearest, is_withdrawn,
    method_of, offer_of, rails_of, topics_of,
};
use crate::protocol::kinds::{CLASSIFIED, PAID_SERVICE};
use crate::protocol::listing::{CatalogOffer, Listing, Offer};
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::tags::{self, tag};
use crate::protocol::text;

/// Shops read "no stock tag" as sold out, and a service does not run out.
const STOCK: &str = "1000000";
/// What a service without a place says; one client wants the tag.
const LOCATION: &str = "online";

/// Builds one event per offer of `listing`.
pub(super) fn build(listing: &Listing, context: &ProjectionContext) -> Vec<EventBuilder> {
    listing
        .offers
        .iter()
        .map(|offer| build_one(listing, offer, context))
        .collect()
}

/// Returns the `d` tag of the event for `offer`: the listing's own if it has no other offer.
#[must_use]
pub fn d_tag(listing: &Listing, offer: &Offer) -> String {
    if listing.offers.len() == 1 {
        tags::clean_d(&listing.d_tag)
    } else {
        tags::clean_d(&format!("{}-{}", listing.d_tag, offer.capability))
    }
}

fn build_one(listing: &Listing, offer: &Offer, context: &ProjectionContext) -> EventBuilder {
    let title = if listing.offers.len() == 1 {
        listing.name.clone()
    } else {
        format!("{}: {}", listing.name, offer.capability)
    };
    let summary = [&listing.summary, &offer.description, &title]
        .into_iter()
        .find(|text| !text.trim().is_empty())
        .cloned()
        .unwrap_or_default();
    let price = offer.price.ceil_sat().as_u64().to_string();
    let (status, visibility, stock) = if listing.is_active {
        ("active", "on-sale", STOCK)
    } else {
        ("sold", "hidden", "0")
    };
    let url = listing.endpoint_url(offer);
    let rails = listing.rails.join(", ");
    let original = context.coordinate(&tags::clean_d(&listing.d_tag));
    let hint = context.relays.first().map_or("", String::as_str);
    let published_at = listing.published_at.min(context.now).to_string();
    let mut event = context
        .event(CLASSIFIED, pitch(&title, &summary, offer, &url, &rails))
        .tag(tag("d", &[&d_tag(listing, offer)]))
        .tag(tag("title", &[&title]))
        .tag(tag("summary", &[&summary]))
        .tag(tag("published_at", &[&published_at]))
        .tag(tag("location", &[LOCATION]))
        .tag(tag("price", &[&price, "SAT", "request"]))
        .tag(tag("status", &[status]))
        .tag(tag("image", &[&context.image(listing), "1024x1024"]))
        .tag(tag("type", &["simple", "digital"]))
        .tag(tag("visibility", &[visibility]))
        .tag(tag("stock", &[stock]))
        .tags(topics_of(listing).iter().map(|topic| tag("t", &[topic])));
    if !url.is_empty() {
        event = event.tag(tag("r", &[&url]));
    }
    event
        .tag(tag("a", &[&original, hint]))
        .tag(tag("spec", &["unit", "request"]))
        .tag(tag("spec", &["rails", &rails]))
        .tag(tag("spec", &["method", &offer.method]))
        .tag(tag(
            "alt",
            &[&format!(
                "Paid AI service: {title}, {price} sats per request"
            )],
        ))
        .tag(tag(
            "expiration",
            &[&context.expires_at(listing).to_string()],
        ))
}

fn pitch(title: &str, summary: &str, offer: &Offer, url: &str, rails: &str) -> String {
    format!(
        "## {title}\n\n{summary}\n\nPay per call, no account.\n\n- **Endpoint:** `{} {url}`\n- **Price:** {} per request ({rails})\n\n{}\n",
        offer.method, offer.price, offer.description,
    )
}

/// Reads the offer of a kind 30402.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let is_for_sale = !is_withdrawn(event) && tags::first(event, "visibility") != Some("hidden");
    let Some(title) = tags::first(event, "title").filter(|_| is_for_sale) else {
        return Vec::new();
    };
    let offer = offer_of(event);
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let summary = tags::first(event, "summary").unwrap_or(&event.content);
    let named_rails = spec(event, "rails").unwrap_or_default();
    let rails = if named_rails.is_empty() {
        rails_of(offer.topics.iter().map(String::as_str))
    } else {
        rails_of(named_rails.split(','))
    };
    let published_at = tags::first(event, "published_at")
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::MAX)
        .min(offer.published_at);
    let endpoint = tags::values(event, "r").find_map(text::http_url);
    let method = match endpoint {
        Some(_) => method_of(spec(event, "method")),
        None => String::new(),
    };
    let original = original(event);
    vec![CatalogOffer {
        is_projection: original.is_some(),
        coordinate: original.unwrap_or(offer.coordinate),
        name: text::clean(title, MAX_NAME_CHARS),
        summary: text::clean(summary, MAX_SUMMARY_CHARS),
        capability: text::clean(d_tag, MAX_NAME_CHARS),
        price: dearest(tags::all(event, "price").map(price_of)),
        endpoint: endpoint.map(String::from),
        method,
        rails,
        published_at,
        ..offer
    }]
}

/// Returns the address of the canonical event this one was made from. Only the
/// same key may speak for it.
fn original(event: &Event) -> Option<String> {
    let own = coordinate(PAID_SERVICE, &event.pubkey, "");
    tags::values(event, "a")
        .find(|address| address.starts_with(&own))
        .map(str::to_owned)
}

/// Reads `amount, currency, frequency`.
fn price_of(values: &[String]) -> ListedPrice {
    let word = |at: usize| values.get(at).map_or("", String::as_str);
    parse_price(word(0), word(1))
        .per(word(2))
        .said_in("price tag")
}

fn spec<'a>(event: &'a Event, name: &'a str) -> Option<&'a str> {
    tags::all(event, "spec")
        .find(|values| values.first().is_some_and(|word| word == name))
        .and_then(|values| values.get(1))
        .map(String::as_str)
}
