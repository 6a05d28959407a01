//! What each offer's interface was, so that one that changes is seen to change.
//!
//! A seller may describe a harmless tool, be trusted, and describe another under the
//! same name. The events cannot tell: the newer one replaces the older.

use nostr::event::Event;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::CatalogRow;
use super::sql_time;
use crate::store::StoreError;

/// How long the interface of a listing that is gone is remembered, in seconds: 90 days.
const MEMORY_SECS: u64 = 90 * 24 * 60 * 60;

/// Remembers the interfaces of `rows`, read from `event`.
pub(super) fn remember(
    transaction: &Transaction<'_>,
    event: &Event,
    rows: &[CatalogRow],
) -> Result<(), StoreError> {
    let at = sql_time(event.created_at.as_secs());
    for row in rows {
        let Some(hash) = &row.schema_hash else {
            continue;
        };
        transaction
            .prepare_cached(
                "INSERT INTO interfaces (coordinate, capability, schema_hash, seen_at)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET
                    changed_at = CASE WHEN schema_hash = ?3 THEN changed_at ELSE ?4 END,
                    schema_hash = ?3, seen_at = ?4
                 WHERE seen_at <= ?4",
            )?
            .execute(params![row.coordinate, row.capability, hash, at])?;
    }
    Ok(())
}

/// Returns when the interface of `row` became another than before, in Unix seconds.
pub(super) fn changed_at(
    connection: &Connection,
    row: &CatalogRow,
) -> Result<Option<u64>, StoreError> {
    let found: Option<Option<u64>> = connection
        .prepare_cached(
            "SELECT changed_at FROM interfaces WHERE coordinate = ?1 AND capability = ?2",
        )?
        .query_row([&row.coordinate, &row.capability], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Forgets up to `batch` interfaces of listings that are long gone.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    now: u64,
    batch: usize,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "DELETE FROM interfaces WHERE (coordinate, capability) IN (
                SELECT i.coordinate, i.capability FROM interfaces i
                WHERE i.seen_at < ?1 AND NOT EXISTS (
                    SELECT 1 FROM offers o WHERE o.coordinate = i.coordinate)
                LIMIT ?2)",
        )?
        .execute(params![sql_time(now.saturating_sub(MEMORY_SECS)), batch])?;
    Ok(())
}
