//! Limits of wallets, checked in the transaction that reserves.

use feria_paywall::amount::Msat;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::rows::msat;
use crate::store::StoreError;
use crate::store::ledger::Ledger;

const SECS_PER_HOUR: u64 = 3_600;
const SECS_PER_DAY: u64 = 24 * SECS_PER_HOUR;

/// Limits of a wallet; `None` sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Price and fees of one call, millisatoshi.
    pub per_call_msat: Option<u64>,
    /// Everything ever, millisatoshi.
    pub total_msat: Option<u64>,
    /// The last hour, millisatoshi.
    pub hourly_msat: Option<u64>,
    /// The last 24 hours, millisatoshi.
    pub daily_msat: Option<u64>,
}

/// A limit that a purchase would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    /// `per-call`, `total`, `hourly` or `daily`.
    pub window: &'static str,
    /// The limit.
    pub limit: Msat,
    /// Spent and reserved in the window.
    pub used: Msat,
    /// What the purchase would add.
    pub asked: Msat,
}

/// The limits of one wallet at one moment.
pub(super) struct Limits<'a> {
    pub(super) wallet_id: &'a str,
    pub(super) budget: Budget,
    pub(super) now: u64,
}

impl Limits<'_> {
    /// Returns the limit that `asked` would break; `held` is what the purchase itself has reserved already.
    pub(super) fn check(
        &self,
        connection: &Connection,
        asked: Msat,
        held: Msat,
    ) -> Result<Option<OverBudget>, StoreError> {
        let over = |window, limit: u64, used| OverBudget {
            window,
            limit: Msat::new(limit),
            used,
            asked,
        };
        if let Some(limit) = self.budget.per_call_msat
            && asked.as_u64() > limit
        {
            return Ok(Some(over("per-call", limit, Msat::ZERO)));
        }
        let windows = [
            ("total", self.budget.total_msat, 0),
            (
                "hourly",
                self.budget.hourly_msat,
                self.now.saturating_sub(SECS_PER_HOUR),
            ),
            (
                "daily",
                self.budget.daily_msat,
                self.now.saturating_sub(SECS_PER_DAY),
            ),
        ];
        for (window, limit, since) in windows {
            let Some(limit) = limit else { continue };
            let used = self.used_since(connection, since)?.saturating_sub(held);
            if used.saturating_add(asked).as_u64() > limit {
                return Ok(Some(over(window, limit, used)));
            }
        }
        Ok(None)
    }

    fn used_since(&self, connection: &Connection, since: u64) -> Result<Msat, StoreError> {
        let used: i64 = connection
            .prepare_cached(
                "SELECT coalesce(sum(counted_msat), 0) FROM intents
                 WHERE wallet_id = ?1 AND created_at >= ?2",
            )?
            .query_row(params![self.wallet_id, since], |row| row.get(0))?;
        Ok(msat(used))
    }
}

impl Ledger {
    /// Returns the limits set for a wallet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_budget(&self, wallet_id: &str) -> Result<Option<Budget>, StoreError> {
        let wallet_id = wallet_id.to_owned();
        self.read(move |connection| {
            Ok(connection
                .query_row(
                    "SELECT per_call_msat, total_msat, hourly_msat, daily_msat
                     FROM budgets WHERE wallet_id = ?1",
                    [wallet_id],
                    |row| {
                        Ok(Budget {
                            per_call_msat: row.get(0)?,
                            total_msat: row.get(1)?,
                            hourly_msat: row.get(2)?,
                            daily_msat: row.get(3)?,
                        })
                    },
                )
                .optional()?)
        })
        .await
    }

    /// Sets the limits of a wallet.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn replace_budget(&self, wallet_id: &str, budget: Budget) -> Result<(), StoreError> {
        let wallet_id = wallet_id.to_owned();
        self.write("replace budget", move |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO budgets VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    wallet_id,
                    budget.per_call_msat,
                    budget.total_msat,
                    budget.hourly_msat,
                    budget.daily_msat
                ],
            )?;
            Ok(())
        })
        .await
    }
}
