//! Taking tokens in: read, unlock, swap for proofs of our own.
//!
//! A token is worth nothing until the mint has swapped it. Before the mint is
//! asked, everything that can be checked offline is: size, mint, unit,
//! duplicates, locks, and whether the fee leaves anything.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use cdk::nuts::{
    Conditions, CurrencyUnit, Nut10Secret, Proof, PublicKey, SecretKey, SigFlag,
    SpendingConditions, Token,
};
use feria_paywall::amount::Sat;

use super::TREASURY;
use super::engine::Engine;
use super::mint::normalize;
use super::plan::{Operation, Outcome, OwnOutputs, Plan, Purpose};
use super::planning::{room, write_plan};
use super::select::{MAX_INPUTS, fee, split};
use super::swap::{Fate, Posting};
use super::types::{MintKeys, ReceiveRequest, Received, TokenFault, WalletError};
use crate::store::StoreError;
use crate::store::ledger::operations::{self, Tx};
use crate::store::ledger::wallets;

/// The longest token that is read: about 500 proofs with locks and DLEQ.
const MAX_TOKEN_BYTES: usize = 256 * 1024;
const ROUNDS: usize = 2;

/// Proofs that are not in a wallet yet, ready to be spent.
#[derive(Clone)]
pub(crate) struct Incoming {
    pub(crate) id: String,
    pub(crate) wallet_id: String,
    pub(crate) mint: String,
    pub(crate) proofs: Vec<Proof>,
    /// Kept in the journal while the operation is open.
    pub(crate) foreign_token: Option<String>,
    pub(crate) purpose: Purpose,
    pub(crate) reference: String,
}

impl Engine {
    pub(crate) async fn receive(&self, request: ReceiveRequest) -> Result<Received, WalletError> {
        if let Some(done) = self.find(&request.operation_id).await?
            && let Some(outcome) = done.outcome.clone()
        {
            // What failed for good is not tried again.
            match outcome {
                Outcome::Failed {
                    fault: TokenFault::AlreadySpent,
                } => return Err(WalletError::Refused(TokenFault::AlreadySpent)),
                Outcome::Failed { .. } => {}
                outcome => return received(&done, &outcome),
            }
        }
        let (mint, proofs) = self
            .read_token(&request.token, &request.wallet_id, &request.unlock_as)
            .await?;
        self.take_in(Incoming {
            id: request.operation_id,
            wallet_id: request.wallet_id.clone(),
            mint,
            proofs,
            foreign_token: Some(request.token),
            purpose: Purpose::Receive {
                from: request.from,
                entry: request.kind,
                unlock_as: request.unlock_as,
                payer: request.wallet_id,
            },
            reference: request.reference,
        })
        .await
    }

