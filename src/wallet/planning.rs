//! The first half of every operation on own proofs: choose, reserve, write down.
//!
//! All of it happens in one transaction of the ledger, and all that may forbid
//! the operation (state, lifetime and limit of an agent wallet, the funds) is
//! checked in that same transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use feria_paywall::amount::Sat;

use super::TREASURY;
use super::engine::Engine;
use super::plan::{Operation, OwnOutputs, Plan, PlannedLock, Purpose};
use super::select::{Candidate, MAX_INPUTS, fee, select, split};
use super::types::{KeysetKeys, MintKeys, TokenFault, WalletError};
use crate::store::StoreError;
use crate::store::ledger::{operations, proofs, wallets};

/// How long a payment waits, without any operation ending meanwhile, for the
/// change of others that are under way.
const CHANGE_PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits for the bell before it looks by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How much to spend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// So much, beside the input fee.
    Sat(u64),
    /// Everything, as far as one request takes.
    All,
}

/// An operation on proofs of an own wallet, not planned yet.
#[derive(Clone)]
pub(crate) struct SpendOrder {
    pub(crate) id: String,
    pub(crate) wallet_id: String,
    pub(crate) keys: Arc<MintKeys>,
    pub(crate) target: Target,
    pub(crate) handed: Vec<u64>,
    pub(crate) lock: Option<PlannedLock>,
    pub(crate) purpose: Purpose,
    pub(crate) reference: String,
    pub(crate) memo: String,
}

/// What became of an attempt to plan.
pub(crate) enum Planned {
    /// It was planned, or even carried out, before.
    Before(Operation),
    /// It is planned now.
    Now(Operation),
}

enum Attempt {
    Ready(Box<Planned>),
    /// Change that is on its way would suffice.
    Wait(WalletError),
    Refused(WalletError),
}

impl Engine {
    /// Plans `order`: chooses and reserves proofs, takes counters, writes the
    /// journal. Waits for change on its way when that is what is missing.
    pub(crate) async fn plan_spend(&self, order: SpendOrder) -> Result<Planned, WalletError> {
        let mut waited = Duration::ZERO;
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let (now, incarnation) = (self.clock.now(), self.incarnation.clone());
            let order = order.clone();
            let attempt = self
                .ledger
                .write("plan operation", move |transaction| {
                    plan_spend(transaction, &order, &incarnation, now)
                })
                .await?;
            match attempt {
                Attempt::Ready(planned) => return Ok(*planned),
                Attempt::Refused(error) => return Err(error),
                Attempt::Wait(error) => {
                    if waited >= CHANGE_PATIENCE {
                        return Err(error);
                    }
                    // Whoever rings may have been dropped before ringing.
                    if tokio::time::timeout(LOOK_AGAIN, notified).await.is_err() {
                        waited += LOOK_AGAIN;
                    }
                }
            }
        }
    }
}

