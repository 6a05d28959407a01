//! Transfers by message: one row each, and each incoming proof once.
//!
//! A state only changes from a state that the caller names, so that two tasks
//! that work on the same transfer cannot both take the next step.

use feria_paywall::amount::Sat;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::Ledger;
use crate::store::StoreError;

const COLUMNS: &str = "id, direction, state, agent, wallet_id, peer, mint, amount_sat, memo, \
     locktime, lock_key, rumor_id, peer_relays, reply_relays, token, detail, sent_at, created_at, \
     updated_at";

/// Which way the ecash goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From an own agent.
    Out,
    /// To an own agent.
    In,
}

/// How far a transfer is. See the module head of [`crate::transfer`] for the arrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferState {
    /// Out: decided; the token may exist, no relay has the message.
    Created,
    /// Out: a relay of the payee has the message.
    Sent,
    /// The payee has said that it is redeemed. In: we have said so.
    Acknowledged,
    /// Out, final: the mint says that the payee redeemed it.
    Claimed,
    /// Out: past the locktime, on its way home.
    Reclaiming,
    /// Out, final: home again.
    Reclaimed,
    /// Out, final: given up before any money moved.
    Failed,
    /// In: of a mint that is not trusted; untouched.
    Kept,
    /// In: checked, not redeemed yet.
    Held,
    /// In: redeemed, not acknowledged yet.
    Received,
    /// In, final: not taken.
    Refused,
}

impl TransferState {
    /// Returns the name stored in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Claimed => "claimed",
            Self::Reclaiming => "reclaiming",
            Self::Reclaimed => "reclaimed",
            Self::Failed => "failed",
            Self::Kept => "kept",
            Self::Held => "held",
            Self::Received => "received",
            Self::Refused => "refused",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(text)).ok()
    }
}

/// One transfer.
#[derive(Clone)]
pub struct TransferRow {
    /// Outgoing: random. Incoming: the message's id in hexadecimal.
    pub id: String,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub state: TransferState,
    /// The own agent.
    pub agent: String,
    /// Its wallet.
    pub wallet_id: String,
    /// The other side's Nostr key.
    pub peer: [u8; 32],
    /// Where the ecash is.
    pub mint: String,
    /// What the payee is to have; once received, what it got.
    pub amount: Sat,
    /// The sender's words.
    pub memo: String,
    /// Outgoing: Unix seconds.
    pub locktime: Option<u64>,
    /// Outgoing: the payee's P2PK key.
    pub lock_key: Option<String>,
    /// The id of the message with the ecash.
    pub rumor_id: Option<[u8; 32]>,
    /// Where the other side is reached.
    pub peer_relays: Vec<String>,
    /// Where an answer is read.
    pub reply_relays: Vec<String>,
    /// Incoming, until redeemed.
    pub token: Option<String>,
    /// Why, for a person.
    pub detail: String,
    /// When the message last went out.
    pub sent_at: Option<u64>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub updated_at: u64,
}

impl std::fmt::Debug for TransferRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferRow")
            .field("id", &self.id)
            .field("direction", &self.direction)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What became of an incoming transfer that was offered to the ledger.
#[derive(Debug)]
pub enum Incoming {
    /// It is written down now.
    New,
    /// This message was here before.
    SameMessage(Box<TransferRow>),
    /// A proof in it came in another message.
    SameProofs,
    /// The agent has as many undecided and refused messages as it may.
    TooMany,
}

/// What a step changes besides the state.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Replaces the detail when set.
    pub detail: Option<String>,
    /// Replaces the amount when set.
    pub amount: Option<Sat>,
    /// Replaces the message's id when set.
    pub rumor_id: Option<[u8; 32]>,
    /// Whether the message went out now.
    pub is_sent: bool,
    /// Whether the token is no longer needed.
    pub drop_token: bool,
}

