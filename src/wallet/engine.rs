//! The journal's writing half: plans are committed here, and what came of them.
//!
//! Every function that changes something does it in one transaction of the
//! ledger: rows of the journal, proofs, counters, postings and audit chains
//! change together or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cdk::nuts::{BlindSignature, Id, Proof};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedMutexGuard};

use super::float::insert_slips;
use super::keys::Seeds;
use super::mint::{MintLink, MintPool};
use super::plan::{Operation, Outcome, Purpose, json};
use super::types::{KeysetKeys, TokenFault, WalletError};
use crate::clock::{SharedClock, SharedEntropy};
use crate::store::StoreError;
use crate::store::ledger::operations::{self, TokenOutRow};
use crate::store::ledger::proofs::{self, ProofRow};
use crate::store::ledger::{Ledger, audit_chain};

/// How long a request whose answer was lost may still reach its mint, in seconds:
/// until then, ecash that the mint calls unspent proves nothing.
const LATE_ARRIVAL_SECS: u64 = 60;
/// Counters left out at once when the mint knows some that we do not.
const SKIPPED_COUNTERS: u32 = 1_000;

/// What all parts of the wallet share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) ledger: Ledger,
    pub(crate) seeds: Seeds,
    /// Public P2PK keys of own agents, derived before.
    pub(crate) lock_keys: RwLock<HashMap<String, String>>,
    pub(crate) pool: MintPool,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    /// Names this run of the node: the one whose memory holds the agents' proofs.
    pub(crate) incarnation: String,
    pub(crate) gates: Gates,
    pub(crate) doubts: Doubts,
    /// How long a melt is waited for.
    pub(crate) melt_patience_millis: AtomicU64,
    /// Rings when an operation ended, so that proofs may have come free.
    pub(crate) changed: Notify,
}

/// At most one worker per operation id.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    held: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Gates {
    fn gate(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut held = self.held.lock();
        held.retain(|_, gate| Arc::strong_count(gate) > 1);
        Arc::clone(held.entry(id.to_owned()).or_default())
    }

    /// Waits until nobody works on this operation.
    pub(crate) async fn enter(&self, id: &str) -> OwnedMutexGuard<()> {
        self.gate(id).lock_owned().await
    }

    /// Enters if nobody works on this operation.
    pub(crate) fn try_enter(&self, id: &str) -> Option<OwnedMutexGuard<()>> {
        self.gate(id).try_lock_owned().ok()
    }
}

/// When the last request of an operation that is still open went out, in this run.
///
/// The requests of an earlier run went down with it, so nothing is kept of them.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    posted: Mutex<HashMap<String, u64>>,
}

impl Doubts {
    /// Notes, before it goes out, that a request of `id` is on its way.
    pub(crate) fn posted(&self, id: &str, now: u64) {
        self.posted.lock().insert(id.to_owned(), now);
    }

    /// Forgets an operation that ended.
    fn ended(&self, id: &str) {
        self.posted.lock().remove(id);
    }

    /// Returns whether a request of `id` may reach its mint only now.
    pub(crate) fn may_arrive(&self, id: &str, now: u64) -> bool {
        self.posted
            .lock()
            .get(id)
            .is_some_and(|at| now < at.saturating_add(LATE_ARRIVAL_SECS))
    }
}

/// What one verified request brought in.
pub(crate) struct Harvest {
    pub(crate) own: Vec<ProofRow>,
    /// Signatures of the outputs handed out, in the order of the plan.
    pub(crate) handed: Vec<BlindSignature>,
    /// Change whose amount the mint chose (melt only).
    pub(crate) change_sat: u64,
}

