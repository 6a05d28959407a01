//! Pays with a token in the request, and finds the money whatever the answer.

use feria_paywall::amount::{Msat, Sat};
use http::HeaderValue;

use super::call::{Answer, Job, X_CASHU};
use super::fetch::Attempt;
use super::plan::Plan;
use super::refund::{RefundAnswer, Taken};
use super::router::{Candidate, lock_for};
use super::verdict::{Verdict, ecash_rail, judge, token_in};
use super::{Fetched, SpendError, Spender};
use crate::store::ledger::Account;
use crate::store::ledger::intents::{Intent, IntentChange, IntentState, Way};
use crate::wallet::{InFlightState, SendRequest, SentToken, WalletError};

/// Where a token's value went.
pub(super) enum Fate {
    /// Home again, whole or less what that cost.
    Home(Sat),
    /// With the seller.
    Gone,
    /// In the seller's reach: nobody can tell yet.
    Open,
}

impl Spender {
    /// Pays `intent_id` by `candidate`; `attempt` numbers the tries.
    pub(super) async fn pay_ecash(
        &self,
        job: &Job,
        intent_id: &str,
        candidate: &Candidate,
        plan: &Plan,
        attempt: usize,
    ) -> Result<Attempt, SpendError> {
        let Some(terms) = &plan.asked.cashu else {
            return Ok(Attempt::Next("the seller takes no ecash".to_owned()));
        };
        let parts = &self.inner.parts;
        let lock = lock_for(
            job.request.lock,
            terms.lock_key.as_deref(),
            terms.min_locktime_secs,
            parts.clock.now(),
        );
        let operation_id = format!("{intent_id}-{attempt}");
        let change = IntentChange {
            state: Some(IntentState::Paying),
            way: Some(Way::Ecash),
            rail: Some(ecash_rail(&http::HeaderMap::new(), lock.is_some()).to_owned()),
            mint: Some(candidate.place.clone()),
            price: Some(terms.amount.to_msat()),
            operation_id: Some(operation_id.clone()),
            locktime: lock.as_ref().map(|lock| lock.locktime),
            ..IntentChange::default()
        };
        self.advance(intent_id, change).await?;
        crate::crash::point("spend.ecash.paying");
        let sent = parts
            .wallets
            .send(SendRequest {
                operation_id,
                wallet_id: job.request.wallet_id.clone(),
                mint: candidate.place.clone(),
                amount: terms.amount,
                lock,
                cover_receiver_fee: true,
                reference: intent_id.to_owned(),
                memo: String::new(),
            })
            .await;
        crate::crash::point("spend.ecash.sent");
        match sent {
            Ok(sent) => {
                let intent = self.reread(intent_id).await?;
                let fetched = Box::pin(self.present_token(job, &intent, sent)).await?;
                Ok(Attempt::Done(Box::new(fetched)))
            }
            Err(error @ (WalletError::Unknown(_) | WalletError::Store(_))) => {
                Err(self.lose_sight(intent_id, error.to_string()).await)
            }
            Err(error) => Ok(Attempt::Next(error.to_string())),
        }
    }

    /// Sends the call with its token, for the first time or again.
    pub(super) async fn present_token(
        &self,
        job: &Job,
        intent: &Intent,
        sent: SentToken,
    ) -> Result<Fetched, SpendError> {
        let Ok(value) = HeaderValue::from_str(&sent.token) else {
            return self
                .give_up(intent, &sent, "the token fits no header")
                .await;
        };
        match self.inner.caller.call(job, Some((X_CASHU, value))).await {
            Ok(answer) => self.settle_answer(job, intent, &sent, answer).await,
            Err(fault) if fault.is_unsent => self.give_up(intent, &sent, &fault.reason).await,
            Err(fault) => {
                let reason = format!("{} after the token was sent", fault.reason);
                Err(self.lose_sight(&intent.id, reason).await)
            }
        }
    }

