//! Ecash that the gateway accepted without its mint and has not redeemed.
//!
//! A redeem is written down (its tokens and its operation id) before the mint is
//! asked, so a restart repeats exactly the same operation.

use std::collections::BTreeMap;

use feria_paywall::amount::Sat;
use feria_paywall::journal::{PaidToken, PaymentKey};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Account, Entry, EntryKind, Ledger};
use crate::store::StoreError;

/// Tokens of one mint that are redeemed together.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) operation_id: String,
    pub(crate) mint: String,
    /// Whose keys the proofs are locked to.
    pub(crate) agents: Vec<String>,
    /// The proofs of each token as JSON.
    pub(crate) proofs: Vec<String>,
    pub(crate) gross: Sat,
    /// Until when the first of them must be redeemed. Unix seconds.
    pub(crate) redeem_by: Option<u64>,
}

/// What one mint's unredeemed ecash amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) mint: String,
    pub(crate) gross: Sat,
    /// What redeeming all of it costs, in thousandths of a satoshi.
    pub(crate) fee_ppk: u64,
    /// When the oldest was accepted. Unix seconds.
    pub(crate) oldest_at: u64,
    /// Until when the first of it must be redeemed. Unix seconds.
    pub(crate) redeem_by: Option<u64>,
    /// Whether an earlier batch of this mint is not through yet.
    pub(crate) is_waiting: bool,
}

