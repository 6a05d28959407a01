//! Swaps at the mint: the request, what its answer means, and what a lost answer means.
//!
//! See the state table in [`super`]. The functions here never guess: a request
//! whose fate the mint does not tell stays open.

use std::collections::HashMap;

use cdk::dhke::construct_proofs;
use cdk::nuts::{BlindSignature, Proof, PublicKey, State, SwapRequest};

use super::engine::{Engine, Harvest};
use super::mint::{MintFault, MintLink};
use super::plan::{Operation, Outcome, PlannedOutput, Purpose, messages};
use super::types::{KeysetKeys, TokenFault, WalletError};
use crate::crash;
use crate::store::ledger::proofs::ProofRow;

/// Whether the request of an operation may have reached the mint before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posting {
    First,
    Again,
}

/// What the mint says about an open swap.
pub(crate) enum Fate {
    /// It was carried out.
    Done(Vec<BlindSignature>),
    /// It was not, and can be.
    Untouched,
    /// It was not, and cannot be: the inputs were spent by something else.
    SpentElsewhere,
    /// The inputs are part of something on its way.
    Pending,
}

impl Engine {
    /// Posts the request of `operation` and records what came of it.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] leaves it open; every other error means that it
    /// was rolled back.
    pub(crate) async fn execute_swap(
        &self,
        operation: &Operation,
        inputs: Vec<Proof>,
        posting: Posting,
    ) -> Result<Outcome, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let outputs = operation.outputs(&self.seeds)?;
        let mut posting = posting;
        for _ in 0..2 {
            self.doubts.posted(&operation.id, self.clock.now());
            let request = SwapRequest::new(inputs.clone(), messages(&outputs));
            crash::point("wallet.swap.planned");
            let fault = match link.swap(request).await {
                Ok(signatures) => {
                    crash::point("wallet.swap.answered");
                    return self.complete(&link, operation, &outputs, signatures).await;
                }
                Err(fault) => fault,
            };
            let is_first = posting == Posting::First;
            match fault {
                MintFault::NotSent(reason) | MintFault::Blocked(reason) if is_first => {
                    self.roll_back(operation, TokenFault::Mint(reason.clone()))
                        .await?;
                    return Err(WalletError::MintUnavailable {
                        mint: link.url.clone(),
                        reason,
                    });
                }
                MintFault::Refused(_) | MintFault::KeysetRefused if is_first => {
                    return self.refuse(&link, operation, fault).await;
                }
                // The mint knows some of it: an earlier request of ours may have
                // been carried out, or somebody else has spent the inputs.
                _ => {}
            }
            posting = Posting::Again;
            match (self.fate(&link, operation, &outputs).await, fault) {
                (Ok(Fate::Done(signatures)), _) => {
                    return self.complete(&link, operation, &outputs, signatures).await;
                }
                (Ok(Fate::SpentElsewhere), _) => {
                    if operation.spends_own() {
                        tracing::error!(
                            operation.id = %operation.id,
                            "own proofs of the operation are spent at the mint, but not by it"
                        );
                        return Err(WalletError::Unknown(operation.id.clone()));
                    }
                    return self.refuse(&link, operation, MintFault::Spent).await;
                }
                (
                    Ok(Fate::Untouched),
                    fault @ (MintFault::Refused(_)
                    | MintFault::KeysetRefused
                    | MintFault::Spent
                    | MintFault::AlreadySigned
                    | MintFault::Unclear(_)),
                ) => return self.refuse(&link, operation, fault).await,
                // Pending by something else; after an earlier request it may be ours
                // that is still being worked on.
                (Ok(Fate::Untouched | Fate::Pending), fault @ MintFault::Pending) if is_first => {
                    return self.refuse(&link, operation, fault).await;
                }
                // Nobody carried it out: the same request again can only have the
                // same effect.
                (Ok(Fate::Untouched), _) => {}
                (Ok(Fate::Pending) | Err(_), _) => break,
            }
        }
        Err(WalletError::Unknown(operation.id.clone()))
    }

    /// Records that the mint refused.
    pub(crate) async fn refuse(
        &self,
        link: &MintLink,
        operation: &Operation,
        fault: MintFault,
    ) -> Result<Outcome, WalletError> {
        let is_stale = fault == MintFault::KeysetRefused;
        if fault == MintFault::AlreadySigned {
            self.skip_counters(operation).await?;
        }
        let fault = fault.into_token_fault();
        self.roll_back(operation, fault.clone()).await?;
        if is_stale && let Err(fault) = self.pool.refresh(link).await {
            tracing::warn!(mint.url = %link.url, ?fault, "cannot refresh the keys of the mint");
        }
        Err(WalletError::Refused(fault))
    }

    /// Asks the mint what became of the request of `operation`.
    ///
    /// # Errors
    /// The mint does not say.
    pub(crate) async fn fate(
        &self,
        link: &MintLink,
        operation: &Operation,
        outputs: &[PlannedOutput],
    ) -> Result<Fate, MintFault> {
        let states = link.states(&input_ys(operation)).await?;
        // A swap spends all inputs or none, so unspent ones settle it, even if
        // the mint once signed outputs of the same counters (for a journal that
        // was put back from a backup).
        if states.iter().all(|state| *state == State::Unspent) {
            return Ok(Fate::Untouched);
        }
        if states.contains(&State::Spent) {
            return Ok(match restored(link, outputs).await? {
                Some(signatures) => Fate::Done(signatures),
                None => Fate::SpentElsewhere,
            });
        }
        Ok(Fate::Pending)
    }

    /// Verifies the signatures and ends `operation` as done.
    pub(crate) async fn complete(
        &self,
        link: &MintLink,
        operation: &Operation,
        outputs: &[PlannedOutput],
        signatures: Vec<BlindSignature>,
    ) -> Result<Outcome, WalletError> {
        let keyset = self
            .keyset(link, operation.plan.keyset_id)
            .await
            .map_err(|_| WalletError::Unknown(operation.id.clone()))?;
        let Some(harvest) = harvest(operation, &keyset, outputs, signatures) else {
            tracing::error!(
                operation.id = %operation.id,
                mint.url = %operation.mint,
                "the mint's signatures do not verify; the operation stays open"
            );
            return Err(WalletError::Unknown(operation.id.clone()));
        };
        let amount_sat = match operation.plan.purpose {
            Purpose::Send | Purpose::Float { .. } => operation.handed_sat(),
            _ => operation.credited_sat(),
        };
        let outcome = Outcome::Moved {
            amount_sat,
            fee_sat: operation.plan.fee_sat,
        };
        let outcome = self.commit(operation, harvest, outcome).await;
        crash::point("wallet.done");
        outcome
    }
}

