//! Many events in one transaction, with the cursors of the relays they came from.
//!
//! One transaction for each event would spend most of its time on beginning and
//! ending it. A batch is stored as a whole or not at all; its caller may offer it
//! again, event by event.

use nostr::event::Event;
use nostr::filter::{Filter, SingleLetterTag};
use rusqlite::{Transaction, params};

use super::rows::{CatalogRow, Stored};
use super::{insert, query, sql_time};
use crate::protocol::tags;
use crate::store::StoreError;

/// A verified event that is offered to the index.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id and signature are right.
    pub event: Event,
    /// What it offers.
    pub rows: Vec<CatalogRow>,
    /// Where it was seen.
    pub relay: Option<String>,
    /// How many of its like are stored at most.
    pub quota: Quota,
}

/// A limit on what is stored beside an event. Copies of stored events need none.
#[derive(Debug, Clone)]
pub enum Quota {
    /// None.
    Unlimited,
    /// Events of the same author with one of `kinds`, but for the one it replaces.
    Author {
        /// The kinds that count together.
        kinds: std::sync::Arc<[u16]>,
        /// The most of them.
        limit: u64,
    },
    /// Events of the same kind for the same recipients (`p` tags).
    Recipients {
        /// The most of them.
        limit: usize,
    },
}

/// How far a relay was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The relay's URL.
    pub relay: String,
    /// Names the filters it was asked with: 32 hexadecimal characters.
    pub filters: String,
    /// Unix seconds.
    pub synced_to: u64,
}

/// Stores `events` and then moves `cursors`; returns what became of each event.
pub(super) fn insert_batch(
    transaction: &Transaction<'_>,
    events: &[NewEvent],
    cursors: &[Cursor],
    now: u64,
) -> Result<Vec<Stored>, StoreError> {
    let stored = events
        .iter()
        .map(|new| insert_new(transaction, new, now))
        .collect::<Result<_, _>>()?;
    for cursor in cursors {
        transaction
            .prepare_cached(
                "INSERT INTO relay_cursors (relay, filters, synced_to) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET synced_to = max(synced_to, excluded.synced_to)",
            )?
            .execute(params![
                cursor.relay,
                cursor.filters,
                sql_time(cursor.synced_to)
            ])?;
    }
    Ok(stored)
}

fn insert_new(
    transaction: &Transaction<'_>,
    new: &NewEvent,
    now: u64,
) -> Result<Stored, StoreError> {
    let event = &new.event;
    let is_known = insert::find_rid(transaction, event)?.is_some();
    if !is_known && is_over(transaction, event, &new.quota, now)? {
        return Ok(Stored::OverQuota);
    }
    insert::insert(transaction, event, &new.rows, new.relay.as_deref(), now)
}

fn is_over(
    transaction: &Transaction<'_>,
    event: &Event,
    quota: &Quota,
    now: u64,
) -> Result<bool, StoreError> {
    match quota {
        Quota::Unlimited => Ok(false),
        Quota::Author { kinds, limit } => {
            let d_tag = insert::d_tag(event);
            let beside = query::count_beside(
                transaction,
                &event.pubkey,
                event.kind,
                d_tag.as_deref(),
                kinds,
            )?;
            Ok(beside >= *limit)
        }
        Quota::Recipients { limit } => {
            let recipients = tags::values(event, "p").map(str::to_owned);
            let waiting = Filter::new()
                .kind(event.kind)
                .custom_tags(SingleLetterTag::LOWERCASE_P, recipients);
            Ok(query::count(transaction, &[waiting], *limit, now)? >= *limit)
        }
    }
}

/// Returns how far each relay was read with `filters`.
pub(super) fn list_cursors(
    transaction: &rusqlite::Connection,
    filters: &str,
) -> Result<Vec<Cursor>, StoreError> {
    Ok(transaction
        .prepare_cached("SELECT relay, synced_to FROM relay_cursors WHERE filters = ?1")?
        .query_map([filters], |row| {
            Ok(Cursor {
                relay: row.get(0)?,
                filters: filters.to_owned(),
                synced_to: row.get(1)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}
