//! Double entry: accounts, entries, balances and the audit.
//!
//! Classes of account, and the sign a growing balance has:
//!
//! | class | meaning | grows |
//! |---|---|---|
//! | `assets:` | what the node holds | + |
//! | `expense:` | what its agents bought | + |
//! | `fees:` | what mints and Lightning took | + |
//! | `owed:` | what it owes payers (refunds not collected) | − |
//! | `income:` | what its agents earned | − |
//! | `external:` | money from and to outside | − when it came in |
//!
//! All balances add up to 0, so `assets + fees = external in − external out +
//! income − expense + owed` holds by construction; the audit recomputes it from
//! the rows.

use std::collections::BTreeMap;
use std::fmt;

use feria_paywall::amount::Msat;
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::Ledger;
use crate::store::StoreError;

/// The name of an account. See the module head for the classes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Account(String);

impl Account {
    /// Ecash at `mint` held by the wallet `wallet_id`; the treasury's id is `treasury`.
    #[must_use]
    pub fn wallet(wallet_id: &str, mint: &str) -> Self {
        Self(format!("assets:wallet:{wallet_id}:{mint}"))
    }

    /// Ecash at `mint` that the gateway accepted offline and has not redeemed.
    #[must_use]
    pub fn vault(mint: &str) -> Self {
        Self(format!("assets:vault:{mint}"))
    }

    /// Ecash at `mint` handed out whose fate is not known yet: a payment, a refund or a message on its way.
    #[must_use]
    pub fn in_flight(mint: &str) -> Self {
        Self(format!("assets:in-flight:{mint}"))
    }

    /// What the Lightning backend `name` holds for us.
    #[must_use]
    pub fn lightning(name: &str) -> Self {
        Self(format!("assets:lightning:{name}"))
    }

    /// What the own agent `agent` earned.
    #[must_use]
    pub fn income(agent: &str) -> Self {
        Self(format!("income:{agent}"))
    }

    /// What the wallet `wallet_id` bought.
    #[must_use]
    pub fn expense(wallet_id: &str) -> Self {
        Self(format!("expense:{wallet_id}"))
    }

    /// Fees of `kind`: `ecash` (mint input fees) or `lightning` (routing).
    #[must_use]
    pub fn fees(kind: &str) -> Self {
        Self(format!("fees:{kind}"))
    }

    /// What is owed to payers of `agent`: released or refunded, not collected yet.
    #[must_use]
    pub fn owed(agent: &str) -> Self {
        Self(format!("owed:{agent}"))
    }

    /// Money from or to outside the node: `funding`, `withdrawal` or `transfers`.
    #[must_use]
    pub fn external(kind: &str) -> Self {
        Self(format!("external:{kind}"))
    }

    /// The account of this name, as a row keeps it.
    pub(super) const fn stored(name: String) -> Self {
        Self(name)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the first colon.
    #[must_use]
    pub fn class(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of movement an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// Money came in from outside.
    Fund,
    /// Money left to outside.
    Withdraw,
    /// A wallet handed out a payment.
    Pay,
    /// A payment reached its payee.
    Settle,
    /// An own agent was paid.
    Earn,
    /// A payment came back, or was given back.
    Refund,
    /// A wallet was emptied into the treasury, or filled from it.
    Sweep,
    /// Accepted ecash was redeemed at its mint.
    Redeem,
    /// Ecash went to or came from a peer by message.
    Transfer,
}

impl EntryKind {
    /// Returns the name stored in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fund => "fund",
            Self::Withdraw => "withdraw",
            Self::Pay => "pay",
            Self::Settle => "settle",
            Self::Earn => "earn",
            Self::Refund => "refund",
            Self::Sweep => "sweep",
            Self::Redeem => "redeem",
            Self::Transfer => "transfer",
        }
    }
}

/// A change of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// The account that changes.
    pub account: Account,
    /// Positive: the account gains. Millisatoshi.
    pub amount_msat: i64,
}

/// A balanced movement.
#[derive(Debug, Clone)]
pub struct Entry {
    kind: EntryKind,
    reference: String,
    memo: String,
    created_at: u64,
    postings: Vec<Posting>,
}

impl Entry {
    /// Starts an entry about `reference` (an operation, paid call, intent or
    /// transfer id) at `created_at` (Unix seconds).
    #[must_use]
    pub fn new(kind: EntryKind, reference: impl Into<String>, created_at: u64) -> Self {
        Self {
            kind,
            reference: reference.into(),
            memo: String::new(),
            created_at,
            postings: Vec::new(),
        }
    }

    /// Adds words for a person; never a secret.
    #[must_use]
    pub fn memo(mut self, memo: impl Into<String>) -> Self {
        self.memo = memo.into();
        self
    }

    /// Adds a gain of `account`; zero amounts are left out.
    #[must_use]
    pub fn debit(self, account: Account, amount: impl Into<Msat>) -> Self {
        self.change(account, amount.into().as_i64())
    }

    /// Adds a loss of `account`; zero amounts are left out.
    #[must_use]
    pub fn credit(self, account: Account, amount: impl Into<Msat>) -> Self {
        self.change(account, -amount.into().as_i64())
    }

