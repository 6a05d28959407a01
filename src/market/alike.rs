//! Which listings belong together: the same endpoint listed several times, and
//! other sellers of the same interface.
//!
//! A listing of the same endpoint may be the seller's own in another dialect, or
//! somebody else's claim: both are shown with their keys, and neither hides the
//! other. An interface is the same when its hash is (CEP-15), whatever the sellers
//! call it; any of them can answer the call.

use std::collections::BTreeSet;

use crate::store::StoreError;
use crate::store::index::{CatalogRow, Index};

/// Endpoints and interfaces of one listing that are looked up.
const MAX_LOOKUPS: usize = 10;
/// Rows of each list.
const MAX_ROWS: usize = 50;

/// The offers of other listings that have something in common with a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alike {
    /// At the same endpoint, newest first.
    pub same_endpoint: Vec<CatalogRow>,
    /// With the same interface, cheapest first.
    pub same_interface: Vec<CatalogRow>,
}

/// Finds what is like `offers`, the rows of the listing at `coordinate`.
///
/// # Errors
/// When the database fails.
pub(super) async fn find(
    index: &Index,
    coordinate: &str,
    offers: &[CatalogRow],
    now: u64,
) -> Result<Alike, StoreError> {
    let mut alike = Alike::default();
    let endpoints: BTreeSet<&str> = offers
        .iter()
        .filter(|row| !row.same_endpoint.is_none())
        .filter_map(|row| row.endpoint.as_deref())
        .collect();
    for endpoint in endpoints.into_iter().take(MAX_LOOKUPS) {
        let found = index.list_offers_at(endpoint, now).await?;
        add(&mut alike.same_endpoint, found, coordinate);
    }
    let interfaces: BTreeSet<&str> = offers
        .iter()
        .filter(|row| !row.same_interface.is_none())
        .filter_map(|row| row.schema_hash.as_deref())
        .collect();
    for hash in interfaces.into_iter().take(MAX_LOOKUPS) {
        let found = index.list_by_interface(hash, now).await?;
        add(&mut alike.same_interface, found, coordinate);
    }
    Ok(alike)
}

fn add(list: &mut Vec<CatalogRow>, found: Vec<CatalogRow>, coordinate: &str) {
    let others = found.into_iter().filter(|row| row.coordinate != coordinate);
    list.extend(others);
    list.truncate(MAX_ROWS);
}
