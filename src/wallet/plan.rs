//! What an operation is going to do, in a form that survives a crash.
//!
//! A plan names everything the request consists of, without a secret: the
//! secrets are derived again from the seed ([`super::keys`]), the own inputs are
//! the proofs reserved for the operation.

use cdk::nuts::{BlindedMessage, Id, PreMint};
use feria_paywall::amount::Sat;
use serde::{Deserialize, Serialize};

use super::float::Origin;
use super::keys::{DerivationError, Seeds};
use super::types::{TokenFault, WalletError};
use crate::store::StoreError;
use crate::store::ledger::operations::OperationRow;
use crate::store::ledger::{Account, Entry, EntryKind};

/// Outputs that an own wallet keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnOutputs {
    pub(crate) wallet_id: String,
    /// The first of as many counters as there are amounts.
    pub(crate) first_counter: u32,
    /// 0 is a blank output, whose amount the mint chooses (NUT-08).
    pub(crate) amounts: Vec<u64>,
}

/// The P2PK lock of the outputs handed out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlannedLock {
    pub(crate) key: String,
    pub(crate) locktime: u64,
    pub(crate) refund: String,
}

/// Why ecash moves, which decides how it is booked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Purpose {
    Send,
    /// Several tokens for one payee; so many outputs make each.
    Float {
        slips: Vec<usize>,
    },
    Receive {
        from: Account,
        entry: EntryKind,
        unlock_as: Vec<String>,
        /// The wallet that was to be credited; its refund key may be on the lock.
        payer: String,
    },
    /// Takes the token of another operation home.
    Reclaim {
        operation_id: String,
    },
    /// Treasury to agent wallet: the first own outputs are the agent's.
    Fund {
        to: String,
    },
    /// Agent wallet to treasury.
    Sweep,
    Issue {
        quote_id: String,
        key_nonce: Option<String>,
        /// Where the money comes from; `None`: from outside.
        #[serde(default)]
        from: Option<Account>,
    },
    Melt {
        quote_id: String,
        amount_sat: u64,
        payment_hash: String,
        to: Account,
        /// Whether `to` is charged the fees too, because its owner books them.
        #[serde(default)]
        with_fees: bool,
    },
}

/// One request to a mint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) keyset_id: Id,
    pub(crate) own: Vec<OwnOutputs>,
    /// Amounts of the outputs handed out.
    pub(crate) handed: Vec<u64>,
    pub(crate) lock: Option<PlannedLock>,
    /// Y of every input, hexadecimal.
    pub(crate) inputs: Vec<String>,
    pub(crate) input_sat: u64,
    /// The mint's input fee.
    pub(crate) fee_sat: u64,
    pub(crate) purpose: Purpose,
    pub(crate) reference: String,
    pub(crate) memo: String,
    /// The float that the outputs derive from; `None`: from the operation itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// What came of it, as kept in the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Moved {
        amount_sat: u64,
        fee_sat: u64,
    },
    Paid {
        /// A secret while the credential it pays for is good.
        preimage: Option<String>,
        fee_sat: u64,
    },
    Failed {
        fault: TokenFault,
    },
}

/// A row of the journal, read.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) state: String,
    pub(crate) plan: Plan,
    pub(crate) foreign_token: Option<String>,
    pub(crate) signatures: Option<String>,
    pub(crate) outcome: Option<Outcome>,
}

/// An output and who keeps it: `None` when it is handed out.
pub(crate) struct PlannedOutput {
    /// Its index among those handed out, or among the owner's.
    pub(crate) place: usize,
    pub(crate) owner: Option<String>,
    pub(crate) output: PreMint,
}

