//! What the node keeps about wallets behind Nostr Wallet Connect.
//!
//! Tables `nwc_payments`, `nwc_receipts`, `nwc_wallets`. Their meaning is
//! `crate::lightning::nwc`'s.

use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use rusqlite::{OptionalExtension, params};

use super::Ledger;
use crate::store::StoreError;

/// Something that a wallet received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NwcReceipt {
    pub(crate) index: u64,
    pub(crate) payment_hash: PaymentHash,
    pub(crate) amount: Msat,
}

/// When a wallet was first used, and up to when its list was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NwcReading {
    pub(crate) first_at: u64,
    pub(crate) read_until: u64,
}

impl Ledger {
    /// Writes down that `backend` is about to be asked to pay `hash`.
    ///
    /// # Errors
    /// When the database refuses; then nothing may be asked.
    pub(crate) async fn begin_nwc_payment(
        &self,
        backend: String,
        hash: PaymentHash,
        expires_at: u64,
        now: u64,
    ) -> Result<(), StoreError> {
        self.write("begin a wallet's payment", move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO nwc_payments (backend, payment_hash, expires_at, created_at)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)",
                )?
                .execute(params![backend, hash.as_bytes(), expires_at, now])?;
            Ok(())
        })
        .await
    }

    /// Returns when the invoice of a begun payment expires; `None` for one that was
    /// never begun, or has certainly failed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_nwc_payment(
        &self,
        backend: String,
        hash: PaymentHash,
    ) -> Result<Option<u64>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT expires_at FROM nwc_payments WHERE backend = ?1 AND payment_hash = ?2",
                )?
                .query_row(params![backend, hash.as_bytes()], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// Forgets a payment that has certainly failed.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn fail_nwc_payment(
        &self,
        backend: String,
        hash: PaymentHash,
    ) -> Result<(), StoreError> {
        self.write("fail a wallet's payment", move |transaction| {
            transaction.execute(
                "DELETE FROM nwc_payments WHERE backend = ?1 AND payment_hash = ?2",
                params![backend, hash.as_bytes()],
            )?;
            Ok(())
        })
        .await
    }

    /// Keeps receipts that are new, and moves `read_until` when a list was read to its end.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn keep_nwc_receipts(
        &self,
        backend: String,
        receipts: Vec<(PaymentHash, Msat)>,
        read_until: Option<u64>,
    ) -> Result<(), StoreError> {
        self.write("keep a wallet's receipts", move |transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO nwc_receipts
                     (backend, settled_index, payment_hash, amount_msat)
                 SELECT ?1, 1 + coalesce(max(settled_index), 0), ?2, ?3
                 FROM nwc_receipts WHERE backend = ?1",
            )?;
            for (hash, amount) in &receipts {
                insert.execute(params![backend, hash.as_bytes(), amount.as_i64()])?;
            }
            if let Some(read_until) = read_until {
                transaction.execute(
                    "UPDATE nwc_wallets SET read_until = max(read_until, ?2) WHERE backend = ?1",
                    params![backend, read_until],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Returns how far the list of `backend` was read, from now on if never.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn nwc_reading(
        &self,
        backend: String,
        now: u64,
    ) -> Result<NwcReading, StoreError> {
        self.write("read a wallet's state", move |transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO nwc_wallets (backend, first_at, read_until)
                 VALUES (?1, ?2, ?2)",
                params![backend, now],
            )?;
            Ok(transaction.query_row(
                "SELECT first_at, read_until FROM nwc_wallets WHERE backend = ?1",
                [backend],
                |row| {
                    Ok(NwcReading {
                        first_at: row.get(0)?,
                        read_until: row.get(1)?,
                    })
                },
            )?)
        })
        .await
    }

    /// Lists what `backend` received after `index`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_nwc_receipts(
        &self,
        backend: String,
        index: u64,
        limit: u32,
    ) -> Result<Vec<NwcReceipt>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT settled_index, payment_hash, amount_msat FROM nwc_receipts
                 WHERE backend = ?1 AND settled_index > ?2 ORDER BY settled_index LIMIT ?3",
            )?;
            let rows = statement.query_map(params![backend, index, limit], |row| {
                Ok(NwcReceipt {
                    index: row.get(0)?,
                    payment_hash: PaymentHash::new(row.get(1)?),
                    amount: Msat::new(row.get(2)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
