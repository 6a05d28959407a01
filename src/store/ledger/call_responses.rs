//! Responses kept for a while, for payers whose connection broke.

use bytes::Bytes;
use feria_paywall::amount::Sat;
use feria_paywall::journal::{CallId, PayOut, PaymentKey, Replay, RequestKey, StoredResponse};
use rusqlite::{OptionalExtension, Transaction, params};

use super::Ledger;
use crate::store::StoreError;

impl Ledger {
    /// Keeps the response of a committed call until `keep_until`.
    pub(crate) async fn keep_call_response(
        &self,
        call: CallId,
        response: StoredResponse,
        keep_until: u64,
    ) -> Result<(), StoreError> {
        self.write("keep a response", move |transaction| {
            insert(transaction, &call, &response, keep_until)
        })
        .await
    }

    /// Returns the response kept for this payment and request, the newest one.
    /// With an `Idempotency-Key` the calls under that key count, without one
    /// those of the same method, target and content type.
    pub(crate) async fn find_call_response(
        &self,
        payment: PaymentKey,
        request: RequestKey,
        now: u64,
    ) -> Result<Option<Replay>, StoreError> {
        self.read(move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT c.id, r.status, r.headers, r.body, r.request_body_hash,
                            c.mint, c.owed_sat, c.refund_key, c.request_key
                     FROM paid_calls c JOIN stored_responses r ON r.call_id = c.id
                     WHERE c.payment_key = ?1 AND c.state = 'committed' AND r.expires_at > ?2
                       AND ((?3 IS NOT NULL AND c.idempotency_key = ?3)
                         OR (?3 IS NULL AND c.request_key = ?4))
                       AND (?5 IS NULL OR r.request_body_hash = ?5)
                     ORDER BY c.updated_at DESC LIMIT 1",
                )?
                .query_row(
                    params![
                        payment.0,
                        now,
                        request.idempotency_key,
                        request.digest,
                        request.body_hash
                    ],
                    |row| {
                        let (mint, owed): (Option<String>, u64) = (row.get(5)?, row.get(6)?);
                        let lock_key = row.get(7)?;
                        let headers: String = row.get(2)?;
                        let response = StoredResponse {
                            status: row.get(1)?,
                            headers: Vec::new(),
                            body: Bytes::from(row.get::<_, Vec<u8>>(3)?),
                            request_body_hash: row.get(4)?,
                        };
                        let change = mint.filter(|_| owed > 0).map(|mint| PayOut {
                            mint,
                            amount: Sat::new(owed),
                            lock_key,
                        });
                        Ok((
                            Replay {
                                call: CallId(row.get(0)?),
                                response,
                                change,
                                request_digest: row.get(8)?,
                            },
                            headers,
                        ))
                    },
                )
                .optional()?;
            let Some((mut replay, headers)) = found else {
                return Ok(None);
            };
            replay.response.headers = decode_headers(&headers)?;
            Ok(Some(replay))
        })
        .await
    }

    /// Forgets kept responses that are too old. Returns how many.
    pub(crate) async fn prune_call_responses(&self, now: u64) -> Result<u64, StoreError> {
        self.write("prune kept responses", move |transaction| {
            let pruned = transaction
                .execute("DELETE FROM stored_responses WHERE expires_at <= ?1", [now])?;
            Ok(pruned as u64)
        })
        .await
    }
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    call: &CallId,
    response: &StoredResponse,
    keep_until: u64,
) -> Result<(), StoreError> {
    let headers: Vec<(&str, String)> = response
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), hex::encode(value)))
        .collect();
    let headers = serde_json::to_string(&headers).map_err(|error| corrupt(error.to_string()))?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO stored_responses
                    (call_id, status, headers, body, request_body_hash, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            call.0,
            response.status,
            headers,
            response.body.as_ref(),
            response.request_body_hash,
            keep_until
        ])?;
    Ok(())
}

fn decode_headers(text: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let pairs: Vec<(String, String)> =
        serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
    pairs
        .into_iter()
        .map(|(name, value)| {
            let value = hex::decode(value).map_err(|error| corrupt(error.to_string()))?;
            Ok((name, value))
        })
        .collect()
}

fn corrupt(reason: String) -> StoreError {
    StoreError::Corrupt {
        table: "stored_responses",
        column: "headers",
        reason,
    }
}