    fn change(mut self, account: Account, amount_msat: i64) -> Self {
        if amount_msat != 0 {
            self.postings.push(Posting {
                account,
                amount_msat,
            });
        }
        self
    }

    /// Writes this entry in the caller's transaction. An entry without postings is not written.
    ///
    /// # Errors
    /// [`StoreError::Unbalanced`] when the postings do not add up to 0.
    pub(crate) fn post(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let sum_msat: i64 = self
            .postings
            .iter()
            .map(|posting| posting.amount_msat)
            .sum();
        if sum_msat != 0 {
            return Err(StoreError::Unbalanced {
                reference: self.reference.clone(),
                sum_msat,
            });
        }
        if self.postings.is_empty() {
            return Ok(());
        }
        transaction
            .prepare_cached(
                "INSERT INTO entries (kind, reference, memo, created_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                self.kind.as_str(),
                self.reference,
                self.memo,
                self.created_at
            ])?;
        let entry_id = transaction.last_insert_rowid();
        let mut insert = transaction.prepare_cached(
            "INSERT INTO postings (entry_id, account, amount_msat) VALUES (?1, ?2, ?3)",
        )?;
        for posting in &self.postings {
            insert.execute(params![
                entry_id,
                posting.account.as_str(),
                posting.amount_msat
            ])?;
        }
        Ok(())
    }
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Entries looked at.
    pub entries: u64,
    /// The sum of all postings; anything but 0 is a fault.
    pub imbalance_msat: i64,
    /// Entries whose own postings do not add up to 0.
    pub unbalanced_entries: Vec<i64>,
    /// The balance of every account, in millisatoshi.
    pub balances: BTreeMap<String, i64>,
}

impl Audit {
    /// Returns whether the books add up.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.imbalance_msat == 0 && self.unbalanced_entries.is_empty()
    }

    /// Returns the sum of the accounts of one class, such as `assets`.
    #[must_use]
    pub fn class_msat(&self, class: &str) -> i64 {
        self.balances
            .iter()
            .filter(|(account, _)| account.split(':').next() == Some(class))
            .map(|(_, balance)| balance)
            .sum()
    }
}

impl Ledger {
    /// Writes `entry` in a transaction of its own.
    ///
    /// # Errors
    /// When it is unbalanced or the database refuses.
    pub async fn post(&self, entry: Entry) -> Result<(), StoreError> {
        self.write("post entry", move |transaction| entry.post(transaction))
            .await
    }

    /// Returns the balance of `account` in millisatoshi; 0 for one never used.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn balance_msat(&self, account: Account) -> Result<i64, StoreError> {
        self.read(move |connection| {
            Ok(connection.query_row(
                "SELECT coalesce(sum(amount_msat), 0) FROM postings WHERE account = ?1",
                [account.as_str()],
                |row| row.get(0),
            )?)
        })
        .await
    }

    /// Recomputes every sum from the rows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        self.read(audit).await
    }
}

fn audit(connection: &Connection) -> Result<Audit, StoreError> {
    let entries = connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
    let imbalance_msat = connection.query_row(
        "SELECT coalesce(sum(amount_msat), 0) FROM postings",
        [],
        |row| row.get(0),
    )?;
    let unbalanced_entries = connection
        .prepare("SELECT entry_id FROM postings GROUP BY entry_id HAVING sum(amount_msat) <> 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let balances = connection
        .prepare("SELECT account, sum(amount_msat) FROM postings GROUP BY account")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(Audit {
        entries,
        imbalance_msat,
        unbalanced_entries,
        balances,
    })
}

#[cfg(test)]
mod tests {
    use feria_paywall::amount::Sat;

    use super::*;

    #[tokio::test]
    async fn balanced_entries_keep_the_books_clean() {
        let ledger = Ledger::in_memory().unwrap();
        let entry = Entry::new(EntryKind::Fund, "op-1", 10)
            .debit(Account::wallet("treasury", "m"), Sat::new(99))
            .debit(Account::fees("ecash"), Sat::new(1))
            .credit(Account::external("funding"), Sat::new(100));

        ledger.post(entry).await.unwrap();

        let audit = ledger.audit().await.unwrap();
        assert!(audit.is_clean());
        assert_eq!(audit.class_msat("assets"), 99_000);
        assert_eq!(audit.class_msat("fees"), 1_000);
        assert_eq!(audit.class_msat("external"), -100_000);
    }

    #[tokio::test]
    async fn an_unbalanced_entry_is_not_written() {
        let ledger = Ledger::in_memory().unwrap();
        let entry = Entry::new(EntryKind::Fund, "op-1", 10)
            .debit(Account::wallet("treasury", "m"), Sat::new(100));

        let refused = ledger.post(entry).await;

        assert!(matches!(
            refused,
            Err(StoreError::Unbalanced {
                sum_msat: 100_000,
                ..
            })
        ));
        assert_eq!(ledger.audit().await.unwrap().entries, 0);
    }
}
