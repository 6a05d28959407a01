//! Deletion requests.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/09.md>

use nostr::event::{Event, EventBuilder, EventId, Kind};
use nostr::types::Timestamp;

use super::{kinds, tags};

/// What a deletion request names, as far as its author may delete it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// Event ids. Whether they are the author's own shows only when the event is seen.
    pub ids: Vec<EventId>,
    /// Kind and `d` tag of own addresses; `d` is empty for a replaceable kind.
    pub addresses: Vec<(Kind, String)>,
}

/// Reads a kind 5. Addresses of other authors are left out.
#[must_use]
pub fn read(request: &Event) -> Deletions {
    let author = request.pubkey.to_hex();
    Deletions {
        ids: tags::values(request, "e")
            .filter_map(|id| EventId::from_hex(id).ok())
            .collect(),
        addresses: tags::values(request, "a")
            .filter_map(|coordinate| own_address(coordinate, &author))
            .collect(),
    }
}

fn own_address(coordinate: &str, author: &str) -> Option<(Kind, String)> {
    let mut parts = coordinate.splitn(3, ':');
    let kind = Kind::from_u16(parts.next()?.parse().ok()?);
    let owner = parts.next()?;
    let d_tag = parts.next().unwrap_or_default();
    let is_own = owner.eq_ignore_ascii_case(author);
    if is_own && kind.is_addressable() {
        return Some((kind, d_tag.to_owned()));
    }
    (is_own && kind.is_replaceable()).then(|| (kind, String::new()))
}

/// Returns a request to delete the versions up to `now` of `coordinates` (`kind:pubkey:d`).
#[must_use]
pub fn build(coordinates: &[String], now: u64) -> EventBuilder {
    let addresses = coordinates
        .iter()
        .map(|coordinate| tags::tag("a", &[coordinate]));
    let mut deleted_kinds: Vec<&str> = coordinates
        .iter()
        .filter_map(|coordinate| coordinate.split(':').next())
        .collect();
    deleted_kinds.sort_unstable();
    deleted_kinds.dedup();
    EventBuilder::new(Kind::from_u16(kinds::DELETION), "")
        .tags(addresses)
        .tags(deleted_kinds.iter().map(|kind| tags::tag("k", &[kind])))
        .custom_created_at(Timestamp::from_secs(now))
}
