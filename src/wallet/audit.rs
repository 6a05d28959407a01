//! The logs of agent wallets: read, checked, added to.
//!
//! `docs/AUDIT.md` says what an entry's hash covers; `store/ledger/audit_chain.rs`
//! computes it. A log that was exported is checked without a node.

use feria_paywall::amount::Msat;

use super::TREASURY;
use super::engine::Engine;
use super::types::{AuditEntry, AuditLog, WalletError};
use crate::store::ledger::audit_chain::ChainRow;
use crate::store::ledger::{audit_chain, wallets};

impl AuditLog {
    /// Returns what is wrong with the chain of this log, whatever it says of itself;
    /// `None` when it is whole. An end that was cut off does not show.
    #[must_use]
    pub fn check(&self) -> Option<String> {
        let chain: Vec<ChainRow> = self.entries.iter().map(ChainRow::from).collect();
        audit_chain::fault(&self.wallet_id, &chain)
    }
}

impl From<&AuditEntry> for ChainRow {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at,
            kind: entry.kind.clone(),
            amount_msat: entry.amount_msat,
            reference: entry.reference.clone(),
            prev: entry.prev.clone(),
            hash: entry.hash.clone(),
        }
    }
}

impl Engine {
    pub(crate) async fn audit_log(&self, wallet_id: &str) -> Result<AuditLog, WalletError> {
        let id = wallet_id.to_owned();
        let (chain, fault) = self
            .ledger
            .read(move |connection| {
                let chain = audit_chain::list(connection, &id)?;
                let fault = audit_chain::fault(&id, &chain);
                Ok((chain, fault))
            })
            .await?;
        if chain.is_empty() {
            return Err(WalletError::NoWallet(wallet_id.to_owned()));
        }
        Ok(AuditLog {
            wallet_id: wallet_id.to_owned(),
            entries: chain
                .into_iter()
                .map(|row| AuditEntry {
                    seq: row.seq,
                    at: row.at,
                    kind: row.kind,
                    amount_msat: row.amount_msat,
                    reference: row.reference,
                    prev: row.prev,
                    hash: row.hash,
                })
                .collect(),
            ok: fault.is_none(),
            fault,
        })
    }

    pub(crate) async fn note(
        &self,
        wallet_id: &str,
        kind: &str,
        amount: Msat,
        reference: &str,
    ) -> Result<(), WalletError> {
        let id = wallet_id.to_owned();
        let kind: String = kind.chars().take(32).collect();
        let reference: String = reference.chars().take(500).collect();
        let now = self.clock.now();
        let is_known = self
            .ledger
            .write("note", move |transaction| {
                if id == TREASURY {
                    return Ok(true);
                }
                if wallets::find(transaction, &id)?.is_none() {
                    return Ok(false);
                }
                audit_chain::append(transaction, &id, now, &kind, amount.as_i64(), &reference)?;
                Ok(true)
            })
            .await?;
        if is_known {
            Ok(())
        } else {
            Err(WalletError::NoWallet(wallet_id.to_owned()))
        }
    }
}
