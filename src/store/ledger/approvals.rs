//! Purchases that wait for a person. Table `approvals`.
//!
//! ```text
//!             approve                same key again
//! waiting ───────────────▶ approved ───────────────▶ used (the intent says more)
//!  │   ▲                      │
//!  │   └── asks more, or late ┘
//!  └─ deny ─▶ denied (and an intent `refused` under its key)
//! ```
//!
//! Nothing is reserved while one waits, and no money moves by a decision: the
//! caller comes back with the same key, every other limit is checked again, and
//! the approval is used up in the transaction that opens the intent. Both waiting
//! and approved ones end at `expires_at`; the same key then starts anew.

use feria_paywall::amount::Msat;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::intents::rows::{find_by_key, insert};
use super::intents::{IntentState, Judgement, NewIntent, Subject, Verdict};
use crate::store::StoreError;

/// How many of one agent wait at once; further calls are refused.
const MAX_WAITING: u32 = 100;
/// How long an approval that was never used is kept, in seconds.
const KEPT_SECS: u64 = 30 * 24 * 3_600;
const MAX_NOTE_CHARS: usize = 200;

/// A purchase that waits, or waited, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Names it, and the purchase should it be made.
    pub id: String,
    /// Who would pay.
    pub wallet_id: String,
    /// Whose wallet that is.
    pub agent: String,
    /// What the caller comes back with.
    pub idempotency_key: String,
    /// HTTP method.
    pub method: String,
    /// Scheme, host, port and path, without the query.
    pub endpoint: String,
    /// Public key of the seller, if a listing names it.
    pub seller: Option<String>,
    /// Coordinate of the listing.
    pub listing: Option<String>,
    /// What the seller asks.
    pub price_msat: u64,
    /// What fees may add.
    pub fee_limit_msat: u64,
    /// The rule that held it.
    pub rule: String,
    /// waiting, approved, denied, used, or expired.
    pub state: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
    /// Unix seconds; `None` while nobody has.
    pub decided_at: Option<u64>,
    /// Words of who decided.
    pub note: String,
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The same call may be paid until then, Unix seconds.
    ApproveUntil(u64),
    /// It is not to be paid.
    Deny,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Done(Box<Approval>),
    /// There is no such approval.
    Missing,
    /// It was decided before, and stays so.
    Before(Box<Approval>),
    /// It waited too long: the caller has to ask again.
    Expired(Box<Approval>),
}

/// Whether a person has agreed to a purchase.
pub(super) enum Consent {
    /// Nobody has to be asked.
    NotNeeded,
    /// The purchase goes on under this id.
    Given(String),
    /// It is recorded and waits.
    Awaited(Box<Approval>),
}

/// Looks for consent to `new` when `judged` asks for it, and records what was found.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    new: &NewIntent,
    judged: &mut Judgement,
) -> Result<Consent, StoreError> {
    let found = find_by_key_of(transaction, &new.wallet_id, &new.idempotency_key)?;
    if judged.verdict != Verdict::Held {
        if let Some(found) = found.filter(|_| judged.verdict == Verdict::Admitted) {
            // The policy has changed meanwhile: nothing waits any more.
            set_state(transaction, &found.id, "used")?;
            return Ok(Consent::Given(found.id));
        }
        return Ok(Consent::NotNeeded);
    }
    let asked = new.price.saturating_add(new.fee_limit).as_u64();
    let now = new.created_at;
    let is_given = found.as_ref().is_some_and(|found| {
        let agreed = found.price_msat.saturating_add(found.fee_limit_msat);
        found.state == "approved" && now < found.expires_at && asked <= agreed
    }) && is_same_request(transaction, new)?;
    if let Some(found) = found.as_ref().filter(|_| is_given) {
        set_state(transaction, &found.id, "used")?;
        judged.verdict = Verdict::Admitted;
        "a person agreed to it".clone_into(&mut judged.reason);
        return Ok(Consent::Given(found.id.clone()));
    }
    prune(transaction, now)?;
    let waits = found.as_ref().is_some_and(|found| found.state == "waiting");
    if !waits && count_waiting(transaction, &new.subject.agent, now)? >= MAX_WAITING {
        judged.verdict = Verdict::Refused;
        judged.reason = format!("{MAX_WAITING} purchases of this agent wait for a person already");
        return Ok(Consent::NotNeeded);
    }
    let id = found.map_or_else(|| new.id.clone(), |found| found.id);
    replace(transaction, &id, new, judged)?;
    find(transaction, &id, now)?
        .map(|approval| Consent::Awaited(Box::new(approval)))
        .ok_or(StoreError::Corrupt {
            table: "approvals",
            column: "id",
            reason: format!("{id} is gone"),
        })
}

