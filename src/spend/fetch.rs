//! One call from its request to its answer.

use std::collections::VecDeque;

use feria_paywall::amount::Msat;

use super::call::{Answer, AnswerBody, Job};
use super::journal::planned_purchase;
use super::plan::{Plan, Planned};
use super::policy::rail_of_way;
use super::price::Listed;
use super::router::{Candidate, lock_for};
use super::stream::{AnswerStream, OpenAnswer, Tail};
use super::verdict::ecash_rail;
use super::{FetchRequest, Fetched, Rail, Refusal, SpendError, Spender};
use crate::clock::random_id;
use crate::store::ledger::intents::judgement::Spending;
use crate::store::ledger::intents::{Intent, IntentChange, IntentState, Judgement, Opening, Way};

/// What became of one way to pay.
pub(super) enum Attempt {
    /// The purchase is over.
    Done(Box<OpenAnswer>),
    /// Nothing was paid this way: take the next.
    Next(String),
}

impl Spender {
    /// Calls the endpoint, and pays when it answers 402 and limits allow.
    ///
    /// A status of 500 and above is an answer like any other: what became of the
    /// money is in [`Fetched::purchase`], `refunded` or `paid` (the same
    /// idempotency key asks for the answer again).
    ///
    /// Dropping the future half way leaves the purchase open; the same
    /// idempotency key or [`Spender::recover`] finishes it.
    ///
    /// # Errors
    /// By variant of [`SpendError`]; each says where the money is.
    pub async fn fetch(&self, request: FetchRequest) -> Result<Fetched, SpendError> {
        let answer = Box::pin(self.open(request)).await?;
        self.read_whole(answer).await
    }

    /// As [`Self::fetch`], with the body passed on as it comes: a paid answer is
    /// delivered when its body has ended.
    ///
    /// # Errors
    /// By variant of [`SpendError`]; each says where the money is.
    pub async fn open(&self, request: FetchRequest) -> Result<OpenAnswer, SpendError> {
        let parts = &self.inner.parts;
        let id = random_id(parts.entropy.as_ref());
        let job = Job::read(request, id, parts.clock.now_millis())?;
        let wallet_id = &job.request.wallet_id;
        let turn = self.inner.turns.take(wallet_id, &job.key).await;
        let mut answer = Box::pin(self.answer(&job)).await?;
        answer.body = answer.body.holding(turn);
        Ok(answer)
    }

    async fn answer(&self, job: &Job) -> Result<OpenAnswer, SpendError> {
        let ledger = &self.inner.parts.ledger;
        let known = ledger
            .find_intent_by_key(&job.request.wallet_id, &job.key)
            .await?;
        if let Some(intent) = known {
            return Box::pin(self.repeat(job, intent)).await;
        }
        let job = &self.screen(job.clone()).await?;
        if let Some(fetched) = Box::pin(self.use_credential(job)).await? {
            return Ok(fetched);
        }
        let answer = self.ask(job).await?;
        if answer.status != 402 || job.request.no_pay {
            return self.free(job, answer);
        }
        Box::pin(self.buy(job, answer)).await
    }

    /// Calls without paying.
    pub(super) async fn ask(&self, job: &Job) -> Result<Answer, SpendError> {
        let answer = self.inner.caller.call(job, None).await;
        answer.map_err(|fault| SpendError::Network {
            origin: job.origin.clone(),
            reason: fault.reason,
        })
    }

    /// Continues the purchase `id`; `request` must be the same call. Never pays again.
    ///
    /// # Errors
    /// By variant of [`SpendError`].
    pub async fn resume(
        &self,
        id: &str,
        mut request: FetchRequest,
    ) -> Result<OpenAnswer, SpendError> {
        let intent = self.inner.parts.ledger.find_intent(id).await?;
        let intent = intent
            .filter(|intent| intent.wallet_id == request.wallet_id)
            .ok_or_else(|| SpendError::BadRequest(format!("the wallet has no purchase {id}")))?;
        request.idempotency_key = Some(intent.idempotency_key);
        request.dry_run = false;
        self.open(request).await
    }

    /// Calls with a credential bought earlier. `None`: there is none, or the seller no longer takes it.
    async fn use_credential(&self, job: &Job) -> Result<Option<OpenAnswer>, SpendError> {
        if job.request.dry_run || job.request.rail == Rail::Cashu {
            return Ok(None);
        }
        let decision = serde_json::json!({
            "why": "A credential bought earlier had a use left.",
        });
        let listed = self.find_listed(job).await?;
        let mut new = self.new_intent(job, &listed, Msat::ZERO, Msat::ZERO, decision.to_string());
        new.price = Msat::ZERO;
        let ledger = &self.inner.parts.ledger;
        let Some((intent, credential)) = ledger.claim_credential(new).await? else {
            return Ok(None);
        };
        let fetched = self.present(job, &intent, &credential).await?;
        if fetched.is_none() {
            ledger.drop_credential(&intent.id).await?;
        }
        Ok(fetched)
    }

