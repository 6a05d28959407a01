//! Searching the catalog, page by page.

use feria_paywall::amount::Msat;
use serde::Serialize;

use crate::store::StoreError;
use crate::store::index::{CatalogRow, Index, Search};

/// Rows of a page unless asked for otherwise.
pub const DEFAULT_LIMIT: usize = 20;
/// Rows of a page at most.
pub const MAX_LIMIT: usize = 100;
/// Rows that can be paged through; a search that needs more needs better words.
const MAX_OFFSET: usize = 10_000;
/// Characters of the search text that are read.
const MAX_TEXT_CHARS: usize = 256;

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// Words; empty browses, newest first.
    pub text: String,
    /// `l402` or `nut24`.
    pub rail: Option<String>,
    /// Known prices up to this only.
    pub max_price: Option<Msat>,
    /// Offers of this interface (CEP-15) only, 64 hex digits.
    pub schema_hash: Option<String>,
    /// Rows of a page; `None` is [`DEFAULT_LIMIT`].
    pub limit: Option<usize>,
    /// Rows to skip, from [`Page::next_offset`].
    pub offset: usize,
}

/// A page of offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The offers, best first.
    pub rows: Vec<CatalogRow>,
    /// Where the next page begins; `None` on the last.
    pub next_offset: Option<usize>,
}

/// Returns the page of offers that `query` asks for.
///
/// # Errors
/// When the database fails.
pub async fn search(index: &Index, query: SearchQuery, now: u64) -> Result<Page, StoreError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let offset = query.offset.min(MAX_OFFSET);
    let search = Search {
        text: query.text.chars().take(MAX_TEXT_CHARS).collect(),
        rail: query.rail.map(|rail| rail.to_ascii_lowercase()),
        max_price: query.max_price,
        schema_hash: query.schema_hash.map(|hash| hash.to_ascii_lowercase()),
        // One more tells whether there is a next page.
        limit: limit + 1,
        offset,
    };
    let mut rows = index.search(search, now).await?;
    let has_more = rows.len() > limit && offset + limit <= MAX_OFFSET;
    rows.truncate(limit);
    Ok(Page {
        rows,
        next_offset: has_more.then_some(offset + limit),
    })
}
