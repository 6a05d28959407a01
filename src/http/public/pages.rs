//! Pages for people: what is on offer here and in the market.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use nostr::nips::nip19::{FromBech32, Nip19Coordinate};
use serde::Deserialize;

use super::card::CardText;
use crate::config::AgentConfig;
use crate::http::view::{self, ListingView};
use crate::http::{Node, Problem, assets};
use crate::market::SearchQuery;

/// Rows on the market page.
const PAGE_ROWS: usize = 50;
/// The longest search text that is looked for.
const MAX_QUERY_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "market.html")]
struct MarketPage {
    network: &'static str,
    query: String,
    own: Vec<OwnAgent>,
    listings: Vec<ListingView>,
    public_url: String,
}

struct OwnAgent {
    name: String,
    summary: String,
    price: String,
    rails: String,
    url: String,
    method: String,
}

#[derive(Template)]
#[template(path = "listing.html")]
struct ListingPage {
    network: &'static str,
    name: String,
    summary: String,
    coordinate: String,
    offers: Vec<ListingView>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    network: &'static str,
    title: &'static str,
    text: &'static str,
}

#[derive(Deserialize)]
pub(super) struct MarketQuery {
    #[serde(default)]
    q: String,
}

/// Answers a Nostr client with the relay, a browser with the market.
pub(super) async fn root(
    State(node): State<Arc<Node>>,
    Query(query): Query<MarketQuery>,
    request: Request,
) -> Response {
    match node.relay_endpoint.upgrade_or_info(request).await {
        Ok(response) => response,
        Err(_browser) => market(&node, query.q).await,
    }
}

async fn market(node: &Node, query: String) -> Response {
    let query: String = query.chars().take(MAX_QUERY_CHARS).collect();
    let now = node.clock.now();
    let search = SearchQuery {
        text: query.clone(),
        limit: Some(PAGE_ROWS),
        ..SearchQuery::default()
    };
    let rows = match node.market.search(search).await {
        Ok(page) => page.rows,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let agents = node.agents.list();
    assets::page(&MarketPage {
        network: node.config.network.as_str(),
        query,
        own: agents
            .iter()
            .map(|agent| own_agent(agent, &node.config.public.url))
            .collect(),
        listings: rows
            .into_iter()
            .map(|row| ListingView::new(row, now))
            .collect(),
        public_url: node.config.public.url.clone(),
    })
}

fn own_agent(agent: &AgentConfig, public_url: &str) -> OwnAgent {
    OwnAgent {
        name: agent.name.clone(),
        summary: agent.summary.clone(),
        price: agent.price.to_string(),
        rails: view::rails(&agent.rails),
        url: format!("{public_url}/a/{}{}", agent.name, agent.path),
        method: agent.method.clone(),
    }
}

/// Shows one listing, named by its coordinate or its `naddr`.
pub(super) async fn listing(
    State(node): State<Arc<Node>>,
    Path(address): Path<String>,
) -> Response {
    let now = node.clock.now();
    let coordinate = coordinate_of(&address);
    let rows = match node.market.find_listing(&coordinate).await {
        Ok(rows) => rows,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let network = node.config.network.as_str();
    let Some(first) = rows.first() else {
        return assets::page_with_status(
            StatusCode::NOT_FOUND,
            &MessagePage {
                network,
                title: "No such listing",
                text: "This node has not seen it, or it has expired or was withdrawn.",
            },
        );
    };
    assets::page(&ListingPage {
        network,
        name: first.name.clone(),
        summary: first.summary.clone(),
        coordinate,
        offers: rows
            .into_iter()
            .map(|row| ListingView::new(row, now))
            .collect(),
    })
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
