//! What payers of own agents get back: refunds of failed calls, and change.

use feria_paywall::amount::Sat;
use feria_paywall::journal::PaymentKey;
use rusqlite::{OptionalExtension, Row, params};

use super::{Account, Entry, EntryKind, Ledger};
use crate::store::StoreError;

/// Value owed to the payer of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) call_id: String,
    pub(crate) agent: String,
    pub(crate) mint: String,
    pub(crate) amount: Sat,
    pub(crate) lock_key: Option<String>,
    pub(crate) payment: PaymentKey,
    pub(crate) is_paid_out: bool,
}

/// What a token has paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenCall {
    pub(crate) call_id: String,
    pub(crate) agent: String,
    /// As in the table `paid_calls`.
    pub(crate) state: String,
    pub(crate) owed: Sat,
}

const COLUMNS: &str = "id, agent, mint, owed_sat, refund_key, payment_key, is_paid_out";

impl Ledger {
    /// Returns the call that the token `payment` paid for.
    pub(crate) async fn find_token_call(
        &self,
        payment: PaymentKey,
    ) -> Result<Option<TokenCall>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .query_row(
                    "SELECT id, agent, state, owed_sat FROM paid_calls
                     WHERE payment_key = ?1 AND rail NOT IN ('l402', 'mpp')",
                    [payment.0],
                    |row| {
                        Ok(TokenCall {
                            call_id: row.get(0)?,
                            agent: row.get(1)?,
                            state: row.get(2)?,
                            owed: Sat::new(row.get(3)?),
                        })
                    },
                )
                .optional()?)
        })
        .await
    }

    /// Decides to hand out what `call_id` owes: from now on its payment pays for
    /// nothing else. `None` if it owes nothing.
    pub(crate) async fn begin_pay_out(
        &self,
        call_id: String,
        now: u64,
    ) -> Result<Option<Owed>, StoreError> {
        self.write("begin a refund", move |transaction| {
            transaction.execute(
                "UPDATE paid_calls SET state = 'refunded', updated_at = ?2
                 WHERE id = ?1 AND state = 'released' AND rail NOT IN ('l402', 'mpp')",
                params![call_id, now],
            )?;
            let sql = format!(
                "SELECT {COLUMNS} FROM paid_calls
                 WHERE id = ?1 AND state IN ('refunded', 'committed') AND owed_sat > 0"
            );
            Ok(transaction.query_row(&sql, [call_id], owed).optional()?)
        })
        .await
    }

    /// Records that what `call_id` owed was handed out as a token over `amount`; the
    /// wallet has booked that. What is missing is the mint's fee, which the payer bore.
    pub(crate) async fn finish_pay_out(
        &self,
        call_id: String,
        amount: Sat,
        now: u64,
    ) -> Result<(), StoreError> {
        self.write("finish a refund", move |transaction| {
            let owed: Option<(String, u64)> = transaction
                .query_row(
                    "UPDATE paid_calls SET is_paid_out = 1, updated_at = ?2
                     WHERE id = ?1 AND is_paid_out = 0 RETURNING agent, owed_sat",
                    params![call_id, now],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((agent, owed)) = owed else {
                return Ok(());
            };
            let fee = Sat::new(owed).saturating_sub(amount);
            Entry::new(EntryKind::Refund, call_id, now)
                .memo("the mint's fee, borne by the payer")
                .debit(Account::owed(&agent), fee)
                .credit(Account::fees("ecash"), fee)
                .post(transaction)
        })
        .await
    }

    /// Returns whether the token of `payment` was accepted offline and its mint has
    /// not given anything for it yet.
    pub(crate) async fn is_unredeemed(&self, payment: PaymentKey) -> Result<bool, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT 1 FROM vault_tokens
                     WHERE payment_key = ?1 AND state IN ('held', 'redeeming')",
                )?
                .exists([payment.0])?)
        })
        .await
    }

    /// Returns refunds and change that were ordered and never handed out.
    pub(crate) async fn list_open_pay_outs(&self) -> Result<Vec<Owed>, StoreError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM paid_calls
                 WHERE owed_sat > 0 AND is_paid_out = 0 AND state IN ('refunded', 'committed')
                 ORDER BY created_at LIMIT 1000"
            );
            Ok(connection
                .prepare(&sql)?
                .query_map([], owed)?
                .collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn owed(row: &Row<'_>) -> rusqlite::Result<Owed> {
    Ok(Owed {
        call_id: row.get(0)?,
        agent: row.get(1)?,
        mint: row.get(2)?,
        amount: Sat::new(row.get(3)?),
        lock_key: row.get(4)?,
        payment: PaymentKey(row.get(5)?),
        is_paid_out: row.get(6)?,
    })
}