impl Engine {
    /// Returns the operation `id`.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Operation>, WalletError> {
        let id = id.to_owned();
        let found = self
            .ledger
            .read(move |connection| {
                operations::find(connection, &id)?
                    .map(Operation::read)
                    .transpose()
            })
            .await?;
        Ok(found)
    }

    /// Corrects an error that says "nothing moved": with an operation of this id
    /// that is open or done, the caller must not act as if it were true.
    pub(crate) async fn unless_begun<T>(
        &self,
        id: &str,
        result: Result<T, WalletError>,
    ) -> Result<T, WalletError> {
        match result {
            Err(
                WalletError::MintUnavailable { .. }
                | WalletError::UntrustedMint(_)
                | WalletError::Refused(_)
                | WalletError::Insufficient { .. }
                | WalletError::NoWallet(_),
            ) => {
                let is_begun = self
                    .find(id)
                    .await?
                    .is_some_and(|operation| operation.state != "failed");
                if is_begun {
                    return Err(WalletError::Unknown(id.to_owned()));
                }
                result
            }
            _ => result,
        }
    }

    /// Ends `operation` as done with what it brought. Returns what the journal
    /// says, which is an earlier outcome if there is one.
    pub(crate) async fn commit(
        &self,
        operation: &Operation,
        harvest: Harvest,
        outcome: Outcome,
    ) -> Result<Outcome, WalletError> {
        let operation = operation.clone();
        let (id, now) = (operation.id.clone(), self.clock.now());
        let outcome = self
            .ledger
            .write("complete operation", move |transaction| {
                let signatures = json(&harvest.handed, "signatures")?;
                let text = json(&outcome, "outcome")?;
                let signatures = (!harvest.handed.is_empty()).then_some(signatures.as_str());
                if !operations::finish(transaction, &operation.id, "done", signatures, &text, now)?
                {
                    return recorded(transaction, &operation.id);
                }
                proofs::insert(transaction, &harvest.own)?;
                if operation.spends_own() {
                    proofs::spend_reserved(transaction, &operation.wallet_id, &operation.id)?;
                }
                follow(transaction, &operation, &harvest, now)?;
                Ok(outcome)
            })
            .await?;
        self.doubts.ended(&id);
        self.changed.notify_waiters();
        Ok(outcome)
    }

    /// Ends `operation` as not done and gives its inputs back.
    pub(crate) async fn roll_back(
        &self,
        operation: &Operation,
        fault: TokenFault,
    ) -> Result<(), WalletError> {
        let operation = operation.clone();
        let (id, now) = (operation.id.clone(), self.clock.now());
        self.ledger
            .write("roll operation back", move |transaction| {
                let text = json(&Outcome::Failed { fault }, "outcome")?;
                if operations::finish(transaction, &operation.id, "failed", None, &text, now)?
                    && operation.spends_own()
                {
                    proofs::free_reserved(transaction, &operation.wallet_id, &operation.id)?;
                }
                Ok(())
            })
            .await?;
        self.doubts.ended(&id);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Leaves out counters that the mint has seen though our journal has not:
    /// it was put back from a backup.
    pub(crate) async fn skip_counters(&self, operation: &Operation) -> Result<(), WalletError> {
        let operation = operation.clone();
        self.ledger
            .write("skip counters", move |transaction| {
                let keyset_id = operation.plan.keyset_id.to_string();
                for own in &operation.plan.own {
                    operations::advance_counter(
                        transaction,
                        &own.wallet_id,
                        &operation.mint,
                        &keyset_id,
                        SKIPPED_COUNTERS,
                    )?;
                }
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// The proofs reserved for `operation`.
    pub(crate) async fn reserved(&self, operation: &Operation) -> Result<Vec<Proof>, WalletError> {
        let (wallet_id, id) = (operation.wallet_id.clone(), operation.id.clone());
        let texts = self
            .ledger
            .read(move |connection| proofs::list_reserved(connection, &wallet_id, &id))
            .await?;
        texts
            .iter()
            .map(|text| {
                serde_json::from_str(text).map_err(|error| {
                    // The error's own text may quote the secret.
                    let reason = format!("{:?} error", error.classify());
                    StoreError::Corrupt {
                        table: "proofs",
                        column: "proof",
                        reason,
                    }
                    .into()
                })
            })
            .collect()
    }

    /// The keyset that `operation` uses, fetched again if it is not cached.
    pub(crate) async fn keyset(&self, link: &MintLink, id: Id) -> Result<KeysetKeys, WalletError> {
        let keys = self.pool.keys(&link.url).await?;
        if let Some(keyset) = keys.keysets.get(&id) {
            return Ok(keyset.clone());
        }
        let keys = self
            .pool
            .refresh(link)
            .await
            .map_err(|fault| fault.into_read_error(&link.url))?;
        keys.keysets
            .get(&id)
            .cloned()
            .ok_or_else(|| WalletError::MintUnavailable {
                mint: link.url.clone(),
                reason: format!("no keyset {id}"),
            })
    }
}

/// What else an operation changes when it is done: books, tokens out, audit chains.
fn follow(
    transaction: &operations::Tx<'_>,
    operation: &Operation,
    harvest: &Harvest,
    now: u64,
) -> Result<(), StoreError> {
    let change_sat = harvest.change_sat;
    operation.entry(change_sat, now).post(transaction)?;
    match &operation.plan.purpose {
        Purpose::Send => operations::insert_token_out(
            transaction,
            &operation.id,
            &TokenOutRow {
                wallet_id: operation.wallet_id.clone(),
                mint: operation.mint.clone(),
                amount_sat: operation.handed_sat(),
                state: "in_flight".to_owned(),
            },
        )?,
        Purpose::Float { slips } => {
            insert_slips(transaction, operation, slips, &harvest.handed, now)?;
        }
        Purpose::Reclaim { operation_id } => {
            operations::decide_token_out(transaction, operation_id, "reclaimed")?;
        }
        Purpose::Receive { .. }
        | Purpose::Fund { .. }
        | Purpose::Sweep
        | Purpose::Issue { .. }
        | Purpose::Melt { .. } => {}
    }
    for (wallet_id, kind, change) in operation.audit_lines(change_sat) {
        audit_chain::append(
            transaction,
            &wallet_id,
            now,
            kind,
            change.saturating_mul(1_000),
            &operation.plan.reference,
        )?;
    }
    Ok(())
}

/// What the journal says about an operation that ended before.
fn recorded(transaction: &operations::Tx<'_>, id: &str) -> Result<Outcome, StoreError> {
    let outcome = operations::find(transaction, id)?
        .map(Operation::read)
        .transpose()?
        .and_then(|operation| operation.outcome);
    outcome.ok_or_else(|| StoreError::Corrupt {
        table: "wallet_operations",
        column: "outcome",
        reason: format!("operation {id} ended without one"),
    })
}