/// Returns whether a person agreed to the open purchase `intent_id` for at least `asked`.
pub(super) fn covers(
    connection: &Connection,
    intent_id: &str,
    asked: Msat,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM approvals
             WHERE id = ?1 AND state = 'used' AND price_msat + fee_limit_msat >= ?2",
        )?
        .exists(params![intent_id, asked.as_i64()])?)
}

impl Ledger {
    /// Returns the approval `id` as it stands at `now`, Unix seconds.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_approval(&self, id: &str, now: u64) -> Result<Option<Approval>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| find(connection, &id, now))
            .await
    }

    /// Lists approvals as they stand at `now`, those that wait first, then the
    /// newest; `agent` narrows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_approvals(
        &self,
        agent: Option<&str>,
        now: u64,
        limit: u32,
    ) -> Result<Vec<Approval>, StoreError> {
        let agent = agent.map(str::to_owned);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM approvals WHERE ?1 IS NULL OR agent = ?1
                 ORDER BY state = 'waiting' AND expires_at > ?2 DESC, created_at DESC, rowid DESC
                 LIMIT ?3",
            )?;
            let rows = statement.query_map(params![agent, now, limit], |row| read_row(row, now))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Records what a person says about the approval `id`. A denied purchase is
    /// refused for good under its key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn decide_approval(
        &self,
        id: &str,
        decision: Decision,
        note: &str,
        now: u64,
    ) -> Result<Decided, StoreError> {
        let id = id.to_owned();
        let note: String = note.chars().take(MAX_NOTE_CHARS).collect();
        self.write("decide approval", move |transaction| {
            let Some(found) = find(transaction, &id, now)? else {
                return Ok(Decided::Missing);
            };
            match found.state.as_str() {
                "waiting" => {}
                "expired" => return Ok(Decided::Expired(Box::new(found))),
                _ => return Ok(Decided::Before(Box::new(found))),
            }
            let (state, expires_at) = match decision {
                Decision::ApproveUntil(until) => ("approved", until),
                Decision::Deny => ("denied", found.expires_at),
            };
            transaction.execute(
                "UPDATE approvals SET state = ?2, expires_at = ?3, decided_at = ?4, note = ?5
                 WHERE id = ?1",
                params![id, state, expires_at, now, note],
            )?;
            if decision == Decision::Deny {
                refuse(transaction, &id, &note, now)?;
            }
            let decided = find(transaction, &id, now)?.unwrap_or(found);
            Ok(Decided::Done(Box::new(decided)))
        })
        .await
    }
}

/// Takes the key of a denied purchase, so that it is refused from now on.
fn refuse(transaction: &Transaction<'_>, id: &str, note: &str, now: u64) -> Result<(), StoreError> {
    let (denied, policy) =
        transaction.query_row("SELECT * FROM approvals WHERE id = ?1", [id], |row| {
            Ok((read_intent_of(row, now)?, row.get::<_, String>("policy")?))
        })?;
    if find_by_key(transaction, &denied.wallet_id, &denied.idempotency_key)?.is_some() {
        return Ok(());
    }
    let reason = if note.is_empty() {
        "a person denied it".to_owned()
    } else {
        format!("a person denied it: {note}")
    };
    insert(
        transaction,
        &denied,
        IntentState::Refused,
        Msat::ZERO,
        &reason,
    )?;
    transaction.execute(
        "UPDATE intents SET policy = ?2 WHERE id = ?1",
        params![id, policy],
    )?;
    Ok(())
}

