//! What the spender writes down, and how it tells a caller about it.

use bytes::Bytes;
use feria_paywall::amount::Msat;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::call::{Answer, AnswerBody, Job, X_CASHU};
use super::policy::{self, host_of};
use super::price::Listed;
use super::router::Candidate;
use super::stream::{AnswerStream, OpenAnswer, Tail, stored};
use super::{Purchase, Refusal, SpendError, Spender};
use crate::store::ledger::intents::{
    Budget, Intent, IntentChange, IntentState, Judgement, NewIntent, StoredAnswer, Subject, Verdict,
};
use crate::wallet::{TREASURY, WalletError};

/// How long the answer of a paid call is kept, in seconds.
const RESPONSE_KEPT_SECS: u64 = 24 * 3_600;

impl Spender {
    /// Returns the row of a purchase of `job`.
    pub(super) fn new_intent(
        &self,
        job: &Job,
        listed: &Listed,
        price: Msat,
        fee_limit: Msat,
        decision: String,
    ) -> NewIntent {
        let row = listed.row_for(price);
        let stub = stub(job, self.inner.parts.clock.now());
        NewIntent {
            seller: row.map(|row| row.seller.clone()),
            listing: row.map(|row| row.coordinate.clone()),
            price,
            fee_limit,
            decision,
            subject: Subject {
                capability: row
                    .map(|row| row.capability.clone())
                    .filter(|capability| !capability.is_empty()),
                ..stub.subject
            },
            ..stub
        }
    }

    /// Records that `job` was not paid, in the journal and the wallet's audit chain.
    pub(super) async fn refuse(
        &self,
        job: &Job,
        listed: &Listed,
        price: Msat,
        refusal: Refusal,
    ) -> SpendError {
        if job.request.dry_run {
            return SpendError::Refused {
                id: String::new(),
                refusal,
            };
        }
        let decision = serde_json::json!({ "why": refusal.to_string() }).to_string();
        let new = self.new_intent(job, listed, price, Msat::ZERO, decision);
        let recorded = self
            .inner
            .parts
            .ledger
            .insert_refused_intent(new, refusal.to_string(), None)
            .await;
        if let Err(error) = recorded {
            return error.into();
        }
        self.note_refusal(job, price).await;
        SpendError::Refused {
            id: job.id.clone(),
            refusal,
        }
    }

    /// Adds the refusal of `job` to the wallet's audit chain.
    pub(super) async fn note_refusal(&self, job: &Job, price: Msat) {
        self.note_decision(&job.request.wallet_id, "refused", price, &job.id)
            .await;
    }

    /// Adds a decision about the purchase `id` to the audit chain of `wallet_id`.
    pub(super) async fn note_decision(&self, wallet_id: &str, kind: &str, price: Msat, id: &str) {
        if wallet_id == TREASURY {
            return;
        }
        let wallets = &self.inner.parts.wallets;
        if let Err(error) = wallets.note(wallet_id, kind, price, id).await {
            tracing::warn!(
                wallet.id = %wallet_id,
                intent.id = %id,
                %error,
                "a decision could not be added to the audit chain"
            );
        }
    }

    /// Returns the limits of a wallet: those set, and for an agent wallet without a total its own limit.
    pub(super) async fn budget(&self, wallet_id: &str) -> Result<Budget, SpendError> {
        let parts = &self.inner.parts;
        let mut budget = parts
            .ledger
            .find_budget(wallet_id)
            .await?
            .unwrap_or_default();
        if budget.total_msat.is_none() && wallet_id != TREASURY {
            let wallet = parts
                .wallets
                .find_agent_wallet(wallet_id)
                .await?
                .ok_or_else(|| WalletError::NoWallet(wallet_id.to_owned()))?;
            budget.total_msat = Some(wallet.limit_sat.saturating_mul(1_000));
        }
        Ok(budget)
    }

