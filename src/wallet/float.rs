//! A float: several tokens of one amount for one payee, out of one swap.
//!
//! The swap is an operation like any other; what it hands out becomes one *slip* for
//! each token, written in the transaction that completes it. A slip has a journal
//! row of its own, `done` from the start, whose outputs derive from the float's; so
//! it is shown, settled, asked about and taken home as the token of a `send` is, and
//! needs no request to exist.

use cdk::nuts::BlindSignature;
use serde::{Deserialize, Serialize};

use super::Wallets;
use super::engine::Engine;
use super::plan::{Operation, Outcome, Purpose, json};
use super::planning::Planned;
use super::swap::Posting;
use super::types::{FloatRequest, TokenFault, WalletError};
use crate::store::StoreError;
use crate::store::ledger::operations::{self, TokenOutRow};

/// Where the outputs of a slip come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The float.
    pub(crate) operation_id: String,
    /// The place of its first output among those of the float.
    pub(crate) first: usize,
}

/// Returns the operation of slip `number` of the float `float_id`.
#[must_use]
pub fn slip_id(float_id: &str, number: usize) -> String {
    format!("{float_id}#{number}")
}

impl Wallets {
    /// Makes several tokens for one payee with one request to the mint. Each is a
    /// token handed out, under the id that [`slip_id`] says.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn float(&self, request: FloatRequest) -> Result<usize, WalletError> {
        let id = request.each.operation_id.clone();
        let made = self.engine.float(request).await;
        self.engine.unless_begun(&id, made).await
    }
}

impl Engine {
    /// Makes the slips of `request`. Returns their number.
    pub(crate) async fn float(&self, request: FloatRequest) -> Result<usize, WalletError> {
        let id = request.each.operation_id.clone();
        let _gate = self.gates.enter(&id).await;
        let mut order = self.send_order(&request.each).await?;
        let slips = vec![order.handed.len(); request.slips];
        order.handed = order.handed.repeat(request.slips);
        order.target = super::planning::Target::Sat(order.handed.iter().sum());
        order.purpose = Purpose::Float { slips };
        let (operation, posting) = match self.plan_spend(order).await? {
            Planned::Before(operation) if operation.state == "done" => {
                return Ok(request.slips);
            }
            Planned::Before(operation) => (operation, Posting::Again),
            Planned::Now(operation) => (operation, Posting::First),
        };
        if !matches!(operation.plan.purpose, Purpose::Float { .. }) {
            return Err(WalletError::Limit(format!("operation id {id} is in use")));
        }
        match self.carry_out(&operation, posting).await? {
            Outcome::Moved { .. } => Ok(request.slips),
            Outcome::Paid { .. } | Outcome::Failed { .. } => {
                Err(WalletError::Refused(TokenFault::Dust))
            }
        }
    }
}

/// Writes the slips of the float `operation`, whose outputs the mint has signed.
pub(super) fn insert_slips(
    transaction: &operations::Tx<'_>,
    operation: &Operation,
    slips: &[usize],
    signatures: &[BlindSignature],
    now: u64,
) -> Result<(), StoreError> {
    let corrupt = || StoreError::Corrupt {
        table: "wallet_operations",
        column: "plan",
        reason: format!("the slips of {} are not its outputs", operation.id),
    };
    let mut first = 0_usize;
    for (number, length) in slips.iter().enumerate() {
        let places = first..first.saturating_add(*length);
        let handed = operation
            .plan
            .handed
            .get(places.clone())
            .ok_or_else(corrupt)?;
        let signed = signatures.get(places).ok_or_else(corrupt)?;
        let mut slip = operation.clone();
        slip.id = slip_id(&operation.id, number);
        slip.plan.handed = handed.to_vec();
        slip.plan.own = Vec::new();
        slip.plan.inputs = Vec::new();
        slip.plan.input_sat = 0;
        // The first bears what the swap has cost: somebody's purchase must.
        slip.plan.fee_sat = if number == 0 {
            operation.plan.fee_sat
        } else {
            0
        };
        slip.plan.purpose = Purpose::Send;
        slip.plan.origin = Some(Origin {
            operation_id: operation.id.clone(),
            first,
        });
        let outcome = Outcome::Moved {
            amount_sat: slip.handed_sat(),
            fee_sat: slip.plan.fee_sat,
        };
        operations::insert_planned(transaction, &slip.row()?, now)?;
        let (signed, outcome) = (json(&signed, "signatures")?, json(&outcome, "outcome")?);
        operations::finish(transaction, &slip.id, "done", Some(&signed), &outcome, now)?;
        operations::insert_token_out(
            transaction,
            &slip.id,
            &TokenOutRow {
                wallet_id: slip.wallet_id.clone(),
                mint: slip.mint.clone(),
                amount_sat: slip.handed_sat(),
                state: "in_flight".to_owned(),
            },
        )?;
        first = first.saturating_add(*length);
    }
    Ok(())
}
