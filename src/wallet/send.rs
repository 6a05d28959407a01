//! Handing out tokens, and deciding what becomes of them.
//!
//! A token is always made by a swap, even when proofs of the right amounts lie
//! ready: only so its secrets derive from the operation alone, so that it can be
//! shown again from the journal, and a wallet restored from its counters does
//! not take it back.

use cdk::dhke::construct_proofs;
use cdk::mint_url::MintUrl;
use cdk::nuts::{BlindSignature, CurrencyUnit, Proof, ProofsMethods, State, Token};
use feria_paywall::amount::Sat;
use std::str::FromStr;

use super::engine::Engine;
use super::keys::public_key;
use super::plan::{Operation, Outcome, PlannedLock, Purpose};
use super::planning::{Planned, SpendOrder, Target};
use super::receive::Incoming;
use super::select::{gross_for_net, split};
use super::swap::{Fate, Posting};
use super::types::{
    InFlightState, KeysetKeys, Received, SendRequest, SentToken, TokenFault, WalletError,
};
use super::{TREASURY, Wallets};
use crate::store::StoreError;
use crate::store::ledger::operations::{self, TokenOutRow};
use crate::store::ledger::{Account, Entry, EntryKind, audit_chain};

/// Rounds of plan and request: the second uses the mint's new keyset.
const ROUNDS: usize = 2;
/// The outcome of a spend that was planned, found untouched, and given up.
pub(crate) const NOT_CARRIED_OUT: &str = "not carried out";

/// The operation that takes the token of `sent_id` home.
fn reclaim_id(sent_id: &str) -> String {
    format!("reclaim:{sent_id}")
}

impl Wallets {
    /// The same token as a NUT-18 payment payload, JSON; whoever has it has the money.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub async fn payload(
        &self,
        operation_id: &str,
        payment_id: Option<&str>,
    ) -> Result<Option<String>, WalletError> {
        self.engine.payload(operation_id, payment_id).await
    }
}

