//! Lightning payments received: each booked once, whoever hears of it first.
//!
//! An unpaid challenge keeps no row, so the settled stream of a backend does not
//! say which agent was paid. Its news is booked to `income:unclaimed` and moves
//! to the agent at the first claim. A claim that comes first books the price, and
//! the stream corrects it to what arrived.

use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Account, Entry, EntryKind, Ledger};
use crate::store::StoreError;

/// The agent of payments that nobody has used yet.
const UNCLAIMED: &str = "unclaimed";

/// An own invoice that was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) index: u64,
    pub(crate) payment_hash: PaymentHash,
    pub(crate) amount: Msat,
}

impl Ledger {
    /// Returns how far the settled stream of `backend` was booked.
    pub(crate) async fn settled_cursor(&self, backend: String) -> Result<u64, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .query_row(
                    "SELECT settled_index FROM lightning_cursors WHERE backend = ?1",
                    [backend],
                    |row| row.get(0),
                )
                .optional()?
                .unwrap_or(0))
        })
        .await
    }

    /// Books `settled` and moves the cursor, in one step. Returns how many were new.
    pub(crate) async fn book_settled(
        &self,
        backend: String,
        settled: Vec<Settled>,
        now: u64,
    ) -> Result<u64, StoreError> {
        self.write("book settled invoices", move |transaction| {
            let mut new = 0;
            let mut cursor = 0;
            for one in &settled {
                new += u64::from(book_settled(transaction, &backend, one, now)?);
                cursor = cursor.max(one.index);
            }
            transaction.execute(
                "INSERT INTO lightning_cursors (backend, settled_index) VALUES (?1, ?2)
                 ON CONFLICT (backend) DO UPDATE SET settled_index = max(settled_index, excluded.settled_index)",
                params![backend, cursor],
            )?;
            Ok(new)
        })
        .await
    }
}

type Receipt = (Option<String>, u64, bool);

fn find(transaction: &Transaction<'_>, hash: &PaymentHash) -> Result<Option<Receipt>, StoreError> {
    Ok(transaction
        .prepare_cached(
            "SELECT agent, booked_msat, is_settled FROM lightning_receipts WHERE payment_hash = ?1",
        )?
        .query_row([hash.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?)
}

/// Books the first claim of a payment to `agent`; later ones change nothing.
pub(super) fn book_claim(
    transaction: &Transaction<'_>,
    hash: &PaymentHash,
    agent: &str,
    price: Msat,
    backend: &str,
    now: u64,
) -> Result<(), StoreError> {
    match find(transaction, hash)? {
        Some((Some(_), ..)) => Ok(()),
        Some((None, booked_msat, _)) => {
            transaction.execute(
                "UPDATE lightning_receipts SET agent = ?2 WHERE payment_hash = ?1",
                params![hash.as_bytes(), agent],
            )?;
            Entry::new(EntryKind::Earn, hash.to_string(), now)
                .memo("first use of a payment")
                .debit(Account::income(UNCLAIMED), Msat::new(booked_msat))
                .credit(Account::income(agent), Msat::new(booked_msat))
                .post(transaction)
        }
        None => {
            insert(transaction, hash, Some(agent), price, false, now)?;
            Entry::new(EntryKind::Earn, hash.to_string(), now)
                .memo("Lightning payment, seen at its first use")
                .debit(Account::lightning(backend), price)
                .credit(Account::income(agent), price)
                .post(transaction)
        }
    }
}

fn book_settled(
    transaction: &Transaction<'_>,
    backend: &str,
    settled: &Settled,
    now: u64,
) -> Result<bool, StoreError> {
    let (hash, amount) = (&settled.payment_hash, settled.amount);
    let entry =
        Entry::new(EntryKind::Earn, hash.to_string(), now).memo("Lightning payment settled");
    match find(transaction, hash)? {
        Some((.., true)) => Ok(false),
        Some((agent, booked_msat, false)) => {
            transaction.execute(
                "UPDATE lightning_receipts SET booked_msat = ?2, is_settled = 1 WHERE payment_hash = ?1",
                params![hash.as_bytes(), amount.as_u64()],
            )?;
            let booked = Msat::new(booked_msat);
            let agent = agent.as_deref().unwrap_or(UNCLAIMED);
            let (more, less) = (amount.saturating_sub(booked), booked.saturating_sub(amount));
            entry
                .debit(Account::lightning(backend), more)
                .credit(Account::income(agent), more)
                .debit(Account::income(agent), less)
                .credit(Account::lightning(backend), less)
                .post(transaction)?;
            Ok(true)
        }
        None => {
            insert(transaction, hash, None, amount, true, now)?;
            entry
                .debit(Account::lightning(backend), amount)
                .credit(Account::income(UNCLAIMED), amount)
                .post(transaction)?;
            Ok(true)
        }
    }
}

fn insert(
    transaction: &Transaction<'_>,
    hash: &PaymentHash,
    agent: Option<&str>,
    booked: Msat,
    is_settled: bool,
    now: u64,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO lightning_receipts (payment_hash, agent, booked_msat, is_settled, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![hash.as_bytes(), agent, booked.as_u64(), is_settled, now])?;
    Ok(())
}
