//! Counters of what a Lightning credential may still do, and which credentials
//! were used.
//!
//! A claim takes of all limits of its credential or of none, in the transaction
//! that records the call. What a call took is given back when it is released, and
//! in part when a metered call cost less than its price.

use feria_paywall::amount::Msat;
use feria_paywall::journal::{Claim, Payment};
use feria_paywall::l402::{Limit, LimitUnit, Remaining};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Ledger;
use crate::store::StoreError;

/// A credential that paid for at least one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedCredential {
    /// Names the macaroon; no secret.
    pub token_id: [u8; 32],
    /// The payment behind it.
    pub payment_hash: [u8; 32],
    /// What it was bought for.
    pub agent: String,
    /// What was paid.
    pub paid: Msat,
    /// Whether calls or millisatoshi were bought.
    pub unit: LimitUnit,
    /// How many of them; 0 calls are any number of them within a time.
    pub bought: u64,
    /// How many of them were taken, by all credentials of this payment; 0 when they are
    /// not counted.
    pub used: u64,
    /// Unix seconds.
    pub first_used_at: u64,
    /// Unix seconds; `None` while it is good.
    pub revoked_at: Option<u64>,
}

/// Returns what one more call would leave; `None` if a limit has no room for it.
pub(super) fn left_after(
    transaction: &Transaction<'_>,
    limits: &[Limit],
    cost: Msat,
) -> Result<Option<Remaining>, StoreError> {
    let mut remaining = Remaining::default();
    for limit in limits {
        let used = used(transaction, limit)?;
        let used = used.saturating_add(limit.taken_by_call(cost.as_u64()));
        let Some(left) = limit.max.checked_sub(used) else {
            return Ok(None);
        };
        remaining.narrow(limit.unit, left);
    }
    Ok(Some(remaining))
}

/// Takes of every limit what the call takes, once [`left_after`] has found room.
pub(super) fn take(
    transaction: &Transaction<'_>,
    call_id: &str,
    payment_key: &[u8; 32],
    limits: &[Limit],
    cost: Msat,
) -> Result<(), StoreError> {
    for limit in limits {
        let taken = limit.taken_by_call(cost.as_u64());
        transaction
            .prepare_cached(
                "INSERT INTO credential_limits (key, unit, used) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key, unit) DO UPDATE SET used = used + excluded.used",
            )?
            .execute(params![limit.key, limit.unit.as_str(), taken])?;
        if limit.unit == LimitUnit::Uses && limit.key == *payment_key {
            continue;
        }
        transaction
            .prepare_cached(
                "INSERT INTO call_limits (call_id, key, unit, taken) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (call_id, key, unit) DO UPDATE SET taken = taken + excluded.taken",
            )?
            .execute(params![call_id, limit.key, limit.unit.as_str(), taken])?;
    }
    Ok(())
}

fn used(transaction: &Transaction<'_>, limit: &Limit) -> Result<u64, StoreError> {
    Ok(transaction
        .prepare_cached("SELECT used FROM credential_limits WHERE key = ?1 AND unit = ?2")?
        .query_row(params![limit.key, limit.unit.as_str()], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// Gives back everything that a call took.
pub(super) fn give_back(
    transaction: &Transaction<'_>,
    call_id: &str,
    payment_key: &[u8],
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "UPDATE credential_limits SET used = used - 1
             WHERE key = ?1 AND unit = 'uses' AND used > 0",
        )?
        .execute([payment_key])?;
    transaction
        .prepare_cached(
            "UPDATE credential_limits SET used = max(0, used - c.taken)
             FROM call_limits c
             WHERE c.call_id = ?1 AND c.key = credential_limits.key
               AND c.unit = credential_limits.unit",
        )?
        .execute([call_id])?;
    transaction
        .prepare_cached("DELETE FROM call_limits WHERE call_id = ?1")?
        .execute([call_id])?;
    Ok(())
}

/// Gives back what a metered call took more than it `cost`.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    call_id: &str,
    cost: Msat,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "UPDATE credential_limits SET used = max(0, used - (c.taken - ?2))
             FROM call_limits c
             WHERE c.call_id = ?1 AND c.unit = 'msat' AND c.taken > ?2
               AND c.key = credential_limits.key AND c.unit = credential_limits.unit",
        )?
        .execute(params![call_id, cost.as_u64()])?;
    transaction
        .prepare_cached(
            "UPDATE call_limits SET taken = ?2 WHERE call_id = ?1 AND unit = 'msat' AND taken > ?2",
        )?
        .execute(params![call_id, cost.as_u64()])?;
    Ok(())
}

