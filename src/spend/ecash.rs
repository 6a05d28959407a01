//! Pays with a token in the request, and finds the money whatever the answer.

use feria_paywall::amount::{Msat, Sat};
use http::HeaderValue;

use super::call::{Answer, CallFault, Carriage, Job, X_CASHU};
use super::fetch::Attempt;
use super::journal::released;
use super::refund::{RefundAnswer, Taken};
use super::router::{Candidate, lock_for};
use super::stream::{AnswerStream, OpenAnswer};
use super::verdict::{Verdict, ecash_rail, judge, token_in};
use super::{SpendError, Spender};
use crate::store::ledger::Account;
use crate::store::ledger::intents::{Intent, IntentChange, IntentState, Way};
use crate::wallet::{InFlightState, SendRequest, SentToken, TREASURY, WalletError};

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
        attempt: usize,
    ) -> Result<Attempt, SpendError> {
        let Some(terms) = &candidate.terms else {
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
            quote_id: candidate.quote_id.clone(),
            ..IntentChange::default()
        };
        if let Some(lock) = lock.as_ref().filter(|_| candidate.is_plain_ecash()) {
            let sent = self
                .pay_by_float(job, intent_id, candidate, lock, &change)
                .await?;
            if let Some(sent) = sent {
                crate::crash::point("spend.float.taken");
                let intent = self.reread(intent_id).await?;
                let answer = Box::pin(self.present_token(job, &intent, sent)).await?;
                return Ok(Attempt::Done(Box::new(answer)));
            }
        }
        self.advance(intent_id, change).await?;
        crate::crash::point("spend.ecash.paying");
        let began = parts.clock.now_millis();
        // Moved ecash arrives in the treasury: an agent's wallet is at one mint.
        let mut payer = job.request.wallet_id.clone();
        if candidate.from.is_some() {
            let intent = self.reread(intent_id).await?;
            if let Err(reason) = self.move_ecash(&intent, candidate).await? {
                return Ok(Attempt::Next(reason));
            }
            TREASURY.clone_into(&mut payer);
        }
        let sent = parts
            .wallets
            .send(SendRequest {
                operation_id,
                wallet_id: payer,
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
                self.note_pace(candidate, began, true);
                let intent = self.reread(intent_id).await?;
                let answer = Box::pin(self.present_token(job, &intent, sent)).await?;
                Ok(Attempt::Done(Box::new(answer)))
            }
            Err(error @ (WalletError::Unknown(_) | WalletError::Store(_))) => {
                Err(self.lose_sight(intent_id, error.to_string()).await)
            }
            // The money has moved already: to pay once more in another way would cost it twice.
            Err(error) if candidate.from.is_some() => {
                let reason = format!("{error}; the ecash stays in the treasury");
                let intent = self.reread(intent_id).await?;
                self.release(intent_id, IntentState::Failed, intent.fee, &reason)
                    .await?;
                Err(SpendError::PaymentFailed {
                    id: intent_id.to_owned(),
                    reason,
                })
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
    ) -> Result<OpenAnswer, SpendError> {
        if job.carriage == Carriage::Hand {
            return self.hand_out(intent, sent).await;
        }
        match self.carry(job, &sent).await? {
            Ok(answer) => self.settle_answer(job, intent, &sent, answer).await,
            Err(fault) if fault.is_unsent => {
                // Nobody has seen a token of a float: the next call can use it.
                if self.free_slip(intent, &sent, &fault.reason).await? {
                    return Err(came_home(intent, &fault.reason));
                }
                self.give_up(intent, &sent, &fault.reason).await
            }
            Err(fault) => {
                let reason = format!("{} after the token was sent", fault.reason);
                Err(self.lose_sight(&intent.id, reason).await)
            }
        }
    }

    async fn carry(
        &self,
        job: &Job,
        sent: &SentToken,
    ) -> Result<Result<Answer, CallFault>, SpendError> {
        let unsent = |reason: &str| CallFault {
            reason: reason.to_owned(),
            is_unsent: true,
        };
        let caller = &self.inner.caller;
        if let Carriage::Payload(id) = &job.carriage {
            let wallets = &self.inner.parts.wallets;
            let payload = wallets.payload(&sent.operation_id, id.as_deref()).await?;
            return Ok(match payload {
                Some(payload) => caller.post(job, payload).await,
                None => Err(unsent("the token is no longer at hand")),
            });
        }
        Ok(match HeaderValue::from_str(&sent.token) {
            Ok(value) => caller.call(job, Some((X_CASHU, value))).await,
            Err(_) => Err(unsent("the token fits no header")),
        })
    }

    /// Gives the token to the caller, who carries it to the payee: as good as paid.
    async fn hand_out(&self, intent: &Intent, sent: SentToken) -> Result<OpenAnswer, SpendError> {
        let wallets = &self.inner.parts.wallets;
        wallets
            .settle(&sent.operation_id, Account::expense(&intent.wallet_id))
            .await?;
        let cost = spent(intent, &sent);
        let change = IntentChange {
            state: Some(IntentState::Delivered),
            fee: Some(cost.saturating_sub(intent.price)),
            counted: Some(cost),
            detail: Some(String::new()),
            ..IntentChange::default()
        };
        self.advance(&intent.id, change).await?;
        let mut answer = OpenAnswer::paid(self.find_purchase(&intent.id).await?);
        answer.body = AnswerStream::whole(sent.token.into());
        Ok(answer)
    }

    async fn settle_answer(
        &self,
        job: &Job,
        intent: &Intent,
        sent: &SentToken,
        answer: Answer,
    ) -> Result<OpenAnswer, SpendError> {
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
    ) -> Result<OpenAnswer, SpendError> {
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
        let cost = spent(intent, sent).saturating_sub(change.to_msat());
        let state = if answer.is_whole() {
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
            return self.resolve_moving(intent).await;
        };
        match self.find_money(intent, operation_id).await? {
            Fate::Home(amount) => {
                let cost = sent.amount.saturating_add(sent.fee).saturating_sub(amount);
                let cost = moving_fee(intent).saturating_add(cost.to_msat());
                self.release(&intent.id, IntentState::Failed, cost, "the token came home")
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
    ) -> Result<OpenAnswer, SpendError> {
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
    ) -> Result<OpenAnswer, SpendError> {
        let cost = moving_fee(intent).saturating_add(cost.to_msat());
        self.release(&intent.id, state, cost, reason).await?;
        Err(came_home(intent, reason))
    }

    /// Puts a token back into its float and ends the purchase that took it. Returns
    /// whether it is one of a float.
    async fn free_slip(
        &self,
        intent: &Intent,
        sent: &SentToken,
        reason: &str,
    ) -> Result<bool, SpendError> {
        let parts = &self.inner.parts;
        let cost = moving_fee(intent).saturating_add(sent.fee.to_msat());
        let change = released(IntentState::Failed, cost, reason);
        let freed =
            parts
                .ledger
                .free_slip(&sent.operation_id, &intent.id, change, parts.clock.now());
        Ok(freed.await?)
    }

    async fn paid_for_nothing(
        &self,
        intent: &Intent,
        sent: &SentToken,
        reason: &str,
    ) -> Result<OpenAnswer, SpendError> {
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
        let cost = spent(intent, sent);
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

/// What moving the ecash of `intent` to the seller's mint took; nothing for ecash in hand.
pub(super) fn moving_fee(intent: &Intent) -> Msat {
    match intent.quote_id {
        Some(_) => intent.fee,
        None => Msat::ZERO,
    }
}

fn came_home(intent: &Intent, reason: &str) -> SpendError {
    SpendError::PaymentFailed {
        id: intent.id.clone(),
        reason: format!("{reason}; the ecash came home"),
    }
}

/// What a token that is gone has cost. What was moved covers the mint's fee for the
/// token, which is therefore in the fee already.
pub(super) fn spent(intent: &Intent, sent: &SentToken) -> Msat {
    match intent.quote_id {
        Some(_) => intent.price.saturating_add(intent.fee),
        None => sent.amount.saturating_add(sent.fee).to_msat(),
    }
}

pub(super) fn still_out(intent: &Intent, reason: &str) -> String {
    match intent.locktime {
        Some(locktime) => format!("{reason}; the ecash is locked to the seller until {locktime}"),
        None => format!("{reason}; the mint cannot say where the ecash is"),
    }
}
