//! `ledger.db`: what the node holds, owes, earned and spent, and why.
//!
//! Each submodule owns the tables of one part of the node and its migration:
//!
//! | module | tables | used by |
//! |---|---|---|
//! | [`postings`] | `entries`, `postings` | everyone |
//! | `operations` | `wallet_operations`, `wallet_counters`, `tokens_out`, `funding_quotes`, `mint_node_keys` | `wallet` |
//! | `proofs` | `proofs`, and `agent_proofs` in memory | `wallet` |
//! | `wallets` | `agent_wallets` | `wallet` |
//! | `audit_chain` | `audit_chain` | `wallet` |
//! | [`paid_calls`] | `paid_calls`, `accepted_proofs` | `gateway` |
//! | [`limits`] | `credential_limits`, `call_limits`, `used_credentials`, `revoked_credentials` | `gateway` |
//! | [`receipts`] | `lightning_receipts`, `lightning_cursors` | `gateway` |
//! | `mint_invoices` | `mint_invoices` | `lightning` |
//! | `nwc` | `nwc_payments`, `nwc_receipts`, `nwc_wallets` | `lightning` |
//! | [`recent_calls`] | reads `paid_calls` | pages |
//! | [`refunds`] | reads and settles what `paid_calls` owe | `gateway` |
//! | [`swaps`] | `paid_calls` on their way to a mint | `gateway` |
//! | [`call_responses`] | `stored_responses` | `gateway` |
//! | [`vault`] | `vault_tokens`, `vault_totals`, `distrusted_mints` | `gateway` |
//! | [`intents`] | `intents`, `answers`, `budgets` | `spend` |
//! | [`approvals`] | `approvals` | `spend` |
//! | [`credentials`] | `credentials` | `spend` |
//! | [`transfers`] | `transfers`, `transfer_proofs` | `transfer` |
//! | [`access`] | `access_tokens`, `access_spending` | `access` |
//!
//! Durability: WAL with `synchronous=FULL`; a commit that returned survives a
//! power cut. A claim, an intent or an outcome is committed before the step that
//! depends on it. Changes that wait at the same time share a commit (`group`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::migration::{Step, migrate};

pub mod access;
pub mod approvals;
pub(crate) mod audit_chain;
pub mod call_responses;
pub mod credentials;
pub(crate) mod float;
mod group;
pub mod intents;
pub mod limits;
pub(crate) mod mint_invoices;
pub(crate) mod nwc;
pub(crate) mod operations;
pub mod paid_calls;
pub mod postings;
pub(crate) mod proofs;
pub mod receipts;
pub mod recent_calls;
pub mod refunds;
pub mod swaps;
pub mod transfers;
pub mod vault;
pub(crate) mod wallets;

pub use access::AccessToken;
pub use postings::{Account, Audit, Entry, EntryKind, Posting};

use group::Writer;

/// Each step belongs to the submodule it is named after. Released steps never change.
const STEPS: &[Step] = &[
    Step {
        name: "0001_postings",
        sql: include_str!("../migrations/ledger/0001_postings.sql"),
    },
    Step {
        name: "0002_wallet",
        sql: include_str!("../migrations/ledger/0002_wallet.sql"),
    },
    Step {
        name: "0003_gateway",
        sql: include_str!("../migrations/ledger/0003_gateway.sql"),
    },
    Step {
        name: "0004_spend",
        sql: include_str!("../migrations/ledger/0004_spend.sql"),
    },
    Step {
        name: "0005_transfer",
        sql: include_str!("../migrations/ledger/0005_transfer.sql"),
    },
    Step {
        name: "0006_access",
        sql: include_str!("../migrations/ledger/0006_access.sql"),
    },
    Step {
        name: "0007_vault_totals",
        sql: include_str!("../migrations/ledger/0007_vault_totals.sql"),
    },
    Step {
        name: "0008_receipt_backend",
        sql: include_str!("../migrations/ledger/0008_receipt_backend.sql"),
    },
    Step {
        name: "0009_policies",
        sql: include_str!("../migrations/ledger/0009_policies.sql"),
    },
    Step {
        name: "0010_mint_invoices",
        sql: include_str!("../migrations/ledger/0010_mint_invoices.sql"),
    },
    Step {
        name: "0011_access_spending",
        sql: include_str!("../migrations/ledger/0011_access_spending.sql"),
    },
    Step {
        name: "0012_purchase",
        sql: include_str!("../migrations/ledger/0012_purchase.sql"),
    },
    Step {
        name: "0013_nwc",
        sql: include_str!("../migrations/ledger/0013_nwc.sql"),
    },
];

/// How long a statement waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept: all that a paid call needs, and what runs beside it.
const STATEMENT_CACHE: usize = 128;
/// Pages of 4 KiB that the WAL grows by before it is copied into the file. A page
/// that changes with every call is copied once in so many changes, so more is
/// less work; the price is up to 32 MiB to read again after a crash.
const CHECKPOINT_PAGES: u32 = 8_192;

/// Pages kept in memory, in KiB. Payments are found by their hashes, which lie all
/// over the file: with SQLite's own 2 MiB most look-ups of a busy seller read it.
const CACHE_KIB: i64 = 16 * 1_024;

/// A handle on `ledger.db`; clones share one connection.
#[derive(Clone)]
pub struct Ledger {
    connection: Arc<Mutex<Connection>>,
    writer: Arc<Writer>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens or creates the file at `path` and brings its schema up to date.
    ///
    /// Blocks on the disk: call it at start, not on a request.
    ///
    /// # Errors
    /// When the file cannot be opened, is newer than this program or is not a database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        crate::store::private_file(path)?;
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Self::prepare(&mut connection, path)?;
        Ok(Self::wrap(connection))
    }

    /// Returns a ledger that is gone when dropped, for tests.
    ///
    /// # Errors
    /// When SQLite cannot run the schema.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut connection = Connection::open_in_memory()?;
        Self::prepare(&mut connection, Path::new(":memory:"))?;
        Ok(Self::wrap(connection))
    }

    fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(connection, path, STEPS)?;
        proofs::prepare(connection)
    }

    fn wrap(connection: Connection) -> Self {
        let connection = Arc::new(Mutex::new(connection));
        Self {
            writer: Writer::new(Arc::clone(&connection)),
            connection,
        }
    }

    /// Runs `work` in an immediate transaction on a blocking thread and commits if
    /// it returns `Ok`. All other changes wait meanwhile, so `work` must only touch
    /// the database. It may share the transaction with others: `group` says how.
    pub(crate) async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run(what, work).await
    }

    /// Runs `work`, which only reads, on a blocking thread.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || work(&connection.lock()))
            .await
            .map_err(|_| StoreError::Stopped)?
    }
}
