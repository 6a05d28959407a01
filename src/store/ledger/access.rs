//! Rows of issued API tokens: what exists and what was revoked. No secrets.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::Ledger;
use crate::store::StoreError;

mod spending;

pub use spending::AccessWindow;

const COLUMNS: &str = "id, tier, agent, label, created_at, expires_at, revoked_at";

/// One issued token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// 32 hexadecimal characters.
    pub id: String,
    /// The tier as issued, such as `pay-only`.
    pub tier: String,
    /// The only agent it acts for; `None` for all.
    pub agent: Option<String>,
    /// Words for a person.
    pub label: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; `None` for never.
    pub expires_at: Option<u64>,
    /// Unix seconds; `None` while it is good.
    pub revoked_at: Option<u64>,
}

impl Ledger {
    /// Records an issued token.
    ///
    /// # Errors
    /// When the database refuses, as it does for an id that exists.
    pub async fn insert_access_token(&self, token: AccessToken) -> Result<(), StoreError> {
        self.write("insert access token", move |transaction| {
            transaction.execute(
                "INSERT INTO access_tokens
                 (id, tier, agent, label, created_at, expires_at, revoked_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    token.id,
                    token.tier,
                    token.agent,
                    token.label,
                    token.created_at,
                    token.expires_at,
                    token.revoked_at
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the token `id`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_access_token(&self, id: &str) -> Result<Option<AccessToken>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM access_tokens WHERE id = ?1"
                ))?
                .query_row([id], read_row)
                .optional()?)
        })
        .await
    }

    /// Returns the newest `limit` tokens, revoked ones too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_access_tokens(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM access_tokens ORDER BY created_at DESC, id LIMIT ?1"
                ))?
                .query_map([limit], read_row)?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Revokes the token `id` at `now` (Unix seconds). A second time changes
    /// nothing. Returns whether such a token exists.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn revoke_access_token(&self, id: &str, now: u64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write("revoke access token", move |transaction| {
            let rows = transaction.execute(
                "UPDATE access_tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
                params![id, now],
            )?;
            Ok(rows > 0)
        })
        .await
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<AccessToken> {
    Ok(AccessToken {
        id: row.get(0)?,
        tier: row.get(1)?,
        agent: row.get(2)?,
        label: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        revoked_at: row.get(6)?,
    })
}
