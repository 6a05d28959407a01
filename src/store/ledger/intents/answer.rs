//! Answers of paid calls, kept a while for a caller that lost them.

use rusqlite::{OptionalExtension, params};

use crate::store::StoreError;
use crate::store::ledger::Ledger;

/// The largest body kept, in bytes; the column's limit.
pub(crate) const MAX_STORED_BODY_BYTES: usize = 256 * 1024;
/// The longest header list kept, in bytes of JSON; the column's limit.
const MAX_STORED_HEADERS_BYTES: usize = 64 * 1024;

/// An answer, without the headers that carry money.
#[derive(Clone)]
pub(crate) struct StoredAnswer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Names and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Ledger {
    /// Keeps the answer of a purchase, unless it is too large, and forgets answers older than `oldest`.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn replace_answer(
        &self,
        intent_id: &str,
        answer: StoredAnswer,
        now: u64,
        oldest: u64,
    ) -> Result<(), StoreError> {
        let headers = serde_json::json!(answer.headers).to_string();
        if answer.body.len() > MAX_STORED_BODY_BYTES || headers.len() > MAX_STORED_HEADERS_BYTES {
            return Ok(());
        }
        let intent_id = intent_id.to_owned();
        self.write("replace answer", move |transaction| {
            transaction.execute("DELETE FROM answers WHERE stored_at < ?1", [oldest])?;
            transaction.execute(
                "INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3, ?4, ?5)",
                params![intent_id, answer.status, headers, answer.body, now],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the kept answer of a purchase.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_answer(
        &self,
        intent_id: &str,
    ) -> Result<Option<StoredAnswer>, StoreError> {
        let intent_id = intent_id.to_owned();
        let row = self
            .read(move |connection| {
                Ok(connection
                    .query_row(
                        "SELECT status, headers, body FROM answers WHERE intent_id = ?1",
                        [intent_id],
                        |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)),
                    )
                    .optional()?)
            })
            .await?;
        row.map(|(status, headers, body)| {
            let headers = serde_json::from_str(&headers).map_err(|error| StoreError::Corrupt {
                table: "answers",
                column: "headers",
                reason: error.to_string(),
            })?;
            Ok(StoredAnswer {
                status,
                headers,
                body,
            })
        })
        .transpose()
    }
}
