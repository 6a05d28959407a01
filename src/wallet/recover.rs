//! What a crash left: open operations, and agent wallets whose memory is gone.
//!
//! Open operations are resolved first, so that afterwards every output is
//! either the wallet's or it never existed. Then each agent wallet of an
//! earlier run is derived again from its counters (NUT-13), its signatures are
//! asked for (NUT-09), what is unspent (NUT-07) is swept into the treasury, and
//! it is closed.

use cdk::nuts::{Id, State};
use std::str::FromStr;

use super::engine::Engine;
use super::mint::MintFault;
use super::plan::{Operation, Outcome, PlannedOutput, Purpose, messages};
use super::send;
use super::swap::{Fate, Posting, proof, proof_row};
use super::types::{RecoveryReport, TokenFault, WalletError};
use crate::store::ledger::proofs::ProofRow;
use crate::store::ledger::wallets::WalletRow;
use crate::store::ledger::{audit_chain, operations, proofs, wallets};

/// Outputs per restore request, as NUT-13 suggests.
const BATCH: u32 = 100;

impl Engine {
    pub(crate) async fn recover(&self) -> Result<RecoveryReport, WalletError> {
        let mut report = RecoveryReport::default();
        let open = self
            .ledger
            .read(|connection| operations::list_open(connection, None))
            .await?;
        for row in open {
            // Somebody in this process is at work on it.
            let Some(_gate) = self.gates.try_enter(&row.id) else {
                continue;
            };
            match self.resolve(&row.id).await {
                Ok(Some(Outcome::Failed { .. })) => report.rolled_back.push(row.id),
                Ok(Some(_)) => report.completed.push(row.id),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        operation.id = %row.id,
                        %error,
                        "the outcome of an operation is still unknown"
                    );
                    report.unknown.push(row.id);
                }
            }
        }
        self.recover_wallets(&mut report).await?;
        Ok(report)
    }

    async fn recover_wallets(&self, report: &mut RecoveryReport) -> Result<(), WalletError> {
        let lost: Vec<WalletRow> = self
            .ledger
            .read(wallets::list)
            .await?
            .into_iter()
            .filter(|wallet| wallet.state != "closed" && wallet.incarnation != self.incarnation)
            .collect();
        for wallet in lost {
            match self.restore_wallet(&wallet).await {
                Ok(()) => match self.close_agent_wallet(&wallet.id).await {
                    Ok(_) => report.wallets_swept = report.wallets_swept.saturating_add(1),
                    Err(error) => {
                        tracing::warn!(
                            wallet.id = %wallet.id,
                            %error,
                            "a restored wallet cannot be closed yet"
                        );
                        report.unknown.push(wallet.id);
                    }
                },
                Err(error) => {
                    tracing::warn!(
                        wallet.id = %wallet.id,
                        %error,
                        "a wallet of an earlier run cannot be restored yet"
                    );
                    report.unknown.push(wallet.id);
                }
            }
        }
        Ok(())
    }

    /// Brings the operation `id` to its end, if it is open. The caller holds its gate.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] and others: it is still open.
    pub(crate) async fn resolve(&self, id: &str) -> Result<Option<Outcome>, WalletError> {
        let Some(operation) = self
            .find(id)
            .await?
            .filter(|operation| operation.state == "planned")
        else {
            return Ok(None);
        };
        let resolved = match &operation.plan.purpose {
            Purpose::Melt { .. } => self.resolve_melt(&operation).await,
            Purpose::Issue { .. } => self.resolve_issue(&operation).await,
            Purpose::Receive {
                unlock_as, payer, ..
            } => {
                let token = operation.foreign_token.clone().unwrap_or_default();
                match self.read_token(&token, payer, unlock_as).await {
                    Ok((_, inputs)) => self.carry_in(&operation, inputs, Posting::Again).await,
                    Err(error) => Err(error),
                }
            }
            Purpose::Reclaim { operation_id } => match self.reclaim_inputs(operation_id).await {
                Ok(inputs) => self.carry_in(&operation, inputs, Posting::Again).await,
                Err(error) => Err(error),
            },
            Purpose::Send | Purpose::Float { .. } | Purpose::Fund { .. } | Purpose::Sweep => {
                self.resolve_spend(&operation).await
            }
        };
        match resolved {
            Ok(outcome) => Ok(Some(outcome)),
            // The refusal may be what ended it.
            Err(error) => match self.find(id).await?.and_then(|operation| operation.outcome) {
                Some(outcome) => Ok(Some(outcome)),
                None => Err(error),
            },
        }
    }

    /// A spend that nobody waits for any more is not begun again.
    async fn resolve_spend(&self, operation: &Operation) -> Result<Outcome, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let outputs = operation.outputs(&self.seeds)?;
        match self.fate(&link, operation, &outputs).await {
            Ok(Fate::Done(signatures)) => {
                self.complete(&link, operation, &outputs, signatures).await
            }
            Ok(Fate::Untouched) if !self.doubts.may_arrive(&operation.id, self.clock.now()) => {
                let fault = TokenFault::Mint(send::NOT_CARRIED_OUT.to_owned());
                self.roll_back(operation, fault.clone()).await?;
                Ok(Outcome::Failed { fault })
            }
            Ok(Fate::Untouched | Fate::SpentElsewhere | Fate::Pending) | Err(_) => {
                Err(WalletError::Unknown(operation.id.clone()))
            }
        }
    }

    /// Fills the memory of a wallet of an earlier run from its mint.
    async fn restore_wallet(&self, wallet: &WalletRow) -> Result<(), WalletError> {
        let id = wallet.id.clone();
        let (counters, open) = self
            .ledger
            .read(move |connection| {
                let mut is_open = false;
                for row in operations::list_open(connection, None)? {
                    is_open |= Operation::read(row)?.involves(&id);
                }
                Ok((operations::list_counters(connection, &id)?, is_open))
            })
            .await?;
        if open {
            // Its outputs may still be signed after we asked.
            return Err(WalletError::Unknown(wallet.id.clone()));
        }
        let mut rows = Vec::new();
        for (mint, keyset, next) in counters {
            rows.extend(
                self.restore_keyset(&wallet.id, &mint, &keyset, next)
                    .await?,
            );
        }
        let found: u64 = rows.iter().map(|row| row.amount_sat).sum();
        let found_msat = i64::try_from(found.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let (id, incarnation, now) = (
            wallet.id.clone(),
            self.incarnation.clone(),
            self.clock.now(),
        );
        self.ledger
            .write("restore wallet", move |transaction| {
                proofs::prune_agent_wallet(transaction, &id)?;
                proofs::insert(transaction, &rows)?;
                wallets::replace_state(transaction, &id, "frozen")?;
                wallets::replace_incarnation(transaction, &id, &incarnation)?;
                audit_chain::append(transaction, &id, now, "restored", found_msat, "")
            })
            .await?;
        Ok(())
    }

    async fn restore_keyset(
        &self,
        wallet_id: &str,
        mint: &str,
        keyset: &str,
        next: u32,
    ) -> Result<Vec<ProofRow>, WalletError> {
        let link = self.pool.link(mint)?;
        let keyset_id = Id::from_str(keyset).map_err(|_| {
            WalletError::Refused(TokenFault::Malformed(format!("keyset id {keyset}")))
        })?;
        let keyset = self.keyset(&link, keyset_id).await?;
        let unavailable = |fault: MintFault| fault.into_read_error(&link.url);
        let mut rows = Vec::new();
        for first in (0..next).step_by(BATCH as usize) {
            let outputs = (first..next.min(first.saturating_add(BATCH)))
                .map(|counter| {
                    let output = self.seeds.own_output(wallet_id, keyset_id, counter, 0)?;
                    Ok(PlannedOutput {
                        place: 0,
                        owner: Some(wallet_id.to_owned()),
                        output,
                    })
                })
                .collect::<Result<Vec<_>, WalletError>>()?;
            let mut found = link
                .restore(messages(&outputs))
                .await
                .map_err(unavailable)?;
            let proofs: Vec<_> = outputs
                .iter()
                .filter_map(|planned| {
                    let b = planned.output.blinded_message.blinded_secret;
                    proof(&keyset, planned, &found.remove(&b)?)
                })
                .collect();
            let ys: Vec<_> = proofs.iter().filter_map(|proof| proof.y().ok()).collect();
            if ys.is_empty() {
                continue;
            }
            let states = link.states(&ys).await.map_err(unavailable)?;
            for (proof, state) in proofs.iter().zip(states) {
                match state {
                    State::Unspent => rows.extend(proof_row(wallet_id, mint, proof)),
                    State::Spent => {}
                    State::Pending | State::Reserved | State::PendingSpent => {
                        return Err(WalletError::Unknown(wallet_id.to_owned()));
                    }
                }
            }
        }
        Ok(rows)
    }
}
