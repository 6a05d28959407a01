//! Limits of wallets, and what the ledger knows of earlier spending.

use feria_paywall::amount::Msat;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde::{Deserialize, Serialize};

use super::judgement::{Scope, Spending, Windows};
use super::rows::msat;
use crate::store::StoreError;
use crate::store::ledger::Ledger;

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

impl From<Budget> for Windows {
    fn from(budget: Budget) -> Self {
        Self {
            per_call: budget.per_call_msat.map(Msat::new),
            hourly: budget.hourly_msat.map(Msat::new),
            daily: budget.daily_msat.map(Msat::new),
            total: budget.total_msat.map(Msat::new),
            calls_per_minute: None,
        }
    }
}

/// What a wallet and its agent have spent, by the ledger.
pub(in crate::store::ledger) struct Spent<'a> {
    pub(in crate::store::ledger) connection: &'a Connection,
    pub(in crate::store::ledger) wallet_id: &'a str,
    pub(in crate::store::ledger) agent: &'a str,
    /// A purchase that is left out: the one that is looked at again. May be empty.
    pub(in crate::store::ledger) except: &'a str,
}

impl Spent<'_> {
    /// Returns `expression` over the purchases in `scope` since `since`.
    fn sum(&self, expression: &str, scope: &Scope, since: u64) -> Result<i64, StoreError> {
        let (owner_column, owner) = match scope {
            Scope::Wallet => ("wallet_id", self.wallet_id),
            _ => ("agent", self.agent),
        };
        let narrowed = match scope {
            Scope::Wallet | Scope::Agent => None,
            Scope::Host(host) => Some(("host", host)),
            Scope::Seller(seller) => Some(("seller", seller)),
            Scope::Capability(capability) => Some(("capability", capability)),
            Scope::Rail(rail) => Some(("rail_kind", rail)),
        };
        let mut sql = format!(
            "SELECT {expression} FROM intents WHERE {owner_column} = ?1 AND created_at >= ?2"
        );
        let mut values: Vec<&dyn ToSql> = vec![&owner, &since];
        // Left out where it is not needed: the index alone answers then.
        if !self.except.is_empty() {
            sql.push_str(" AND id <> ?3");
            values.push(&self.except);
        }
        if let Some((column, value)) = &narrowed {
            values.push(value);
            sql.push_str(&format!(" AND {column} = ?{}", values.len()));
        }
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row(values.as_slice(), |row| row.get(0))?)
    }
}

impl Spending for Spent<'_> {
    fn spent(&self, scope: &Scope, since: u64) -> Result<Msat, StoreError> {
        self.sum("coalesce(sum(counted_msat), 0)", scope, since)
            .map(msat)
    }

    fn calls(&self, scope: &Scope, since: u64) -> Result<u64, StoreError> {
        let calls = self.sum(
            "count(*) FILTER (WHERE state <> 'refused' AND rail_kind IS NOT NULL)",
            scope,
            since,
        )?;
        Ok(u64::try_from(calls).unwrap_or(0))
    }
}

impl Ledger {
    /// Runs `look` over what a wallet and its agent have spent; reserves nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn look_at_spending<T, F>(
        &self,
        wallet_id: &str,
        agent: &str,
        look: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Spending) -> Result<T, StoreError> + Send + 'static,
    {
        let (wallet_id, agent) = (wallet_id.to_owned(), agent.to_owned());
        self.read(move |connection| {
            look(&Spent {
                connection,
                wallet_id: &wallet_id,
                agent: &agent,
                except: "",
            })
        })
        .await
    }

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
