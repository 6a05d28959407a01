//! Paid calls: the claim that no payment serves twice, and what became of each call.
//!
//! No other code decides "already paid". Every change of state and the postings
//! that go with it share one transaction. The states are drawn in
//! `gateway/paid_call.rs`.

use feria_paywall::amount::{Msat, Sat};
use feria_paywall::journal::{
    CallId, Claim, Claimed, Delivered, PaidToken, PayOut, Payment, PaymentKey, RequestKey,
};
use feria_paywall::l402::{Limit, Remaining};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Account, Entry, EntryKind, Ledger, call_responses, limits, receipts, vault};
use crate::store::StoreError;

/// What a claim needs beside the [`Claim`] itself.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRules {
    /// The id of the call, if it becomes one: 32 hexadecimal characters.
    pub(crate) call_id: String,
    /// The Lightning backend that invoices are made by.
    pub(crate) lightning: String,
    /// The most unredeemed ecash of one mint.
    pub(crate) vault_cap: Sat,
}

/// How many calls a start found open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenCalls {
    /// Claimed ones, given back.
    pub(crate) released: u64,
    /// Swaps whose payer continues them.
    pub(crate) interrupted: u64,
}

/// The row of a call, as far as a transition needs it.
pub(super) struct Row {
    pub(super) id: String,
    agent: String,
    rail: String,
    pub(super) state: String,
    payment_key: Vec<u8>,
    price: Msat,
    mint: Option<String>,
    pub(super) net: Sat,
    refund_key: Option<String>,
    owed: Sat,
}

impl Ledger {
    /// Claims one call for `claim.payment`; see [`feria_paywall::journal::Journal::claim`].
    ///
    /// # Errors
    /// When the database cannot be written; nothing is claimed then.
    pub(crate) async fn claim_call(
        &self,
        claim: Claim,
        rules: ClaimRules,
    ) -> Result<Claimed, StoreError> {
        self.write("claim a call", move |transaction| match &claim.payment {
            Payment::L402 {
                payment_hash,
                token_id,
                paid,
                cost,
                limits,
            }
            | Payment::Mpp {
                payment_hash,
                token_id,
                paid,
                cost,
                limits,
            } => {
                let claimed =
                    claim_lightning(transaction, &claim, &rules, token_id, limits, *cost)?;
                if matches!(claimed, Claimed::New { .. }) {
                    limits::note_use(transaction, &claim)?;
                    receipts::book_claim(
                        transaction,
                        payment_hash,
                        &claim.service,
                        *paid,
                        &rules.lightning,
                        claim.now,
                    )?;
                }
                Ok(claimed)
            }
            Payment::Offline(token) => claim_offline(transaction, &claim, &rules, token),
            Payment::Swapped(token) => claim_swapped(transaction, &claim, token),
        })
        .await
    }

    /// Records what `call` delivered and cost, keeps its response until `keep_until`,
    /// and returns the change that is owed. A call that is not claimed stays as it is.
    pub(crate) async fn commit_call(
        &self,
        call: CallId,
        delivered: Delivered,
        keep_until: u64,
        now: u64,
    ) -> Result<Option<PayOut>, StoreError> {
        self.write("commit a call", move |transaction| {
            let Some(row) = find_row(transaction, "id = ?1 AND state = 'claimed'", &call.0)? else {
                return Ok(None);
            };
            let cost = delivered.cost.unwrap_or(row.price).min(row.price);
            let change = match row.mint {
                Some(_) => row.net.saturating_sub(cost.ceil_sat()),
                None => Sat::ZERO,
            };
            transaction
                .prepare_cached(
                    "UPDATE paid_calls SET state = 'committed', price_msat = ?2, owed_sat = ?3,
                            updated_at = ?4
                     WHERE id = ?1",
                )?
                .execute(params![row.id, cost.as_u64(), change.as_u64(), now])?;
            if delivered.cost.is_some() && row.mint.is_none() {
                limits::settle(transaction, &row.id, cost)?;
            }
            Entry::new(EntryKind::Refund, row.id.clone(), now)
                .memo("change")
                .debit(Account::income(&row.agent), change)
                .credit(Account::owed(&row.agent), change)
                .post(transaction)?;
            if let Some(response) = delivered.response {
                call_responses::insert(transaction, &call, &response, keep_until)?;
            }
            Ok(row.pay_out(change))
        })
        .await
    }

    /// Gives the payment of `call` back to its payer. Returns what must be handed
    /// out because the payment itself is gone: the value of a swapped token.
    pub(crate) async fn release_call(
        &self,
        call: CallId,
        now: u64,
    ) -> Result<Option<PayOut>, StoreError> {
        self.write("release a call", move |transaction| {
            match find_row(transaction, "id = ?1 AND state = 'claimed'", &call.0)? {
                Some(row) => release(transaction, &row, now),
                None => Ok(None),
            }
        })
        .await
    }