    async fn buy(&self, job: &Job, answer: Answer) -> Result<OpenAnswer, SpendError> {
        let listed = self.find_listed(job).await?;
        let plan = self.plan(job, &answer, &listed).await?;
        self.carry_through(job, plan, &listed, answer).await
    }

    /// Opens the purchase that `planned` found a way for, and pays. `answer` is what
    /// a dry run shows.
    pub(super) async fn carry_through(
        &self,
        job: &Job,
        planned: Planned,
        listed: &Listed,
        answer: Answer,
    ) -> Result<OpenAnswer, SpendError> {
        let mut plan = match planned {
            Ok(plan) => plan,
            Err((price, refusal)) => return Err(self.refuse(job, listed, price, refusal).await),
        };
        let Some(first) = plan.decision.open().next().cloned() else {
            let price = plan.asked.price();
            return Err(self.refuse(job, listed, price, plan.no_rail()).await);
        };
        let price = Msat::new(first.price_msat);
        let fee_limit = Msat::new(first.fee_msat.unwrap_or(0));
        let mut new = self.new_intent(job, listed, price, fee_limit, plan.decision.to_json());
        new.subject.rail = rail_of_way(first.way);
        if job.request.dry_run {
            let why = self.try_out(&new, &plan.decision.why).await?;
            let rail = self.rail_of(job, &first, &plan);
            let planned = planned_purchase(&new, &first, rail, &why);
            let body = bytes::Bytes::copy_from_slice(answer.bytes());
            return Ok(OpenAnswer {
                status: answer.status,
                headers: answer.headers,
                body: AnswerStream::whole(body),
                purchase: Some(planned),
            });
        }
        let case = self.case(&new).await?;
        let ledger = &self.inner.parts.ledger;
        let opening = ledger
            .open_intent(new, move |spending| case.judge(spending))
            .await?;
        let job = match opening {
            Opening::Opened(id) => &Job { id, ..job.clone() },
            Opening::Held(approval) => return Err(self.hold(job, *approval).await),
            Opening::Existing(intent) => return self.repeat(job, *intent).await,
            Opening::Blocked(intent) => {
                return Err(SpendError::Unknown {
                    reason: format!("the same call has an open outcome: {}", intent.detail),
                    id: intent.id,
                });
            }
            Opening::Refused(judgement) => {
                self.note_refusal(job, price).await;
                return Err(SpendError::Refused {
                    id: job.id.clone(),
                    refusal: judgement.into(),
                });
            }
        };
        crate::crash::point("spend.planned");
        Box::pin(self.pay_by_plan(job, &mut plan)).await
    }

    /// Tries the open candidates in order until one pays.
    async fn pay_by_plan(&self, job: &Job, plan: &mut Plan) -> Result<OpenAnswer, SpendError> {
        let mut queue: VecDeque<Candidate> = plan.decision.open().cloned().collect();
        let mut failures = Vec::new();
        let mut attempt = 0;
        loop {
            let Some(candidate) = queue.pop_front() else {
                if plan.is_quoted {
                    break;
                }
                self.quote_others(job, plan).await;
                queue.extend(
                    plan.decision
                        .open()
                        .filter(|candidate| !candidate.is_plain_ecash())
                        .cloned(),
                );
                continue;
            };
            if attempt > 0
                && let Some(refused) = self.reserve_again(job, &candidate, plan, &failures).await?
            {
                failures.push(Refusal::from(refused).to_string());
                continue;
            }
            let tried = match candidate.way {
                Way::Ecash => self.pay_ecash(job, &job.id, &candidate, attempt).await?,
                _ => {
                    self.pay_lightning(job, &job.id, &candidate, plan, attempt)
                        .await?
                }
            };
            match tried {
                Attempt::Done(fetched) => return Ok(*fetched),
                Attempt::Next(reason) => failures.push(reason),
            }
            attempt += 1;
        }
        let reason = failures.join("; ");
        self.release(&job.id, IntentState::Failed, Msat::ZERO, &reason)
            .await?;
        Err(SpendError::PaymentFailed {
            id: job.id.clone(),
            reason,
        })
    }

    /// Moves the reservation to another candidate and records why.
    async fn reserve_again(
        &self,
        job: &Job,
        candidate: &Candidate,
        plan: &Plan,
        failures: &[String],
    ) -> Result<Option<Judgement>, SpendError> {
        let parts = &self.inner.parts;
        let rail = rail_of_way(candidate.way);
        let case = self.case_again(&job.id, candidate.cost(), rail).await?;
        let judge = move |spending: &dyn Spending| case.judge(spending);
        let refused = parts
            .ledger
            .reserve_intent(job.id.clone(), candidate.cost(), rail, judge)
            .await?;
        if refused.is_none() {
            let decision = serde_json::json!({
                "candidates": plan.decision.candidates,
                "chosen": candidate,
                "why": format!(
                    "Paid by {} because the first choice failed ({}).",
                    candidate.label(),
                    failures.join("; ")
                ),
            });
            let change = IntentChange {
                decision: Some(decision.to_string()),
                ..IntentChange::default()
            };
            self.advance(&job.id, change).await?;
        }
        Ok(refused)
    }