/// The transaction of [`Engine::plan_spend`].
fn plan_spend(
    transaction: &operations::Tx<'_>,
    order: &SpendOrder,
    incarnation: &str,
    now: u64,
) -> Result<Attempt, StoreError> {
    if let Some(row) = operations::find(transaction, &order.id)?
        && row.state != "failed"
    {
        return Ok(Attempt::Ready(Box::new(Planned::Before(Operation::read(
            row,
        )?))));
    }
    if let Some(refusal) = refuse_payer(transaction, order, incarnation, now)? {
        return Ok(Attempt::Refused(refusal));
    }
    let mint = &order.keys.mint;
    let Some(keyset) = order.keys.active(now) else {
        return Ok(Attempt::Refused(WalletError::MintUnavailable {
            mint: mint.clone(),
            reason: "no active keyset".to_owned(),
        }));
    };
    let unspent = proofs::list_unspent(transaction, &order.wallet_id, mint)?;
    let candidates = candidates(&unspent, &order.keys);
    let (chosen, fee_sat) = match choose(&candidates, order.target) {
        Ok(chosen) => chosen,
        Err(needed) => {
            let held = candidates.iter().map(|candidate| candidate.amount).sum();
            let in_all = proofs::sum_of_wallet(transaction, &order.wallet_id, mint)?;
            let error = WalletError::Insufficient {
                wallet: order.wallet_id.clone(),
                held: Sat::new(held),
                needed: Sat::new(needed),
            };
            return Ok(if in_all >= needed {
                Attempt::Wait(error)
            } else {
                Attempt::Refused(error)
            });
        }
    };
    let ys: Vec<[u8; 33]> = chosen.iter().map(|index| unspent[*index].0).collect();
    let input_sat: u64 = chosen.iter().map(|index| unspent[*index].2).sum();
    let own = match own_outputs(order, keyset, input_sat, fee_sat) {
        Ok(own) => own,
        Err(error) => return Ok(Attempt::Refused(error)),
    };
    let mut operation = Operation {
        id: order.id.clone(),
        wallet_id: order.wallet_id.clone(),
        mint: mint.clone(),
        state: "planned".to_owned(),
        plan: Plan {
            keyset_id: keyset.id,
            own,
            handed: order.handed.clone(),
            lock: order.lock.clone(),
            inputs: ys.iter().map(hex::encode).collect(),
            input_sat,
            fee_sat,
            purpose: order.purpose.clone(),
            reference: order.reference.clone(),
            memo: order.memo.clone(),
            origin: None,
        },
        foreign_token: None,
        signatures: None,
        outcome: None,
    };
    write_plan(transaction, &mut operation, now)?;
    proofs::reserve(transaction, &order.wallet_id, &ys, &order.id)?;
    Ok(Attempt::Ready(Box::new(Planned::Now(operation))))
}

/// Takes the counters of `operation` and writes it to the journal.
pub(crate) fn write_plan(
    transaction: &operations::Tx<'_>,
    operation: &mut Operation,
    now: u64,
) -> Result<(), StoreError> {
    let keyset_id = operation.plan.keyset_id.to_string();
    for own in &mut operation.plan.own {
        let count = u32::try_from(own.amounts.len()).unwrap_or(u32::MAX);
        own.first_counter = operations::advance_counter(
            transaction,
            &own.wallet_id,
            &operation.mint,
            &keyset_id,
            count,
        )?;
    }
    operations::insert_planned(transaction, &operation.row()?, now)
}

/// Whether a wallet may pay; sweeping and the treasury always may.
fn refuse_payer(
    transaction: &operations::Tx<'_>,
    order: &SpendOrder,
    incarnation: &str,
    now: u64,
) -> Result<Option<WalletError>, StoreError> {
    if let Purpose::Fund { to } = &order.purpose {
        let Some(wallet) =
            wallets::find(transaction, to)?.filter(|wallet| is_open(wallet, incarnation, now))
        else {
            return Ok(Some(WalletError::NoWallet(to.clone())));
        };
        let amount = match order.target {
            Target::Sat(amount) => amount,
            Target::All => 0,
        };
        if amount > room(transaction, &wallet)? {
            return Ok(Some(WalletError::Limit(format!(
                "wallet {to} may hold {} sat",
                wallet.limit_sat
            ))));
        }
    }
    if order.wallet_id == TREASURY || matches!(order.purpose, Purpose::Sweep) {
        return Ok(None);
    }
    let may = wallets::find(transaction, &order.wallet_id)?
        .is_some_and(|wallet| is_open(&wallet, incarnation, now));
    Ok((!may).then(|| WalletError::NoWallet(order.wallet_id.clone())))
}

/// Whether an agent wallet pays and is funded.
pub(crate) fn is_open(wallet: &wallets::WalletRow, incarnation: &str, now: u64) -> bool {
    wallet.state == "open" && wallet.incarnation == incarnation && now < wallet.expires_at
}

/// How much more an agent wallet may hold, what is on its way to it counted in.
pub(crate) fn room(
    transaction: &operations::Tx<'_>,
    wallet: &wallets::WalletRow,
) -> Result<u64, StoreError> {
    let mut held = proofs::sum_of_wallet(transaction, &wallet.id, &wallet.mint)?;
    for row in operations::list_open(transaction, None)? {
        let operation = Operation::read(row)?;
        if operation.wallet_id == wallet.id && operation.spends_own() {
            // Its change is part of the reserved inputs, which are counted.
            continue;
        }
        for own in &operation.plan.own {
            if own.wallet_id == wallet.id {
                held = held.saturating_add(own.amounts.iter().sum());
            }
        }
    }
    Ok(wallet.limit_sat.saturating_sub(held))
}

