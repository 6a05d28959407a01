//! Storing one event: duplicates, addresses, deletions, expiry.
//!
//! The order of the questions matters:
//! 1. stored already? Note the sighting.
//! 2. deleted by its author before it came? The request outlives the event.
//! 3. is a newer version known, even one that is gone? The high-water mark of an
//!    address is never lowered, so a relay cannot bring an old price back.
//! 4. expired? Then it only raises the mark.

use nostr::event::Event;
use rusqlite::{OptionalExtension, Transaction, params};

use super::rows::{CatalogRow, Stored};
use super::{Address, interfaces, offers, sql_time};
use crate::protocol::deletion;
use crate::protocol::kinds;
use crate::protocol::tags;
use crate::store::StoreError;

/// Stores `event`, or says why not.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    event: &Event,
    rows: &[CatalogRow],
    relay: Option<&str>,
    now: u64,
) -> Result<Stored, StoreError> {
    if let Some(rid) = find_rid(transaction, event)? {
        note_sighting(transaction, rid, relay, now)?;
        return Ok(Stored::Duplicate);
    }
    let d_tag = d_tag(event);
    let address = d_tag.as_deref().map(|d_tag| Address {
        pubkey: &event.pubkey,
        kind: event.kind,
        d_tag,
    });
    if is_deleted(transaction, event, address.as_ref())? {
        return Ok(Stored::Deleted);
    }
    if let Some(address) = &address {
        if !raise_mark(transaction, address, event)? {
            return Ok(Stored::Superseded);
        }
        remove_versions(transaction, address, i64::MAX)?;
    }
    let expires_at = tags::expiration(event);
    if expires_at.is_some_and(|at| at <= now) {
        return Ok(Stored::Deleted);
    }
    let rid = insert_event(transaction, event, d_tag.as_deref(), expires_at)?;
    note_sighting(transaction, rid, relay, now)?;
    offers::insert_rows(transaction, rid, event, rows)?;
    interfaces::remember(transaction, event, rows)?;
    if event.kind.as_u16() == kinds::DELETION {
        apply_deletion(transaction, event)?;
    }
    Ok(Stored::New)
}

/// Returns the `d` tag that is part of the event's address: empty for a
/// replaceable event, `None` for one without an address.
pub(super) fn d_tag(event: &Event) -> Option<String> {
    if event.kind.is_replaceable() {
        return Some(String::new());
    }
    event
        .kind
        .is_addressable()
        .then(|| tags::first(event, "d").unwrap_or_default().to_owned())
}

/// Removes up to `batch` expired events and returns how many; forgets what is long gone.
pub(super) fn prune_expired(
    transaction: &Transaction<'_>,
    now: u64,
    batch: usize,
) -> Result<usize, StoreError> {
    let rids = transaction
        .prepare_cached("SELECT rid FROM events WHERE expires_at <= ?1 LIMIT ?2")?
        .query_map(params![sql_time(now), batch], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for rid in &rids {
        remove_event(transaction, *rid)?;
    }
    interfaces::prune(transaction, now, batch)?;
    Ok(rids.len())
}

pub(super) fn find_rid(
    transaction: &Transaction<'_>,
    event: &Event,
) -> Result<Option<i64>, StoreError> {
    Ok(transaction
        .prepare_cached("SELECT rid FROM events WHERE id = ?1")?
        .query_row([event.id.as_bytes()], |row| row.get(0))
        .optional()?)
}

fn note_sighting(
    transaction: &Transaction<'_>,
    rid: i64,
    relay: Option<&str>,
    now: u64,
) -> Result<(), StoreError> {
    if let Some(relay) = relay {
        transaction
            .prepare_cached(
                "INSERT INTO sightings (rid, relay, seen_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![rid, relay, sql_time(now)])?;
    }
    Ok(())
}

fn is_deleted(
    transaction: &Transaction<'_>,
    event: &Event,
    address: Option<&Address<'_>>,
) -> Result<bool, StoreError> {
    // A deletion request cannot be deleted (NIP-09).
    if event.kind.as_u16() == kinds::DELETION {
        return Ok(false);
    }
    let by_id = transaction
        .prepare_cached("SELECT 1 FROM deleted_ids WHERE id = ?1 AND pubkey = ?2")?
        .exists(params![event.id.as_bytes(), event.pubkey.as_bytes()])?;
    if by_id {
        return Ok(true);
    }
    let Some(address) = address else {
        return Ok(false);
    };
    Ok(transaction
        .prepare_cached(
            "SELECT 1 FROM addresses
             WHERE pubkey = ?1 AND kind = ?2 AND d_tag = ?3 AND deleted_until >= ?4",
        )?
        .exists(params![
            address.pubkey.as_bytes(),
            address.kind.as_u16(),
            address.d_tag,
            sql_time(event.created_at.as_secs()),
        ])?)
}

/// Raises the high-water mark of `address` to `event`. Returns false, and leaves
/// it, if the mark is newer: later, or of the same second with a lower id.
fn raise_mark(
    transaction: &Transaction<'_>,
    address: &Address<'_>,
    event: &Event,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "INSERT INTO addresses (pubkey, kind, d_tag, newest_at, newest_id)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET newest_at = ?4, newest_id = ?5
             WHERE newest_at IS NULL OR newest_at < ?4 OR (newest_at = ?4 AND newest_id >= ?5)",
        )?
        .execute(params![
            address.pubkey.as_bytes(),
            address.kind.as_u16(),
            address.d_tag,
            sql_time(event.created_at.as_secs()),
            event.id.as_bytes(),
        ])?;
    Ok(changed == 1)
}

fn insert_event(
    transaction: &Transaction<'_>,
    event: &Event,
    d_tag: Option<&str>,
    expires_at: Option<u64>,
) -> Result<i64, StoreError> {
    let created_at = sql_time(event.created_at.as_secs());
    let rid = transaction
        .prepare_cached(
            "INSERT INTO events (id, pubkey, kind, created_at, d_tag, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .insert(params![
            event.id.as_bytes(),
            event.pubkey.as_bytes(),
            event.kind.as_u16(),
            created_at,
            d_tag,
            expires_at.map(sql_time),
        ])?;
    transaction
        .prepare_cached("INSERT INTO bodies (rid, json) VALUES (?1, ?2)")?
        .execute(params![rid, event.as_json()])?;
    insert_tags(transaction, rid, event)?;
    Ok(rid)
}

