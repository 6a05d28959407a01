//! The newest paid calls, for the owner to look at. Nothing is decided by them.

use super::Ledger;
use crate::store::StoreError;

/// A call that somebody paid an own agent for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentCall {
    /// Names it on the wire: the `Payment-Receipt` header.
    pub id: String,
    /// Who served it.
    pub agent: String,
    /// `l402`, `nut24-offline` or `nut24-swap`.
    pub rail: String,
    /// As the table has it: `swapping`, `interrupted`, `claimed`, `committed`,
    /// `released` or `refunded`.
    pub state: String,
    /// An earlier call came of the same payment: this one brought nothing more.
    pub is_paid_before: bool,
    /// What the payment costs.
    pub price_msat: u64,
    /// What the payer gets back: change or refund.
    pub owed_sat: u64,
    /// Unix seconds.
    pub created_at: u64,
}

impl Ledger {
    /// Lists at most `limit` paid calls, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_recent_calls(&self, limit: u32) -> Result<Vec<RecentCall>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, agent, rail, state, price_msat, owed_sat, created_at,
                        EXISTS (SELECT 1 FROM paid_calls AS earlier
                                WHERE earlier.payment_key = paid_calls.payment_key
                                  AND earlier.rowid < paid_calls.rowid)
                 FROM paid_calls ORDER BY rowid DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limit], |row| {
                Ok(RecentCall {
                    id: row.get(0)?,
                    agent: row.get(1)?,
                    rail: row.get(2)?,
                    state: row.get(3)?,
                    price_msat: row.get(4)?,
                    owed_sat: row.get(5)?,
                    created_at: row.get(6)?,
                    is_paid_before: row.get(7)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
