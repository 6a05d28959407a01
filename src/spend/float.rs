//! The pre-locked float: for a seller who is called often, several tokens are made
//! with one request to the mint, each exactly for one call and locked to the seller's
//! key, so that further calls ask no mint at either end.
//!
//! ```text
//! written down ─▶ made ─┬▶ taken by a purchase, then as any token of it
//!                       └▶ free past its locktime ─▶ home
//! ```
//!
//! | dies at | money | recovery |
//! |---|---|---|
//! | written down | in the wallet | never made: forgotten after the locktime |
//! | asked of the mint | in the wallet or in flight | the wallet finds out: made, or never |
//! | made | in flight, locked to the seller, known to nobody but us | used by later calls; what is free past the locktime is taken home |
//! | taken | as the purchase says | the purchase's |
//!
//! In the books a float is in flight. In the budget nothing is counted until a
//! purchase takes a token; the mint's fee for making all of them is on the first.

use feria_paywall::amount::Sat;
use feria_paywall::xcashu::request::CashuTerms;

use super::call::Job;
use super::plan::Plan;
use super::router::Candidate;
use super::{LockPolicy, SpendError, Spender};
use crate::store::ledger::float::Wanted;
use crate::store::ledger::intents::{IntentChange, Way};
use crate::wallet::{FloatRequest, Lock, SendRequest, SentToken, WalletError, slip_id};

/// What a call may take, and clocks may differ, beyond the seller's minimum.
const MARGIN_SECS: u64 = 60;
/// Tokens of one float: each has a handful of proofs, and a request has limits.
const MAX_SLIPS: u64 = 64;

impl Spender {
    /// Returns the candidates of `plan` that need no mint: a token lies ready.
    pub(super) async fn float_candidates(
        &self,
        job: &Job,
        plan: &Plan,
    ) -> Result<Vec<Candidate>, SpendError> {
        let mut found = Vec::new();
        for terms in &plan.asked.requests {
            let Some(wanted) = self.wanted(job, terms) else {
                continue;
            };
            if let Some(slip) = self.inner.parts.ledger.find_slip(wanted).await?
                && super::router::takes(&terms.mints, &slip.mint)
            {
                let fee = Sat::new(slip.face_sat.saturating_sub(slip.price_sat));
                found.push(Candidate {
                    fee_msat: Some(fee.to_msat().as_u64()),
                    terms: Some(terms.clone()),
                    is_float: true,
                    ..Candidate::at(Way::Ecash, &slip.mint, terms.amount.to_msat())
                });
            }
        }
        Ok(found)
    }

    /// The slip that meets `terms`; `None` where nothing can be locked.
    fn wanted(&self, job: &Job, terms: &CashuTerms) -> Option<Wanted> {
        let lock_key = terms.lock_key.clone()?;
        let config = &self.inner.parts.config;
        let now = self.inner.parts.clock.now();
        let is_on = config.float_after_calls > 0 && job.request.lock == LockPolicy::Auto;
        is_on.then(|| Wanted {
            wallet_id: job.request.wallet_id.clone(),
            lock_key,
            price_sat: terms.amount.as_u64(),
            locktime: now
                .saturating_add(terms.min_locktime_secs.unwrap_or(0))
                .saturating_add(MARGIN_SECS),
        })
    }

    /// Returns a token for the purchase `intent_id` out of a float, one that is there
    /// or one that is worth making. `None`: it pays by a token of its own.
    pub(super) async fn pay_by_float(
        &self,
        job: &Job,
        intent_id: &str,
        candidate: &Candidate,
        lock: &Lock,
        change: &IntentChange,
    ) -> Result<Option<SentToken>, SpendError> {
        let Some(terms) = &candidate.terms else {
            return Ok(None);
        };
        let Some(wanted) = self.wanted(job, terms) else {
            return Ok(None);
        };
        if let Some(sent) = self.take_slip(&wanted, intent_id, change).await? {
            return Ok(Some(sent));
        }
        if !self.is_called_often(job).await? {
            return Ok(None);
        }
        let key = format!("float:{}", wanted.lock_key);
        let _turn = self.inner.turns.take(&wanted.wallet_id, &key).await;
        // Another call may have made one meanwhile.
        if let Some(sent) = self.take_slip(&wanted, intent_id, change).await? {
            return Ok(Some(sent));
        }
        self.make_float(intent_id, candidate, lock, wanted, change)
            .await
    }