fn replace(
    transaction: &Transaction<'_>,
    id: &str,
    new: &NewIntent,
    judged: &Judgement,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO approvals
                (id, wallet_id, agent, idempotency_key, method, origin, path, request_digest, seller,
                 listing, price_msat, fee_limit_msat, rule, policy, state, created_at, expires_at)
             VALUES (:id, :wallet_id, :agent, :key, :method, :origin, :path, :digest, :seller,
                 :listing, :price, :fee_limit, :rule, :policy, 'waiting', :now, :expires_at)",
        )?
        .execute(named_params! {
            ":id": id,
            ":wallet_id": new.wallet_id,
            ":agent": new.subject.agent,
            ":key": new.idempotency_key,
            ":method": new.method,
            ":origin": new.origin,
            ":path": new.path,
            ":digest": new.request_digest,
            ":seller": new.seller,
            ":listing": new.listing,
            ":price": new.price.as_i64(),
            ":fee_limit": new.fee_limit.as_i64(),
            ":rule": judged.rule,
            ":policy": judged.to_json(),
            ":now": new.created_at,
            ":expires_at": new.created_at.saturating_add(judged.hold_secs),
        })?;
    Ok(())
}

fn is_same_request(connection: &Connection, new: &NewIntent) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM approvals
             WHERE wallet_id = ?1 AND idempotency_key = ?2 AND request_digest = ?3",
        )?
        .exists(params![
            new.wallet_id,
            new.idempotency_key,
            new.request_digest
        ])?)
}

fn set_state(transaction: &Transaction<'_>, id: &str, state: &str) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE approvals SET state = ?2 WHERE id = ?1",
        params![id, state],
    )?;
    Ok(())
}

fn count_waiting(connection: &Connection, agent: &str, now: u64) -> Result<u32, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT count(*) FROM approvals
             WHERE state = 'waiting' AND agent = ?1 AND expires_at > ?2",
        )?
        .query_row(params![agent, now], |row| row.get(0))?)
}

fn prune(transaction: &Transaction<'_>, now: u64) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM approvals WHERE state IN ('waiting', 'approved') AND expires_at < ?1",
        [now.saturating_sub(KEPT_SECS)],
    )?;
    Ok(())
}

/// The row as stored: "expired" is made of the time when it is shown.
fn find_by_key_of(
    connection: &Connection,
    wallet_id: &str,
    key: &str,
) -> Result<Option<Approval>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT * FROM approvals WHERE wallet_id = ?1 AND idempotency_key = ?2")?
        .query_row(params![wallet_id, key], |row| read_row(row, 0))
        .optional()?)
}

fn find(connection: &Connection, id: &str, now: u64) -> Result<Option<Approval>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT * FROM approvals WHERE id = ?1")?
        .query_row([id], |row| read_row(row, now))
        .optional()?)
}

fn read_row(row: &Row<'_>, now: u64) -> rusqlite::Result<Approval> {
    let stored: String = row.get("state")?;
    let expires_at: u64 = row.get("expires_at")?;
    let is_over = matches!(stored.as_str(), "waiting" | "approved") && now >= expires_at;
    let (origin, path): (String, String) = (row.get("origin")?, row.get("path")?);
    Ok(Approval {
        id: row.get("id")?,
        wallet_id: row.get("wallet_id")?,
        agent: row.get("agent")?,
        idempotency_key: row.get("idempotency_key")?,
        method: row.get("method")?,
        endpoint: format!("{origin}{path}"),
        seller: row.get("seller")?,
        listing: row.get("listing")?,
        price_msat: row.get("price_msat")?,
        fee_limit_msat: row.get("fee_limit_msat")?,
        rule: row.get("rule")?,
        state: if is_over {
            "expired".to_owned()
        } else {
            stored
        },
        created_at: row.get("created_at")?,
        expires_at,
        decided_at: row.get("decided_at")?,
        note: row.get("note")?,
    })
}

/// The purchase that an approval would have become.
fn read_intent_of(row: &Row<'_>, now: u64) -> rusqlite::Result<NewIntent> {
    Ok(NewIntent {
        id: row.get("id")?,
        wallet_id: row.get("wallet_id")?,
        idempotency_key: row.get("idempotency_key")?,
        method: row.get("method")?,
        origin: row.get("origin")?,
        path: row.get("path")?,
        request_digest: row.get("request_digest")?,
        seller: row.get("seller")?,
        listing: row.get("listing")?,
        price: Msat::new(row.get("price_msat")?),
        fee_limit: Msat::new(row.get("fee_limit_msat")?),
        decision: "{}".to_owned(),
        created_at: now,
        subject: Subject {
            agent: row.get("agent")?,
            ..Subject::default()
        },
    })
}
