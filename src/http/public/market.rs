//! The market page: what is sold here, and what the index knows of elsewhere.

use askama::Template;
use axum::response::{IntoResponse, Response};
use feria_paywall::amount::Sat;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use crate::config::AgentConfig;
use crate::http::view::{self, ListingView, RailMark};
use crate::http::{Node, Problem, assets};
use crate::market::SearchQuery;
use crate::store::StoreError;

/// Rows of a page.
const PAGE_ROWS: usize = 50;
/// The longest search text that is looked for.
const MAX_QUERY_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "market.html")]
struct MarketPage {
    network: &'static str,
    query: String,
    rail: String,
    max_sat: String,
    is_search: bool,
    own: Vec<OwnAgent>,
    listings: Vec<ListingView>,
    known: u64,
    next_page: Option<String>,
    public_url: String,
    relay_url: String,
}

struct OwnAgent {
    name: String,
    summary: String,
    price: String,
    calls: u32,
    rails: Vec<RailMark>,
    curl: String,
    listing: Option<String>,
}

/// What the form of the page sends. Its fields are texts: an empty one is no limit.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct MarketQuery {
    q: String,
    rail: String,
    max: String,
    offset: String,
}

impl MarketQuery {
    fn search(&self) -> SearchQuery {
        SearchQuery {
            text: self.q.clone(),
            rail: (!self.rail.is_empty()).then(|| self.rail.clone()),
            max_price: self.max.parse().ok().map(|sat| Sat::new(sat).to_msat()),
            schema_hash: None,
            limit: Some(PAGE_ROWS),
            offset: self.offset.parse().unwrap_or(0),
        }
    }

    fn page_at(&self, offset: usize) -> String {
        let query = Serializer::new(String::new())
            .append_pair("q", &self.q)
            .append_pair("rail", &self.rail)
            .append_pair("max", &self.max)
            .append_pair("offset", &offset.to_string())
            .finish();
        format!("/?{query}")
    }
}

/// Renders the page.
pub(super) async fn page(node: &Node, query: MarketQuery) -> Response {
    match render(node, query).await {
        Ok(page) => assets::page(&page),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

async fn render(node: &Node, mut query: MarketQuery) -> Result<MarketPage, StoreError> {
    query.q = query.q.chars().take(MAX_QUERY_CHARS).collect();
    // What the form cannot have sent is no limit, and is not shown as one.
    if !matches!(query.rail.as_str(), "l402" | "nut24") {
        query.rail.clear();
    }
    if query.max.parse::<u32>().is_err() {
        query.max.clear();
    }
    let now = node.clock.now();
    let found = node.market.search(query.search()).await?;
    let mut own = Vec::new();
    for agent in node.agents.list().iter() {
        own.push(own_agent(node, agent).await?);
    }
    let url = &node.config.public.url;
    Ok(MarketPage {
        network: node.config.network.as_str(),
        is_search: !(query.q.is_empty() && query.rail.is_empty() && query.max.is_empty()),
        next_page: found.next_offset.map(|offset| query.page_at(offset)),
        query: query.q,
        rail: query.rail,
        max_sat: query.max,
        own,
        known: node.index.count_listings(now).await?,
        listings: found
            .rows
            .into_iter()
            .map(|row| ListingView::new(row, now))
            .collect(),
        relay_url: url.replacen("http", "ws", 1),
        public_url: url.clone(),
    })
}

async fn own_agent(node: &Node, agent: &AgentConfig) -> Result<OwnAgent, StoreError> {
    let key = node.seed.nostr_keys(&agent.name).public_key().to_hex();
    let coordinate = format!("31402:{key}:{}", agent.name);
    let is_listed = !node.market.find_listing(&coordinate).await?.is_empty();
    Ok(OwnAgent {
        name: agent.name.clone(),
        summary: agent.summary.clone(),
        price: agent.price.to_string(),
        calls: agent.uses,
        rails: view::rail_marks(&agent.rails),
        curl: view::curl(&agent.method, &node.endpoint(agent)),
        listing: is_listed.then_some(coordinate),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_search() {
        let query = MarketQuery {
            q: "a&b \"c\"".to_owned(),
            max: "50".to_owned(),
            ..MarketQuery::default()
        };

        assert_eq!(
            query.page_at(50),
            "/?q=a%26b+%22c%22&rail=&max=50&offset=50"
        );
        assert_eq!(query.search().max_price, Some(Sat::new(50).to_msat()));
    }
}