    /// Swaps proofs for own ones, under the journal.
    pub(crate) async fn take_in(&self, incoming: Incoming) -> Result<Received, WalletError> {
        let _gate = self.gates.enter(&incoming.id).await;
        let mut refusal = None;
        for _ in 0..ROUNDS {
            let keys = self.pool.keys(&incoming.mint).await?;
            let (operation, is_new) = self.plan_incoming(&incoming, keys).await?;
            if let (false, Some(outcome)) = (is_new, &operation.outcome) {
                return received(&operation, outcome);
            }
            let posting = if is_new {
                Posting::First
            } else {
                Posting::Again
            };
            match self
                .carry_in(&operation, incoming.proofs.clone(), posting)
                .await
            {
                Ok(outcome) => return received(&operation, &outcome),
                Err(error @ WalletError::Refused(TokenFault::Mint(_))) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or(WalletError::Unknown(incoming.id)))
    }

    /// Brings a planned swap of proofs that are in no wallet to its end.
    pub(crate) async fn carry_in(
        &self,
        operation: &Operation,
        inputs: Vec<Proof>,
        posting: Posting,
    ) -> Result<Outcome, WalletError> {
        if posting == Posting::Again {
            let link = self.pool.link(&operation.mint)?;
            let outputs = operation.outputs(&self.seeds)?;
            match self.fate(&link, operation, &outputs).await {
                Ok(Fate::Done(signatures)) => {
                    return self.complete(&link, operation, &outputs, signatures).await;
                }
                Ok(Fate::SpentElsewhere) => {
                    self.roll_back(operation, TokenFault::AlreadySpent).await?;
                    return Err(WalletError::Refused(TokenFault::AlreadySpent));
                }
                Ok(Fate::Untouched) => {}
                Ok(Fate::Pending) | Err(_) => {
                    return Err(WalletError::Unknown(operation.id.clone()));
                }
            }
        }
        self.execute_swap(operation, inputs, posting).await
    }

    async fn plan_incoming(
        &self,
        incoming: &Incoming,
        keys: Arc<MintKeys>,
    ) -> Result<(Operation, bool), WalletError> {
        let incoming = incoming.clone();
        let now = self.clock.now();
        self.ledger
            .write("plan receipt", move |transaction| {
                plan_incoming(transaction, &incoming, &keys, now)
            })
            .await?
    }

    /// Reads a token for `wallet_id` and signs the proofs that own keys open: those
    /// of the agents `unlock_as`, and the refund keys that our own payments named,
    /// because a seller locks what it gives back to them.
    pub(crate) async fn read_token(
        &self,
        text: &str,
        wallet_id: &str,
        unlock_as: &[String],
    ) -> Result<(String, Vec<Proof>), WalletError> {
        let malformed = |reason: &str| WalletError::Refused(TokenFault::Malformed(reason.into()));
        if text.len() > MAX_TOKEN_BYTES {
            return Err(malformed("too long"));
        }
        let token = Token::from_str(text.trim()).map_err(|_| malformed("not a Cashu token"))?;
        let mint_url = token
            .mint_url()
            .map_err(|_| malformed("not exactly one mint"))?
            .to_string();
        let mint = normalize(&mint_url)
            .ok_or_else(|| WalletError::UntrustedMint(mint_url.chars().take(256).collect()))?;
        // Version 3 may leave the unit out; it then means satoshi.
        if token.unit().is_some_and(|unit| unit != CurrencyUnit::Sat) {
            return Err(malformed("unit is not sat"));
        }
        token
            .value()
            .map_err(|_| malformed("proofs twice, or an amount out of range"))?;
        let keys = self.pool.keys(&mint).await?;
        let proofs = match known_proofs(&token, &keys) {
            Some(proofs) => proofs,
            None => {
                let link = self.pool.link(&mint)?;
                let keys = self
                    .pool
                    .refresh(&link)
                    .await
                    .map_err(|fault| fault.into_read_error(&mint))?;
                known_proofs(&token, &keys).ok_or_else(|| malformed("keyset not of this mint"))?
            }
        };
        if proofs.is_empty() || proofs.len() > MAX_INPUTS {
            return Err(malformed("no proofs, or too many"));
        }
        let own_keys = unlock_as
            .iter()
            .map(|agent| self.seeds.agent_key(agent))
            .chain([wallet_id, TREASURY].map(|wallet| self.seeds.refund_key(wallet)))
            .collect::<Result<Vec<_>, _>>()?;
        let now = self.clock.now();
        let proofs = proofs
            .into_iter()
            .map(|proof| unlock(proof, &own_keys, now))
            .collect::<Result<_, _>>()
            .map_err(WalletError::Refused)?;
        Ok((mint, proofs))
    }
}

/// The proofs of the token, if all are of keysets we know and no two are the same.
fn known_proofs(token: &Token, keys: &MintKeys) -> Option<Vec<Proof>> {
    let proofs = token.proofs(&keys.infos()).ok()?;
    let secrets: HashSet<_> = proofs.iter().map(|proof| &proof.secret).collect();
    let is_known = proofs.iter().all(|proof| {
        keys.keysets
            .get(&proof.keyset_id)
            .is_some_and(|keyset| keyset.keys.amount_key(proof.amount).is_some())
    });
    (is_known && secrets.len() == proofs.len()).then_some(proofs)
}

/// Signs a locked proof with whichever of `keys` opens it.
fn unlock(mut proof: Proof, keys: &[SecretKey], now: u64) -> Result<Proof, TokenFault> {
    let Ok(secret) = Nut10Secret::try_from(&proof.secret) else {
        return Ok(proof);
    };
    let conditions = SpendingConditions::try_from(secret).map_err(|_| TokenFault::ForeignLock)?;
    let SpendingConditions::P2PKConditions { data, conditions } = conditions else {
        return Err(TokenFault::ForeignLock);
    };
    let conditions = conditions.unwrap_or_default();
    if conditions.sig_flag == SigFlag::SigAll {
        return Err(TokenFault::ForeignLock);
    }
    let Some(key) = opening_key(&data, &conditions, keys, now) else {
        // Past its locktime and without refund key, anybody may spend it.
        let is_free = conditions.locktime.is_some_and(|time| time < now)
            && conditions.refund_keys.as_ref().is_none_or(Vec::is_empty);
        return if is_free {
            Ok(proof)
        } else {
            Err(TokenFault::ForeignLock)
        };
    };
    proof.witness = None;
    proof
        .sign_p2pk(key.clone())
        .map_err(|_| TokenFault::ForeignLock)?;
    Ok(proof)
}

/// Keys compare by their x coordinate (NUT-11).
fn opening_key<'a>(
    data: &PublicKey,
    conditions: &Conditions,
    keys: &'a [SecretKey],
    now: u64,
) -> Option<&'a SecretKey> {
    let opens = |key: &SecretKey, lock: &PublicKey| {
        key.public_key().x_only_public_key() == lock.x_only_public_key()
    };
    let main = conditions.pubkeys.iter().flatten().chain([data]);
    let is_single = conditions.num_sigs.unwrap_or(1) <= 1;
    let by_main = keys
        .iter()
        .find(|key| main.clone().any(|lock| opens(key, lock)))
        .filter(|_| is_single);
    let is_past = conditions.locktime.is_some_and(|time| time < now);
    by_main.or_else(|| {
        let is_single = conditions.num_sigs_refund.unwrap_or(1) <= 1;
        keys.iter()
            .find(|key| {
                conditions
                    .refund_keys
                    .iter()
                    .flatten()
                    .any(|lock| opens(key, lock))
            })
            .filter(|_| is_past && is_single)
    })
}

