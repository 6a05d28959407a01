//! MCP servers that are called over Nostr: ContextVM (11316, 11317) and its
//! forerunner DVMCP (31316, 31317).
//!
//! One event announces the server, another lists its tools. Both have the address
//! of the server, so that a listing is the server and its offers are its tools. The
//! server itself is a row too, because people look for it by its name. What the
//! announcement says about tools yields to the list of tools.
//!
//! Tools are called and paid by messages: the rows have no endpoint, and their
//! rails are `lightning` and `cashu`, not those of HTTP calls.
//!
//! <https://docs.contextvm.org/reference/ceps/cep-6/>, CEP-8 (prices), CEP-15
//! (interfaces); <https://github.com/gzuuus/dvmcp>

use nostr::event::Event;
use serde_json::Value;

use super::interface::{Interface, identify};
use super::{
    MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_NAME_CHARS, MAX_OFFERS, MAX_SUMMARY_CHARS,
    coordinate, dearest, offer_of, settlements_of, text_in,
};
use crate::protocol::kinds::{DVMCP_SERVER, DVMCP_TOOLS, MCP_SERVER, MCP_TOOLS};
use crate::protocol::listing::CatalogOffer;
use crate::protocol::price::{ListedPrice, parse_price_or_range};
use crate::protocol::schema::NAMESPACE;
use crate::protocol::{tags, text};

/// The capability of the row that stands for the server as a whole.
const SERVER: &str = "mcp server";
/// What a `cap` tag puts before the name of a tool.
const TOOL: &str = "tool:";

/// Reads a server announcement: the server, and the tools it names a price for.
pub(super) fn read_server(event: &Event) -> Vec<CatalogOffer> {
    let content = content_of(event);
    let info = content.get("serverInfo").unwrap_or(&Value::Null);
    let Some(name) = tags::first(event, "name").or_else(|| text_in(info, "name")) else {
        return Vec::new();
    };
    let about = tags::first(event, "about").or_else(|| text_in(&content, "instructions"));
    let server = CatalogOffer {
        name: text::clean(name, MAX_NAME_CHARS),
        summary: text::clean(about.unwrap_or_default(), MAX_SUMMARY_CHARS),
        capability: SERVER.to_owned(),
        rails: settlements_of(tags::values(event, "pmi")),
        ..offer_of(event)
    };
    let mut offers = vec![server.clone()];
    offers.extend(priced(event).into_iter().map(|name| CatalogOffer {
        is_projection: true,
        price: price_of(event, name),
        capability: text::clean(name, MAX_NAME_CHARS),
        ..server.clone()
    }));
    offers.truncate(MAX_OFFERS);
    offers
}

/// Reads a list of tools: what its content describes, then what only has a price.
pub(super) fn read_tools(event: &Event) -> Vec<CatalogOffer> {
    let content = content_of(event);
    let listed = content.get("tools").and_then(Value::as_array);
    let shared = CatalogOffer {
        coordinate: server_of(event),
        rails: settlements_of(tags::values(event, "pmi")),
        ..offer_of(event)
    };
    let mut offers: Vec<CatalogOffer> = Vec::new();
    for tool in listed.into_iter().flatten().take(MAX_OFFERS) {
        let Some(name) = text_in(tool, "name") else {
            continue;
        };
        let offer = tool_offer(event, &shared, tool, name);
        if offers
            .iter()
            .all(|known| known.capability != offer.capability)
        {
            offers.push(offer);
        }
    }
    for name in priced(event) {
        let capability = text::clean(name, MAX_NAME_CHARS);
        if offers.iter().all(|known| known.capability != capability) {
            offers.push(CatalogOffer {
                name: capability.clone(),
                price: price_of(event, name),
                capability,
                ..shared.clone()
            });
        }
    }
    offers.truncate(MAX_OFFERS);
    offers
}

fn tool_offer(event: &Event, shared: &CatalogOffer, tool: &Value, name: &str) -> CatalogOffer {
    let notes = tool.get("annotations").unwrap_or(&Value::Null);
    let title = text_in(tool, "title").or_else(|| text_in(notes, "title"));
    let summary = text_in(tool, "description").unwrap_or_default();
    let mut offer = CatalogOffer {
        name: text::clean(title.unwrap_or(name), MAX_NAME_CHARS),
        summary: text::clean(summary, MAX_SUMMARY_CHARS),
        price: price_of(event, name),
        capability: text::clean(name, MAX_NAME_CHARS),
        ..shared.clone()
    };
    if let Some(input) = tool.get("inputSchema").filter(|schema| schema.is_object()) {
        let claim = tool.get("_meta").and_then(|meta| meta.get(NAMESPACE));
        let interface = Interface {
            name,
            input,
            output: tool.get("outputSchema").filter(|schema| schema.is_object()),
            claim: claim.and_then(|claim| text_in(claim, "schemaHash")),
        };
        identify(&mut offer, event, &interface, &[]);
    }
    offer
}

/// Returns the address of the server that a list of tools belongs to.
fn server_of(event: &Event) -> String {
    match (event.kind.as_u16(), tags::first(event, "s")) {
        (MCP_TOOLS, _) => coordinate(MCP_SERVER, &event.pubkey, ""),
        (DVMCP_TOOLS, Some(server)) if text::is_visible(server) => {
            coordinate(DVMCP_SERVER, &event.pubkey, server)
        }
        _ => offer_of(event).coordinate,
    }
}

/// Returns the names that `cap` tags give a price, each once: tools plainly,
/// prompts and resources with their prefix.
fn priced(event: &Event) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for identifier in tags::values(event, "cap").take(2 * MAX_OFFERS) {
        let name = plain(identifier);
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn plain(identifier: &str) -> &str {
    identifier.strip_prefix(TOOL).unwrap_or(identifier).trim()
}

/// Reads `["cap", name, amount or range, currency]`; DVMCP names tools without price so, too.
fn price_of(event: &Event, tool: &str) -> ListedPrice {
    let of_tool = |values: &&[String]| {
        let name = values.first().map_or("", String::as_str);
        plain(name) == tool && values.len() > 1
    };
    dearest(tags::all(event, "cap").filter(of_tool).map(|values| {
        let word = |at: usize| values.get(at).map_or("", String::as_str);
        parse_price_or_range(word(1), word(2)).said_in("cap tag")
    }))
}

fn content_of(event: &Event) -> Value {
    text::bounded_json(&event.content, MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH).unwrap_or_default()
}