    async fn take_slip(
        &self,
        wanted: &Wanted,
        intent_id: &str,
        change: &IntentChange,
    ) -> Result<Option<SentToken>, SpendError> {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        let taken = parts
            .ledger
            .take_slip(wanted.clone(), intent_id, change.clone(), now)
            .await?;
        match taken {
            Some(slip) => Ok(parts.wallets.token(&slip.operation_id).await?),
            None => Ok(None),
        }
    }

    async fn is_called_often(&self, job: &Job) -> Result<bool, SpendError> {
        let parts = &self.inner.parts;
        let since = parts
            .clock
            .now()
            .saturating_sub(parts.config.float_window_secs);
        let calls = parts
            .ledger
            .count_paid_calls_at(&job.request.wallet_id, &job.origin, since)
            .await?;
        Ok(calls >= u64::from(parts.config.float_after_calls))
    }

    async fn make_float(
        &self,
        intent_id: &str,
        candidate: &Candidate,
        lock: &Lock,
        wanted: Wanted,
        change: &IntentChange,
    ) -> Result<Option<SentToken>, SpendError> {
        let parts = &self.inner.parts;
        let slips = self.affordable(candidate, &wanted).await?;
        if slips < 2 {
            return Ok(None);
        }
        let float_id = format!(
            "{}-float",
            change.operation_id.as_deref().unwrap_or(intent_id)
        );
        let locktime = lock.locktime.saturating_add(parts.config.float_hold_secs);
        let ids: Vec<String> = (0..slips)
            .map(|number| slip_id(&float_id, number))
            .collect();
        let first = ids.first().cloned();
        let change = IntentChange {
            operation_id: first.clone(),
            locktime: Some(locktime),
            ..change.clone()
        };
        let price = Sat::new(wanted.price_sat);
        let wallet_id = wanted.wallet_id.clone();
        let wanted = Wanted { locktime, ..wanted };
        let mint = candidate.place.clone();
        parts
            .ledger
            .insert_slips(wanted, mint, ids, intent_id, change, parts.clock.now())
            .await?;
        crate::crash::point("spend.float.planned");
        let made = parts
            .wallets
            .float(FloatRequest {
                slips,
                each: SendRequest {
                    operation_id: float_id,
                    wallet_id,
                    mint: candidate.place.clone(),
                    amount: price,
                    lock: Some(Lock {
                        key: lock.key.clone(),
                        locktime,
                    }),
                    cover_receiver_fee: true,
                    reference: intent_id.to_owned(),
                    memo: String::new(),
                },
            })
            .await;
        crate::crash::point("spend.float.made");
        match made {
            Ok(_) => Ok(parts.wallets.token(&first.unwrap_or_default()).await?),
            Err(error @ (WalletError::Unknown(_) | WalletError::Store(_))) => {
                Err(self.lose_sight(intent_id, error.to_string()).await)
            }
            Err(error) => {
                tracing::debug!(intent.id = %intent_id, %error, "no float was made");
                Ok(None)
            }
        }
    }

    /// How many tokens the configuration and the wallet allow.
    async fn affordable(
        &self,
        candidate: &Candidate,
        wanted: &Wanted,
    ) -> Result<usize, SpendError> {
        let parts = &self.inner.parts;
        let config = &parts.config;
        let each = candidate.cost().ceil_sat().as_u64().max(1);
        let locked = parts
            .ledger
            .sum_slips(&wanted.wallet_id, &wanted.lock_key)
            .await?;
        let cap = config.float_max.as_u64().saturating_sub(locked) / each;
        let held = parts
            .wallets
            .balance(&wanted.wallet_id, &candidate.place)
            .await?;
        let slips = u64::from(config.float_calls)
            .min(cap)
            .min(held.as_u64() / each)
            .min(MAX_SLIPS);
        Ok(usize::try_from(slips).unwrap_or(0))
    }

    /// Takes home what of floats is free and past its locktime. Returns how much came.
    pub(super) async fn bring_floats_home(&self) -> Result<Sat, SpendError> {
        let parts = &self.inner.parts;
        let mut home = Sat::ZERO;
        for operation_id in parts.ledger.list_due_slips(parts.clock.now()).await? {
            match parts.wallets.reclaim(&operation_id).await {
                Ok(received) => home = home.saturating_add(received.amount),
                Err(WalletError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(
                    operation.id = %operation_id,
                    %error,
                    "a token that nobody used cannot be taken home yet"
                ),
            }
        }
        Ok(home)
    }
}