type Receipt = Result<(Operation, bool), WalletError>;

fn plan_incoming(
    transaction: &Tx<'_>,
    incoming: &Incoming,
    keys: &MintKeys,
    now: u64,
) -> Result<Receipt, StoreError> {
    if let Some(row) = operations::find(transaction, &incoming.id)?
        && row.state != "failed"
    {
        return Ok(Ok((Operation::read(row)?, false)));
    }
    let refused = |fault| Ok(Err(WalletError::Refused(fault)));
    let Some(keyset) = keys.active(now) else {
        return Ok(Err(WalletError::MintUnavailable {
            mint: keys.mint.clone(),
            reason: "no active keyset".to_owned(),
        }));
    };
    let input_sat: u64 = incoming
        .proofs
        .iter()
        .map(|proof| u64::from(proof.amount))
        .fold(0, u64::saturating_add);
    let sum_ppk = incoming
        .proofs
        .iter()
        .filter_map(|proof| keys.keysets.get(&proof.keyset_id))
        .map(|keyset| keyset.input_fee_ppk)
        .fold(0, u64::saturating_add);
    let fee_sat = fee(sum_ppk);
    if input_sat <= fee_sat {
        return refused(TokenFault::Dust);
    }
    let net = input_sat - fee_sat;
    let Some(amounts) = split(net, &keyset.denominations()) else {
        return refused(TokenFault::Mint(format!("no keys for {net} sat")));
    };
    let mut inputs = Vec::with_capacity(incoming.proofs.len());
    for proof in &incoming.proofs {
        let Ok(y) = proof.y() else {
            return refused(TokenFault::Malformed("a secret is not on the curve".into()));
        };
        inputs.push(y.to_hex());
    }
    let wallet_id = credited_wallet(transaction, &incoming.wallet_id, &incoming.mint, net, now)?;
    let mut operation = Operation {
        id: incoming.id.clone(),
        wallet_id: wallet_id.clone(),
        mint: incoming.mint.clone(),
        state: "planned".to_owned(),
        plan: Plan {
            keyset_id: keyset.id,
            own: vec![OwnOutputs {
                wallet_id,
                first_counter: 0,
                amounts,
            }],
            handed: Vec::new(),
            lock: None,
            inputs,
            input_sat,
            fee_sat,
            purpose: incoming.purpose.clone(),
            reference: incoming.reference.clone(),
            memo: String::new(),
            origin: None,
        },
        foreign_token: incoming.foreign_token.clone(),
        signatures: None,
        outcome: None,
    };
    write_plan(transaction, &mut operation, now)?;
    Ok(Ok((operation, true)))
}

/// The wallet asked for, or the treasury when that is an agent wallet that is
/// closed or expired, holds ecash at another mint, or would exceed its limit:
/// money that comes home is never refused.
pub(crate) fn credited_wallet(
    transaction: &Tx<'_>,
    wallet_id: &str,
    mint: &str,
    net: u64,
    now: u64,
) -> Result<String, StoreError> {
    let takes = match wallets::find(transaction, wallet_id)? {
        Some(wallet) => {
            wallet.state != "closed"
                && wallet.mint == mint
                && now < wallet.expires_at
                && net <= room(transaction, &wallet)?
        }
        None => false,
    };
    Ok(if takes { wallet_id } else { TREASURY }.to_owned())
}

/// What the caller gets to hear about an operation that ended.
pub(crate) fn received(operation: &Operation, outcome: &Outcome) -> Result<Received, WalletError> {
    match outcome {
        Outcome::Moved {
            amount_sat,
            fee_sat,
        } => Ok(Received {
            operation_id: operation.id.clone(),
            amount: Sat::new(*amount_sat),
            fee: Sat::new(*fee_sat),
            mint: operation.mint.clone(),
        }),
        Outcome::Failed { fault } => Err(WalletError::Refused(fault.clone())),
        Outcome::Paid { .. } => Err(WalletError::Limit(format!(
            "operation id {} is in use",
            operation.id
        ))),
    }
}
