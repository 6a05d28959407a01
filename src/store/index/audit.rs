//! Whether the index is what its events say, and making it so again.
//!
//! The raw events are the truth, as far as their ids and signatures hold: the
//! columns and tags beside them and all rows of the catalog are compared with what
//! each event says, or made from it again. An event that does not hold is removed by
//! a rebuild; relays may still have the honest copy.
//!
//! Both walk the events in their order, a batch at a time, and check the signatures
//! of a batch on all cores.

use std::collections::BTreeMap;
use std::thread;

use nostr::event::Event;
use rusqlite::{Connection, Transaction};

use super::offers::{self, Columns};
use super::rows::CatalogRow;
use super::{insert, sql_time};
use crate::protocol::tags;
use crate::store::StoreError;

/// Events that are checked together.
const BATCH: usize = 1_000;
/// Faults that are named one by one.
const MAX_EXAMPLES: usize = 20;

/// How far a walk over all events has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events done.
    pub done: u64,
    /// All events.
    pub total: u64,
}

/// What a check of the index found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Events that were checked.
    pub events: u64,
    /// Rows of the catalog that were compared.
    pub rows: u64,
    /// How often each [`Fault`] was found.
    pub faults: BTreeMap<&'static str, u64>,
    /// The first faults: what, and the id of the event or the row's number.
    pub examples: Vec<(&'static str, String)>,
}

/// What a rebuild did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Events that were read again.
    pub events: u64,
    /// Rows that the catalog has now.
    pub rows: u64,
    /// Events that did not hold and are gone, by [`Fault`].
    pub removed: BTreeMap<&'static str, u64>,
}

/// What can be wrong with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SQLite itself finds the file damaged.
    Damaged,
    /// There is no event in the body, or none at all.
    Unreadable,
    /// The id or the signature is wrong.
    Forged,
    /// Id, author, kind, time, `d` tag or expiry differ from the event's.
    Columns,
    /// The tags for filters differ from the event's.
    Tags,
    /// The rows of the catalog differ from what the event says.
    Rows,
    /// A row, a body or a tag belongs to no event.
    Orphan,
    /// A row cannot be found by text.
    Text,
}

impl Fault {
    /// Returns the name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged-file",
            Self::Unreadable => "unreadable-event",
            Self::Forged => "wrong-id-or-signature",
            Self::Columns => "wrong-columns",
            Self::Tags => "wrong-tags",
            Self::Rows => "wrong-rows",
            Self::Orphan => "orphan",
            Self::Text => "not-searchable",
        }
    }
}

impl Verified {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn note(&mut self, fault: Fault, what: String) {
        *self.faults.entry(fault.as_str()).or_default() += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push((fault.as_str(), what));
        }
    }
}

/// An event as it is stored.
struct Stored {
    rid: i64,
    columns: EventColumns,
    json: Option<String>,
}

#[derive(PartialEq)]
struct EventColumns {
    id: Vec<u8>,
    pubkey: Vec<u8>,
    kind: u16,
    created_at: i64,
    d_tag: Option<String>,
    expires_at: Option<i64>,
}

impl EventColumns {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.as_bytes().to_vec(),
            pubkey: event.pubkey.as_bytes().to_vec(),
            kind: event.kind.as_u16(),
            created_at: sql_time(event.created_at.as_secs()),
            d_tag: insert::d_tag(event),
            expires_at: tags::expiration(event).map(sql_time),
        }
    }
}

impl Stored {
    /// Returns the event if it holds.
    fn check(&self) -> Result<Event, Fault> {
        let json = self.json.as_deref().ok_or(Fault::Unreadable)?;
        let event = Event::from_json(json).map_err(|_| Fault::Unreadable)?;
        event.verify().map_err(|_| Fault::Forged)?;
        if EventColumns::of(&event) == self.columns {
            Ok(event)
        } else {
            Err(Fault::Columns)
        }
    }
}

/// Compares everything in the index with what its events say. Changes nothing.
pub(super) fn verify(
    connection: &Connection,
    project: &dyn Fn(&Event) -> Vec<CatalogRow>,
    report: &dyn Fn(Progress),
) -> Result<Verified, StoreError> {
    let mut found = Verified::default();
    for damage in damages(connection)? {
        found.note(Fault::Damaged, damage);
    }
    walk(connection, report, |stored, checked| {
        found.events += 1;
        let id = || hex::encode(&stored.columns.id);
        let event = match checked {
            Ok(event) => event,
            Err(fault) => {
                found.note(fault, id());
                return Ok(());
            }
        };
        if stored_tags(connection, stored.rid)? != expected_tags(&event) {
            found.note(Fault::Tags, id());
        }
        let rows = Columns::list(connection, stored.rid)?;
        found.rows += rows.len() as u64;
        let expected = project(&event)
            .iter()
            .map(|row| Columns::of(row, &event))
            .collect::<Result<Vec<_>, _>>()?;
        if rows != expected {
            found.note(Fault::Rows, id());
        }
        Ok(())
    })?;
    for (fault, sql) in LOOSE_ENDS {
        let mut statement = connection.prepare(sql)?;
        let loose = statement.query_map([], |row| row.get::<_, i64>(0))?;
        for place in loose {
            found.note(*fault, format!("row {}", place?));
        }
    }
    Ok(found)
}

/// Returns what SQLite finds wrong with each table. The virtual one is left out: its
/// own check writes, and its tables are checked like the others.
fn damages(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut tables = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'",
    )?;
    let tables = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    let mut check = connection.prepare("SELECT quick_check FROM pragma_quick_check(?1)")?;
    let mut damages = Vec::new();
    for table in tables {
        let words = check
            .query_map([&table], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        damages.extend(words.into_iter().filter(|words| words != "ok"));
    }
    Ok(damages)
}

