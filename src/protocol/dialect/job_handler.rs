//! Kind 31990, handler information (NIP-89), as far as it offers jobs.
//!
//! A handler whose `k` tags name job request kinds sells those jobs by event; one
//! that opens other kinds is an app, and sells nothing. What a job costs is said, if
//! at all, as an `amount` without a unit: only "free" can be understood.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/89.md>

use std::ops::RangeInclusive;

use nostr::event::Event;
use serde_json::Value;

use super::{
    MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_NAME_CHARS, MAX_OFFERS, MAX_SUMMARY_CHARS,
    is_withdrawn, offer_of, text_in,
};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::price::{ListedPrice, parse_price};
use crate::protocol::{tags, text};

/// Kinds of job requests (NIP-90).
const JOBS: RangeInclusive<u16> = 5_000..=5_999;

/// Reads the jobs of a kind 31990.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let mut jobs: Vec<u16> = tags::values(event, "k")
        .filter_map(|kind| kind.parse().ok())
        .filter(|kind| JOBS.contains(kind))
        .take(MAX_OFFERS)
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    if jobs.is_empty() || is_withdrawn(event) {
        return Vec::new();
    }
    let content = text::bounded_json(&event.content, MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH)
        .unwrap_or_default();
    let said = |member: &str| text_in(&content, member);
    let name = said("name")
        .or_else(|| said("display_name"))
        .or_else(|| tags::first(event, "name"))
        .or_else(|| tags::first(event, "d"));
    let about = said("about").or_else(|| tags::first(event, "about"));
    let takes_ecash = ["cashuAccepted", "acceptsNutZaps"]
        .iter()
        .any(|member| content.get(member).and_then(Value::as_bool) == Some(true));
    let shared = CatalogOffer {
        name: text::clean(name.unwrap_or_default(), MAX_NAME_CHARS),
        summary: text::clean(about.unwrap_or_default(), MAX_SUMMARY_CHARS),
        price: price_of(&content),
        rails: if takes_ecash {
            vec!["cashu".to_owned()]
        } else {
            Vec::new()
        },
        ..offer_of(event)
    };
    jobs.into_iter()
        .map(|job| CatalogOffer {
            capability: format!("job {job}"),
            ..shared.clone()
        })
        .collect()
}

fn price_of(content: &Value) -> ListedPrice {
    let amount = match content.get("amount") {
        Some(Value::String(amount)) => amount.clone(),
        Some(Value::Number(amount)) => amount.to_string(),
        _ => return ListedPrice::missing(),
    };
    let mut price = parse_price(&amount, "");
    if amount.trim().eq_ignore_ascii_case("free") {
        price.msat = Ok(feria_paywall::amount::Msat::ZERO);
    }
    price.said_in("content amount")
}
