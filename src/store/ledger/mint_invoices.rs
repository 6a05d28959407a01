//! Invoices that a mint made for the Lightning backend of kind `mint`.
//!
//! Table `mint_invoices`. A row goes open → settled → issued; an open one that can
//! no longer be paid is removed. The index of a settled one is given once, in the
//! transaction that finds it paid, so readers of the stream never miss it.

use feria_paywall::amount::Sat;
use feria_paywall::payment::PaymentHash;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Ledger;
use crate::store::StoreError;

/// An invoice of a mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MintInvoice {
    pub(crate) payment_hash: PaymentHash,
    pub(crate) quote_id: String,
    pub(crate) amount: Sat,
    /// Unix seconds, as the next.
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
    /// Its place in the stream of settled invoices.
    pub(crate) settled_index: Option<u64>,
    pub(crate) is_issued: bool,
}

const COLUMNS: &str =
    "payment_hash, quote_id, amount_sat, created_at, expires_at, settled_index, is_issued";

fn read(row: &Row<'_>) -> rusqlite::Result<MintInvoice> {
    Ok(MintInvoice {
        payment_hash: PaymentHash::new(row.get(0)?),
        quote_id: row.get(1)?,
        amount: Sat::new(row.get(2)?),
        created_at: row.get(3)?,
        expires_at: row.get(4)?,
        settled_index: row.get(5)?,
        is_issued: row.get(6)?,
    })
}

impl Ledger {
    /// Keeps an invoice that nobody was shown yet; the mint is asked about it at `ask_at`.
    ///
    /// # Errors
    /// When the database refuses; a hash that is known already, too.
    pub(crate) async fn insert_mint_invoice(
        &self,
        backend: String,
        invoice: MintInvoice,
        ask_at: u64,
    ) -> Result<(), StoreError> {
        self.write("keep a mint's invoice", move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO mint_invoices
                         (payment_hash, backend, quote_id, amount_sat, created_at, expires_at, ask_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    invoice.payment_hash.as_bytes(),
                    backend,
                    invoice.quote_id,
                    invoice.amount.as_u64(),
                    invoice.created_at,
                    invoice.expires_at,
                    ask_at
                ])?;
            Ok(())
        })
        .await
    }

    /// Returns the invoice `hash` of `backend`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn find_mint_invoice(
        &self,
        backend: String,
        hash: PaymentHash,
    ) -> Result<Option<MintInvoice>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM mint_invoices WHERE payment_hash = ?1 AND backend = ?2"
                ))?
                .query_row(params![hash.as_bytes(), backend], read)
                .optional()?)
        })
        .await
    }

    /// Lists the invoices that the mint should be asked about, at most `limit`:
    /// first those that a claim has shown to be paid, then those that are due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_due_mint_invoices(
        &self,
        backend: String,
        now: u64,
        limit: u32,
    ) -> Result<Vec<MintInvoice>, StoreError> {
        self.read(move |connection| list_due(connection, &backend, now, limit))
            .await
    }

    /// Notes that the invoice is paid, and whether its ecash is in the treasury;
    /// if not, the mint is asked again at `ask_at`.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn settle_mint_invoice(
        &self,
        backend: String,
        hash: PaymentHash,
        is_issued: bool,
        ask_at: u64,
    ) -> Result<(), StoreError> {
        self.write("settle a mint's invoice", move |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE mint_invoices SET is_issued = max(is_issued, ?3), ask_at = ?4,
                         settled_index = coalesce(settled_index, 1 + coalesce(
                             (SELECT max(settled_index) FROM mint_invoices WHERE backend = ?2), 0))
                     WHERE payment_hash = ?1 AND backend = ?2",
                )?
                .execute(params![hash.as_bytes(), backend, is_issued, ask_at])?;
            Ok(())
        })
        .await
    }

    /// Puts the next question about an unpaid invoice off to `ask_at`.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn postpone_mint_invoice(
        &self,
        hash: PaymentHash,
        ask_at: u64,
    ) -> Result<(), StoreError> {
        self.write("postpone a mint's invoice", move |transaction| {
            transaction
                .prepare_cached("UPDATE mint_invoices SET ask_at = ?2 WHERE payment_hash = ?1")?
                .execute(params![hash.as_bytes(), ask_at])?;
            Ok(())
        })
        .await
    }

    /// Forgets an invoice that was never paid, and its quote.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn forget_mint_invoice(&self, hash: PaymentHash) -> Result<(), StoreError> {
        self.write("forget a mint's invoice", move |transaction| {
            forget(transaction, &hash)
        })
        .await
    }

    /// Lists settled invoices of `backend` after `index`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_settled_mint_invoices(
        &self,
        backend: String,
        index: u64,
        limit: u32,
    ) -> Result<Vec<MintInvoice>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM mint_invoices
                 WHERE backend = ?1 AND settled_index > ?2 ORDER BY settled_index LIMIT ?3"
            ))?;
            let rows = statement.query_map(params![backend, index, limit], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn list_due(
    connection: &Connection,
    backend: &str,
    now: u64,
    limit: u32,
) -> Result<Vec<MintInvoice>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM mint_invoices
         WHERE backend = ?1 AND is_issued = 0 AND (ask_at <= ?2 OR payment_hash IN
             (SELECT payment_hash FROM lightning_receipts WHERE is_settled = 0))
         ORDER BY payment_hash IN
             (SELECT payment_hash FROM lightning_receipts WHERE is_settled = 0) DESC, ask_at
         LIMIT ?3"
    ))?;
    let rows = statement.query_map(params![backend, now, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn forget(transaction: &Transaction<'_>, hash: &PaymentHash) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM funding_quotes WHERE quote_id IN
             (SELECT quote_id FROM mint_invoices WHERE payment_hash = ?1 AND settled_index IS NULL)",
        [hash.as_bytes()],
    )?;
    transaction.execute(
        "DELETE FROM mint_invoices WHERE payment_hash = ?1 AND settled_index IS NULL",
        [hash.as_bytes()],
    )?;
    Ok(())
}
