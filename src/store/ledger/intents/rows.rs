//! The statements on `intents`.

use feria_paywall::amount::Msat;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};
use secrecy::ExposeSecret;

use super::Judgement;
use super::record::{Intent, IntentChange, IntentState, NewIntent, Way};
use crate::store::StoreError;
use crate::store::ledger::credentials::{Scheme, insert_credential};

/// The longest explanation kept, in characters.
const MAX_DETAIL_CHARS: usize = 1_000;

pub(super) fn msat(stored: i64) -> Msat {
    Msat::new(u64::try_from(stored).unwrap_or(0))
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_DETAIL_CHARS).collect()
}

pub(in crate::store::ledger) fn find_by_key(
    connection: &Connection,
    wallet_id: &str,
    key: &str,
) -> Result<Option<Intent>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT * FROM intents WHERE wallet_id = ?1 AND idempotency_key = ?2")?
        .query_row(params![wallet_id, key], read_intent)
        .optional()?)
}

pub(super) fn find_blocking(
    connection: &Connection,
    new: &NewIntent,
) -> Result<Option<Intent>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT * FROM intents
             WHERE state = 'unknown' AND request_digest = ?1 AND wallet_id = ?2 LIMIT 1",
        )?
        .query_row(params![new.request_digest, new.wallet_id], read_intent)
        .optional()?)
}

pub(in crate::store::ledger) fn insert(
    transaction: &Transaction<'_>,
    new: &NewIntent,
    state: IntentState,
    counted: Msat,
    detail: &str,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO intents (id, wallet_id, idempotency_key, method, origin, path, request_digest,
                seller, listing, state, price_msat, fee_limit_msat, counted_msat, decision, detail,
                created_at, updated_at, agent, host, capability, rail_kind)
             VALUES (:id, :wallet_id, :key, :method, :origin, :path, :digest, :seller, :listing, :state,
                :price, :fee_limit, :counted, :decision, :detail, :now, :now,
                :agent, :host, :capability, :rail)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":wallet_id": new.wallet_id,
            ":key": new.idempotency_key,
            ":method": new.method,
            ":origin": new.origin,
            ":path": new.path,
            ":digest": new.request_digest,
            ":seller": new.seller,
            ":listing": new.listing,
            ":state": state.as_str(),
            ":price": new.price.as_i64(),
            ":fee_limit": new.fee_limit.as_i64(),
            ":counted": counted.as_i64(),
            ":decision": new.decision,
            ":detail": shorten(detail),
            ":now": new.created_at,
            ":agent": new.subject.agent,
            ":host": new.subject.host,
            ":capability": new.subject.capability,
            ":rail": new.subject.rail,
        })?;
    Ok(())
}

/// Keeps what the policy said about a purchase.
pub(in crate::store::ledger) fn replace_policy(
    transaction: &Transaction<'_>,
    intent_id: &str,
    judgement: &Judgement,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached("UPDATE intents SET policy = ?2 WHERE id = ?1")?
        .execute(params![intent_id, judgement.to_json()])?;
    Ok(())
}

pub(in crate::store::ledger) fn advance(
    transaction: &Transaction<'_>,
    intent_id: &str,
    change: &IntentChange,
    now: u64,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "UPDATE intents SET
                state = coalesce(:state, state), way = coalesce(:way, way), rail = coalesce(:rail, rail),
                mint = coalesce(:mint, mint), price_msat = coalesce(:price, price_msat),
                fee_msat = coalesce(:fee, fee_msat), counted_msat = coalesce(:counted, counted_msat),
                operation_id = coalesce(:operation_id, operation_id),
                locktime = coalesce(:locktime, locktime),
                payment_hash = coalesce(:payment_hash, payment_hash),
                l402_token = coalesce(:l402_token, l402_token), scheme = coalesce(:scheme, scheme),
                quote_id = coalesce(:quote_id, quote_id), status = coalesce(:status, status),
                decision = coalesce(:decision, decision), detail = coalesce(:detail, detail),
                duration_ms = coalesce(:duration_ms, duration_ms), updated_at = :now
             WHERE id = :id AND state NOT IN ('delivered', 'refunded', 'refused', 'failed')",
        )?
        .execute(named_params! {
            ":id": intent_id,
            ":state": change.state.map(IntentState::as_str),
            ":way": change.way.map(Way::as_str),
            ":rail": change.rail,
            ":mint": change.mint,
            ":price": change.price.map(Msat::as_i64),
            ":fee": change.fee.map(Msat::as_i64),
            ":counted": change.counted.map(Msat::as_i64),
            ":operation_id": change.operation_id,
            ":locktime": change.locktime,
            ":payment_hash": change.payment_hash,
            ":l402_token": change.l402_token.as_ref().map(ExposeSecret::expose_secret),
            ":scheme": change.scheme.map(Scheme::as_str),
            ":quote_id": change.quote_id,
            ":status": change.status,
            ":decision": change.decision,
            ":detail": change.detail.as_deref().map(shorten),
            ":duration_ms": change.duration_ms,
            ":now": now,
        })?;
    if changed == 0 {
        return Ok(false);
    }
    let is_first = match &change.credential {
        Some(credential) => insert_credential(transaction, intent_id, credential, now)?,
        // The row moves into a final state but once.
        None => true,
    };
    if let Some(entry) = change.entry.as_ref().filter(|_| is_first) {
        entry.post(transaction)?;
    }
    Ok(true)
}

fn corrupt(column: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnName(column.to_owned())
}

pub(in crate::store::ledger) fn read_intent(row: &Row<'_>) -> rusqlite::Result<Intent> {
    let state: String = row.get("state")?;
    let way: Option<String> = row.get("way")?;
    let scheme: String = row.get("scheme")?;
    Ok(Intent {
        id: row.get("id")?,
        wallet_id: row.get("wallet_id")?,
        idempotency_key: row.get("idempotency_key")?,
        method: row.get("method")?,
        origin: row.get("origin")?,
        path: row.get("path")?,
        request_digest: row.get("request_digest")?,
        seller: row.get("seller")?,
        listing: row.get("listing")?,
        state: IntentState::parse(&state).ok_or_else(|| corrupt("state"))?,
        way: way
            .map(|way| Way::parse(&way).ok_or_else(|| corrupt("way")))
            .transpose()?,
        rail: row.get("rail")?,
        mint: row.get("mint")?,
        price: msat(row.get("price_msat")?),
        fee_limit: msat(row.get("fee_limit_msat")?),
        fee: msat(row.get("fee_msat")?),
        counted: msat(row.get("counted_msat")?),
        operation_id: row.get("operation_id")?,
        locktime: row.get("locktime")?,
        payment_hash: row.get("payment_hash")?,
        l402_token: row.get::<_, Option<String>>("l402_token")?.map(Into::into),
        scheme: Scheme::parse(&scheme).ok_or_else(|| corrupt("scheme"))?,
        quote_id: row.get("quote_id")?,
        credential_id: row.get("credential_id")?,
        is_use_held: row.get("use_held")?,
        status: row.get("status")?,
        decision: row.get("decision")?,
        detail: row.get("detail")?,
        duration_ms: row.get("duration_ms")?,
        created_at: row.get("created_at")?,
        agent: row.get::<_, Option<_>>("agent")?.unwrap_or_default(),
        host: row.get::<_, Option<_>>("host")?.unwrap_or_default(),
        capability: row.get("capability")?,
        rail_kind: row.get("rail_kind")?,
        policy: row.get("policy")?,
    })
}