/// Notes the first use of a credential.
pub(super) fn note_use(transaction: &Transaction<'_>, claim: &Claim) -> Result<(), StoreError> {
    let (Payment::L402 {
        payment_hash,
        token_id,
        paid,
        limits,
        ..
    }
    | Payment::Mpp {
        payment_hash,
        token_id,
        paid,
        limits,
        ..
    }) = &claim.payment
    else {
        return Ok(());
    };
    let bought = limits
        .iter()
        .find(|limit| limit.key == *payment_hash.as_bytes());
    let (unit, max) = bought.map_or((LimitUnit::Uses, 0), |limit| (limit.unit, limit.max));
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO used_credentials
                    (token_id, payment_hash, agent, paid_msat, unit, bought, first_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            token_id,
            payment_hash.as_bytes(),
            claim.service,
            paid.as_i64(),
            unit.as_str(),
            i64::try_from(max).unwrap_or(i64::MAX),
            claim.now
        ])?;
    Ok(())
}

impl Ledger {
    /// Returns up to `limit` used credentials, the newest first, of `agent` alone if
    /// one is named, and older than `before` (a `first_used_at` and `token_id`).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_used_credentials(
        &self,
        agent: Option<String>,
        before: Option<(u64, [u8; 32])>,
        limit: u32,
    ) -> Result<Vec<UsedCredential>, StoreError> {
        let (at, id) = before.unwrap_or((i64::MAX as u64, [0xff; 32]));
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT u.token_id, u.payment_hash, u.agent, u.paid_msat, u.unit, u.bought,
                            coalesce(l.used, 0), u.first_used_at, r.revoked_at
                     FROM used_credentials u
                     LEFT JOIN credential_limits l ON l.key = u.payment_hash AND l.unit = u.unit
                     LEFT JOIN revoked_credentials r ON r.token_id = u.token_id
                     WHERE (?1 IS NULL OR u.agent = ?1) AND (u.first_used_at, u.token_id) < (?2, ?3)
                     ORDER BY u.first_used_at DESC, u.token_id DESC LIMIT ?4",
                )?
                .query_map(params![agent, at, id, limit], read_row)?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Refuses the credential `token_id` from now on. Returns when it was first
    /// refused: a second time changes nothing. A credential that was never used
    /// can be named too.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn revoke_credential(&self, token_id: [u8; 32], now: u64) -> Result<u64, StoreError> {
        self.write("revoke a credential", move |transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO revoked_credentials (token_id, revoked_at) VALUES (?1, ?2)",
                params![token_id, now],
            )?;
            Ok(transaction.query_row(
                "SELECT revoked_at FROM revoked_credentials WHERE token_id = ?1",
                [token_id],
                |row| row.get(0),
            )?)
        })
        .await
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<UsedCredential> {
    let unit: String = row.get(4)?;
    Ok(UsedCredential {
        token_id: row.get(0)?,
        payment_hash: row.get(1)?,
        agent: row.get(2)?,
        paid: Msat::new(row.get(3)?),
        unit: if unit == "msat" {
            LimitUnit::Msat
        } else {
            LimitUnit::Uses
        },
        bought: row.get(5)?,
        used: row.get(6)?,
        first_used_at: row.get(7)?,
        revoked_at: row.get(8)?,
    })
}

#[cfg(test)]
mod tests;