impl Operation {
    pub(crate) fn read(row: OperationRow) -> Result<Self, StoreError> {
        let corrupt = |column, error: serde_json::Error| StoreError::Corrupt {
            table: "wallet_operations",
            column,
            reason: error.to_string(),
        };
        Ok(Self {
            plan: serde_json::from_str(&row.plan).map_err(|error| corrupt("plan", error))?,
            outcome: row
                .outcome
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| corrupt("outcome", error))?,
            id: row.id,
            wallet_id: row.wallet_id,
            mint: row.mint,
            state: row.state,
            foreign_token: row.foreign_token,
            signatures: row.signatures,
        })
    }

    /// The row to write when planning.
    pub(crate) fn row(&self) -> Result<OperationRow, StoreError> {
        let kind = match self.plan.purpose {
            Purpose::Issue { .. } => "issue",
            Purpose::Melt { .. } => "melt",
            Purpose::Send
            | Purpose::Float { .. }
            | Purpose::Receive { .. }
            | Purpose::Reclaim { .. }
            | Purpose::Fund { .. }
            | Purpose::Sweep => "swap",
        };
        Ok(OperationRow {
            id: self.id.clone(),
            kind: kind.to_owned(),
            state: "planned".to_owned(),
            wallet_id: self.wallet_id.clone(),
            mint: self.mint.clone(),
            plan: json(&self.plan, "plan")?,
            foreign_token: self.foreign_token.clone(),
            signatures: None,
            outcome: None,
        })
    }

    /// Whether the inputs are proofs of an own wallet, reserved for this operation.
    pub(crate) const fn spends_own(&self) -> bool {
        matches!(
            self.plan.purpose,
            Purpose::Send
                | Purpose::Float { .. }
                | Purpose::Fund { .. }
                | Purpose::Sweep
                | Purpose::Melt { .. }
        )
    }

    /// Whether `wallet_id` pays or is credited.
    pub(crate) fn involves(&self, wallet_id: &str) -> bool {
        self.wallet_id == wallet_id || self.plan.own.iter().any(|own| own.wallet_id == wallet_id)
    }

    /// Derives the outputs again, in the order of the request: by amount, so
    /// that their place says nothing about their use.
    pub(crate) fn outputs(&self, seeds: &Seeds) -> Result<Vec<PlannedOutput>, DerivationError> {
        let mut outputs = Vec::new();
        for own in &self.plan.own {
            for (place, amount) in own.amounts.iter().enumerate() {
                let offset = u32::try_from(place).map_err(|_| DerivationError("counter"))?;
                let counter = own
                    .first_counter
                    .checked_add(offset)
                    .ok_or(DerivationError("counter"))?;
                outputs.push(PlannedOutput {
                    place,
                    owner: Some(own.wallet_id.clone()),
                    output: seeds.own_output(
                        &own.wallet_id,
                        self.plan.keyset_id,
                        counter,
                        *amount,
                    )?,
                });
            }
        }
        outputs.extend(self.handed_outputs(seeds)?);
        outputs.sort_by_key(|planned| {
            (
                planned.output.amount,
                planned.output.blinded_message.blinded_secret.to_bytes(),
            )
        });
        Ok(outputs)
    }

    /// Derives the outputs handed out again, in the order of the plan.
    pub(crate) fn handed_outputs(
        &self,
        seeds: &Seeds,
    ) -> Result<Vec<PlannedOutput>, DerivationError> {
        let (id, first) = match &self.plan.origin {
            Some(origin) => (&origin.operation_id, origin.first),
            None => (&self.id, 0),
        };
        self.plan
            .handed
            .iter()
            .enumerate()
            .map(|(index, amount)| {
                let output = seeds.handed_output(
                    id,
                    first.saturating_add(index),
                    self.plan.keyset_id,
                    *amount,
                    self.plan.lock.as_ref(),
                )?;
                Ok(PlannedOutput {
                    place: index,
                    owner: None,
                    output,
                })
            })
            .collect()
    }

    /// The value handed out.
    pub(crate) fn handed_sat(&self) -> u64 {
        self.plan.handed.iter().sum()
    }

    /// What the wallet credited first nets.
    pub(crate) fn credited_sat(&self) -> u64 {
        self.plan
            .own
            .first()
            .map_or(0, |own| own.amounts.iter().sum())
    }

    /// The balanced entry, given the change that came back (melt only).
    pub(crate) fn entry(&self, change_sat: u64, now: u64) -> Entry {
        let plan = &self.plan;
        let wallet = Account::wallet(&self.wallet_id, &self.mint);
        let credited = Sat::new(self.credited_sat());
        let fee = Sat::new(plan.fee_sat);
        let fees = Account::fees("ecash");
        let entry = |kind| Entry::new(kind, &plan.reference, now).memo(&plan.memo);
        match &plan.purpose {
            Purpose::Send | Purpose::Float { .. } => {
                let handed = Sat::new(self.handed_sat());
                entry(EntryKind::Pay)
                    .debit(Account::in_flight(&self.mint), handed)
                    .debit(fees, fee)
                    .credit(wallet, handed.saturating_add(fee))
            }
            Purpose::Receive {
                from, entry: kind, ..
            } => entry(*kind)
                .debit(wallet, credited)
                .debit(fees, fee)
                .credit(from.clone(), credited.saturating_add(fee)),
            Purpose::Reclaim { .. } => entry(EntryKind::Refund)
                .debit(wallet, credited)
                .debit(fees, fee)
                .credit(Account::in_flight(&self.mint), credited.saturating_add(fee)),
            Purpose::Fund { to } => entry(EntryKind::Sweep)
                .debit(Account::wallet(to, &self.mint), credited)
                .debit(fees, fee)
                .credit(wallet, credited.saturating_add(fee)),
            Purpose::Sweep => entry(EntryKind::Sweep)
                .debit(Account::wallet(super::TREASURY, &self.mint), credited)
                .debit(fees, fee)
                .credit(wallet, credited.saturating_add(fee)),
            Purpose::Issue { from, .. } => {
                let outside = || Account::external("funding");
                entry(EntryKind::Fund)
                    .debit(wallet, credited)
                    .credit(from.clone().unwrap_or_else(outside), credited)
            }
            Purpose::Melt {
                to,
                with_fees: true,
                ..
            } => {
                let spent = Sat::new(plan.input_sat.saturating_sub(change_sat));
                entry(EntryKind::Pay)
                    .debit(to.clone(), spent)
                    .credit(wallet, spent)
            }
            Purpose::Melt { amount_sat, to, .. } => {
                let spent = Sat::new(plan.input_sat.saturating_sub(change_sat));
                let amount = Sat::new(*amount_sat);
                let routing = spent.saturating_sub(amount).saturating_sub(fee);
                entry(EntryKind::Pay)
                    .debit(to.clone(), amount)
                    .debit(fees, fee)
                    .debit(Account::fees("lightning"), routing)
                    .credit(wallet, spent)
            }
        }
    }

    /// The lines for the logs of agent wallets: wallet, kind, change in satoshi.
    pub(crate) fn audit_lines(&self, change_sat: u64) -> Vec<(String, &'static str, i64)> {
        let plan = &self.plan;
        let credited = signed(self.credited_sat());
        let line = match &plan.purpose {
            Purpose::Send | Purpose::Float { .. } => (
                "paid",
                -signed(self.handed_sat().saturating_add(plan.fee_sat)),
            ),
            Purpose::Receive {
                entry: EntryKind::Refund,
                ..
            } => ("refunded", credited),
            Purpose::Receive { .. } => ("received", credited),
            Purpose::Reclaim { .. } => ("reclaimed", credited),
            Purpose::Fund { to } => return vec![(to.clone(), "funded", credited)],
            Purpose::Sweep => ("swept", -signed(plan.input_sat)),
            Purpose::Issue { .. } => ("funded", credited),
            Purpose::Melt { .. } => ("paid", -signed(plan.input_sat.saturating_sub(change_sat))),
        };
        if self.wallet_id == super::TREASURY {
            return Vec::new();
        }
        vec![(self.wallet_id.clone(), line.0, line.1)]
    }
}

fn signed(sat: u64) -> i64 {
    i64::try_from(sat).unwrap_or(i64::MAX)
}

/// Writes `value` as the journal keeps it.
pub(crate) fn json<T: Serialize>(value: &T, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt {
        table: "wallet_operations",
        column,
        reason: error.to_string(),
    })
}

/// The messages of these outputs, as sent to the mint.
pub(crate) fn messages(outputs: &[PlannedOutput]) -> Vec<BlindedMessage> {
    outputs
        .iter()
        .map(|planned| planned.output.blinded_message.clone())
        .collect()
}

impl From<DerivationError> for WalletError {
    fn from(error: DerivationError) -> Self {
        Self::Refused(TokenFault::Malformed(error.to_string()))
    }
}
