//! The journal of mint operations, and the tokens and quotes they belong to.
//!
//! Tables `wallet_operations`, `wallet_counters`, `tokens_out`, `funding_quotes`.
//! What a plan or an outcome means is `crate::wallet`'s business; here they are text.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Account;
use crate::store::StoreError;

/// An open transaction of the ledger, for code outside `store` that hands it on.
pub(crate) type Tx<'a> = Transaction<'a>;

/// One row of the journal.
#[derive(Clone)]
pub(crate) struct OperationRow {
    pub(crate) id: String,
    /// issue, swap or melt.
    pub(crate) kind: String,
    /// planned, done or failed.
    pub(crate) state: String,
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) plan: String,
    pub(crate) foreign_token: Option<String>,
    pub(crate) signatures: Option<String>,
    pub(crate) outcome: Option<String>,
}

/// A token handed out.
#[derive(Debug, Clone)]
pub(crate) struct TokenOutRow {
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) amount_sat: u64,
    /// in_flight, settled or reclaimed.
    pub(crate) state: String,
}

/// A quote that a mint made for funding.
#[derive(Debug, Clone)]
pub(crate) struct FundingRow {
    pub(crate) quote_id: String,
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) amount_sat: u64,
    pub(crate) expires_at: u64,
    pub(crate) key_nonce: Option<String>,
    /// The account that its ecash comes from; `None`: from outside.
    pub(crate) source: Option<Account>,
}

const COLUMNS: &str = "id, kind, state, wallet_id, mint, plan, foreign_token, signatures, outcome";

fn operation(row: &Row<'_>) -> rusqlite::Result<OperationRow> {
    Ok(OperationRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        state: row.get(2)?,
        wallet_id: row.get(3)?,
        mint: row.get(4)?,
        plan: row.get(5)?,
        foreign_token: row.get(6)?,
        signatures: row.get(7)?,
        outcome: row.get(8)?,
    })
}

/// Returns the operation `id`.
pub(crate) fn find(connection: &Connection, id: &str) -> Result<Option<OperationRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM wallet_operations WHERE id = ?1"
        ))?
        .query_row([id], operation)
        .optional()?)
}

/// Returns every open operation, oldest first; of one wallet if one is named.
pub(crate) fn list_open(
    connection: &Connection,
    wallet_id: Option<&str>,
) -> Result<Vec<OperationRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM wallet_operations
             WHERE state = 'planned' AND (?1 IS NULL OR wallet_id = ?1)
             ORDER BY created_at, rowid"
        ))?
        .query_map([wallet_id], operation)?
        .collect::<Result<_, _>>()?)
}

/// Writes a plan. One that failed before, under the same id, is planned anew.
pub(crate) fn insert_planned(
    transaction: &Transaction<'_>,
    row: &OperationRow,
    now: u64,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO wallet_operations
                 (id, kind, state, wallet_id, mint, plan, foreign_token, created_at, updated_at)
             VALUES (?1, ?2, 'planned', ?3, ?4, ?5, ?6, ?7, ?7)
             ON CONFLICT (id) DO UPDATE SET
                 kind = ?2, state = 'planned', wallet_id = ?3, mint = ?4, plan = ?5,
                 foreign_token = ?6, outcome = NULL, updated_at = ?7
             WHERE state = 'failed'",
        )?
        .execute(params![
            row.id,
            row.kind,
            row.wallet_id,
            row.mint,
            row.plan,
            row.foreign_token,
            now
        ])?;
    Ok(())
}

/// Ends an open operation. Returns whether it was open: only then may the
/// caller post and store what follows from it.
pub(crate) fn finish(
    transaction: &Transaction<'_>,
    id: &str,
    state: &str,
    signatures: Option<&str>,
    outcome: &str,
    now: u64,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "UPDATE wallet_operations
             SET state = ?2, signatures = ?3, outcome = ?4, foreign_token = NULL, updated_at = ?5
             WHERE id = ?1 AND state = 'planned'",
        )?
        .execute(params![id, state, signatures, outcome, now])?;
    Ok(changed == 1)
}

/// Takes `count` counters and returns the first.
pub(crate) fn advance_counter(
    transaction: &Transaction<'_>,
    wallet_id: &str,
    mint: &str,
    keyset_id: &str,
    count: u32,
) -> Result<u32, StoreError> {
    let next: u32 = transaction
        .prepare_cached(
            "INSERT INTO wallet_counters (wallet_id, mint, keyset_id, next)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET next = next + ?4 RETURNING next",
        )?
        .query_row(params![wallet_id, mint, keyset_id, count], |row| row.get(0))?;
    Ok(next - count)
}