    /// Moves an intent on.
    pub(super) async fn advance(
        &self,
        intent_id: &str,
        change: IntentChange,
    ) -> Result<bool, SpendError> {
        let parts = &self.inner.parts;
        let state = change.state;
        let is_changed = parts
            .ledger
            .advance_intent(intent_id, change, parts.clock.now())
            .await?;
        if let Some(state) = state.filter(|_| is_changed) {
            tracing::info!(intent.id = %intent_id, intent.state = state.as_str(), "purchase {intent_id} moved on");
        }
        Ok(is_changed)
    }

    /// Marks an intent as one whose money is nowhere to be seen, and returns the error that says so.
    pub(super) async fn lose_sight(&self, intent_id: &str, reason: String) -> SpendError {
        let change = IntentChange {
            state: Some(IntentState::Unknown),
            detail: Some(reason.clone()),
            ..IntentChange::default()
        };
        match self.advance(intent_id, change).await {
            Ok(_) => SpendError::Unknown {
                id: intent_id.to_owned(),
                reason,
            },
            Err(error) => error,
        }
    }

    /// Releases an intent whose money never left or came home; `fee` is what that cost.
    pub(super) async fn release(
        &self,
        intent_id: &str,
        state: IntentState,
        fee: Msat,
        reason: &str,
    ) -> Result<(), SpendError> {
        let change = released(state, fee, reason);
        self.advance(intent_id, change).await.map(drop)
    }

    /// Returns a paid answer with the purchase as it stands. What is all here is
    /// kept for a caller that loses it; what is on its way is kept when it ends.
    pub(super) async fn hand_over(
        &self,
        job: &Job,
        intent_id: &str,
        answer: Answer,
    ) -> Result<OpenAnswer, SpendError> {
        let status = answer.status;
        let headers = without_money(answer.headers);
        let body = match answer.body {
            AnswerBody::Whole(Ok(body)) => {
                self.keep_answer(intent_id, stored(status, &headers, body.to_vec()))
                    .await;
                AnswerStream::whole(body)
            }
            AnswerBody::Whole(Err(reason)) => {
                return Err(SpendError::PaidNotDelivered {
                    id: intent_id.to_owned(),
                    reason,
                });
            }
            AnswerBody::Open(response) => Tail {
                spender: self.clone(),
                response: *response,
                origin: job.origin.clone(),
                intent_id: Some(intent_id.to_owned()),
                started_millis: job.started_millis,
                status,
                headers: headers.clone(),
            }
            .into_stream(),
        };
        tracing::debug!(intent.id = %intent_id, listing.origin = %job.origin, "call answered");
        Ok(OpenAnswer {
            status,
            headers,
            body,
            purchase: self.find_purchase(intent_id).await?,
        })
    }

    /// Keeps an answer; one that cannot be kept is only logged, because the caller has it.
    pub(super) async fn keep_answer(&self, intent_id: &str, answer: StoredAnswer) {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        let oldest = now.saturating_sub(RESPONSE_KEPT_SECS);
        let is_kept = parts
            .ledger
            .replace_answer(intent_id, answer, now, oldest)
            .await;
        if let Err(error) = is_kept {
            tracing::warn!(intent.id = %intent_id, error = %error, "an answer could not be kept");
        }
    }

    /// Returns the kept answer of a purchase; `None` when it was not kept.
    pub(super) async fn recall(&self, intent: &Intent) -> Result<Option<OpenAnswer>, SpendError> {
        let Some(kept) = self.inner.parts.ledger.find_answer(&intent.id).await? else {
            return Ok(None);
        };
        let headers = kept
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    HeaderName::from_bytes(name.as_bytes()).ok()?,
                    HeaderValue::from_str(value).ok()?,
                ))
            })
            .collect();
        Ok(Some(OpenAnswer {
            status: kept.status,
            headers,
            body: AnswerStream::whole(Bytes::from(kept.body)),
            purchase: Some(purchase(intent)),
        }))
    }

    pub(super) async fn find_purchase(
        &self,
        intent_id: &str,
    ) -> Result<Option<Purchase>, SpendError> {
        let intent = self.inner.parts.ledger.find_intent(intent_id).await?;
        Ok(intent.as_ref().map(purchase))
    }

    /// Returns milliseconds since `job` began.
    pub(super) fn elapsed_ms(&self, job: &Job) -> u64 {
        self.inner
            .parts
            .clock
            .now_millis()
            .saturating_sub(job.started_millis)
    }
}

