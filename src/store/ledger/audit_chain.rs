//! The hash-chained log of each agent wallet. Table `audit_chain`.
//!
//! `hash = SHA-256(prev ‖ entry)`, where `prev` is the 32 bytes of the hash of
//! the entry before (32 zero bytes for the first) and `entry` the canonical JSON
//! of the entry without its hashes: keys in alphabetical order, no white space,
//! integers only, strings escaped as serde_json does:
//!
//! (`docs/AUDIT.md` has every rule, for whoever checks a log elsewhere)
//!
//! `{"amount_msat":-21000,"at":1900000000,"kind":"paid","reference":"op","seq":3,"wallet_id":"w"}`

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::store::StoreError;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainRow {
    pub(crate) seq: u64,
    pub(crate) at: u64,
    pub(crate) kind: String,
    pub(crate) amount_msat: i64,
    pub(crate) reference: String,
    /// Hexadecimal.
    pub(crate) prev: String,
    /// Hexadecimal.
    pub(crate) hash: String,
}

/// The bytes that the hash of an entry covers, after the previous hash.
fn canonical(wallet_id: &str, row: &ChainRow) -> String {
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("amount_msat", row.amount_msat.into()),
        ("at", row.at.into()),
        ("kind", row.kind.as_str().into()),
        ("reference", row.reference.as_str().into()),
        ("seq", row.seq.into()),
        ("wallet_id", wallet_id.into()),
    ]);
    serde_json::to_string(&fields).unwrap_or_default()
}

fn hash(wallet_id: &str, row: &ChainRow) -> String {
    let mut prev = [0; 32];
    // A previous hash that is not hexadecimal cannot match; hash it as zeros.
    let _ = hex::decode_to_slice(&row.prev, &mut prev);
    let digest = Sha256::new()
        .chain_update(prev)
        .chain_update(canonical(wallet_id, row))
        .finalize();
    hex::encode(digest)
}

/// Appends an entry to the chain of `wallet_id`.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    wallet_id: &str,
    at: u64,
    kind: &str,
    amount_msat: i64,
    reference: &str,
) -> Result<(), StoreError> {
    let last: Option<(u64, String)> = transaction
        .prepare_cached(
            "SELECT seq, hash FROM audit_chain WHERE wallet_id = ?1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([wallet_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (seq, prev) = last.map_or_else(
        || (0, "0".repeat(64)),
        |(seq, hash)| (seq.saturating_add(1), hash),
    );
    let mut row = ChainRow {
        seq,
        at,
        kind: kind.to_owned(),
        amount_msat,
        reference: reference.to_owned(),
        prev,
        hash: String::new(),
    };
    row.hash = hash(wallet_id, &row);
    transaction
        .prepare_cached(
            "INSERT INTO audit_chain
                 (wallet_id, seq, at, kind, amount_msat, reference, prev, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            wallet_id,
            row.seq,
            row.at,
            row.kind,
            row.amount_msat,
            row.reference,
            row.prev,
            row.hash
        ])?;
    Ok(())
}

/// Returns the chain of `wallet_id`, oldest first.
pub(crate) fn list(connection: &Connection, wallet_id: &str) -> Result<Vec<ChainRow>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT seq, at, kind, amount_msat, reference, prev, hash
             FROM audit_chain WHERE wallet_id = ?1 ORDER BY seq",
        )?
        .query_map([wallet_id], |row| {
            Ok(ChainRow {
                seq: row.get(0)?,
                at: row.get(1)?,
                kind: row.get(2)?,
                amount_msat: row.get(3)?,
                reference: row.get(4)?,
                prev: row.get(5)?,
                hash: row.get(6)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}

/// Returns what is wrong with a chain, or `None`. An end that was cut off does
/// not show: compare the last hash with a copy kept elsewhere.
pub(crate) fn fault(wallet_id: &str, chain: &[ChainRow]) -> Option<String> {
    let mut prev = "0".repeat(64);
    for (expected, row) in (0_u64..).zip(chain) {
        if row.seq != expected {
            return Some(format!("entry {expected} is missing"));
        }
        if row.prev != prev {
            return Some(format!("entry {expected} does not follow the one before"));
        }
        if row.hash != hash(wallet_id, row) {
            return Some(format!("entry {expected} was changed"));
        }
        prev.clone_from(&row.hash);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<ChainRow> {
        let mut rows: Vec<ChainRow> = Vec::new();
        for seq in 0..3 {
            let prev = rows
                .last()
                .map_or_else(|| "0".repeat(64), |row| row.hash.clone());
            let mut row = ChainRow {
                seq,
                at: 1_900_000_000 + seq,
                kind: "paid".to_owned(),
                amount_msat: -21_000,
                reference: "op \"1\"".to_owned(),
                prev,
                hash: String::new(),
            };
            row.hash = hash("w", &row);
            rows.push(row);
        }
        rows
    }

    #[test]
    fn the_canonical_form_is_the_documented_one() {
        let mut row = chain().remove(0);
        row.seq = 3;
        row.reference = "op".to_owned();
        row.at = 1_900_000_000;
        assert_eq!(
            canonical("w", &row),
            r#"{"amount_msat":-21000,"at":1900000000,"kind":"paid","reference":"op","seq":3,"wallet_id":"w"}"#
        );
    }

    #[test]
    fn an_untouched_chain_has_no_fault() {
        assert_eq!(fault("w", &chain()), None);
    }

    #[test]
    fn a_changed_entry_is_found() {
        let mut rows = chain();
        rows[1].amount_msat = -1;
        assert_eq!(fault("w", &rows), Some("entry 1 was changed".to_owned()));
    }

    #[test]
    fn a_removed_entry_is_found() {
        let mut rows = chain();
        rows.remove(1);
        assert_eq!(fault("w", &rows), Some("entry 1 is missing".to_owned()));
    }

    #[test]
    fn a_rewritten_entry_breaks_the_link_to_the_next() {
        let mut rows = chain();
        rows[1].amount_msat = -1;
        rows[1].hash = hash("w", &rows[1]);
        assert_eq!(
            fault("w", &rows),
            Some("entry 2 does not follow the one before".to_owned())
        );
    }

    #[test]
    fn a_chain_of_another_wallet_is_refused() {
        assert!(fault("other", &chain()).is_some());
    }
}