/// The Ys of the inputs. Malformed ones, which only a damaged file has, are left out.
pub(crate) fn input_ys(operation: &Operation) -> Vec<PublicKey> {
    operation
        .plan
        .inputs
        .iter()
        .filter_map(|y| PublicKey::from_hex(y).ok())
        .collect()
}

/// The signatures of all outputs, if the mint gave all of them before.
pub(crate) async fn restored(
    link: &MintLink,
    outputs: &[PlannedOutput],
) -> Result<Option<Vec<BlindSignature>>, MintFault> {
    let mut found = link.restore(messages(outputs)).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let all = outputs
        .iter()
        .map(|planned| found.remove(&planned.output.blinded_message.blinded_secret))
        .collect::<Option<Vec<_>>>();
    // Some but not all: the mint contradicts itself, so it has not told.
    all.map(Some)
        .ok_or_else(|| MintFault::Lost("some of the outputs are signed".to_owned()))
}

/// Checks every signature and unblinds it; `None` if one is not what was asked for.
pub(crate) fn harvest(
    operation: &Operation,
    keyset: &KeysetKeys,
    outputs: &[PlannedOutput],
    signatures: Vec<BlindSignature>,
) -> Option<Harvest> {
    if signatures.len() != outputs.len() {
        return None;
    }
    let mut own = Vec::new();
    let mut handed: HashMap<PublicKey, BlindSignature> = HashMap::new();
    for (planned, signature) in outputs.iter().zip(signatures) {
        let proof = proof(keyset, planned, &signature)?;
        match &planned.owner {
            Some(wallet_id) => {
                own.push(proof_row(wallet_id, &operation.mint, &proof)?);
            }
            None => {
                handed.insert(planned.output.blinded_message.blinded_secret, signature);
            }
        }
    }
    Some(Harvest {
        own,
        handed: in_plan_order(outputs, handed),
        change_sat: 0,
    })
}