/// Returns the end of a purchase whose money is the wallet's again, less `fee`.
pub(super) fn released(state: IntentState, fee: Msat, reason: &str) -> IntentChange {
    IntentChange {
        state: Some(state),
        fee: Some(fee),
        counted: Some(fee),
        detail: Some(reason.to_owned()),
        ..IntentChange::default()
    }
}

/// Returns a purchase as people see it.
pub(super) fn purchase(intent: &Intent) -> Purchase {
    Purchase {
        id: intent.id.clone(),
        listing: intent.listing.clone(),
        endpoint: format!("{}{}", intent.origin, intent.path),
        rail: intent.rail.clone(),
        price_msat: intent.price.as_u64(),
        fee_msat: intent.fee.as_u64(),
        outcome: intent.state.as_str().to_owned(),
        duration_ms: intent.duration_ms,
        decision: sentence(intent),
        created_at: intent.created_at,
    }
}

/// Returns the purchase that a dry run stopped before.
pub(super) fn planned_purchase(
    new: &NewIntent,
    candidate: &Candidate,
    rail: &str,
    why: &str,
) -> Purchase {
    Purchase {
        id: String::new(),
        listing: new.listing.clone(),
        endpoint: format!("{}{}", new.origin, new.path),
        rail: rail.to_owned(),
        price_msat: candidate.price_msat,
        fee_msat: candidate.fee_msat.unwrap_or(0),
        outcome: "planned".to_owned(),
        duration_ms: 0,
        decision: why.to_owned(),
        created_at: new.created_at,
    }
}

/// Returns why a purchase went the way it did, and what its policy said.
pub(super) fn sentence(intent: &Intent) -> String {
    let judged: Option<Judgement> = serde_json::from_str(&intent.policy).ok();
    let ruling = judged.as_ref().map(policy::sentence).unwrap_or_default();
    let story = match judged {
        // The ruling gives the reason itself.
        Some(judged) if judged.verdict == Verdict::Refused => String::new(),
        _ => story(intent),
    };
    [story, ruling]
        .iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn story(intent: &Intent) -> String {
    let decision: serde_json::Value = serde_json::from_str(&intent.decision).unwrap_or_default();
    let why = decision
        .get("why")
        .and_then(|why| why.as_str())
        .unwrap_or_default();
    match (why, intent.detail.as_str()) {
        (why, "") => why.to_owned(),
        ("", detail) => detail.to_owned(),
        (why, detail) if why == detail => why.to_owned(),
        (why, detail) => format!("{} In the end: {detail}.", why.trim_end()),
    }
}

/// Returns the row that a search for a credential of `job` goes by.
pub(super) fn stub(job: &Job, now: u64) -> NewIntent {
    NewIntent {
        id: job.id.clone(),
        wallet_id: job.request.wallet_id.clone(),
        idempotency_key: job.key.clone(),
        method: job.request.method.to_string(),
        origin: job.origin.clone(),
        path: job.path.clone(),
        request_digest: job.digest,
        seller: None,
        listing: None,
        price: Msat::ZERO,
        fee_limit: Msat::ZERO,
        decision: String::new(),
        created_at: now,
        subject: Subject {
            agent: job.agent.clone(),
            host: host_of(job),
            capability: None,
            rail: None,
        },
    }
}

fn without_money(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(X_CASHU);
    headers
}
