//! The rows of the catalog: written with their event, removed with it, read again
//! when the readers have changed.

use feria_paywall::amount::Msat;
use nostr::event::Event;
use rusqlite::{Connection, Transaction, params};

use super::catalog::{corrupt_row, endpoint_key};
use super::rows::CatalogRow;
use super::sql_time;
use crate::store::StoreError;

/// A row as the columns of `offers` and `offer_rows` hold it.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    coordinate: String,
    is_canonical: bool,
    created_at: i64,
    price_msat: Option<i64>,
    expires_at: Option<i64>,
    rails: String,
    endpoint: Option<String>,
    schema_hash: Option<String>,
    json: String,
}

impl Columns {
    /// Returns what `row`, read from `event`, is stored as.
    pub(super) fn of(row: &CatalogRow, event: &Event) -> Result<Self, StoreError> {
        Ok(Self {
            coordinate: row.coordinate.clone(),
            is_canonical: !row.is_projection,
            created_at: sql_time(event.created_at.as_secs()),
            price_msat: row.price_msat.map(|price| Msat::new(price).as_i64()),
            expires_at: row.expires_at.map(sql_time),
            rails: format!(" {} ", row.rails.join(" ")),
            endpoint: row.endpoint.as_deref().and_then(endpoint_key),
            schema_hash: row.schema_hash.clone(),
            json: serde_json::to_string(row).map_err(|error| corrupt_row(&error))?,
        })
    }

    /// Returns the stored rows of the event stored as `rid`, in their order.
    pub(super) fn list(connection: &Connection, rid: i64) -> Result<Vec<Self>, StoreError> {
        Ok(connection
            .prepare_cached(
                "SELECT o.coordinate, o.is_canonical, o.created_at, o.price_msat, o.expires_at,
                        o.rails, o.endpoint, o.schema_hash, coalesce(r.json, '')
                 FROM offers o LEFT JOIN offer_rows r USING (oid)
                 WHERE o.event_rid = ?1 ORDER BY o.oid",
            )?
            .query_map([rid], |row| {
                Ok(Self {
                    coordinate: row.get(0)?,
                    is_canonical: row.get(1)?,
                    created_at: row.get(2)?,
                    price_msat: row.get(3)?,
                    expires_at: row.get(4)?,
                    rails: row.get(5)?,
                    endpoint: row.get(6)?,
                    schema_hash: row.get(7)?,
                    json: row.get(8)?,
                })
            })?
            .collect::<Result<_, _>>()?)
    }
}

/// Stores the rows of the event stored as `rid`.
pub(super) fn insert_rows(
    transaction: &Transaction<'_>,
    rid: i64,
    event: &Event,
    rows: &[CatalogRow],
) -> Result<(), StoreError> {
    for row in rows {
        let columns = Columns::of(row, event)?;
        let oid = transaction
            .prepare_cached(
                "INSERT INTO offers (event_rid, coordinate, is_canonical, created_at, price_msat,
                                     expires_at, rails, endpoint, schema_hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .insert(params![
                rid,
                columns.coordinate,
                columns.is_canonical,
                columns.created_at,
                columns.price_msat,
                columns.expires_at,
                columns.rails,
                columns.endpoint,
                columns.schema_hash,
            ])?;
        transaction
            .prepare_cached("INSERT INTO offer_rows (oid, json) VALUES (?1, ?2)")?
            .execute(params![oid, columns.json])?;
        transaction
            .prepare_cached(
                "INSERT INTO offers_fts (rowid, name, summary, capability, topics)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                oid,
                row.name,
                row.summary,
                row.capability,
                row.topics.join(" ")
            ])?;
    }
    Ok(())
}

/// Removes the rows of the event stored as `rid`.
pub(super) fn remove_rows(transaction: &Transaction<'_>, rid: i64) -> Result<(), StoreError> {
    let oids = transaction
        .prepare_cached("SELECT oid FROM offers WHERE event_rid = ?1")?
        .query_map([rid], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for oid in oids {
        for statement in [
            "DELETE FROM offers_fts WHERE rowid = ?1",
            "DELETE FROM offer_rows WHERE oid = ?1",
            "DELETE FROM offers WHERE oid = ?1",
        ] {
            transaction.prepare_cached(statement)?.execute([oid])?;
        }
    }
    Ok(())
}

/// Drops all rows.
pub(super) fn clear(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    Ok(transaction.execute_batch(
        "INSERT INTO offers_fts (offers_fts) VALUES ('delete-all');
         DELETE FROM offer_rows; DELETE FROM offers;",
    )?)
}

/// Returns the version of the readers that made the rows.
pub(super) fn readers_version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection
        .prepare_cached("SELECT readers_version FROM catalog")?
        .query_row([], |row| row.get(0))?)
}

/// Notes which version of the readers made the rows.
pub(super) fn set_readers_version(
    transaction: &Transaction<'_>,
    version: u32,
) -> Result<(), StoreError> {
    transaction.execute("UPDATE catalog SET readers_version = ?1", [version])?;
    Ok(())
}
