//! Kind 38421, inference provider (Routstr RIP-02).
//!
//! The event says where the provider is and whose ecash it takes. What its models
//! cost is not in it: the provider says so at `/v1/models`. The same number is used
//! for offers of another kind, which have no `u` tag.
//!
//! <https://github.com/Routstr/protocol/blob/main/RIP-02.md>

use nostr::event::Event;

use super::{
    MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_NAME_CHARS, MAX_SUMMARY_CHARS, clean_topics,
    is_withdrawn, offer_of, text_in,
};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::{tags, text};

/// What every provider sells.
const CAPABILITY: &str = "inference";
/// Words for what the kind alone says.
const TOPICS: [&str; 3] = ["inference", "llm", "routstr"];
/// `u` tags that are looked at.
const MAX_URLS: usize = 10;

/// Reads the provider of a kind 38421.
pub(super) fn read(event: &Event) -> Vec<CatalogOffer> {
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let urls: Vec<url::Url> = tags::values(event, "u")
        .take(MAX_URLS)
        .filter_map(text::http_url)
        .collect();
    let is_onion = |url: &&url::Url| url.host_str().is_some_and(|host| host.ends_with(".onion"));
    let open = urls.iter().find(|url| !is_onion(url)).or(urls.first());
    let Some(endpoint) = open.filter(|_| !d_tag.is_empty() && !is_withdrawn(event)) else {
        return Vec::new();
    };
    let content = text::bounded_json(&event.content, MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH)
        .unwrap_or_default();
    let name = text_in(&content, "name").unwrap_or(d_tag);
    let about = text_in(&content, "about").unwrap_or_default();
    vec![CatalogOffer {
        name: text::clean(name, MAX_NAME_CHARS),
        summary: text::clean(about, MAX_SUMMARY_CHARS),
        capability: CAPABILITY.to_owned(),
        topics: clean_topics(TOPICS.into_iter().chain(tags::values(event, "t"))),
        endpoint: Some(endpoint.to_string()),
        method: "POST".to_owned(),
        rails: vec!["cashu".to_owned()],
        ..offer_of(event)
    }]
}