impl Ledger {
    /// Returns what is held and not on its way to its mint, for each mint.
    pub(crate) async fn list_held(&self) -> Result<Vec<Held>, StoreError> {
        self.read(|connection| {
            Ok(connection
                .prepare(
                    "SELECT mint, sum(gross_sat), sum(fee_ppk), min(accepted_at), min(redeem_by),
                            EXISTS (SELECT 1 FROM vault_tokens w
                                    WHERE w.mint = v.mint AND w.state = 'redeeming'
                                      AND w.is_refused = 0)
                     FROM vault_tokens v WHERE state = 'held' GROUP BY mint",
                )?
                .query_map([], |row| {
                    Ok(Held {
                        mint: row.get(0)?,
                        gross: Sat::new(row.get(1)?),
                        fee_ppk: row.get(2)?,
                        oldest_at: row.get(3)?,
                        redeem_by: row.get(4)?,
                        is_waiting: row.get(5)?,
                    })
                })?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns what must be redeemed by `soon` and is not, for each mint.
    pub(crate) async fn list_at_risk(&self, soon: u64) -> Result<Vec<(String, Sat)>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT mint, sum(gross_sat) FROM vault_tokens
                     WHERE state IN ('held', 'redeeming') AND redeem_by <= ?1 GROUP BY mint",
                )?
                .query_map([soon], |row| Ok((row.get(0)?, Sat::new(row.get(1)?))))?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Marks held tokens of `mint` as being redeemed by `operation_id`: those that
    /// must be redeemed first, of at most `max_proofs` proofs together, but at least
    /// one token. With `only`, just the token that this payment was made with.
    pub(crate) async fn begin_redeem(
        &self,
        mint: String,
        only: Option<PaymentKey>,
        operation_id: String,
        max_proofs: u32,
    ) -> Result<(), StoreError> {
        self.write("begin a redeem", move |transaction| {
            transaction.execute(
                "UPDATE vault_tokens SET state = 'redeeming', operation_id = ?2
                 WHERE payment_key IN (
                     SELECT payment_key FROM (
                         SELECT payment_key, proof_count,
                                sum(proof_count) OVER (
                                    ORDER BY coalesce(redeem_by, 9e18), accepted_at, payment_key
                                ) AS proofs
                         FROM vault_tokens
                         WHERE mint = ?1 AND state = 'held' AND (?3 IS NULL OR payment_key = ?3))
                     WHERE proofs <= ?4 OR proofs = proof_count)",
                params![mint, operation_id, only.map(|key| key.0), max_proofs],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the redeems that were begun and not finished.
    pub(crate) async fn list_redeeming(&self) -> Result<Vec<Batch>, StoreError> {
        self.read(|connection| {
            let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
            let mut select = connection.prepare(
                "SELECT operation_id, mint, agent, proofs, gross_sat, redeem_by FROM vault_tokens
                 WHERE state = 'redeeming' ORDER BY operation_id, payment_key",
            )?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let operation_id: String = row.get(0)?;
                let agent: String = row.get(2)?;
                let batch = match batches.entry(operation_id.clone()) {
                    std::collections::btree_map::Entry::Occupied(old) => old.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => new.insert(Batch {
                        operation_id,
                        mint: row.get(1)?,
                        agents: Vec::new(),
                        proofs: Vec::new(),
                        gross: Sat::ZERO,
                        redeem_by: None,
                    }),
                };
                let redeem_by: Option<u64> = row.get(5)?;
                batch.redeem_by = batch.redeem_by.into_iter().chain(redeem_by).min();
                if !batch.agents.contains(&agent) {
                    batch.agents.push(agent);
                }
                batch.proofs.push(row.get(3)?);
                batch.gross = batch.gross.saturating_add(Sat::new(row.get(4)?));
            }
            Ok(batches.into_values().collect())
        })
        .await
    }

    /// Records that the redeem `operation_id` is done; the wallet has booked it. A
    /// mint that gave nothing on an earlier day and has never made us lose anything
    /// is trusted again.
    pub(crate) async fn finish_redeem(&self, operation_id: String) -> Result<(), StoreError> {
        self.write("finish a redeem", move |transaction| {
            transaction.execute(
                "DELETE FROM distrusted_mints
                 WHERE mint IN (SELECT mint FROM vault_tokens WHERE operation_id = ?1)
                   AND mint NOT IN (SELECT mint FROM vault_tokens WHERE state = 'lost')",
                [&operation_id],
            )?;
            transaction.execute(
                "UPDATE vault_tokens SET state = 'redeemed', proofs = '[]' WHERE operation_id = ?1",
                [operation_id],
            )?;
            Ok(())
        })
        .await
    }

    /// Gives every token of a refused redeem an operation of its own, so that one
    /// bad token does not hold the others. Returns false if there was only one.
    pub(crate) async fn split_redeem(&self, operation_id: String) -> Result<bool, StoreError> {
        self.write("split a redeem", move |transaction| {
            let tokens: u64 = transaction.query_row(
                "SELECT count(*) FROM vault_tokens WHERE operation_id = ?1",
                [&operation_id],
                |row| row.get(0),
            )?;
            if tokens < 2 {
                return Ok(false);
            }
            transaction.execute(
                "UPDATE vault_tokens SET operation_id = operation_id || '-' || substr(hex(payment_key), 1, 16)
                 WHERE operation_id = ?1",
                [operation_id],
            )?;
            Ok(true)
        })
        .await
    }

    /// Records that the mint gave nothing for `batch` and may do so another day: new
    /// batches do not wait for it, and tokens of that mint are swapped first from now on.
    pub(crate) async fn note_refusal(
        &self,
        batch: Batch,
        reason: String,
        now: u64,
    ) -> Result<(), StoreError> {
        self.write("note a refusal", move |transaction| {
            transaction.execute(
                "UPDATE vault_tokens SET is_refused = 1 WHERE operation_id = ?1",
                [&batch.operation_id],
            )?;
            distrust(transaction, &batch.mint, &reason, now)
        })
        .await
    }

    /// Writes the tokens of `operation_id` off and swaps first at that mint from now on.
    pub(crate) async fn lose_redeem(
        &self,
        batch: Batch,
        reason: String,
        now: u64,
    ) -> Result<(), StoreError> {
        self.write("lose a redeem", move |transaction| {
            let lost = transaction.execute(
                "UPDATE vault_tokens SET state = 'lost' WHERE operation_id = ?1 AND state = 'redeeming'",
                [&batch.operation_id],
            )?;
            if lost == 0 {
                return Ok(());
            }
            distrust(transaction, &batch.mint, &reason, now)?;
            Entry::new(EntryKind::Redeem, batch.operation_id.clone(), now)
                .memo("the mint refused accepted ecash")
                .debit(Account::expense("lost-ecash"), batch.gross)
                .credit(Account::vault(&batch.mint), batch.gross)
                .post(transaction)?;
            forget_debt(transaction, &batch.operation_id, now)
        })
        .await
    }
}

fn distrust(
    transaction: &Transaction<'_>,
    mint: &str,
    reason: &str,
    now: u64,
) -> Result<(), StoreError> {
    let reason: String = reason.chars().take(200).collect();
    transaction.execute(
        "INSERT OR REPLACE INTO distrusted_mints (mint, since, reason) VALUES (?1, ?2, ?3)",
        params![mint, now, reason],
    )?;
    Ok(())
}

/// A token that its mint refused pays for no retry and no refund.
fn forget_debt(
    transaction: &Transaction<'_>,
    operation_id: &str,
    now: u64,
) -> Result<(), StoreError> {
    let debts: Vec<(String, String, u64)> = transaction
        .prepare(
            "SELECT c.id, c.agent, c.owed_sat FROM paid_calls c JOIN vault_tokens v ON v.call_id = c.id
             WHERE v.operation_id = ?1 AND c.state IN ('released', 'refunded')
               AND c.owed_sat > 0 AND c.is_paid_out = 0",
        )?
        .query_map([operation_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (call_id, agent, owed) in debts {
        transaction.execute(
            "UPDATE paid_calls SET state = 'refunded', owed_sat = 0, updated_at = ?2 WHERE id = ?1",
            params![call_id, now],
        )?;
        Entry::new(EntryKind::Refund, call_id, now)
            .memo("owed for ecash that turned out worthless")
            .debit(Account::owed(&agent), Sat::new(owed))
            .credit(Account::expense("lost-ecash"), Sat::new(owed))
            .post(transaction)?;
    }
    Ok(())
}

/// Returns whether the token of `payment` was written off.
pub(super) fn is_lost(transaction: &Transaction<'_>, payment: &[u8]) -> Result<bool, StoreError> {
    Ok(transaction
        .prepare_cached("SELECT 1 FROM vault_tokens WHERE payment_key = ?1 AND state = 'lost'")?
        .exists([payment])?)
}

/// Returns whether `amount` more of `mint` may be taken without asking it.
pub(super) fn has_room(
    transaction: &Transaction<'_>,
    mint: &str,
    amount: Sat,
    cap: Sat,
) -> Result<bool, StoreError> {
    let is_distrusted = transaction
        .prepare_cached("SELECT 1 FROM distrusted_mints WHERE mint = ?1")?
        .exists([mint])?;
    if is_distrusted {
        return Ok(false);
    }
    let held: Option<u64> = transaction
        .prepare_cached("SELECT unredeemed_sat FROM vault_totals WHERE mint = ?1")?
        .query_row([mint], |row| row.get(0))
        .optional()?;
    let held = Sat::new(held.unwrap_or(0));
    Ok(held.saturating_add(amount) <= cap)
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    call_id: &str,
    agent: &str,
    token: &PaidToken,
    now: u64,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO vault_tokens (payment_key, call_id, agent, mint, proofs, gross_sat,
                    proof_count, fee_ppk, redeem_by, state, accepted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'held', ?10)",
        )?
        .execute(params![
            token.key().0,
            call_id,
            agent,
            token.mint,
            token.proofs,
            token.gross.as_u64(),
            token.ys.len(),
            token.fee_ppk,
            token.redeem_by,
            now
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every total, beside the sum it stands for.
    async fn totals(ledger: &Ledger) -> Vec<(String, u64, u64)> {
        let sums = "SELECT t.mint, t.unredeemed_sat, coalesce(sum(v.gross_sat), 0)
             FROM vault_totals t LEFT JOIN vault_tokens v
               ON v.mint = t.mint AND v.state IN ('held', 'redeeming')
             GROUP BY t.mint ORDER BY t.mint";
        ledger
            .read(move |connection| {
                Ok(connection
                    .prepare(sums)?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect::<Result<_, _>>()?)
            })
            .await
            .unwrap()
    }

    async fn change(ledger: &Ledger, sql: &'static str) -> Vec<(String, u64, u64)> {
        ledger
            .write("test", move |transaction| {
                Ok(transaction.execute_batch(sql)?)
            })
            .await
            .unwrap();
        totals(ledger).await
    }

    #[tokio::test]
    async fn the_totals_follow_every_change_of_a_token() {
        let ledger = Ledger::in_memory().unwrap();
        let two = |one, other| vec![("a".to_owned(), one, one), ("b".to_owned(), other, other)];

        let taken = "INSERT INTO paid_calls (id, agent, rail, payment_key, state, price_msat, created_at, updated_at)
               VALUES (printf('%032d', 1), 'data', 'nut24-offline', zeroblob(32), 'committed', 1, 1, 1);
             INSERT INTO vault_tokens (payment_key, call_id, agent, mint, proofs, gross_sat,
                    proof_count, fee_ppk, state, accepted_at)
               SELECT randomblob(32), printf('%032d', 1), 'data', mint, '[]', gross, 1, 0, state, number
               FROM (SELECT 1 AS number, 'a' AS mint, 5 AS gross, 'held' AS state
                     UNION ALL SELECT 2, 'a', 7, 'held' UNION ALL SELECT 3, 'b', 11, 'held'
                     UNION ALL SELECT 4, 'b', 13, 'redeemed')";
        assert_eq!(change(&ledger, taken).await, two(12, 11));

        let begun =
            "UPDATE vault_tokens SET state = 'redeeming', operation_id = 'x' WHERE state = 'held'";
        assert_eq!(change(&ledger, begun).await, two(12, 11));

        let done = "UPDATE vault_tokens SET state = 'redeemed' WHERE accepted_at = 1;
             UPDATE vault_tokens SET state = 'lost' WHERE accepted_at = 3";
        assert_eq!(change(&ledger, done).await, two(7, 0));

        let back = "UPDATE vault_tokens SET state = 'held' WHERE accepted_at = 3;
             DELETE FROM vault_tokens WHERE accepted_at = 2";
        assert_eq!(change(&ledger, back).await, two(0, 11));
    }
}
