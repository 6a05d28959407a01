//! Swaps on their way: a token that was offered is written down before its mint is
//! asked, so that an answer that never came is nobody's loss.
//!
//! A swap is a row of `paid_calls` in the state *swapping*, or *interrupted* once
//! its outcome is unknown. The token's proofs are recorded with it, so that the
//! same token cannot be taken offline meanwhile or afterwards.

use feria_paywall::amount::Sat;
use feria_paywall::journal::{PaidToken, PaymentKey};
use rusqlite::{OptionalExtension, Transaction, params};

use super::paid_calls::{find_token, insert_proofs, is_any_accepted};
use super::{Account, Entry, EntryKind, Ledger};
use crate::store::StoreError;

/// How a swap may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SwapStart {
    /// Ask the mint; the operation has this id, the same one as before after a break.
    Swap(String),
    /// The token was swapped before and the call it paid for failed.
    Credit(Sat),
    /// It paid for something.
    AlreadySpent,
    /// It is being swapped or served now.
    InProgress,
}

impl Ledger {
    /// Writes down that `token` is about to be swapped for a call of `agent`.
    pub(crate) async fn begin_swap(
        &self,
        agent: String,
        token: PaidToken,
        price: Sat,
        call_id: String,
        now: u64,
    ) -> Result<SwapStart, StoreError> {
        self.write("begin a swap", move |transaction| {
            begin_swap(transaction, &agent, &token, price, call_id, now)
        })
        .await
    }

    /// Forgets a swap that did not happen: the token is untouched.
    pub(crate) async fn cancel_swap(&self, key: PaymentKey) -> Result<(), StoreError> {
        self.write("cancel a swap", move |transaction| {
            let deleted = transaction.execute(
                "DELETE FROM paid_calls WHERE payment_key = ?1 AND state = 'swapping'",
                [key.0],
            )?;
            if deleted > 0 {
                transaction.execute(
                    "DELETE FROM accepted_proofs WHERE payment_key = ?1",
                    [key.0],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Leaves a swap of unknown outcome to the payer, whose token continues it.
    pub(crate) async fn interrupt_swap(&self, key: PaymentKey, now: u64) -> Result<(), StoreError> {
        self.write("interrupt a swap", move |transaction| {
            transaction.execute(
                "UPDATE paid_calls SET state = 'interrupted', updated_at = ?2
                 WHERE payment_key = ?1 AND state = 'swapping'",
                params![key.0, now],
            )?;
            Ok(())
        })
        .await
    }

    /// Takes over a swap whose outcome was unknown: its value is owed to the payer.
    /// Returns false if somebody else was faster.
    pub(crate) async fn release_swap(
        &self,
        payment: PaymentKey,
        net: Sat,
        now: u64,
    ) -> Result<bool, StoreError> {
        self.write("release a swap", move |transaction| {
            let changed: Option<(String, String)> = transaction
                .query_row(
                    "UPDATE paid_calls SET state = 'released', net_sat = ?2, owed_sat = ?2, updated_at = ?3
                     WHERE payment_key = ?1 AND state = 'swapping' RETURNING id, agent",
                    params![payment.0, net.as_u64(), now],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((call_id, agent)) = changed else {
                return Ok(false);
            };
            Entry::new(EntryKind::Refund, call_id, now)
                .memo("the call was never made")
                .debit(Account::income(&agent), net)
                .credit(Account::owed(&agent), net)
                .post(transaction)?;
            Ok(true)
        })
        .await
    }
}

fn begin_swap(
    transaction: &Transaction<'_>,
    agent: &str,
    token: &PaidToken,
    price: Sat,
    call_id: String,
    now: u64,
) -> Result<SwapStart, StoreError> {
    let key = token.key();
    if let Some(row) = find_token(transaction, key)? {
        return Ok(match row.state.as_str() {
            "interrupted" => {
                transaction.execute(
                    "UPDATE paid_calls SET state = 'swapping', updated_at = ?2 WHERE id = ?1",
                    params![row.id, now],
                )?;
                SwapStart::Swap(swap_operation(&row.id))
            }
            "released" => SwapStart::Credit(row.net),
            "swapping" | "claimed" => SwapStart::InProgress,
            _ => SwapStart::AlreadySpent,
        });
    }
    if is_any_accepted(transaction, token)? {
        return Ok(SwapStart::AlreadySpent);
    }
    transaction.execute(
        "INSERT INTO paid_calls (id, agent, rail, payment_key, state, price_msat, mint, refund_key,
                created_at, updated_at)
         VALUES (?1, ?2, 'nut24-swap', ?3, 'swapping', ?4, ?5, ?6, ?7, ?7)",
        params![
            call_id,
            agent,
            key.0,
            price.to_msat().as_u64(),
            token.mint,
            token.refund_key,
            now
        ],
    )?;
    insert_proofs(transaction, token)?;
    Ok(SwapStart::Swap(swap_operation(&call_id)))
}

/// Returns the wallet's operation that takes in the token of `call_id`.
fn swap_operation(call_id: &str) -> String {
    format!("paid-{call_id}")
}
