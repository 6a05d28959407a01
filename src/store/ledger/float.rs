//! Tokens that lie ready for sellers who are called often: `float_slips`.
//!
//! A slip is *free* when it was made (`tokens_out` has it in flight) and no purchase
//! has taken it. It is taken in the transaction that moves the purchase on, so two
//! calls never share one.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Ledger;
use super::intents::IntentChange;
use super::intents::rows::advance;
use crate::store::StoreError;

const FREE: &str = "FROM float_slips s JOIN tokens_out t ON t.operation_id = s.operation_id
     WHERE s.intent_id IS NULL AND t.state = 'in_flight'";

/// A token that lies ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slip {
    /// Of the wallet's operation.
    pub(crate) operation_id: String,
    /// Whose ecash.
    pub(crate) mint: String,
    /// What the seller nets, in satoshi.
    pub(crate) price_sat: u64,
    /// What it is worth, with what was added for the seller's fee, in satoshi.
    pub(crate) face_sat: u64,
    /// Unix seconds.
    pub(crate) locktime: u64,
}

/// A slip that would do.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The wallet that pays.
    pub(crate) wallet_id: String,
    /// The seller's key.
    pub(crate) lock_key: String,
    /// What the seller asks, in satoshi.
    pub(crate) price_sat: u64,
    /// The least locktime that the seller takes.
    pub(crate) locktime: u64,
}

impl Ledger {
    /// Returns the free slips that would do, the one that ends first before the others.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_slip(&self, wanted: Wanted) -> Result<Option<Slip>, StoreError> {
        self.read(move |connection| find(connection, &wanted)).await
    }

    /// Takes a free slip for the purchase `intent_id` and moves that on by `change`.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn take_slip(
        &self,
        wanted: Wanted,
        intent_id: &str,
        change: IntentChange,
        now: u64,
    ) -> Result<Option<Slip>, StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("take slip", move |transaction| {
            let Some(slip) = find(transaction, &wanted)? else {
                return Ok(None);
            };
            transaction.execute(
                "UPDATE float_slips SET intent_id = ?2 WHERE operation_id = ?1",
                params![slip.operation_id, intent_id],
            )?;
            let change = IntentChange {
                operation_id: Some(slip.operation_id.clone()),
                mint: Some(slip.mint.clone()),
                locktime: Some(slip.locktime),
                ..change
            };
            advance(transaction, &intent_id, &change, now)?;
            Ok(Some(slip))
        })
        .await
    }

    /// Writes down the slips `operation_ids` that are about to be made, the first of
    /// them taken by the purchase `intent_id`, and moves that on by `change`.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn insert_slips(
        &self,
        wanted: Wanted,
        mint: String,
        operation_ids: Vec<String>,
        intent_id: &str,
        change: IntentChange,
        now: u64,
    ) -> Result<(), StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("insert slips", move |transaction| {
            for (number, operation_id) in operation_ids.iter().enumerate() {
                transaction.execute(
                    "INSERT INTO float_slips VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        operation_id,
                        wanted.wallet_id,
                        mint,
                        wanted.lock_key,
                        wanted.price_sat,
                        wanted.locktime,
                        (number == 0).then_some(&intent_id),
                    ],
                )?;
            }
            advance(transaction, &intent_id, &change, now).map(drop)
        })
        .await
    }

    /// Gives the slip `operation_id` back that the purchase `intent_id` took and did
    /// not send, and moves that on by `change`, in one step: a purchase that still
    /// named a free slip would be resolved by what the next one does with it. Returns
    /// whether there is such a slip; nothing changes if not.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn free_slip(
        &self,
        operation_id: &str,
        intent_id: &str,
        change: IntentChange,
        now: u64,
    ) -> Result<bool, StoreError> {
        let (operation_id, intent_id) = (operation_id.to_owned(), intent_id.to_owned());
        self.write("free slip", move |transaction| {
            let freed = transaction.execute(
                "UPDATE float_slips SET intent_id = NULL
                 WHERE operation_id = ?1 AND intent_id = ?2",
                [&operation_id, &intent_id],
            )?;
            Ok(freed > 0 && advance(transaction, &intent_id, &change, now)?)
        })
        .await
    }

    /// Returns what lies ready for the seller `lock_key`, in satoshi.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn sum_slips(
        &self,
        wallet_id: &str,
        lock_key: &str,
    ) -> Result<u64, StoreError> {
        let (wallet_id, lock_key) = (wallet_id.to_owned(), lock_key.to_owned());
        self.read(move |connection| {
            let sql = format!(
                "SELECT coalesce(sum(t.amount_sat), 0) {FREE}
                 AND s.wallet_id = ?1 AND s.lock_key = ?2"
            );
            Ok(connection
                .prepare_cached(&sql)?
                .query_row([wallet_id, lock_key], |row| row.get(0))?)
        })
        .await
    }

    /// Lists free slips whose locktime was before `now`, and forgets what was never made.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn list_due_slips(&self, now: u64) -> Result<Vec<String>, StoreError> {
        self.write("list due slips", move |transaction| {
            transaction.execute(
                "DELETE FROM float_slips WHERE intent_id IS NULL AND locktime < ?1
                 AND NOT EXISTS (SELECT 1 FROM tokens_out t
                                 WHERE t.operation_id = float_slips.operation_id)",
                [now],
            )?;
            let sql = format!("SELECT s.operation_id {FREE} AND s.locktime < ?1 LIMIT 500");
            let mut statement = transaction.prepare_cached(&sql)?;
            let rows = statement.query_map([now], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Counts the calls of `origin` that `wallet_id` has paid since `since`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn count_paid_calls_at(
        &self,
        wallet_id: &str,
        origin: &str,
        since: u64,
    ) -> Result<u64, StoreError> {
        let (wallet_id, origin) = (wallet_id.to_owned(), origin.to_owned());
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT count(*) FROM intents
                     WHERE wallet_id = ?1 AND created_at >= ?3 AND origin = ?2
                       AND way = 'ecash' AND state IN ('paid', 'delivered')",
                )?
                .query_row(params![wallet_id, origin, since], |row| row.get(0))?)
        })
        .await
    }
}

fn find(connection: &Connection, wanted: &Wanted) -> Result<Option<Slip>, StoreError> {
    let sql = format!(
        "SELECT s.operation_id, s.mint, s.price_sat, t.amount_sat, s.locktime {FREE}
         AND s.wallet_id = ?1 AND s.lock_key = ?2 AND s.price_sat = ?3 AND s.locktime >= ?4
         ORDER BY s.locktime, s.operation_id LIMIT 1"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(
            params![
                wanted.wallet_id,
                wanted.lock_key,
                wanted.price_sat,
                wanted.locktime
            ],
            read,
        )
        .optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Slip> {
    Ok(Slip {
        operation_id: row.get(0)?,
        mint: row.get(1)?,
        price_sat: row.get(2)?,
        face_sat: row.get(3)?,
        locktime: row.get(4)?,
    })
}
