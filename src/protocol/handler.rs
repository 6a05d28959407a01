//! Kind 31990, handler information: any client can open a listing on the node's page.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/89.md>

use nostr::event::{EventBuilder, Kind};
use nostr::types::Timestamp;
use serde_json::json;

use super::kinds::{CLASSIFIED, HANDLER, PAID_SERVICE};
use super::tags::tag;

/// The `d` tag of a node's one handler event.
pub const D_TAG: &str = "feria";

/// Builds the node's handler event: listings open at `<node_url>/l/<naddr>`.
#[must_use]
pub fn build(node_name: &str, node_url: &str, now: u64) -> EventBuilder {
    let about = "Listings of paid services for agents: price, terms and how to call them";
    let content = json!({"name": node_name, "about": about, "website": node_url});
    EventBuilder::new(Kind::from_u16(HANDLER), content.to_string())
        .tag(tag("d", &[D_TAG]))
        .tag(tag("k", &[&CLASSIFIED.to_string()]))
        .tag(tag("k", &[&PAID_SERVICE.to_string()]))
        .tag(tag("web", &[&format!("{node_url}/l/<bech32>"), "naddr"]))
        .custom_created_at(Timestamp::from_secs(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_open_on_the_page_of_the_node() {
        let event = build("Feria", "https://node.example", 1_794_000_000);
        let tags: Vec<&[String]> = event.tags.iter().map(nostr::event::Tag::as_slice).collect();
        let expected: [&[&str]; 4] = [
            &["d", "feria"],
            &["k", "30402"],
            &["k", "31402"],
            &["web", "https://node.example/l/<bech32>", "naddr"],
        ];
        assert_eq!(tags, expected);
    }
}
