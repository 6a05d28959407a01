//! The market as this node has indexed it.

use axum::Json;
use axum::extract::Path;
use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::http::Problem;
use crate::http::admin::extract::Parameters;
use crate::http::admin::guard::{About, Caller};
use crate::market::{Page, SearchQuery};
use crate::store::index::CatalogRow;

#[derive(Deserialize)]
pub(in crate::http::admin) struct Wanted {
    #[serde(default)]
    q: String,
    rail: Option<String>,
    max_price_msat: Option<u64>,
    /// The interface (CEP-15), 64 hex digits.
    schema_hash: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct SearchAnswer {
    items: Vec<CatalogRow>,
    /// The `offset` of the next page; null on the last.
    next_offset: Option<usize>,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct Found {
    items: Vec<CatalogRow>,
    /// Offers of other listings at the same endpoints.
    same_endpoint: Vec<CatalogRow>,
    /// Offers of other listings with the same interfaces, cheapest first.
    same_interface: Vec<CatalogRow>,
}

pub(in crate::http::admin) async fn search(
    caller: Caller,
    Parameters(query): Parameters<Wanted>,
) -> Answer<SearchAnswer> {
    let node = caller.admit(About::default()).await?;
    let page = node
        .market
        .search(SearchQuery {
            text: query.q,
            rail: query.rail,
            max_price: query.max_price_msat.map(Msat::new),
            schema_hash: query.schema_hash,
            limit: query.limit,
            offset: query.offset,
        })
        .await?;
    Ok(Json(SearchAnswer::from(page)))
}

impl From<Page> for SearchAnswer {
    fn from(page: Page) -> Self {
        Self {
            items: page.rows,
            next_offset: page.next_offset,
        }
    }
}

pub(in crate::http::admin) async fn find(
    caller: Caller,
    Path(coordinate): Path<String>,
) -> Answer<Found> {
    let node = caller.admit(About::default()).await?;
    let items = node.market.find_listing(&coordinate).await?;
    if items.is_empty() {
        return Err(Problem::not_found(format!(
            "no listing {coordinate} in the index"
        )));
    }
    let alike = node.market.list_alike(&coordinate, &items).await?;
    Ok(Json(Found {
        items,
        same_endpoint: alike.same_endpoint,
        same_interface: alike.same_interface,
    }))
}
