//! The journal of purchases: `intents`, `answers` and `budgets`.
//!
//! An intent is written, and its cost reserved in the wallet's budget, in one
//! transaction before any money moves. Final states (`delivered`, `refunded`,
//! `refused`, `failed`) never change again.

use feria_paywall::amount::Msat;
use rusqlite::{OptionalExtension, params};

use super::Ledger;
use crate::store::StoreError;

mod answer;
mod budget;
mod record;
pub(super) mod rows;

pub(crate) use answer::StoredAnswer;
use budget::Limits;
pub use budget::{Budget, OverBudget};
pub use record::{Intent, IntentChange, IntentState, NewIntent, Opening, Way};
use rows::{advance, find_blocking, find_by_key, insert, msat, read_intent};

impl Ledger {
    /// Opens a purchase and reserves price and fee limit, unless its key is
    /// taken, its request is blocked or the budget is too small.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn open_intent(
        &self,
        new: NewIntent,
        budget: Budget,
    ) -> Result<Opening, StoreError> {
        self.write("open intent", move |transaction| {
            if let Some(found) = find_by_key(transaction, &new.wallet_id, &new.idempotency_key)? {
                return Ok(Opening::Existing(Box::new(found)));
            }
            if let Some(found) = find_blocking(transaction, &new)? {
                return Ok(Opening::Blocked(Box::new(found)));
            }
            let asked = new.price.saturating_add(new.fee_limit);
            let limits = Limits {
                wallet_id: &new.wallet_id,
                budget,
                now: new.created_at,
            };
            if let Some(over) = limits.check(transaction, asked, Msat::ZERO)? {
                insert(
                    transaction,
                    &new,
                    IntentState::Refused,
                    Msat::ZERO,
                    "over budget",
                )?;
                return Ok(Opening::OverBudget(over));
            }
            insert(transaction, &new, IntentState::Planned, asked, "")?;
            Ok(Opening::Opened)
        })
        .await
    }

    /// Records a purchase that was refused before a payment. A key in use is left alone.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn insert_refused_intent(
        &self,
        new: NewIntent,
        reason: String,
    ) -> Result<(), StoreError> {
        self.write("insert refused intent", move |transaction| {
            if find_by_key(transaction, &new.wallet_id, &new.idempotency_key)?.is_none() {
                insert(transaction, &new, IntentState::Refused, Msat::ZERO, &reason)?;
            }
            Ok(())
        })
        .await
    }

    /// Changes the reservation of the open purchase `intent` to `asked`, or says which limit forbids it.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn reserve_intent(
        &self,
        intent_id: String,
        wallet_id: String,
        asked: Msat,
        budget: Budget,
        now: u64,
    ) -> Result<Option<OverBudget>, StoreError> {
        self.write("reserve intent", move |transaction| {
            let held: i64 = transaction.query_row(
                "SELECT counted_msat FROM intents WHERE id = ?1",
                [&intent_id],
                |row| row.get(0),
            )?;
            let limits = Limits {
                wallet_id: &wallet_id,
                budget,
                now,
            };
            if let Some(over) = limits.check(transaction, asked, msat(held))? {
                return Ok(Some(over));
            }
            transaction.execute(
                "UPDATE intents SET counted_msat = ?2 WHERE id = ?1",
                params![intent_id, asked.as_i64()],
            )?;
            Ok(None)
        })
        .await
    }

    /// Moves an intent on. Returns `false`, and changes nothing, when it is final.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn advance_intent(
        &self,
        intent_id: &str,
        change: IntentChange,
        now: u64,
    ) -> Result<bool, StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("advance intent", move |transaction| {
            advance(transaction, &intent_id, &change, now)
        })
        .await
    }

    /// Returns the purchase of a key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_intent_by_key(
        &self,
        wallet_id: &str,
        key: &str,
    ) -> Result<Option<Intent>, StoreError> {
        let (wallet_id, key) = (wallet_id.to_owned(), key.to_owned());
        self.read(move |connection| find_by_key(connection, &wallet_id, &key))
            .await
    }

    /// Returns a purchase.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_intent(&self, id: &str) -> Result<Option<Intent>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            Ok(connection
                .query_row("SELECT * FROM intents WHERE id = ?1", [id], read_intent)
                .optional()?)
        })
        .await
    }

    /// Returns whether the wallet's operation `operation_id` is begun and not finished.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn is_operation_open(&self, operation_id: &str) -> Result<bool, StoreError> {
        let operation_id = operation_id.to_owned();
        self.read(move |connection| {
            let row = super::operations::find(connection, &operation_id)?;
            Ok(row.is_some_and(|row| row.state == "planned"))
        })
        .await
    }

    /// Lists the purchases whose outcome must be found out, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM intents WHERE state IN ('planned', 'paying', 'unknown')
                 ORDER BY created_at, id",
            )?;
            let rows = statement.query_map([], read_intent)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lists purchases, newest first; `wallet_id` narrows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_intents(
        &self,
        wallet_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Intent>, StoreError> {
        let wallet_id = wallet_id.map(str::to_owned);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM intents WHERE ?1 IS NULL OR wallet_id = ?1
                 ORDER BY created_at DESC, rowid DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![wallet_id, limit], read_intent)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
