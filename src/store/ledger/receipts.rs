//! Lightning payments received: each booked once, whoever hears of it first.
//!
//! An unpaid challenge keeps no row, so the settled stream of a backend does not
//! say which agent was paid. Its news is booked to `income:unclaimed` and moves
//! to the agent at the first claim. A claim that comes first books the price, to the
//! backend that makes invoices now; the stream corrects both to what arrived where:
//! the invoice may be of a backend that made them before.

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

    /// Lists payments that a claim has shown and no backend has confirmed yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn list_unconfirmed_receipts(
        &self,
        backend: String,
        limit: u32,
    ) -> Result<Vec<PaymentHash>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT payment_hash FROM lightning_receipts
                 WHERE backend = ?1 AND is_settled = 0 LIMIT ?2",
            )?;
            let rows = statement.query_map(params![backend, limit], |row| {
                Ok(PaymentHash::new(row.get(0)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
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

struct Receipt {
    agent: Option<String>,
    booked: Msat,
    is_settled: bool,
    /// `None` in rows of an older program.
    backend: Option<String>,
}

fn find(transaction: &Transaction<'_>, hash: &PaymentHash) -> Result<Option<Receipt>, StoreError> {
    Ok(transaction
        .prepare_cached(
            "SELECT agent, booked_msat, is_settled, backend FROM lightning_receipts
             WHERE payment_hash = ?1",
        )?
        .query_row([hash.as_bytes()], |row| {
            Ok(Receipt {
                agent: row.get(0)?,
                booked: Msat::new(row.get(1)?),
                is_settled: row.get(2)?,
                backend: row.get(3)?,
            })
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
        Some(Receipt { agent: Some(_), .. }) => Ok(()),
        Some(Receipt { booked, .. }) => {
            transaction.execute(
                "UPDATE lightning_receipts SET agent = ?2 WHERE payment_hash = ?1",
                params![hash.as_bytes(), agent],
            )?;
            Entry::new(EntryKind::Earn, hash.to_string(), now)
                .memo("first use of a payment")
                .debit(Account::income(UNCLAIMED), booked)
                .credit(Account::income(agent), booked)
                .post(transaction)
        }
        None => {
            insert(transaction, hash, (Some(agent), backend), price, false, now)?;
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
        Some(known) if known.is_settled => Ok(false),
        Some(known) => {
            transaction.execute(
                "UPDATE lightning_receipts SET booked_msat = ?2, is_settled = 1, backend = ?3
                 WHERE payment_hash = ?1",
                params![hash.as_bytes(), amount.as_u64(), backend],
            )?;
            let agent = known.agent.as_deref().unwrap_or(UNCLAIMED);
            let assumed = known.backend.as_deref().unwrap_or(backend);
            let (more, less) = (
                amount.saturating_sub(known.booked),
                known.booked.saturating_sub(amount),
            );
            let moved = if assumed == backend {
                Msat::ZERO
            } else {
                known.booked
            };
            entry
                .debit(Account::lightning(backend), moved)
                .credit(Account::lightning(assumed), moved)
                .debit(Account::lightning(backend), more)
                .credit(Account::income(agent), more)
                .debit(Account::income(agent), less)
                .credit(Account::lightning(backend), less)
                .post(transaction)?;
            Ok(true)
        }
        None => {
            insert(transaction, hash, (None, backend), amount, true, now)?;
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
    (agent, backend): (Option<&str>, &str),
    booked: Msat,
    is_settled: bool,
    now: u64,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO lightning_receipts
                 (payment_hash, agent, booked_msat, is_settled, created_at, backend)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            hash.as_bytes(),
            agent,
            booked.as_u64(),
            is_settled,
            now,
            backend
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invoice_of_an_earlier_backend_is_moved_to_its_account() {
        let ledger = Ledger::in_memory().unwrap();
        let hash = PaymentHash::new([1; 32]);
        let claim = move |transaction: &Transaction<'_>| {
            book_claim(transaction, &hash, "a", Msat::new(21_000), "new", 5)
        };
        ledger.write("claim", claim).await.unwrap();
        let settled = vec![Settled {
            index: 1,
            payment_hash: hash,
            amount: Msat::new(22_000),
        }];

        for _ in 0..2 {
            let settled = settled.clone();
            ledger
                .book_settled("old".to_owned(), settled, 6)
                .await
                .unwrap();
        }

        let audit = ledger.audit().await.unwrap();
        let msat = |account: Account| audit.balances.get(account.as_str()).copied();
        assert_eq!(msat(Account::lightning("new")), Some(0));
        assert_eq!(msat(Account::lightning("old")), Some(22_000));
        assert_eq!(msat(Account::income("a")), Some(-22_000));
        assert!(audit.is_clean());
    }
}
