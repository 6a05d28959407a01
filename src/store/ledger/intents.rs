//! The journal of purchases: `intents`, `answers` and `budgets`.
//!
//! An intent is written, and its cost reserved, in one transaction before any
//! money moves; within it, whoever opens the intent judges it by what was spent
//! before. Final states (`delivered`, `refunded`, `refused`, `failed`) never
//! change again.

use feria_paywall::amount::Msat;
use rusqlite::{OptionalExtension, params};

use super::Ledger;
use super::approvals::{self, Consent};
use crate::store::StoreError;

mod answer;
mod budget;
pub mod judgement;
mod record;
pub(super) mod rows;

pub(crate) use answer::{MAX_STORED_BODY_BYTES, StoredAnswer};
pub use budget::Budget;
pub(super) use budget::Spent;
pub use judgement::{Judgement, Verdict};
pub use record::{Intent, IntentChange, IntentState, NewIntent, Opening, Subject, Way};
use rows::{advance, find_blocking, find_by_key, insert, read_intent, replace_policy};

impl Ledger {
    /// Opens a purchase and reserves price and fee limit, unless its key is
    /// taken, its request is blocked, or `judge` says no or not yet.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn open_intent<J>(
        &self,
        mut new: NewIntent,
        judge: J,
    ) -> Result<Opening, StoreError>
    where
        J: FnOnce(&dyn judgement::Spending) -> Result<Judgement, StoreError> + Send + 'static,
    {
        self.write("open intent", move |transaction| {
            if let Some(found) = find_by_key(transaction, &new.wallet_id, &new.idempotency_key)? {
                return Ok(Opening::Existing(Box::new(found)));
            }
            if let Some(found) = find_blocking(transaction, &new)? {
                return Ok(Opening::Blocked(Box::new(found)));
            }
            let mut judged = judge(&Spent {
                connection: transaction,
                wallet_id: &new.wallet_id,
                agent: &new.subject.agent,
                except: "",
            })?;
            match approvals::settle(transaction, &new, &mut judged)? {
                Consent::NotNeeded => {}
                Consent::Given(id) => new.id = id,
                Consent::Awaited(approval) => return Ok(Opening::Held(approval)),
            }
            if judged.verdict == Verdict::Admitted {
                let asked = new.price.saturating_add(new.fee_limit);
                insert(transaction, &new, IntentState::Planned, asked, "")?;
                replace_policy(transaction, &new.id, &judged)?;
                return Ok(Opening::Opened(new.id));
            }
            insert(
                transaction,
                &new,
                IntentState::Refused,
                Msat::ZERO,
                &judged.reason,
            )?;
            replace_policy(transaction, &new.id, &judged)?;
            Ok(Opening::Refused(judged))
        })
        .await
    }

    /// Records a purchase that was refused before a payment, with what a policy
    /// said if one did. A key in use is left alone.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn insert_refused_intent(
        &self,
        new: NewIntent,
        reason: String,
        judgement: Option<Judgement>,
    ) -> Result<(), StoreError> {
        self.write("insert refused intent", move |transaction| {
            if find_by_key(transaction, &new.wallet_id, &new.idempotency_key)?.is_none() {
                insert(transaction, &new, IntentState::Refused, Msat::ZERO, &reason)?;
                if let Some(judgement) = judgement {
                    replace_policy(transaction, &new.id, &judgement)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Changes the reservation of the open purchase `intent_id` to `asked`, unless
    /// `judge` says no; then it returns why.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn reserve_intent<J>(
        &self,
        intent_id: String,
        asked: Msat,
        rail: Option<&'static str>,
        judge: J,
    ) -> Result<Option<Judgement>, StoreError>
    where
        J: FnOnce(&dyn judgement::Spending) -> Result<Judgement, StoreError> + Send + 'static,
    {
        self.write("reserve intent", move |transaction| {
            let (wallet_id, agent): (String, String) = transaction.query_row(
                "SELECT wallet_id, coalesce(agent, '') FROM intents WHERE id = ?1",
                [&intent_id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let judged = judge(&Spent {
                connection: transaction,
                wallet_id: &wallet_id,
                agent: &agent,
                except: &intent_id,
            })?;
            // A person who agreed to the purchase agreed to its amount.
            let is_agreed = judged.verdict == Verdict::Held
                && approvals::covers(transaction, &intent_id, asked)?;
            if judged.verdict != Verdict::Admitted && !is_agreed {
                return Ok(Some(judged));
            }
            transaction.execute(
                "UPDATE intents SET counted_msat = ?2, rail_kind = ?3 WHERE id = ?1",
                params![intent_id, asked.as_i64(), rail],
            )?;
            replace_policy(transaction, &intent_id, &judged)?;
            Ok(None)
        })
        .await
    }

    /// Moves an intent on. Returns `false`, and changes nothing, when it is final.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn advance_intent(
        &self,
        intent_id: &str,
        change: IntentChange,
        now: u64,
    ) -> Result<bool, StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("advance intent", move |transaction| {
            advance(transaction, &intent_id, &change, now)
        })
        .await
    }

    /// Returns the purchase of a key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_intent_by_key(
        &self,
        wallet_id: &str,
        key: &str,
    ) -> Result<Option<Intent>, StoreError> {
        let (wallet_id, key) = (wallet_id.to_owned(), key.to_owned());
        self.read(move |connection| find_by_key(connection, &wallet_id, &key))
            .await
    }

    /// Returns a purchase of this very request that was paid.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_paid_intent(
        &self,
        wallet_id: &str,
        digest: [u8; 32],
    ) -> Result<Option<Intent>, StoreError> {
        let wallet_id = wallet_id.to_owned();
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT * FROM intents
                     WHERE state IN ('delivered', 'paid') AND request_digest = ?1 AND wallet_id = ?2
                     LIMIT 1",
                )?
                .query_row(params![digest, wallet_id], read_intent)
                .optional()?)
        })
        .await
    }

    /// Returns a purchase.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_intent(&self, id: &str) -> Result<Option<Intent>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            Ok(connection
                .query_row("SELECT * FROM intents WHERE id = ?1", [id], read_intent)
                .optional()?)
        })
        .await
    }

    /// Returns whether the wallet's operation `operation_id` is begun and not finished.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn is_operation_open(&self, operation_id: &str) -> Result<bool, StoreError> {
        // A slip of a float is made by the float's operation.
        let float = operation_id
            .split('#')
            .next()
            .unwrap_or_default()
            .to_owned();
        self.read(move |connection| {
            let row = super::operations::find(connection, &float)?;
            Ok(row.is_some_and(|row| row.state == "planned"))
        })
        .await
    }

    /// Lists the purchases whose outcome must be found out, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM intents WHERE state IN ('planned', 'paying', 'unknown')
                 ORDER BY created_at, id",
            )?;
            let rows = statement.query_map([], read_intent)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lists the newest `limit` purchases that were not refused, oldest first and
    /// without their texts, for whoever replays them; `agent` narrows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_purchases_since(
        &self,
        agent: Option<&str>,
        since: u64,
        limit: u32,
    ) -> Result<Vec<Intent>, StoreError> {
        let agent = agent.map(str::to_owned);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                // Without the texts, which nobody replays: they are most of a row.
                "SELECT id, wallet_id, idempotency_key, method, origin, path, request_digest,
                    seller, listing, state, way, rail, mint, price_msat, fee_limit_msat,
                    fee_msat, counted_msat, operation_id, locktime, payment_hash,
                    NULL AS l402_token, scheme, quote_id, credential_id, use_held, status, '' AS decision,
                    '' AS detail, duration_ms, created_at, agent, host, capability, rail_kind,
                    '{}' AS policy
                 FROM intents
                 WHERE (?1 IS NULL OR agent = ?1) AND created_at >= ?2 AND state <> 'refused'
                 ORDER BY created_at DESC, rowid DESC LIMIT ?3",
            )?;
            let rows = statement.query_map(params![agent, since, limit], read_intent)?;
            let mut found: Vec<Intent> = rows.collect::<Result<_, _>>()?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    /// Lists purchases, newest first; `wallet_id` narrows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_intents(
        &self,
        wallet_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Intent>, StoreError> {
        let wallet_id = wallet_id.map(str::to_owned);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM intents WHERE ?1 IS NULL OR wallet_id = ?1
                 ORDER BY created_at DESC, rowid DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![wallet_id, limit], read_intent)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