fn candidates(unspent: &[([u8; 33], String, u64)], keys: &MintKeys) -> Vec<Candidate> {
    let fees: HashMap<String, u64> = keys
        .keysets
        .values()
        .map(|keyset| (keyset.id.to_string(), keyset.input_fee_ppk))
        .collect();
    unspent
        .iter()
        .enumerate()
        .filter_map(|(index, (_, keyset_id, amount))| {
            Some(Candidate {
                index,
                amount: *amount,
                fee_ppk: *fees.get(keyset_id)?,
            })
        })
        .collect()
}

fn choose(candidates: &[Candidate], target: Target) -> Result<(Vec<usize>, u64), u64> {
    match target {
        Target::Sat(target) => select(candidates, target).map_err(|short| short.needed),
        Target::All => {
            let all = &candidates[..candidates.len().min(MAX_INPUTS)];
            let sum_ppk = all
                .iter()
                .map(|candidate| candidate.fee_ppk)
                .fold(0, u64::saturating_add);
            let sum: u64 = all.iter().map(|candidate| candidate.amount).sum();
            if sum <= fee(sum_ppk) {
                return Err(fee(sum_ppk).saturating_add(1));
            }
            let indexes = all.iter().map(|candidate| candidate.index).collect();
            Ok((indexes, fee(sum_ppk)))
        }
    }
}

/// The fee of the inputs that would be chosen now, or how much is needed.
pub(crate) fn estimate(
    unspent: &[([u8; 33], String, u64)],
    keys: &MintKeys,
    target: u64,
) -> Result<u64, u64> {
    choose(&candidates(unspent, keys), Target::Sat(target)).map(|(_, fee_sat)| fee_sat)
}

/// The keyset of a proof that the mint does not list, if there is one.
pub(crate) fn unknown_keyset<'a>(
    unspent: &'a [([u8; 33], String, u64)],
    keys: &MintKeys,
) -> Option<&'a str> {
    unspent
        .iter()
        .map(|(_, keyset_id, _)| keyset_id.as_str())
        .find(|id| !keys.keysets.keys().any(|known| known.to_string() == *id))
}

/// Whether sweeping these proofs brings in anything.
pub(crate) fn is_worth_sweeping(unspent: &[([u8; 33], String, u64)], keys: &MintKeys) -> bool {
    choose(&candidates(unspent, keys), Target::All).is_ok()
}

/// The outputs that own wallets keep: the agent's or treasury's share, and change.
fn own_outputs(
    order: &SpendOrder,
    keyset: &KeysetKeys,
    input_sat: u64,
    fee_sat: u64,
) -> Result<Vec<OwnOutputs>, WalletError> {
    let rest = input_sat.saturating_sub(fee_sat);
    let (credits, change) = match (&order.purpose, order.target) {
        (Purpose::Fund { to }, Target::Sat(target)) => {
            (vec![(to.clone(), target)], rest.saturating_sub(target))
        }
        (Purpose::Sweep, _) => (vec![(TREASURY.to_owned(), rest)], 0),
        (Purpose::Melt { amount_sat, .. }, _) => {
            let most = rest.saturating_sub(*amount_sat);
            return Ok(vec![OwnOutputs {
                wallet_id: order.wallet_id.clone(),
                first_counter: 0,
                amounts: vec![0; blanks(most)],
            }]);
        }
        (_, Target::Sat(target)) => (Vec::new(), rest.saturating_sub(target)),
        (_, Target::All) => (Vec::new(), 0),
    };
    let denominations = keyset.denominations();
    credits
        .into_iter()
        .chain(std::iter::once((order.wallet_id.clone(), change)))
        .filter(|(_, amount)| *amount > 0)
        .map(|(wallet_id, amount)| {
            Ok(OwnOutputs {
                wallet_id,
                first_counter: 0,
                amounts: split(amount, &denominations).ok_or_else(|| {
                    WalletError::Refused(TokenFault::Mint(format!("no keys for {amount} sat")))
                })?,
            })
        })
        .collect()
}

/// The blank outputs that can carry any change up to `most` (NUT-08).
fn blanks(most: u64) -> usize {
    usize::try_from(u64::BITS - most.leading_zeros()).unwrap_or(64)
}
