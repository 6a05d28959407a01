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
pub(in crate::http::admin) struct Rows {
    items: Vec<CatalogRow>,
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
) -> Answer<Rows> {
    let node = caller.admit(About::default()).await?;
    let items = node
        .index
        .find_listing(&coordinate, node.clock.now())
        .await?;
    if items.is_empty() {
        return Err(Problem::not_found(format!(
            "no listing {coordinate} in the index"
        )));
    }
    Ok(Json(Rows { items }))
}