impl Engine {
    pub(crate) async fn send(&self, request: SendRequest) -> Result<SentToken, WalletError> {
        if request.amount == Sat::ZERO {
            return Err(WalletError::Refused(TokenFault::Dust));
        }
        let _gate = self.gates.enter(&request.operation_id).await;
        let mut refusal = None;
        for _ in 0..ROUNDS {
            let order = self.send_order(&request).await?;
            let (operation, posting) = match self.plan_spend(order).await? {
                Planned::Before(operation) if operation.state == "done" => {
                    return self.sent_token(&operation).await;
                }
                Planned::Before(operation) => (operation, Posting::Again),
                Planned::Now(operation) => (operation, Posting::First),
            };
            if !matches!(operation.plan.purpose, Purpose::Send) {
                return Err(WalletError::Limit(format!(
                    "operation id {} is in use",
                    operation.id
                )));
            }
            match self.carry_out(&operation, posting).await {
                Ok(_) => {
                    let operation = self.find(&operation.id).await?.unwrap_or(operation);
                    return self.sent_token(&operation).await;
                }
                Err(error @ WalletError::Refused(_)) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or(WalletError::Unknown(request.operation_id)))
    }

    pub(crate) async fn send_order(
        &self,
        request: &SendRequest,
    ) -> Result<SpendOrder, WalletError> {
        let keys = self.pool.keys(&request.mint).await?;
        let keyset = keys
            .active(self.clock.now())
            .ok_or_else(|| WalletError::MintUnavailable {
                mint: keys.mint.clone(),
                reason: "no active keyset".to_owned(),
            })?;
        let denominations = keyset.denominations();
        let amount = request.amount.as_u64();
        let face = if request.cover_receiver_fee {
            gross_for_net(amount, keyset.input_fee_ppk, &denominations)
        } else {
            Some(amount)
        };
        let handed = face
            .and_then(|face| split(face, &denominations))
            .ok_or_else(|| {
                WalletError::Refused(TokenFault::Mint(format!("no keys for {amount} sat")))
            })?;
        let lock = match &request.lock {
            None => None,
            Some(lock) => Some(PlannedLock {
                key: public_key(&lock.key)
                    .map_err(|error| TokenFault::Malformed(error.to_string()))
                    .map_err(WalletError::Refused)?
                    .to_hex(),
                locktime: lock.locktime,
                refund: self
                    .seeds
                    .refund_key(&request.wallet_id)?
                    .public_key()
                    .to_hex(),
            }),
        };
        Ok(SpendOrder {
            id: request.operation_id.clone(),
            wallet_id: request.wallet_id.clone(),
            target: Target::Sat(handed.iter().sum()),
            handed,
            lock,
            purpose: Purpose::Send,
            reference: request.reference.clone(),
            memo: request.memo.clone(),
            keys,
        })
    }

    /// Brings a planned swap of own proofs to its end.
    pub(crate) async fn carry_out(
        &self,
        operation: &Operation,
        posting: Posting,
    ) -> Result<Outcome, WalletError> {
        if posting == Posting::Again {
            let link = self.pool.link(&operation.mint)?;
            let outputs = operation.outputs(&self.seeds)?;
            match self.fate(&link, operation, &outputs).await {
                Ok(Fate::Done(signatures)) => {
                    return self.complete(&link, operation, &outputs, signatures).await;
                }
                Ok(Fate::Untouched) => {}
                Ok(Fate::SpentElsewhere | Fate::Pending) | Err(_) => {
                    return Err(WalletError::Unknown(operation.id.clone()));
                }
            }
        }
        let inputs = self.reserved(operation).await?;
        if inputs.len() != operation.plan.inputs.len() {
            // The proofs were in the memory of an earlier run.
            self.roll_back(operation, TokenFault::Mint(NOT_CARRIED_OUT.to_owned()))
                .await?;
            return Err(WalletError::NoWallet(operation.wallet_id.clone()));
        }
        self.execute_swap(operation, inputs, posting).await
    }

    /// The token of a done operation, built again from the journal.
    pub(crate) async fn sent_token(&self, operation: &Operation) -> Result<SentToken, WalletError> {
        let proofs = self.handed_proofs(operation).await?;
        let mint_url = MintUrl::from_str(&operation.mint)
            .map_err(|_| WalletError::UntrustedMint(operation.mint.clone()))?;
        let memo = Some(operation.plan.memo.clone()).filter(|memo| !memo.is_empty());
        let token = Token::new(mint_url, proofs, memo, CurrencyUnit::Sat);
        Ok(SentToken {
            operation_id: operation.id.clone(),
            token: token.to_string(),
            amount: Sat::new(operation.handed_sat()),
            fee: Sat::new(operation.plan.fee_sat),
        })
    }

    /// The token of `operation_id` as a NUT-18 payment payload; `None` when none was handed out.
    pub(crate) async fn payload(
        &self,
        operation_id: &str,
        payment_id: Option<&str>,
    ) -> Result<Option<String>, WalletError> {
        let Some((operation, _)) = self.token_out(operation_id).await? else {
            return Ok(None);
        };
        let proofs = self.handed_proofs(&operation).await?;
        let payload = serde_json::json!({
            "id": payment_id,
            "mint": operation.mint,
            "unit": "sat",
            "proofs": proofs,
        });
        Ok(Some(payload.to_string()))
    }

    /// The proofs that a done operation handed out.
    async fn handed_proofs(&self, operation: &Operation) -> Result<Vec<Proof>, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let keyset: KeysetKeys = self.keyset(&link, operation.plan.keyset_id).await?;
        let corrupt = |reason: &str| StoreError::Corrupt {
            table: "wallet_operations",
            column: "signatures",
            reason: reason.to_owned(),
        };
        let signatures: Vec<BlindSignature> = operation
            .signatures
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| corrupt("not a list of signatures"))?;
        let outputs = operation.handed_outputs(&self.seeds)?;
        let (rs, secrets) = outputs
            .into_iter()
            .map(|planned| (planned.output.r, planned.output.secret))
            .unzip();
        let proofs = construct_proofs(signatures, rs, secrets, &keyset.keys)
            .map_err(|_| corrupt("signatures do not fit the outputs"))?;
        Ok(proofs)
    }

    pub(crate) async fn settle(&self, operation_id: &str, to: Account) -> Result<(), WalletError> {
        let id = operation_id.to_owned();
        let now = self.clock.now();
        let is_known = self
            .ledger
            .write("settle token", move |transaction| {
                let (Some(token), Some(row)) = (
                    operations::find_token_out(transaction, &id)?,
                    operations::find(transaction, &id)?,
                ) else {
                    return Ok(false);
                };
                // A token that is being taken home is not gone: the reclaim books it.
                let is_coming_home = operations::find(transaction, &reclaim_id(&id))?
                    .is_some_and(|row| row.state == "planned");
                if is_coming_home {
                    return Ok(false);
                }
                if !operations::decide_token_out(transaction, &id, "settled")? {
                    return Ok(true);
                }
                let operation = Operation::read(row)?;
                let amount = Sat::new(token.amount_sat);
                Entry::new(EntryKind::Settle, &operation.plan.reference, now)
                    .memo(&operation.plan.memo)
                    .debit(to, amount)
                    .credit(Account::in_flight(&token.mint), amount)
                    .post(transaction)?;
                if token.wallet_id != TREASURY {
                    audit_chain::append(
                        transaction,
                        &token.wallet_id,
                        now,
                        "settled",
                        amount.to_msat().as_i64(),
                        &operation.plan.reference,
                    )?;
                }
                Ok(true)
            })
            .await?;
        if is_known {
            return Ok(());
        }
        Err(WalletError::Unknown(operation_id.to_owned()))
    }

    async fn token_out(
        &self,
        operation_id: &str,
    ) -> Result<Option<(Operation, TokenOutRow)>, WalletError> {
        let id = operation_id.to_owned();
        Ok(self
            .ledger
            .read(move |connection| {
                let Some(token) = operations::find_token_out(connection, &id)? else {
                    return Ok(None);
                };
                let operation = operations::find(connection, &id)?
                    .map(Operation::read)
                    .transpose()?;
                Ok(operation.map(|operation| (operation, token)))
            })
            .await?)
    }

    pub(crate) async fn token(&self, operation_id: &str) -> Result<Option<SentToken>, WalletError> {
        match self.token_out(operation_id).await? {
            Some((operation, _)) => self.sent_token(&operation).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn in_flight_state(
        &self,
        operation_id: &str,
    ) -> Result<InFlightState, WalletError> {
        let (operation, _) = self
            .token_out(operation_id)
            .await?
            .ok_or_else(|| WalletError::Unknown(operation_id.to_owned()))?;
        // What our own reclaim spends is spent at the mint, and yet ours: calling
        // `reclaim` again tells what came of it.
        let is_coming_home = self
            .find(&reclaim_id(operation_id))
            .await?
            .is_some_and(|reclaim| reclaim.state != "failed");
        if is_coming_home {
            return Ok(InFlightState::Unspent);
        }
        let link = self.pool.link(&operation.mint)?;
        let ys = self
            .handed_proofs(&operation)
            .await?
            .ys()
            .map_err(|error| WalletError::Refused(TokenFault::Malformed(error.to_string())))?;
        let states = link
            .states(&ys)
            .await
            .map_err(|fault| fault.into_read_error(&link.url))?;
        // A token is redeemed as a whole; a part that is spent cannot be taken back.
        Ok(if states.contains(&State::Spent) {
            InFlightState::Spent
        } else if states.iter().all(|state| *state == State::Unspent) {
            InFlightState::Unspent
        } else {
            InFlightState::Pending
        })
    }

    pub(crate) async fn reclaim(&self, operation_id: &str) -> Result<Received, WalletError> {
        let (sent, token) = self
            .token_out(operation_id)
            .await?
            .ok_or_else(|| WalletError::Unknown(operation_id.to_owned()))?;
        let id = reclaim_id(operation_id);
        if token.state == "settled" {
            return Err(WalletError::Refused(TokenFault::AlreadySpent));
        }
        if let Some(lock) = &sent.plan.lock
            && token.state == "in_flight"
            && lock.locktime >= self.clock.now()
        {
            return Err(WalletError::Limit(format!(
                "the token is locked until {}",
                lock.locktime
            )));
        }
        let proofs = self.reclaim_inputs(operation_id).await?;
        self.take_in(Incoming {
            id,
            wallet_id: sent.wallet_id.clone(),
            mint: sent.mint.clone(),
            proofs,
            foreign_token: None,
            purpose: Purpose::Reclaim {
                operation_id: sent.id.clone(),
            },
            reference: sent.plan.reference.clone(),
        })
        .await
    }

    /// The proofs of the token that `sent_id` handed out, signed with our refund key if locked.
    pub(crate) async fn reclaim_inputs(&self, sent_id: &str) -> Result<Vec<Proof>, WalletError> {
        let (sent, _) = self
            .token_out(sent_id)
            .await?
            .ok_or_else(|| WalletError::Unknown(sent_id.to_owned()))?;
        let mut proofs = self.handed_proofs(&sent).await?;
        if sent.plan.lock.is_some() {
            let key = self.seeds.refund_key(&sent.wallet_id)?;
            for proof in &mut proofs {
                proof
                    .sign_p2pk(key.clone())
                    .map_err(|_| WalletError::Refused(TokenFault::ForeignLock))?;
            }
        }
        Ok(proofs)
    }
}