impl Ledger {
    /// Writes a new outgoing transfer down.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn insert_transfer(&self, row: TransferRow) -> Result<(), StoreError> {
        self.write("insert transfer", move |tx| insert(tx, &row))
            .await
    }

    /// Writes an incoming transfer and its proofs down, once. A refused or kept
    /// one counts against `max_idle`, and its proofs are not claimed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn claim_incoming_transfer(
        &self,
        row: TransferRow,
        ys: Vec<[u8; 33]>,
        max_idle: u64,
    ) -> Result<Incoming, StoreError> {
        self.write("claim incoming transfer", move |tx| {
            if let Some(before) = find(tx, &row.id)? {
                return Ok(Incoming::SameMessage(Box::new(before)));
            }
            if row.state != TransferState::Held {
                let idle: u64 = tx.query_row(
                    "SELECT count(*) FROM transfers
                     WHERE state IN ('kept', 'refused') AND agent = ?1",
                    [&row.agent],
                    |found| found.get(0),
                )?;
                if idle >= max_idle {
                    return Ok(Incoming::TooMany);
                }
                insert(tx, &row)?;
                return Ok(Incoming::New);
            }
            let mut seen = tx.prepare_cached("SELECT 1 FROM transfer_proofs WHERE y = ?1")?;
            for y in &ys {
                if seen.exists([y.as_slice()])? {
                    return Ok(Incoming::SameProofs);
                }
            }
            insert(tx, &row)?;
            let mut claim =
                tx.prepare_cached("INSERT INTO transfer_proofs (y, transfer_id) VALUES (?1, ?2)")?;
            for y in &ys {
                claim.execute(params![y.as_slice(), row.id])?;
            }
            Ok(Incoming::New)
        })
        .await
    }

    /// Takes the transfer `id` from one of the states `from` to `to`; returns
    /// whether it was in one of them.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn advance_transfer(
        &self,
        id: &str,
        from: &'static [TransferState],
        to: TransferState,
        step: Step,
        now: u64,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write("advance transfer", move |tx| {
            let Some(row) = find(tx, &id)? else {
                return Ok(false);
            };
            if !from.contains(&row.state) {
                return Ok(false);
            }
            tx.prepare_cached(
                "UPDATE transfers SET state = ?2, updated_at = ?3, detail = coalesce(?4, detail),
                     amount_sat = coalesce(?5, amount_sat), rumor_id = coalesce(?6, rumor_id),
                     sent_at = iif(?7, ?3, sent_at), token = iif(?8, NULL, token)
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                to.as_str(),
                now,
                step.detail.as_deref().map(clipped),
                step.amount.map(Sat::as_u64),
                step.rumor_id.as_ref().map(<[u8; 32]>::as_slice),
                step.is_sent,
                step.drop_token,
            ])?;
            Ok(true)
        })
        .await
    }

    /// Finds the transfer `id`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_transfer(&self, id: &str) -> Result<Option<TransferRow>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| find(connection, &id)).await
    }

    /// Finds the outgoing transfer whose message has this id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_outgoing_transfer(
        &self,
        rumor_id: [u8; 32],
    ) -> Result<Option<TransferRow>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM transfers WHERE direction = 'out' AND rumor_id = ?1"
                ))?
                .query_row([rumor_id.as_slice()], read)
                .optional()?)
        })
        .await
    }

    /// Lists at most `limit` transfers, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_transfers(&self, limit: usize) -> Result<Vec<TransferRow>, StoreError> {
        self.read(move |connection| {
            list(
                connection,
                &format!("ORDER BY created_at DESC, id LIMIT {limit}"),
            )
        })
        .await
    }

    /// Lists the transfers with a step left to take, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list_open_transfers(&self) -> Result<Vec<TransferRow>, StoreError> {
        self.read(|connection| {
            list(
                connection,
                "WHERE state IN ('created', 'sent', 'reclaiming', 'held', 'received')
                    OR (state = 'acknowledged' AND direction = 'out')
                 ORDER BY created_at, id",
            )
        })
        .await
    }
}

fn find(connection: &Connection, id: &str) -> Result<Option<TransferRow>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM transfers WHERE id = ?1"))?
        .query_row([id], read)
        .optional()?)
}

fn list(connection: &Connection, tail: &str) -> Result<Vec<TransferRow>, StoreError> {
    Ok(connection
        .prepare(&format!("SELECT {COLUMNS} FROM transfers {tail}"))?
        .query_map([], read)?
        .collect::<Result<_, _>>()?)
}

fn insert(connection: &Connection, row: &TransferRow) -> Result<(), StoreError> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO transfers ({COLUMNS}) VALUES
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
        ))?
        .execute(params![
            row.id,
            match row.direction {
                Direction::Out => "out",
                Direction::In => "in",
            },
            row.state.as_str(),
            row.agent,
            row.wallet_id,
            row.peer.as_slice(),
            row.mint,
            row.amount.as_u64(),
            clipped(&row.memo),
            row.locktime,
            row.lock_key,
            row.rumor_id.as_ref().map(<[u8; 32]>::as_slice),
            urls_json(&row.peer_relays),
            urls_json(&row.reply_relays),
            row.token,
            clipped(&row.detail),
            row.sent_at,
            row.created_at,
            row.updated_at,
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<TransferRow> {
    let direction: String = row.get(1)?;
    let state: String = row.get(2)?;
    Ok(TransferRow {
        id: row.get(0)?,
        direction: match direction.as_str() {
            "out" => Direction::Out,
            _ => Direction::In,
        },
        state: TransferState::parse(&state).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(2, Type::Text, "unknown state".into())
        })?,
        agent: row.get(3)?,
        wallet_id: row.get(4)?,
        peer: row.get(5)?,
        mint: row.get(6)?,
        amount: Sat::new(row.get(7)?),
        memo: row.get(8)?,
        locktime: row.get(9)?,
        lock_key: row.get(10)?,
        rumor_id: row.get(11)?,
        peer_relays: urls(&row.get::<_, String>(12)?),
        reply_relays: urls(&row.get::<_, String>(13)?),
        token: row.get(14)?,
        detail: row.get(15)?,
        sent_at: row.get(16)?,
        created_at: row.get(17)?,
        updated_at: row.get(18)?,
    })
}

fn urls_json(urls: &[String]) -> String {
    serde_json::Value::from(urls).to_string()
}

fn urls(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The columns for people hold 500 characters.
fn clipped(text: &str) -> String {
    text.chars().take(500).collect()
}
