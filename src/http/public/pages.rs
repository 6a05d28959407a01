//! Pages for people: the market, one listing, how to call an agent, and nothing found.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nostr::nips::nip01::Coordinate;
use nostr::nips::nip19::{FromBech32, Nip19Coordinate, ToBech32};

use super::card::CardText;
use super::market::{self, MarketQuery};
use crate::config::AgentConfig;
use crate::http::view::{self, ListingView, RailMark};
use crate::http::{MessagePage, Node, Problem, assets};
use crate::market::Alike;
use crate::store::StoreError;
use crate::store::index::CatalogRow;

#[derive(Template)]
#[template(path = "listing.html")]
struct ListingPage {
    network: &'static str,
    name: String,
    summary: String,
    coordinate: String,
    naddr: String,
    offers: Vec<ListingView>,
    same_endpoint: Vec<ListingView>,
    same_interface: Vec<ListingView>,
}

#[derive(Template)]
#[template(path = "call.html")]
struct CallPage {
    network: &'static str,
    name: String,
    summary: String,
    price: String,
    method: String,
    rails: Vec<RailMark>,
    curl: String,
    fetch: String,
}

/// Answers a Nostr client with the relay, a browser with the market.
pub(super) async fn root(
    State(node): State<Arc<Node>>,
    Query(query): Query<MarketQuery>,
    request: Request,
) -> Response {
    match node.relay_endpoint.upgrade_or_info(request).await {
        Ok(response) => response,
        Err(_browser) => market::page(&node, query).await,
    }
}

/// Shows one listing, named by its coordinate or its `naddr`.
pub(super) async fn listing(
    State(node): State<Arc<Node>>,
    Path(address): Path<String>,
) -> Response {
    let now = node.clock.now();
    let coordinate = coordinate_of(&address);
    let (rows, alike) = match find(&node, &coordinate).await {
        Ok(found) => found,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let network = node.config.network.as_str();
    // Of a server and its tools, the server has the listing's name.
    let is_itself = |row: &&CatalogRow| coordinate.starts_with(&format!("{}:", row.dialect));
    let Some(first) = rows.iter().find(is_itself).or(rows.first()) else {
        return assets::page_with_status(
            StatusCode::NOT_FOUND,
            &MessagePage {
                network,
                title: "No such listing",
                text: "This node has not seen it, or it has expired or was withdrawn. Look for \
                       one like it on the market page, or from your own node:",
                command: "feria search WORDS",
            },
        );
    };
    assets::page(&ListingPage {
        network,
        name: first.name.clone(),
        summary: first.summary.clone(),
        naddr: naddr_of(&coordinate),
        coordinate,
        offers: views(rows, now),
        same_endpoint: views(alike.same_endpoint, now),
        same_interface: views(alike.same_interface, now),
    })
}

async fn find(node: &Node, coordinate: &str) -> Result<(Vec<CatalogRow>, Alike), StoreError> {
    let rows = node.market.find_listing(coordinate).await?;
    let alike = node.market.list_alike(coordinate, &rows).await?;
    Ok((rows, alike))
}

fn views(rows: Vec<CatalogRow>, now: u64) -> Vec<ListingView> {
    rows.into_iter()
        .map(|row| ListingView::new(row, now))
        .collect()
}

/// Returns the coordinate that `address` means; unchanged when it is no `naddr`.
fn coordinate_of(address: &str) -> String {
    Nip19Coordinate::from_bech32(address).map_or_else(
        |_| address.to_owned(),
        |parsed| {
            format!(
                "{}:{}:{}",
                parsed.coordinate.kind.as_u16(),
                parsed.coordinate.public_key.to_hex(),
                parsed.coordinate.identifier
            )
        },
    )
}

/// Returns the `naddr` of `coordinate`; empty when it is not one.
fn naddr_of(coordinate: &str) -> String {
    Coordinate::parse(coordinate)
        .ok()
        .and_then(|parsed| Nip19Coordinate::new(parsed, []).to_bech32().ok())
        .unwrap_or_default()
}

/// Returns whether a person's browser asks, not a program.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Answers every address that is not there.
pub(super) async fn missing(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    if !is_browser(&headers) {
        return Problem::not_found("there is no such route").into_response();
    }
    no_page(&node)
}

/// Says to a person that nothing is here.
pub(super) fn no_page(node: &Node) -> Response {
    assets::page_with_status(
        StatusCode::NOT_FOUND,
        &MessagePage {
            network: node.config.network.as_str(),
            title: "Nothing is here",
            text: "The market page shows what this node sells. A program finds every address in:",
            command: "curl -s HOST/openapi.json",
        },
    )
}

/// Tells a person who opened the address of an agent how programs call it.
pub(super) fn how_to_call(node: &Node, agent: &AgentConfig) -> Response {
    let url = node.endpoint(agent);
    let mut response = assets::page_with_status(
        StatusCode::METHOD_NOT_ALLOWED,
        &CallPage {
            network: node.config.network.as_str(),
            name: agent.name.clone(),
            summary: agent.summary.clone(),
            price: agent.price.to_string(),
            method: agent.method.clone(),
            rails: view::rail_marks(&agent.rails),
            curl: view::curl(&agent.method, &url),
            fetch: view::fetch(&agent.method, &url, Some(agent.price)),
        },
    );
    if let Ok(method) = HeaderValue::from_str(&agent.method) {
        response.headers_mut().insert(ALLOW, method);
    }
    response
}

/// Draws the card of an own agent.
pub(super) async fn card(State(node): State<Arc<Node>>, Path(file): Path<String>) -> Response {
    let agent = file
        .strip_suffix(".png")
        .and_then(|name| node.agents.find(name));
    let Some(agent) = agent else {
        return Problem::not_found("there is no such card").into_response();
    };
    let text = CardText {
        name: agent.name,
        summary: agent.summary,
        price: agent.price.to_string(),
        is_simulated: node.is_simulated(),
    };
    match node.pages.cards.png(text) {
        Ok(png) => (
            [
                (CONTENT_TYPE, "image/png"),
                (CACHE_CONTROL, "public, max-age=300"),
            ],
            png,
        )
            .into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
