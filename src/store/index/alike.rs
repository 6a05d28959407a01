//! Listings that belong together: those of one endpoint, and those of one interface.
//!
//! They are counted and listed, never merged: anybody can sign a listing for any
//! URL, and must not hide that of somebody else with it.

use rusqlite::{Connection, named_params};

use super::catalog::{IS_SHOWN, endpoint_key, place, read_rows};
use super::rows::{Alike, CatalogRow};
use super::{interfaces, sql_time};
use crate::store::StoreError;

/// Rows that are looked at for one count: what one endpoint or interface may cost a search.
const MAX_COUNTED: u32 = 100;
/// Rows of one list.
const MAX_LISTED: u32 = 50;

/// Counts the other listings of the endpoint and of the interface of `row`, and finds
/// whether its interface has changed.
pub(super) fn fill_in(
    connection: &Connection,
    row: &mut CatalogRow,
    now: u64,
) -> Result<(), StoreError> {
    if let Some(endpoint) = row.endpoint.as_deref().and_then(endpoint_key) {
        row.same_endpoint = count(connection, "endpoint", &endpoint, &row.coordinate, now)?;
    }
    if let Some(hash) = &row.schema_hash {
        row.same_interface = count(connection, "schema_hash", hash, &row.coordinate, now)?;
        row.schema_changed_at = interfaces::changed_at(connection, row)?;
    }
    Ok(())
}

/// Returns the rows with the interface of `hash`, cheapest first, those without a price last.
pub(super) fn list_by_interface(
    connection: &Connection,
    hash: &str,
    now: u64,
) -> Result<Vec<CatalogRow>, StoreError> {
    let sql = format!(
        "SELECT o.oid, o.event_rid FROM offers o WHERE o.schema_hash = :hash AND {IS_SHOWN}
         ORDER BY o.price_msat IS NULL, o.price_msat, o.created_at DESC, o.oid DESC
         LIMIT {MAX_LISTED}"
    );
    let places = connection
        .prepare_cached(&sql)?
        .query_map(
            named_params! { ":hash": hash, ":now": sql_time(now) },
            place,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    read_rows(connection, places, now)
}

fn count(
    connection: &Connection,
    column: &str,
    value: &str,
    coordinate: &str,
    now: u64,
) -> Result<Alike, StoreError> {
    let sql = format!(
        "SELECT count(DISTINCT coordinate), min(price_msat), max(price_msat) FROM (
            SELECT o.coordinate, o.price_msat FROM offers o
            WHERE o.{column} = :value AND o.coordinate <> :coordinate AND {IS_SHOWN}
            LIMIT {MAX_COUNTED})"
    );
    let parameters = named_params! {
        ":value": value, ":coordinate": coordinate, ":now": sql_time(now),
    };
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(parameters, |row| {
            Ok(Alike {
                listings: row.get(0)?,
                min_price_msat: row.get(1)?,
                max_price_msat: row.get(2)?,
            })
        })?)
}
