//! `index.db`: raw Nostr events as received and verified, and the catalog projected from them.
//!
//! | module | what |
//! |---|---|
//! | [`rows`] | the types that go in and out |
//! | [`batch`] | many events at once, and how far relays were read |
//! | `insert` | one event: duplicates, addresses, deletions, expiry |
//! | `query` | NIP-01 filters |
//! | `offers` | rows of the catalog, written and removed with their event |
//! | `catalog` | the search over them |
//! | `alike` | listings of one endpoint, offers of one interface |
//! | `interfaces` | what an offer's interface was before |
//! | [`audit`] | whether all of it is what the events say, and making it so again |
//!
//! The index stores what it is given: verify and admit events before. It is
//! rebuildable, so it commits without waiting for the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::StoreError;
use super::migration::{Step, migrate};

mod alike;
pub mod audit;
pub mod batch;
mod catalog;
mod insert;
mod interfaces;
mod offers;
mod query;
pub mod rows;
#[cfg(test)]
mod tests;

pub use audit::{Progress, Rebuilt, Verified};
pub use batch::{Cursor, NewEvent, Quota};
pub use rows::{Alike, CatalogRow, Search, Stored};

/// Released steps never change.
const STEPS: &[Step] = &[
    Step {
        name: "0001_events",
        sql: include_str!("../migrations/index/0001_events.sql"),
    },
    Step {
        name: "0002_catalog",
        sql: include_str!("../migrations/index/0002_catalog.sql"),
    },
    Step {
        name: "0003_cursors",
        sql: include_str!("../migrations/index/0003_cursors.sql"),
    },
    Step {
        name: "0004_interface",
        sql: include_str!("../migrations/index/0004_interface.sql"),
    },
];

/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that only read, beside the one that writes.
const READERS: usize = 3;
/// Statements kept compiled by each connection.
const STATEMENT_CACHE: usize = 64;
/// Expired events removed in one transaction, so that pruning never holds the writer for long.
const PRUNE_BATCH: usize = 500;

/// A handle on `index.db`; clones share its connections.
#[derive(Debug, Clone)]
pub struct Index {
    writer: Arc<Mutex<Connection>>,
    /// Empty for an index in memory, whose one connection does everything.
    readers: Arc<[Mutex<Connection>]>,
    next_reader: Arc<AtomicUsize>,
}

impl Index {
    /// Opens or creates the file at `path` and brings its schema up to date.
    ///
    /// Blocks on the disk: call it at start, not on a request.
    ///
    /// # Errors
    /// When the file cannot be opened, is newer than this program or is not a database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        crate::store::private_file(path)?;
        let mut writer = Connection::open(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "NORMAL")?;
        prepare(&mut writer, path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let readers = (0..READERS)
            .map(|_| {
                let reader = Connection::open_with_flags(path, flags)?;
                reader.busy_timeout(BUSY_TIMEOUT)?;
                reader.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
                Ok(Mutex::new(reader))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Self::wrap(writer, readers))
    }

    /// Returns an index that is gone when dropped, for tests.
    ///
    /// # Errors
    /// When SQLite cannot run the schema.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut writer = Connection::open_in_memory()?;
        prepare(&mut writer, Path::new(":memory:"))?;
        Ok(Self::wrap(writer, Vec::new()))
    }