/// What belongs to nothing, and what search does not see.
const LOOSE_ENDS: &[(Fault, &str)] = &[
    (
        Fault::Orphan,
        "SELECT oid FROM offers WHERE event_rid NOT IN (SELECT rid FROM events)",
    ),
    (
        Fault::Orphan,
        "SELECT oid FROM offer_rows WHERE oid NOT IN (SELECT oid FROM offers)",
    ),
    (
        Fault::Orphan,
        "SELECT rid FROM bodies WHERE rid NOT IN (SELECT rid FROM events)",
    ),
    (
        Fault::Orphan,
        "SELECT DISTINCT rid FROM tags WHERE rid NOT IN (SELECT rid FROM events)",
    ),
    (
        Fault::Text,
        "SELECT oid FROM offers WHERE oid NOT IN (SELECT id FROM offers_fts_docsize)",
    ),
    (
        Fault::Text,
        "SELECT id FROM offers_fts_docsize WHERE id NOT IN (SELECT oid FROM offers)",
    ),
];

/// Drops everything that is made from events and makes it again.
pub(super) fn rebuild(
    transaction: &Transaction<'_>,
    project: &dyn Fn(&Event) -> Vec<CatalogRow>,
    report: &dyn Fn(Progress),
) -> Result<Rebuilt, StoreError> {
    offers::clear(transaction)?;
    transaction.execute_batch(
        "DELETE FROM tags;
         DELETE FROM bodies WHERE rid NOT IN (SELECT rid FROM events);
         DELETE FROM sightings WHERE rid NOT IN (SELECT rid FROM events);",
    )?;
    let mut done = Rebuilt::default();
    walk(transaction, report, |stored, checked| {
        match checked {
            Ok(event) => {
                let rows = project(&event);
                insert::insert_tags(transaction, stored.rid, &event)?;
                offers::insert_rows(transaction, stored.rid, &event, &rows)?;
                done.events += 1;
                done.rows += rows.len() as u64;
            }
            Err(fault) => {
                insert::remove_event(transaction, stored.rid)?;
                *done.removed.entry(fault.as_str()).or_default() += 1;
            }
        }
        Ok(())
    })?;
    if !done.removed.is_empty() {
        // What is gone is asked for again only when relays are read from their beginning.
        transaction.execute("DELETE FROM relay_cursors", [])?;
    }
    Ok(done)
}

/// Drops the catalog and reads it again from the events of `kinds`, which are taken as they are.
pub(super) fn project_again(
    transaction: &Transaction<'_>,
    kinds: &[u16],
    project: &dyn Fn(&Event) -> Vec<CatalogRow>,
) -> Result<u64, StoreError> {
    offers::clear(transaction)?;
    let mut inserted = 0;
    for kind in kinds {
        let rids = transaction
            .prepare_cached("SELECT rid FROM events WHERE kind = ?1 ORDER BY rid")?
            .query_map([kind], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        for rid in rids {
            if let Some(event) = super::query::read_event(transaction, rid)? {
                let rows = project(&event);
                offers::insert_rows(transaction, rid, &event, &rows)?;
                inserted += rows.len() as u64;
            }
        }
    }
    Ok(inserted)
}

/// Checks all events in their order and hands each over with what was found.
fn walk(
    connection: &Connection,
    report: &dyn Fn(Progress),
    mut visit: impl FnMut(&Stored, Result<Event, Fault>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let total = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    let mut progress = Progress { done: 0, total };
    let mut last = i64::MIN;
    loop {
        report(progress);
        let batch = read_batch(connection, last)?;
        let Some(end) = batch.last() else {
            return Ok(());
        };
        last = end.rid;
        for (stored, checked) in batch.iter().zip(check_all(&batch)) {
            visit(stored, checked)?;
        }
        progress.done += batch.len() as u64;
    }
}

fn read_batch(connection: &Connection, after: i64) -> Result<Vec<Stored>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT e.rid, e.id, e.pubkey, e.kind, e.created_at, e.d_tag, e.expires_at, b.json
             FROM events e LEFT JOIN bodies b USING (rid)
             WHERE e.rid > ?1 ORDER BY e.rid LIMIT ?2",
        )?
        .query_map((after, BATCH), |row| {
            Ok(Stored {
                rid: row.get(0)?,
                columns: EventColumns {
                    id: row.get(1)?,
                    pubkey: row.get(2)?,
                    kind: row.get(3)?,
                    created_at: row.get(4)?,
                    d_tag: row.get(5)?,
                    expires_at: row.get(6)?,
                },
                json: row.get(7)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}

/// Signatures are what takes the time, and each stands alone.
fn check_all(batch: &[Stored]) -> Vec<Result<Event, Fault>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = batch.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = batch
            .chunks(share)
            .map(|part| {
                let worker = scope.spawn(|| part.iter().map(Stored::check).collect::<Vec<_>>());
                (worker, part.len())
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|(worker, count)| {
                // A parser that died has not vouched for its events.
                worker
                    .join()
                    .unwrap_or_else(|_| (0..count).map(|_| Err(Fault::Unreadable)).collect())
            })
            .collect()
    })
}

fn stored_tags(
    connection: &Connection,
    rid: i64,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT name, value, created_at FROM tags WHERE rid = ?1 ORDER BY name, value",
        )?
        .query_map([rid], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?)
}

fn expected_tags(event: &Event) -> Vec<(String, String, i64)> {
    let at = sql_time(event.created_at.as_secs());
    let mut expected: Vec<_> = tags::indexed(event)
        .map(|(name, value)| (name.to_owned(), value.to_owned(), at))
        .collect();
    expected.sort_unstable();
    expected.dedup();
    expected
}