    /// Resolves every call that was open when the process died.
    pub(crate) async fn resolve_open_calls(&self, now: u64) -> Result<OpenCalls, StoreError> {
        self.write("resolve open calls", move |transaction| {
            let mut found = OpenCalls::default();
            while let Some(row) = find_row(transaction, "state = ?1", "claimed")? {
                release(transaction, &row, now)?;
                found.released += 1;
            }
            let interrupted = transaction.execute(
                "UPDATE paid_calls SET state = 'interrupted', updated_at = ?1 WHERE state = 'swapping'",
                [now],
            )?;
            found.interrupted = interrupted as u64;
            Ok(found)
        })
        .await
    }
}

impl Row {
    fn pay_out(&self, amount: Sat) -> Option<PayOut> {
        let mint = self.mint.clone()?;
        (amount > Sat::ZERO).then(|| PayOut {
            mint,
            amount,
            lock_key: self.refund_key.clone(),
        })
    }
}

fn claim_lightning(
    transaction: &Transaction<'_>,
    claim: &Claim,
    rules: &ClaimRules,
    token_id: &[u8; 32],
    limits: &[Limit],
    cost: Msat,
) -> Result<Claimed, StoreError> {
    let is_revoked = transaction
        .prepare_cached("SELECT 1 FROM revoked_credentials WHERE token_id = ?1")?
        .exists([token_id])?;
    if is_revoked {
        return Ok(Claimed::Revoked);
    }
    let key = claim.payment.key();
    if let Some(name) = &claim.request.idempotency_key
        && let Some(known) = find_named_call(transaction, key, name, claim.now)?
    {
        return Ok(known);
    }
    let Some(remaining) = limits::left_after(transaction, limits, cost)? else {
        let is_served_now = transaction
            .prepare_cached(
                "SELECT 1 FROM paid_calls
                 WHERE payment_key = ?1 AND request_key = ?2 AND state = 'claimed'",
            )?
            .exists(params![key.0, claim.request.digest])?;
        return Ok(if is_served_now {
            Claimed::InProgress
        } else {
            Claimed::UsedUp
        });
    };
    // The call before its limits: their rows refer to it.
    insert_claimed(transaction, claim, &rules.call_id, None)?;
    limits::take(transaction, &rules.call_id, &key.0, limits, cost)?;
    Ok(Claimed::New {
        call: CallId(rules.call_id.clone()),
        remaining,
    })
}

/// Looks for a call that this payment made under the same `Idempotency-Key`: a
/// repeat must not take another use. One whose answer was not kept can be made again.
fn find_named_call(
    transaction: &Transaction<'_>,
    payment: PaymentKey,
    name: &str,
    now: u64,
) -> Result<Option<Claimed>, StoreError> {
    let state: Option<String> = transaction
        .prepare_cached(
            "SELECT c.state FROM paid_calls c LEFT JOIN stored_responses r ON r.call_id = c.id
             WHERE c.payment_key = ?1 AND c.idempotency_key = ?2
               AND (c.state = 'claimed' OR (c.state = 'committed' AND r.expires_at > ?3))
             ORDER BY c.state LIMIT 1",
        )?
        .query_row(params![payment.0, name, now], |row| row.get(0))
        .optional()?;
    Ok(state.map(|state| match state.as_str() {
        "claimed" => Claimed::InProgress,
        _ => Claimed::UsedUp,
    }))
}

fn claim_offline(
    transaction: &Transaction<'_>,
    claim: &Claim,
    rules: &ClaimRules,
    token: &PaidToken,
) -> Result<Claimed, StoreError> {
    if let Some(row) = find_token(transaction, token.key())? {
        return match row.state.as_str() {
            "released" => reclaim(transaction, claim, row, token),
            "claimed" => Ok(Claimed::InProgress),
            "swapping" | "interrupted" => Ok(Claimed::NeedsSwap),
            _ => Ok(Claimed::AlreadySpent),
        };
    }
    if is_any_accepted(transaction, token)? {
        return Ok(Claimed::AlreadySpent);
    }
    if !vault::has_room(transaction, &token.mint, token.gross, rules.vault_cap)? {
        return Ok(Claimed::NeedsSwap);
    }
    insert_claimed(transaction, claim, &rules.call_id, Some(token))?;
    insert_proofs(transaction, token)?;
    vault::insert(
        transaction,
        &rules.call_id,
        &claim.service,
        token,
        claim.now,
    )?;
    Entry::new(EntryKind::Earn, rules.call_id.clone(), claim.now)
        .memo("ecash accepted offline")
        .debit(Account::vault(&token.mint), token.gross)
        .credit(Account::income(&claim.service), token.gross)
        .post(transaction)?;
    Ok(Claimed::New {
        call: CallId(rules.call_id.clone()),
        remaining: Remaining::default(),
    })
}

fn claim_swapped(
    transaction: &Transaction<'_>,
    claim: &Claim,
    token: &PaidToken,
) -> Result<Claimed, StoreError> {
    match find_token(transaction, token.key())? {
        Some(row) if row.state == "swapping" || row.state == "released" => {
            reclaim(transaction, claim, row, token)
        }
        Some(row) if row.state == "claimed" => Ok(Claimed::InProgress),
        _ => Ok(Claimed::AlreadySpent),
    }
}

