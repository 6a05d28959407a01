//! Windows of API tokens: what was spent under each. Table `access_spending`.
//!
//! The most that a call may cost is counted before it starts, and what it did cost
//! after. A call whose end is not known stays counted in full.

use feria_paywall::amount::Msat;
use rusqlite::params;

use crate::store::StoreError;
use crate::store::ledger::Ledger;

/// One window that a call must fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessWindow {
    /// Names the window: SHA-256 of the token up to and with its caveat.
    pub place: [u8; 32],
    /// The most that may be spent in it.
    pub limit: Msat,
    /// How long it is, in seconds.
    pub secs: u64,
}

impl Ledger {
    /// Counts `amount` for the call `call_id` in every one of `windows`, or in none
    /// and returns the first that it does not fit into, with what is used of it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn reserve_access(
        &self,
        windows: Vec<AccessWindow>,
        call_id: String,
        amount: Msat,
        now: u64,
    ) -> Result<Option<(AccessWindow, Msat)>, StoreError> {
        self.write("reserve access", move |transaction| {
            for window in &windows {
                let since = now.saturating_sub(window.secs);
                let used: i64 = transaction
                    .prepare_cached(
                        "SELECT coalesce(sum(amount_msat), 0) FROM access_spending
                         WHERE place = ?1 AND at > ?2",
                    )?
                    .query_row(params![window.place, since], |row| row.get(0))?;
                let used = Msat::new(u64::try_from(used).unwrap_or(0));
                if used.saturating_add(amount) > window.limit {
                    return Ok(Some((*window, used)));
                }
            }
            for window in &windows {
                let since = now.saturating_sub(window.secs);
                transaction
                    .prepare_cached("DELETE FROM access_spending WHERE place = ?1 AND at <= ?2")?
                    .execute(params![window.place, since])?;
                transaction
                    .prepare_cached("INSERT INTO access_spending VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![window.place, call_id, now, amount.as_i64()])?;
            }
            Ok(None)
        })
        .await
    }

    /// Records what the call `call_id` did cost.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn settle_access(&self, call_id: &str, cost: Msat) -> Result<(), StoreError> {
        let call_id = call_id.to_owned();
        self.write("settle access", move |transaction| {
            transaction.execute(
                "UPDATE access_spending SET amount_msat = ?2 WHERE call_id = ?1",
                params![call_id, cost.as_i64()],
            )?;
            Ok(())
        })
        .await
    }
}
