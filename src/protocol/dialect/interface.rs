//! What a listing describes as the interface of an offer, and whether it is what it claims.

use nostr::event::Event;
use serde_json::Value;

use super::MAX_OFFERS;
use crate::protocol::listing::CatalogOffer;
use crate::protocol::schema::{NAMESPACE, schema_hash};
use crate::protocol::tags;

/// Hex digits of a claimed hash that a note shows.
const SHOWN_DIGITS: usize = 8;

/// A tool's description: its name in calls, and its schemas.
pub(super) struct Interface<'a> {
    /// The name that calls use.
    pub(super) name: &'a str,
    /// JSON Schema of its input.
    pub(super) input: &'a Value,
    /// JSON Schema of its output.
    pub(super) output: Option<&'a Value>,
    /// The hash that the description claims for itself.
    pub(super) claim: Option<&'a str>,
}

/// Gives `offer` the identity of `interface`, and a note when `event` claims another.
///
/// `aliases` are names of tools that no offer of the event has: an `i` tag may give
/// the identity under one of them.
pub(super) fn identify(
    offer: &mut CatalogOffer,
    event: &Event,
    interface: &Interface<'_>,
    aliases: &[&str],
) {
    let hash_as = |name: &str| schema_hash(name, interface.input, interface.output);
    let alias = aliases.iter().find_map(|alias| {
        let hash = hash_as(alias)?;
        claims_of(event, alias)
            .any(|claim| claim == hash)
            .then_some(hash)
    });
    offer.schema_hash = alias.or_else(|| hash_as(interface.name));
    let found = offer.schema_hash.as_deref();
    let broken = interface
        .claim
        .into_iter()
        .chain(claims_of(event, interface.name))
        .find(|claim| Some(*claim) != found);
    offer.schema_note = broken.map(|claim| {
        let claim: String = claim
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(SHOWN_DIGITS)
            .collect();
        format!("claims the common interface {claim}…, which its schema is not")
    });
}

/// Returns the tools that the `i` tags of `event` name.
pub(super) fn claimed_tools(event: &Event) -> impl Iterator<Item = &str> {
    claims(event).map(|(_, tool)| tool)
}

fn claims_of<'a>(event: &'a Event, tool: &'a str) -> impl Iterator<Item = &'a str> {
    claims(event)
        .filter(move |(_, named)| *named == tool)
        .map(|(hash, _)| hash)
}

fn claims(event: &Event) -> impl Iterator<Item = (&str, &str)> {
    let is_common = tags::values(event, "k").any(|kind| kind == NAMESPACE);
    tags::all(event, "i")
        .filter(move |_| is_common)
        .take(MAX_OFFERS)
        .filter_map(|values| Some((values.first()?.as_str(), values.get(1)?.as_str())))
}
