//! What known clients demand of a kind 30402 before they show it.
//!
//! Each rule was read in the client's source, and run where it could be; most of
//! them hide a listing without a word.

use nostr::event::Event;

use crate::protocol::tags;

/// A client and its rule.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its name.
    pub name: &'static str,
    /// Returns what keeps it from showing the event; empty when nothing does.
    pub faults: fn(&Event) -> Vec<String>,
}

/// The known clients.
pub const CLIENTS: &[Client] = &[
    Client {
        name: "nostr-tools",
        faults: nostr_tools,
    },
    Client {
        name: "schemata",
        faults: schemata,
    },
    Client {
        name: "Amethyst",
        faults: amethyst,
    },
    Client {
        name: "Shopstr",
        faults: shopstr,
    },
    Client {
        name: "Plebeian",
        faults: plebeian,
    },
];

fn require(event: &Event, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter(|name| tags::first(event, name).is_none_or(str::is_empty))
        .map(|name| format!("tag {name:?} is missing or empty"))
        .collect()
}

fn price_word(event: &Event, at: usize) -> &str {
    tags::all(event, "price")
        .next()
        .and_then(|values| values.get(at))
        .map_or("", |word| word.as_str())
}

fn nostr_tools(event: &Event) -> Vec<String> {
    let mut faults = Vec::new();
    for name in ["d", "title", "summary", "location", "published_at", "price"] {
        let count = tags::all(event, name).count();
        if count != 1 {
            faults.push(format!("tag {name:?} occurs {count} times instead of once"));
        }
    }
    if price_word(event, 1).len() != 3 {
        faults.push("the currency is not three letters: write SAT".to_owned());
    }
    if !price_word(event, 0).starts_with(|c: char| c.is_ascii_digit()) {
        faults.push("the price is not a number".to_owned());
    }
    for tag in &*event.tags {
        let is_reference = matches!(tag.kind(), "a" | "e");
        if tag.len() < 2 || (is_reference && tag.len() != 3) {
            faults.push(format!("tag {:?} has {} elements", tag.kind(), tag.len()));
        }
    }
    faults
}

fn schemata(event: &Event) -> Vec<String> {
    let mut faults = require(event, &["d", "summary", "location"]);
    let published_at = tags::first(event, "published_at").unwrap_or_default();
    if !published_at.bytes().all(|b| b.is_ascii_digit()) {
        faults.push("published_at is not a number".to_owned());
    }
    if !matches!(tags::first(event, "status"), None | Some("active" | "sold")) {
        faults.push("status is neither active nor sold".to_owned());
    }
    let is_letters = |word: &str| word.bytes().all(|b| b.is_ascii_alphabetic());
    let (currency, frequency) = (price_word(event, 1), price_word(event, 2));
    if !(3..=6).contains(&currency.len()) || !is_letters(currency) {
        faults.push("the currency is not three to six letters".to_owned());
    }
    if !frequency.is_empty() && (frequency.len() < 3 || !is_letters(frequency)) {
        faults.push("the frequency is not a plain noun".to_owned());
    }
    faults
}

fn amethyst(event: &Event) -> Vec<String> {
    let mut faults = require(event, &["title", "price", "image"]);
    let published_at = tags::first(event, "published_at").and_then(|text| text.parse().ok());
    if published_at.is_some_and(|at: u64| at > event.created_at.as_secs()) {
        faults.push("published_at is later than the event".to_owned());
    }
    faults
}

fn shopstr(event: &Event) -> Vec<String> {
    let mut faults = require(event, &["image"]);
    if price_word(event, 1).is_empty() {
        faults.push("the price has no currency".to_owned());
    }
    if tags::first(event, "content-warning").is_some() {
        faults.push("it has a content warning".to_owned());
    }
    if tags::first(event, "visibility") == Some("hidden") {
        faults.push("its visibility is hidden".to_owned());
    }
    faults
}

fn plebeian(event: &Event) -> Vec<String> {
    let mut faults = Vec::new();
    let stock = tags::first(event, "stock").and_then(|text| text.parse::<u64>().ok());
    let is_ordered_ahead = tags::first(event, "visibility") == Some("pre-order");
    if stock.unwrap_or(0) == 0 && !is_ordered_ahead {
        faults.push("no stock above 0: it counts as sold out".to_owned());
    }
    let d_tag = tags::first(event, "d").unwrap_or_default();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if d_tag.is_empty() || !d_tag.bytes().all(is_plain) {
        faults.push("the d tag has characters other than letters, digits, - and _".to_owned());
    }
    faults
}