/// Stores what filters see of the tags of the event stored as `rid`.
pub(super) fn insert_tags(
    transaction: &Transaction<'_>,
    rid: i64,
    event: &Event,
) -> Result<(), StoreError> {
    let created_at = sql_time(event.created_at.as_secs());
    let mut insert_tag = transaction.prepare_cached(
        "INSERT INTO tags (name, value, created_at, rid) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?;
    for (letter, value) in tags::indexed(event) {
        insert_tag.execute(params![letter, value, created_at, rid])?;
    }
    Ok(())
}

/// Remembers what the author of `request` wants gone, and removes what is here of it.
fn apply_deletion(transaction: &Transaction<'_>, request: &Event) -> Result<(), StoreError> {
    let at = sql_time(request.created_at.as_secs());
    let pubkey = request.pubkey.as_bytes();
    let targets = deletion::read(request);
    for id in &targets.ids {
        transaction
            .prepare_cached(
                "INSERT INTO deleted_ids (id, pubkey, deleted_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![id.as_bytes(), pubkey, at])?;
        let stored = transaction
            .prepare_cached("SELECT rid FROM events WHERE id = ?1 AND pubkey = ?2 AND kind <> ?3")?
            .query_row(params![id.as_bytes(), pubkey, kinds::DELETION], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(rid) = stored {
            remove_event(transaction, rid)?;
        }
    }
    for (kind, d_tag) in &targets.addresses {
        let address = Address {
            pubkey: &request.pubkey,
            kind: *kind,
            d_tag,
        };
        transaction
            .prepare_cached(
                "INSERT INTO addresses (pubkey, kind, d_tag, deleted_until) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET deleted_until = max(coalesce(deleted_until, 0), ?4)",
            )?
            .execute(params![pubkey, kind.as_u16(), d_tag, at])?;
        remove_versions(transaction, &address, at)?;
    }
    Ok(())
}

/// Removes the stored event at `address` if it is not newer than `until`.
fn remove_versions(
    transaction: &Transaction<'_>,
    address: &Address<'_>,
    until: i64,
) -> Result<(), StoreError> {
    // The plus keeps SQLite from walking all listings of the author by time.
    let rids = transaction
        .prepare_cached(
            "SELECT rid FROM events
             WHERE pubkey = ?1 AND kind = ?2 AND d_tag = ?3 AND +created_at <= ?4",
        )?
        .query_map(
            params![
                address.pubkey.as_bytes(),
                address.kind.as_u16(),
                address.d_tag,
                until
            ],
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    for rid in rids {
        remove_event(transaction, rid)?;
    }
    Ok(())
}

pub(super) fn remove_event(transaction: &Transaction<'_>, rid: i64) -> Result<(), StoreError> {
    offers::remove_rows(transaction, rid)?;
    for statement in [
        "DELETE FROM tags WHERE rid = ?1",
        "DELETE FROM sightings WHERE rid = ?1",
        "DELETE FROM bodies WHERE rid = ?1",
        "DELETE FROM events WHERE rid = ?1",
    ] {
        transaction.prepare_cached(statement)?.execute([rid])?;
    }
    Ok(())
}