    /// The key was used before: gives the recorded outcome, or asks again for what was paid.
    pub(super) async fn repeat(&self, job: &Job, intent: Intent) -> Result<OpenAnswer, SpendError> {
        if intent.request_digest != job.digest {
            return Err(SpendError::BadRequest(format!(
                "the idempotency key belongs to another request, purchase {}",
                intent.id
            )));
        }
        if let Some(fetched) = self.recorded(&intent).await? {
            return fetched;
        }
        let intent = self.settled_enough(intent).await?;
        match (intent.state, intent.way) {
            (IntentState::Paid | IntentState::Delivered, Some(Way::Ecash))
            | (IntentState::Unknown | IntentState::Paying, Some(Way::Ecash)) => {
                let operation_id = intent.operation_id.clone().unwrap_or_default();
                match self.inner.parts.wallets.token(&operation_id).await? {
                    Some(sent) => Box::pin(self.present_token(job, &intent, sent)).await,
                    None => Err(gone(&intent)),
                }
            }
            (IntentState::Paid | IntentState::Delivered, _) => {
                self.present_held(job, &intent).await
            }
            _ => match self.recorded(&intent).await? {
                Some(fetched) => fetched,
                None => Err(SpendError::Unknown {
                    id: intent.id,
                    reason: intent.detail,
                }),
            },
        }
    }

    /// Returns the outcome of a purchase that needs no more work.
    pub(super) async fn recorded(
        &self,
        intent: &Intent,
    ) -> Result<Option<Result<OpenAnswer, SpendError>>, SpendError> {
        let id = intent.id.clone();
        Ok(match intent.state {
            IntentState::Refused => Some(Err(SpendError::Refused {
                id,
                refusal: Refusal::Recorded(super::journal::sentence(intent)),
            })),
            IntentState::Failed => Some(Err(SpendError::PaymentFailed {
                id,
                reason: intent.detail.clone(),
            })),
            IntentState::Refunded => match self.recall(intent).await? {
                Some(fetched) => Some(Ok(fetched)),
                None => Some(Err(SpendError::PaymentFailed {
                    id,
                    reason: format!("{}; the money came back", intent.detail),
                })),
            },
            IntentState::Delivered => self.recall(intent).await?.map(Ok),
            _ => None,
        })
    }

    /// Finds out what happened to an interrupted purchase. A token that can be
    /// sent again is left where it is.
    pub(super) async fn settled_enough(&self, intent: Intent) -> Result<Intent, SpendError> {
        let is_open = matches!(
            intent.state,
            IntentState::Planned | IntentState::Paying | IntentState::Unknown
        );
        if !is_open {
            return Ok(intent);
        }
        if intent.way == Some(Way::Ecash)
            && let Some(operation_id) = &intent.operation_id
            && self
                .inner
                .parts
                .wallets
                .token(operation_id)
                .await?
                .is_some()
        {
            return Ok(intent);
        }
        self.resolve(&intent).await?;
        self.reread(&intent.id).await
    }

    fn rail_of(&self, job: &Job, candidate: &Candidate, plan: &Plan) -> &'static str {
        match (&candidate.terms, &plan.asked.invoice) {
            (Some(terms), _) => {
                let lock = lock_for(
                    job.request.lock,
                    terms.lock_key.as_deref(),
                    terms.min_locktime_secs,
                    self.inner.parts.clock.now(),
                );
                ecash_rail(&http::HeaderMap::new(), lock.is_some())
            }
            (None, Some(invoiced)) => invoiced.scheme.as_str(),
            (None, None) => "",
        }
    }

    /// Hands on an answer that cost nothing.
    fn free(&self, job: &Job, answer: Answer) -> Result<OpenAnswer, SpendError> {
        let body = match answer.body {
            AnswerBody::Whole(Ok(body)) => AnswerStream::whole(body),
            AnswerBody::Whole(Err(reason)) => {
                return Err(SpendError::Network {
                    origin: job.origin.clone(),
                    reason,
                });
            }
            AnswerBody::Open(response) => Tail {
                spender: self.clone(),
                response: *response,
                origin: job.origin.clone(),
                intent_id: None,
                started_millis: job.started_millis,
                status: answer.status,
                headers: answer.headers.clone(),
            }
            .into_stream(),
        };
        Ok(OpenAnswer {
            status: answer.status,
            headers: answer.headers,
            body,
            purchase: None,
        })
    }
}

fn gone(intent: &Intent) -> SpendError {
    SpendError::PaidNotDelivered {
        id: intent.id.clone(),
        reason: "the token that paid is no longer at hand".to_owned(),
    }
}