    fn wrap(writer: Connection, readers: Vec<Mutex<Connection>>) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
            readers: readers.into(),
            next_reader: Arc::default(),
        }
    }

    /// Stores a verified event and its catalog rows; `relay` is where it was seen.
    ///
    /// A kind 5 also removes what it names, now and when it arrives later.
    ///
    /// # Errors
    /// When the database fails; nothing was stored then.
    pub async fn insert(
        &self,
        event: Event,
        rows: Vec<CatalogRow>,
        relay: Option<String>,
        now: u64,
    ) -> Result<Stored, StoreError> {
        self.write("index.event.insert", move |transaction| {
            insert::insert(transaction, &event, &rows, relay.as_deref(), now)
        })
        .await
    }

    /// Stores verified events and then moves `cursors`, all of it or nothing. Returns
    /// the events, each with what became of it, in their order.
    ///
    /// # Errors
    /// When the database fails; nothing was stored then.
    pub async fn insert_batch(
        &self,
        events: Vec<NewEvent>,
        cursors: Vec<Cursor>,
        now: u64,
    ) -> Result<Vec<(Event, Stored)>, StoreError> {
        self.write("index.event.insert_batch", move |transaction| {
            let stored = batch::insert_batch(transaction, &events, &cursors, now)?;
            let events = events.into_iter().map(|new| new.event);
            Ok(events.zip(stored).collect())
        })
        .await
    }

    /// Returns how far each relay was read with the filters named `filters`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_cursors(&self, filters: String) -> Result<Vec<Cursor>, StoreError> {
        self.read(move |connection| batch::list_cursors(connection, &filters))
            .await
    }

    /// Returns the stored events that match any of `filters`, newest first, at
    /// most `limit` of each filter; expired and deleted ones are left out.
    ///
    /// A filter's `search` is matched against the catalog's words.
    ///
    /// # Errors
    /// When the database fails, or a filter names more than 30,000 values.
    pub async fn query(
        &self,
        filters: Vec<Filter>,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(move |connection| query::query(connection, &filters, limit, now))
            .await
    }

    /// Returns how many stored events match any of `filters`, counting at most `limit` of each.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count(
        &self,
        filters: Vec<Filter>,
        limit: usize,
        now: u64,
    ) -> Result<usize, StoreError> {
        self.read(move |connection| query::count(connection, &filters, limit, now))
            .await
    }

    /// Returns the event with this id, expired or not. `None` when it is not stored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_event(&self, id: [u8; 32]) -> Result<Option<Event>, StoreError> {
        self.read(move |connection| query::find_event(connection, &id))
            .await
    }

    /// Returns the relays that showed the event with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_sightings(&self, id: [u8; 32]) -> Result<Vec<String>, StoreError> {
        self.read(move |connection| query::list_sightings(connection, &id))
            .await
    }

    /// Returns the catalog rows that match, best match first, newest first among equals.
    ///
    /// # Errors
    /// When the database fails. No text makes it fail: words are quoted.
    pub async fn search(&self, search: Search, now: u64) -> Result<Vec<CatalogRow>, StoreError> {
        self.read(move |connection| catalog::search(connection, &search, now))
            .await
    }

    /// Returns the live rows whose endpoint is exactly this URL, or is its longest path prefix.
    ///
    /// More than one seller may claim a URL: compare [`CatalogRow::seller`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_offers_at(&self, url: &str, now: u64) -> Result<Vec<CatalogRow>, StoreError> {
        let url = url.to_owned();
        self.read(move |connection| catalog::list_offers_at(connection, &url, now))
            .await
    }

    /// Returns the live rows of the listing at `coordinate`; empty when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_listing(
        &self,
        coordinate: &str,
        now: u64,
    ) -> Result<Vec<CatalogRow>, StoreError> {
        let coordinate = coordinate.to_owned();
        self.read(move |connection| catalog::find_listing(connection, &coordinate, now))
            .await
    }

    /// Returns how many listings are live, projections not counted beside their originals.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_listings(&self, now: u64) -> Result<u64, StoreError> {
        self.read(move |connection| catalog::count_listings(connection, now))
            .await
    }

    /// Removes expired events and returns how many there were.
    ///
    /// # Errors
    /// When the database fails; batches done before stay done.
    pub async fn prune_expired(&self, now: u64) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let batch = self
                .write("index.event.prune", move |transaction| {
                    insert::prune_expired(transaction, now, PRUNE_BATCH)
                })
                .await?;
            pruned += batch as u64;
            if batch < PRUNE_BATCH {
                return Ok(pruned);
            }
        }
    }

    /// Returns the live offers with the interface of `schema_hash`, cheapest first,
    /// those without a known price last; at most 50.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_by_interface(
        &self,
        schema_hash: &str,
        now: u64,
    ) -> Result<Vec<CatalogRow>, StoreError> {
        let hash = schema_hash.to_owned();
        self.read(move |connection| alike::list_by_interface(connection, &hash, now))
            .await
    }

    /// Returns which version of the readers made the catalog; 0 when none has yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn readers_version(&self) -> Result<u32, StoreError> {
        self.read(offers::readers_version).await
    }

    /// Drops the catalog and reads it again from the raw events of `kinds` with
    /// `project`, which is of version `readers_version`. Returns the number of rows.
    ///
    /// # Errors
    /// When the database fails; the catalog is as before then.
    pub async fn rebuild_catalog<F>(
        &self,
        kinds: Vec<u16>,
        readers_version: u32,
        project: F,
    ) -> Result<u64, StoreError>
    where
        F: Fn(&Event) -> Vec<CatalogRow> + Send + 'static,
    {
        self.write("index.catalog.rebuild", move |transaction| {
            let rows = audit::project_again(transaction, &kinds, &project)?;
            offers::set_readers_version(transaction, readers_version)?;
            Ok(rows)
        })
        .await
    }

    /// Checks every event, removes what does not hold, and makes tags and catalog
    /// again from the rest.
    ///
    /// Holds the writer all the while: not for a node that takes events.
    ///
    /// # Errors
    /// When the database fails; the index is as before then.
    pub async fn rebuild<F, P>(
        &self,
        readers_version: u32,
        project: F,
        report: P,
    ) -> Result<Rebuilt, StoreError>
    where
        F: Fn(&Event) -> Vec<CatalogRow> + Send + 'static,
        P: Fn(Progress) + Send + 'static,
    {
        self.write("index.rebuild", move |transaction| {
            let done = audit::rebuild(transaction, &project, &report)?;
            offers::set_readers_version(transaction, readers_version)?;
            Ok(done)
        })
        .await
    }

    /// Compares everything in the index with what its events say, as of one moment.
    ///
    /// # Errors
    /// When the database fails. What is wrong with the index is no error.
    pub async fn verify<F, P>(&self, project: F, report: P) -> Result<Verified, StoreError>
    where
        F: Fn(&Event) -> Vec<CatalogRow> + Send + 'static,
        P: Fn(Progress) + Send + 'static,
    {
        self.read(move |connection| {
            // Without a transaction, each statement would see another moment.
            let moment = connection.unchecked_transaction()?;
            let found = audit::verify(&moment, &project, &report)?;
            moment.finish()?;
            Ok(found)
        })
        .await
    }

    /// Runs `work` in one transaction on a blocking thread and commits if it returns `Ok`.
    async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        tokio::task::spawn_blocking(move || {
            let fault = |source| StoreError::Sqlite { what, source };
            let mut connection = writer.lock();
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(fault)?;
            let value = work(&transaction)?;
            transaction.commit().map_err(fault)?;
            Ok(value)
        })
        .await
        .map_err(|_| StoreError::Stopped)?
    }

    /// Runs `work`, which only reads, on a blocking thread.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            if this.readers.is_empty() {
                return work(&this.writer.lock());
            }
            let turn = this.next_reader.fetch_add(1, Ordering::Relaxed) % this.readers.len();
            let free = this.readers.iter().find_map(Mutex::try_lock);
            let reader = free.unwrap_or_else(|| this.readers[turn].lock());
            work(&reader)
        })
        .await
        .map_err(|_| StoreError::Stopped)?
    }
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    migrate(connection, path, STEPS)
}

/// Returns `secs` as SQLite stores it; times beyond its range are all "never".
fn sql_time(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

/// The address of a replaceable or addressable event.
struct Address<'a> {
    pubkey: &'a PublicKey,
    kind: Kind,
    d_tag: &'a str,
}
