//! Agent wallets: limits, lifetimes and states. Table `agent_wallets`.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::store::StoreError;

/// One agent wallet.
#[derive(Debug, Clone)]
pub(crate) struct WalletRow {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) mint: String,
    pub(crate) limit_sat: u64,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
    /// open, frozen or closed.
    pub(crate) state: String,
    /// The run of the node that holds its proofs.
    pub(crate) incarnation: String,
}

const COLUMNS: &str = "id, agent, mint, limit_sat, created_at, expires_at, state, incarnation";

fn wallet(row: &Row<'_>) -> rusqlite::Result<WalletRow> {
    Ok(WalletRow {
        id: row.get(0)?,
        agent: row.get(1)?,
        mint: row.get(2)?,
        limit_sat: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        state: row.get(6)?,
        incarnation: row.get(7)?,
    })
}

/// Adds a wallet.
pub(crate) fn insert(transaction: &Transaction<'_>, row: &WalletRow) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO agent_wallets
                 (id, agent, mint, limit_sat, created_at, expires_at, state, incarnation)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            row.id,
            row.agent,
            row.mint,
            row.limit_sat,
            row.created_at,
            row.expires_at,
            row.state,
            row.incarnation
        ])?;
    Ok(())
}

/// Returns the wallet with this id.
pub(crate) fn find(connection: &Connection, id: &str) -> Result<Option<WalletRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM agent_wallets WHERE id = ?1"
        ))?
        .query_row([id], wallet)
        .optional()?)
}

/// Returns the wallet with this id, or the newest of this agent, one not closed before a closed one.
pub(crate) fn find_by_id_or_agent(
    connection: &Connection,
    name: &str,
) -> Result<Option<WalletRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM agent_wallets WHERE id = ?1 OR agent = ?1
             ORDER BY id = ?1 DESC, state = 'closed', created_at DESC, rowid DESC LIMIT 1"
        ))?
        .query_row([name], wallet)
        .optional()?)
}

/// Returns every wallet, oldest first.
pub(crate) fn list(connection: &Connection) -> Result<Vec<WalletRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM agent_wallets ORDER BY created_at, rowid"
        ))?
        .query_map([], wallet)?
        .collect::<Result<_, _>>()?)
}

/// Changes the state of a wallet that is not closed. Returns whether it changed.
pub(crate) fn replace_state(
    transaction: &Transaction<'_>,
    id: &str,
    state: &str,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "UPDATE agent_wallets SET state = ?2
             WHERE id = ?1 AND state <> 'closed' AND state <> ?2",
        )?
        .execute([id, state])?;
    Ok(changed == 1)
}

/// Records that this run of the node holds the proofs of the wallet.
pub(crate) fn replace_incarnation(
    transaction: &Transaction<'_>,
    id: &str,
    incarnation: &str,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached("UPDATE agent_wallets SET incarnation = ?2 WHERE id = ?1")?
        .execute([id, incarnation])?;
    Ok(())
}