/// Verifies one signature (amount, keyset, DLEQ of NUT-12) and makes the proof.
/// A blank output takes the amount that the mint chose.
pub(crate) fn proof(
    keyset: &KeysetKeys,
    planned: &PlannedOutput,
    signature: &BlindSignature,
) -> Option<Proof> {
    let output = &planned.output;
    let is_blank = u64::from(output.amount) == 0;
    if signature.keyset_id != keyset.id || (!is_blank && signature.amount != output.amount) {
        return None;
    }
    let key = keyset.keys.amount_key(signature.amount)?;
    signature
        .verify_dleq(key, output.blinded_message.blinded_secret)
        .ok()?;
    construct_proofs(
        vec![signature.clone()],
        vec![output.r.clone()],
        vec![output.secret.clone()],
        &keyset.keys,
    )
    .ok()?
    .pop()
}

/// The row that keeps `proof`.
pub(crate) fn proof_row(wallet_id: &str, mint: &str, proof: &Proof) -> Option<ProofRow> {
    Some(ProofRow {
        y: proof.y().ok()?.to_bytes(),
        wallet_id: wallet_id.to_owned(),
        mint: mint.to_owned(),
        keyset_id: proof.keyset_id.to_string(),
        amount_sat: u64::from(proof.amount),
        proof: serde_json::to_string(proof).ok()?,
    })
}

/// The journal keeps the signatures of a token by the place of their output in the plan.
fn in_plan_order(
    outputs: &[PlannedOutput],
    mut handed: HashMap<PublicKey, BlindSignature>,
) -> Vec<BlindSignature> {
    let mut sorted: Vec<(usize, BlindSignature)> = outputs
        .iter()
        .filter_map(|planned| {
            let signature = handed.remove(&planned.output.blinded_message.blinded_secret)?;
            Some((planned.place, signature))
        })
        .collect();
    sorted.sort_by_key(|(place, _)| *place);
    sorted.into_iter().map(|(_, signature)| signature).collect()
}

#[cfg(test)]
mod tests {
    use cdk::dhke::sign_message;
    use cdk::nuts::{BlindSignature, CurrencyUnit, Id, Keys, SecretKey};

    use super::*;
    use crate::wallet::keys::Seeds;

    /// A mint with one key, for 8 sat, and one output made for it.
    fn mint() -> (SecretKey, KeysetKeys, PlannedOutput) {
        let key = SecretKey::from_slice(&[3; 32]).unwrap();
        let other = SecretKey::from_slice(&[4; 32]).unwrap();
        let keys = Keys::new([(8.into(), key.public_key()), (4.into(), other.public_key())].into());
        let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);
        let keyset = KeysetKeys {
            id,
            unit: "sat".to_owned(),
            active: true,
            input_fee_ppk: 0,
            final_expiry: None,
            keys,
        };
        let output = Seeds::new([7; 64]).own_output("w", id, 0, 8).unwrap();
        let planned = PlannedOutput {
            place: 0,
            owner: Some("w".to_owned()),
            output,
        };
        (key, keyset, planned)
    }

    fn signed(key: &SecretKey, keyset: &KeysetKeys, planned: &PlannedOutput) -> BlindSignature {
        let blinded = planned.output.blinded_message.blinded_secret;
        let signature = sign_message(key, &blinded).unwrap();
        BlindSignature::new(8.into(), signature, keyset.id, &blinded, key).unwrap()
    }

    #[test]
    fn an_honest_signature_becomes_a_proof() {
        let (key, keyset, planned) = mint();
        let signature = signed(&key, &keyset, &planned);
        let proof = proof(&keyset, &planned, &signature).unwrap();
        assert!(proof.verify_dleq(key.public_key()).is_ok());
    }

    #[test]
    fn a_signature_that_is_not_what_was_asked_for_is_refused() {
        let (key, keyset, planned) = mint();
        let honest = signed(&key, &keyset, &planned);

        let smaller = BlindSignature {
            amount: 4.into(),
            ..honest.clone()
        };
        let unproven = BlindSignature {
            dleq: None,
            ..honest.clone()
        };
        let elsewhere = BlindSignature {
            keyset_id: Id::v1_from_keys(&keyset.keys),
            ..honest
        };
        // Signed with a key of its own, for which it can even give a proof.
        let marked = signed(&SecretKey::from_slice(&[5; 32]).unwrap(), &keyset, &planned);

        for lie in [smaller, unproven, elsewhere, marked] {
            assert!(proof(&keyset, &planned, &lie).is_none());
        }
    }
}