    async fn settle_answer(
        &self,
        job: &Job,
        intent: &Intent,
        sent: &SentToken,
        answer: Answer,
    ) -> Result<Fetched, SpendError> {
        crate::crash::point("spend.ecash.answered");
        match judge(answer.status, &answer.headers) {
            Verdict::Taken => self.deliver(job, intent, sent, answer).await,
            Verdict::Failed => self.collect_refund(job, intent, sent, answer).await,
            Verdict::Refused => {
                let complaint = answer.complaint();
                match self.bring_home(intent, sent).await? {
                    Fate::Home(cost) => {
                        self.came_home(intent, IntentState::Failed, cost, &complaint)
                            .await
                    }
                    Fate::Gone => self.paid_for_nothing(intent, sent, &complaint).await,
                    Fate::Open => Err(self
                        .lose_sight(&intent.id, still_out(intent, &complaint))
                        .await),
                }
            }
            Verdict::Unsure => match self.bring_home(intent, sent).await? {
                Fate::Gone => self.deliver(job, intent, sent, answer).await,
                Fate::Home(cost) => {
                    let complaint = answer.complaint();
                    self.came_home(intent, IntentState::Failed, cost, &complaint)
                        .await
                }
                Fate::Open => {
                    let complaint = answer.complaint();
                    Err(self
                        .lose_sight(&intent.id, still_out(intent, &complaint))
                        .await)
                }
            },
        }
    }

    /// The seller has the money and answered: books it, takes the change.
    async fn deliver(
        &self,
        job: &Job,
        intent: &Intent,
        sent: &SentToken,
        answer: Answer,
    ) -> Result<Fetched, SpendError> {
        let parts = &self.inner.parts;
        parts
            .wallets
            .settle(&sent.operation_id, Account::expense(&intent.wallet_id))
            .await?;
        crate::crash::point("spend.ecash.settled");
        let change = match token_in(&answer.headers) {
            Some(token) => match self.take(intent, token, "change").await {
                Taken::Worth(amount) => amount,
                Taken::Worthless | Taken::Later => Sat::ZERO,
            },
            None => Sat::ZERO,
        };
        let cost = sent
            .amount
            .saturating_add(sent.fee)
            .saturating_sub(change)
            .to_msat();
        let state = if answer.body.is_ok() {
            IntentState::Delivered
        } else {
            IntentState::Paid
        };
        self.advance(
            &intent.id,
            IntentChange {
                state: Some(state),
                rail: Some(ecash_rail(&answer.headers, intent.locktime.is_some()).to_owned()),
                fee: Some(cost.saturating_sub(intent.price)),
                counted: Some(cost),
                status: Some(answer.status),
                detail: Some(String::new()),
                duration_ms: Some(self.elapsed_ms(job)),
                ..IntentChange::default()
            },
        )
        .await?;
        self.hand_over(job, &intent.id, answer).await
    }

    /// Brings home a token that the seller says he did not take: by his own
    /// refund if he gives one, else from the mint.
    async fn bring_home(&self, intent: &Intent, sent: &SentToken) -> Result<Fate, SpendError> {
        if intent.locktime.is_some()
            && let RefundAnswer::Token(token) = self.ask_refund(&intent.origin, sent).await
        {
            return self.take_refund(intent, sent, token).await;
        }
        match self.bring_home_now(intent, sent).await? {
            // The seller took it once and has given it back since.
            Fate::Gone => match self.ask_refund(&intent.origin, sent).await {
                RefundAnswer::Token(token) => self.take_refund(intent, sent, token).await,
                RefundAnswer::Nothing | RefundAnswer::Later => Ok(Fate::Gone),
            },
            fate => Ok(fate),
        }
    }

    pub(super) async fn bring_home_now(
        &self,
        intent: &Intent,
        sent: &SentToken,
    ) -> Result<Fate, SpendError> {
        self.find_money(intent, &sent.operation_id)
            .await
            .map(|fate| match fate {
                Fate::Home(amount) => {
                    Fate::Home(sent.amount.saturating_add(sent.fee).saturating_sub(amount))
                }
                other => other,
            })
    }