/// Returns (mint, keyset id, next counter) of everything a wallet ever derived.
pub(crate) fn list_counters(
    connection: &Connection,
    wallet_id: &str,
) -> Result<Vec<(String, String, u32)>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT mint, keyset_id, next FROM wallet_counters WHERE wallet_id = ?1")?
        .query_map([wallet_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?)
}

/// Records a token handed out by `operation_id`.
pub(crate) fn insert_token_out(
    transaction: &Transaction<'_>,
    operation_id: &str,
    token: &TokenOutRow,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO tokens_out (operation_id, wallet_id, mint, amount_sat, state)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            operation_id,
            token.wallet_id,
            token.mint,
            token.amount_sat,
            token.state
        ])?;
    Ok(())
}

/// Returns the token handed out by `operation_id`.
pub(crate) fn find_token_out(
    connection: &Connection,
    operation_id: &str,
) -> Result<Option<TokenOutRow>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT wallet_id, mint, amount_sat, state FROM tokens_out WHERE operation_id = ?1",
        )?
        .query_row([operation_id], |row| {
            Ok(TokenOutRow {
                wallet_id: row.get(0)?,
                mint: row.get(1)?,
                amount_sat: row.get(2)?,
                state: row.get(3)?,
            })
        })
        .optional()?)
}

/// Decides an in-flight token once. Returns whether it was in flight.
pub(crate) fn decide_token_out(
    transaction: &Transaction<'_>,
    operation_id: &str,
    state: &str,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "UPDATE tokens_out SET state = ?2 WHERE operation_id = ?1 AND state = 'in_flight'",
        )?
        .execute([operation_id, state])?;
    Ok(changed == 1)
}

/// Returns the value in flight, in satoshi, by mint.
pub(crate) fn sum_in_flight(connection: &Connection) -> Result<Vec<(String, u64)>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT mint, sum(amount_sat) FROM tokens_out WHERE state = 'in_flight' GROUP BY mint",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?)
}

/// Keeps a quote of a mint.
pub(crate) fn insert_funding(
    transaction: &Transaction<'_>,
    row: &FundingRow,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO funding_quotes
                 (quote_id, wallet_id, mint, amount_sat, expires_at, key_nonce, source)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row.quote_id,
            row.wallet_id,
            row.mint,
            row.amount_sat,
            row.expires_at,
            row.key_nonce,
            row.source.as_ref().map(Account::as_str)
        ])?;
    Ok(())
}

/// Returns the quote `quote_id`.
pub(crate) fn find_funding(
    connection: &Connection,
    quote_id: &str,
) -> Result<Option<FundingRow>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT quote_id, wallet_id, mint, amount_sat, expires_at, key_nonce, source
             FROM funding_quotes WHERE quote_id = ?1",
        )?
        .query_row([quote_id], |row| {
            Ok(FundingRow {
                quote_id: row.get(0)?,
                wallet_id: row.get(1)?,
                mint: row.get(2)?,
                amount_sat: row.get(3)?,
                expires_at: row.get(4)?,
                key_nonce: row.get(5)?,
                source: row.get::<_, Option<String>>(6)?.map(Account::stored),
            })
        })
        .optional()?)
}

/// Most nodes that are remembered of one mint: it may name as many as it likes.
const MAX_NODE_KEYS: u32 = 8;

/// Remembers that invoices of `mint` pay the Lightning node `node_key`.
pub(crate) fn insert_node_key(
    transaction: &Transaction<'_>,
    mint: &str,
    node_key: &[u8; 33],
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO mint_node_keys (mint, node_key) SELECT ?1, ?2
             WHERE (SELECT count(*) FROM mint_node_keys WHERE mint = ?1) < ?3",
        )?
        .execute(params![mint, node_key, MAX_NODE_KEYS])?;
    Ok(())
}

/// Returns whether `node_key` is known as a Lightning node of `mint`.
pub(crate) fn is_node_of_mint(
    connection: &Connection,
    mint: &str,
    node_key: &[u8; 33],
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM mint_node_keys WHERE mint = ?1 AND node_key = ?2")?
        .exists(params![mint, node_key])?)
}