/// Claims a token that has a row: just swapped, or its last call failed.
fn reclaim(
    transaction: &Transaction<'_>,
    claim: &Claim,
    row: Row,
    token: &PaidToken,
) -> Result<Claimed, StoreError> {
    let is_credit = row.state == "released";
    let net = if is_credit { row.net } else { token.net };
    transaction.execute(
        "UPDATE paid_calls SET state = 'claimed', agent = ?2, price_msat = ?3, request_key = ?4,
                idempotency_key = ?5, net_sat = ?6, owed_sat = 0, updated_at = ?7
         WHERE id = ?1",
        params![
            row.id,
            claim.service,
            claim.price.as_u64(),
            claim.request.digest,
            claim.request.idempotency_key,
            net.as_u64(),
            claim.now
        ],
    )?;
    if is_credit {
        Entry::new(EntryKind::Earn, row.id.clone(), claim.now)
            .memo("retry with a payment given back")
            .debit(Account::owed(&row.agent), row.owed)
            .credit(Account::income(&claim.service), row.owed)
            .post(transaction)?;
    }
    Ok(Claimed::New {
        call: CallId(row.id),
        remaining: Remaining::default(),
    })
}

fn release(
    transaction: &Transaction<'_>,
    row: &Row,
    now: u64,
) -> Result<Option<PayOut>, StoreError> {
    transaction.execute(
        "UPDATE paid_calls SET state = 'released', owed_sat = net_sat, updated_at = ?2 WHERE id = ?1",
        params![row.id, now],
    )?;
    if matches!(row.rail.as_str(), "l402" | "mpp") {
        limits::give_back(transaction, &row.id, &row.payment_key)?;
        return Ok(None);
    }
    if row.rail == "nut24-offline" && vault::is_lost(transaction, &row.payment_key)? {
        // Worthless ecash: what was written off while the call ran is not owed.
        transaction.execute(
            "UPDATE paid_calls SET state = 'refunded', owed_sat = 0 WHERE id = ?1",
            [&row.id],
        )?;
        return Ok(None);
    }
    Entry::new(EntryKind::Refund, row.id.clone(), now)
        .memo("the call failed")
        .debit(Account::income(&row.agent), row.net)
        .credit(Account::owed(&row.agent), row.net)
        .post(transaction)?;
    Ok((row.rail == "nut24-swap")
        .then(|| row.pay_out(row.net))
        .flatten())
}

fn insert_claimed(
    transaction: &Transaction<'_>,
    claim: &Claim,
    call_id: &str,
    token: Option<&PaidToken>,
) -> Result<(), StoreError> {
    let RequestKey {
        digest,
        idempotency_key,
        ..
    } = &claim.request;
    transaction
        .prepare_cached(
            "INSERT INTO paid_calls (id, agent, rail, payment_key, state, price_msat, request_key,
                    idempotency_key, mint, net_sat, refund_key, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, 'claimed', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
        )?
        .execute(params![
            call_id,
            claim.service,
            claim.payment.rail(),
            claim.payment.key().0,
            claim.price.as_u64(),
            digest,
            idempotency_key,
            token.map(|token| &token.mint),
            token.map_or(0, |token| token.net.as_u64()),
            token.and_then(|token| token.refund_key.as_ref()),
            claim.now
        ])?;
    Ok(())
}

pub(super) fn is_any_accepted(
    transaction: &Transaction<'_>,
    token: &PaidToken,
) -> Result<bool, StoreError> {
    let mut find = transaction.prepare_cached("SELECT 1 FROM accepted_proofs WHERE y = ?1")?;
    for y in &token.ys {
        if find.exists([y])? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn insert_proofs(
    transaction: &Transaction<'_>,
    token: &PaidToken,
) -> Result<(), StoreError> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO accepted_proofs (y, payment_key) VALUES (?1, ?2)")?;
    for y in &token.ys {
        insert.execute(params![y, token.key().0])?;
    }
    Ok(())
}

pub(super) fn find_token(
    transaction: &Transaction<'_>,
    key: PaymentKey,
) -> Result<Option<Row>, StoreError> {
    find_row(
        transaction,
        "payment_key = ?1 AND rail NOT IN ('l402', 'mpp')",
        key.0,
    )
}

fn find_row(
    transaction: &Transaction<'_>,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> Result<Option<Row>, StoreError> {
    let sql = format!(
        "SELECT id, agent, rail, state, payment_key, price_msat, mint, net_sat, refund_key, owed_sat
         FROM paid_calls WHERE {condition} LIMIT 1"
    );
    Ok(transaction
        .prepare_cached(&sql)?
        .query_row([value], |row| {
            Ok(Row {
                id: row.get(0)?,
                agent: row.get(1)?,
                rail: row.get(2)?,
                state: row.get(3)?,
                payment_key: row.get(4)?,
                price: Msat::new(row.get(5)?),
                mint: row.get(6)?,
                net: Sat::new(row.get(7)?),
                refund_key: row.get(8)?,
                owed: Sat::new(row.get(9)?),
            })
        })
        .optional()?)
}

#[cfg(test)]
mod tests;