    /// Asks the mint where a token is, and takes it home if it can be. `Home` holds what arrived.
    async fn find_money(&self, intent: &Intent, operation_id: &str) -> Result<Fate, SpendError> {
        let parts = &self.inner.parts;
        match parts.wallets.in_flight_state(operation_id).await {
            Ok(InFlightState::Spent) => return Ok(Fate::Gone),
            Ok(InFlightState::Unspent) => {}
            Ok(InFlightState::Pending) => return Ok(Fate::Open),
            Err(WalletError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(Fate::Open),
        }
        let is_locked = intent
            .locktime
            .is_some_and(|locktime| parts.clock.now() <= locktime);
        if is_locked {
            return Ok(Fate::Open);
        }
        match parts.wallets.reclaim(operation_id).await {
            Ok(received) => Ok(Fate::Home(received.amount)),
            Err(WalletError::Refused(crate::wallet::TokenFault::AlreadySpent)) => Ok(Fate::Gone),
            Err(WalletError::Store(error)) => Err(error.into()),
            Err(_) => Ok(Fate::Open),
        }
    }

    /// Resolves an ecash intent: for recovery.
    pub(super) async fn resolve_ecash(&self, intent: &Intent) -> Result<IntentState, SpendError> {
        let parts = &self.inner.parts;
        let operation_id = intent.operation_id.as_deref().unwrap_or_default();
        let Some(sent) = parts.wallets.token(operation_id).await? else {
            if parts.ledger.is_operation_open(operation_id).await? {
                let reason = "the mint has not said whether it made the token";
                self.lose_sight(&intent.id, reason.to_owned()).await;
                return Ok(IntentState::Unknown);
            }
            self.release(
                &intent.id,
                IntentState::Failed,
                Msat::ZERO,
                "interrupted before paying",
            )
            .await?;
            return Ok(IntentState::Failed);
        };
        match self.find_money(intent, operation_id).await? {
            Fate::Home(amount) => {
                let cost = sent.amount.saturating_add(sent.fee).saturating_sub(amount);
                self.release(
                    &intent.id,
                    IntentState::Failed,
                    cost.to_msat(),
                    "the token came home",
                )
                .await?;
                Ok(IntentState::Failed)
            }
            Fate::Gone => self.ask_for_money(intent, &sent).await,
            Fate::Open => {
                self.lose_sight(&intent.id, still_out(intent, "the answer was lost"))
                    .await;
                Ok(IntentState::Unknown)
            }
        }
    }

    /// Takes home a token that never reached the seller.
    async fn give_up(
        &self,
        intent: &Intent,
        sent: &SentToken,
        reason: &str,
    ) -> Result<Fetched, SpendError> {
        match self.bring_home_now(intent, sent).await? {
            Fate::Home(cost) => {
                self.came_home(intent, IntentState::Failed, cost, reason)
                    .await
            }
            Fate::Gone => self.paid_for_nothing(intent, sent, reason).await,
            Fate::Open => Err(self.lose_sight(&intent.id, still_out(intent, reason)).await),
        }
    }

    async fn came_home(
        &self,
        intent: &Intent,
        state: IntentState,
        cost: Sat,
        reason: &str,
    ) -> Result<Fetched, SpendError> {
        self.release(&intent.id, state, cost.to_msat(), reason)
            .await?;
        Err(SpendError::PaymentFailed {
            id: intent.id.clone(),
            reason: format!("{reason}; the ecash came home"),
        })
    }

    async fn paid_for_nothing(
        &self,
        intent: &Intent,
        sent: &SentToken,
        reason: &str,
    ) -> Result<Fetched, SpendError> {
        self.book_gone(intent, sent, reason).await?;
        Err(SpendError::PaidNotDelivered {
            id: intent.id.clone(),
            reason: reason.to_owned(),
        })
    }

    /// Books a token that the seller has, without an answer in hand.
    pub(super) async fn book_gone(
        &self,
        intent: &Intent,
        sent: &SentToken,
        reason: &str,
    ) -> Result<(), SpendError> {
        self.inner
            .parts
            .wallets
            .settle(&sent.operation_id, Account::expense(&intent.wallet_id))
            .await?;
        let cost = sent.amount.saturating_add(sent.fee).to_msat();
        let change = IntentChange {
            state: Some(IntentState::Paid),
            fee: Some(cost.saturating_sub(intent.price)),
            counted: Some(cost),
            detail: Some(reason.to_owned()),
            ..IntentChange::default()
        };
        self.advance(&intent.id, change).await.map(drop)
    }
}

pub(super) fn still_out(intent: &Intent, reason: &str) -> String {
    match intent.locktime {
        Some(locktime) => format!("{reason}; the ecash is locked to the seller until {locktime}"),
        None => format!("{reason}; the mint cannot say where the ecash is"),
    }
}
