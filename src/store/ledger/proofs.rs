//! Proofs held: the treasury's on disk, those of agent wallets in memory only.
//!
//! Agent wallets use a table of the connection's temporary database, kept in
//! memory by `temp_store`. So one transaction reserves, spends and stores proofs
//! of either kind together with the journal and the postings, and nothing of an
//! agent wallet is left on disk.

use rusqlite::{Connection, Transaction, params};

use crate::store::StoreError;

/// The wallet whose proofs are on disk.
pub(crate) const DURABLE_WALLET: &str = "treasury";

/// A proof and where it belongs.
#[derive(Clone)]
pub(crate) struct ProofRow {
    /// hash_to_curve(secret), compressed.
    pub(crate) y: [u8; 33],
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) keyset_id: String,
    pub(crate) amount_sat: u64,
    /// The proof as JSON. A secret.
    pub(crate) proof: String,
}

/// Makes the table for agent wallets in `connection`.
pub(super) fn prepare(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS agent_proofs (
            y            BLOB    PRIMARY KEY CHECK (length(y) = 33),
            wallet_id    TEXT    NOT NULL,
            mint         TEXT    NOT NULL,
            keyset_id    TEXT    NOT NULL,
            amount_sat   INTEGER NOT NULL CHECK (amount_sat > 0),
            proof        TEXT,
            state        TEXT    NOT NULL CHECK (state IN ('unspent', 'reserved', 'spent')),
            operation_id TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS temp.idx_agent_proofs_wallet_id_mint
            ON agent_proofs (wallet_id, mint, state);",
    )?;
    Ok(())
}

fn table(wallet_id: &str) -> &'static str {
    if wallet_id == DURABLE_WALLET {
        "main.proofs"
    } else {
        "temp.agent_proofs"
    }
}

/// Stores new proofs; one that is already there is left as it is.
pub(crate) fn insert(transaction: &Transaction<'_>, rows: &[ProofRow]) -> Result<(), StoreError> {
    for row in rows {
        transaction
            .prepare_cached(&format!(
                "INSERT OR IGNORE INTO {} (y, wallet_id, mint, keyset_id, amount_sat, proof, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'unspent')",
                table(&row.wallet_id)
            ))?
            .execute(params![
                row.y,
                row.wallet_id,
                row.mint,
                row.keyset_id,
                row.amount_sat,
                row.proof
            ])?;
    }
    Ok(())
}

/// Returns (Y, keyset id, amount) of what the wallet can spend at `mint`, largest first.
pub(crate) fn list_unspent(
    connection: &Connection,
    wallet_id: &str,
    mint: &str,
) -> Result<Vec<([u8; 33], String, u64)>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT y, keyset_id, amount_sat FROM {}
             WHERE wallet_id = ?1 AND mint = ?2 AND state = 'unspent'
             ORDER BY amount_sat DESC, y",
            table(wallet_id)
        ))?
        .query_map([wallet_id, mint], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?)
}

/// Reserves these proofs for `operation_id`, all or none.
pub(crate) fn reserve(
    transaction: &Transaction<'_>,
    wallet_id: &str,
    ys: &[[u8; 33]],
    operation_id: &str,
) -> Result<(), StoreError> {
    for y in ys {
        let changed = transaction
            .prepare_cached(&format!(
                "UPDATE {} SET state = 'reserved', operation_id = ?2
                 WHERE y = ?1 AND state = 'unspent'",
                table(wallet_id)
            ))?
            .execute(params![y, operation_id])?;
        if changed != 1 {
            return Err(StoreError::Corrupt {
                table: "proofs",
                column: "state",
                reason: "a proof that was unspent is not in the same transaction".to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the proofs reserved for `operation_id`, as JSON, ordered by Y.
pub(crate) fn list_reserved(
    connection: &Connection,
    wallet_id: &str,
    operation_id: &str,
) -> Result<Vec<String>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT proof FROM {} WHERE operation_id = ?1 AND state = 'reserved' ORDER BY y",
            table(wallet_id)
        ))?
        .query_map([operation_id], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Marks the proofs reserved for `operation_id` as spent and forgets their secrets.
pub(crate) fn spend_reserved(
    transaction: &Transaction<'_>,
    wallet_id: &str,
    operation_id: &str,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(&format!(
            "UPDATE {} SET state = 'spent', proof = NULL
             WHERE operation_id = ?1 AND state = 'reserved'",
            table(wallet_id)
        ))?
        .execute([operation_id])?;
    Ok(())
}

/// Gives the proofs reserved for `operation_id` back to the wallet.
pub(crate) fn free_reserved(
    transaction: &Transaction<'_>,
    wallet_id: &str,
    operation_id: &str,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(&format!(
            "UPDATE {} SET state = 'unspent', operation_id = NULL
             WHERE operation_id = ?1 AND state = 'reserved'",
            table(wallet_id)
        ))?
        .execute([operation_id])?;
    Ok(())
}

/// Forgets everything held for `wallet_id` in memory, before it is restored or when it is closed.
pub(crate) fn prune_agent_wallet(
    transaction: &Transaction<'_>,
    wallet_id: &str,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached("DELETE FROM temp.agent_proofs WHERE wallet_id = ?1")?
        .execute([wallet_id])?;
    Ok(())
}

/// Returns (wallet id, mint, satoshi) of all proofs not spent, reserved ones included.
pub(crate) fn sum_held(connection: &Connection) -> Result<Vec<(String, String, u64)>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT wallet_id, mint, sum(amount_sat) FROM (
                 SELECT wallet_id, mint, amount_sat FROM main.proofs WHERE state <> 'spent'
                 UNION ALL
                 SELECT wallet_id, mint, amount_sat FROM temp.agent_proofs WHERE state <> 'spent'
             ) GROUP BY wallet_id, mint ORDER BY wallet_id, mint",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?)
}

/// Returns what the wallet holds at `mint` in satoshi, reserved proofs included.
pub(crate) fn sum_of_wallet(
    connection: &Connection,
    wallet_id: &str,
    mint: &str,
) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT coalesce(sum(amount_sat), 0) FROM {}
             WHERE wallet_id = ?1 AND mint = ?2 AND state <> 'spent'",
            table(wallet_id)
        ))?
        .query_row([wallet_id, mint], |row| row.get(0))?)
}
