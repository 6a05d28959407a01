//! What a person says about purchases above the line of a policy.
//!
//! A decision moves no money and reserves nothing: the caller comes back with the
//! same idempotency key, and everything is looked at again. Both are noted in the
//! wallet's audit chain.

use feria_paywall::amount::Msat;

use super::{SpendError, Spender};
use crate::config::PolicyConfig;
use crate::store::ledger::approvals::{Approval, Decided, Decision};

/// What became of a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It counts.
    Done(Box<Approval>),
    /// Nothing waits under this id.
    Missing,
    /// It was decided before, and stays so.
    Before(Box<Approval>),
    /// It waited too long: the caller has to ask again.
    Expired(Box<Approval>),
}

impl Spender {
    /// Lists purchases that wait, or waited, for a person; those that wait first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list_approvals(
        &self,
        agent: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Approval>, SpendError> {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        Ok(parts.ledger.list_approvals(agent, now, limit).await?)
    }

    /// Lets the call of the approval `id` be paid when it comes again, for as long as
    /// its agent's policy says.
    ///
    /// # Errors
    /// When the ledger refuses.
    pub async fn approve(&self, id: &str, note: &str) -> Result<Answered, SpendError> {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        let Some(found) = parts.ledger.find_approval(id, now).await? else {
            return Ok(Answered::Missing);
        };
        let secs = match self.inner.policies.of(&found.agent) {
            Some((_, policy)) => policy.approval_secs,
            None => PolicyConfig::default().approval_secs,
        };
        let until = Decision::ApproveUntil(now.saturating_add(secs));
        self.decide(id, until, note, "approved").await
    }

    /// Refuses the call of the approval `id` for good.
    ///
    /// # Errors
    /// When the ledger refuses.
    pub async fn deny(&self, id: &str, note: &str) -> Result<Answered, SpendError> {
        self.decide(id, Decision::Deny, note, "denied").await
    }

    async fn decide(
        &self,
        id: &str,
        decision: Decision,
        note: &str,
        kind: &str,
    ) -> Result<Answered, SpendError> {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        let decided = parts
            .ledger
            .decide_approval(id, decision, note, now)
            .await?;
        Ok(match decided {
            Decided::Done(approval) => {
                let price = Msat::new(approval.price_msat);
                self.note_decision(&approval.wallet_id, kind, price, id)
                    .await;
                tracing::info!(approval.id = %id, approval.state = kind, "a person has {kind} purchase {id}");
                Answered::Done(approval)
            }
            Decided::Missing => Answered::Missing,
            Decided::Before(approval) => Answered::Before(approval),
            Decided::Expired(approval) => Answered::Expired(approval),
        })
    }
}

/// Returns where a purchase stands that waits, or waited, for a person.
pub(super) fn sentence(approval: &Approval) -> String {
    let price = Msat::new(approval.price_msat);
    let rule = &approval.rule;
    match approval.state.as_str() {
        "waiting" => format!("Held by rule {rule}: {price} waits for a person."),
        "approved" => format!(
            "Held by rule {rule}, and a person agreed to {price}: the same idempotency key pays it."
        ),
        "denied" => format!("Held by rule {rule}, and a person denied it."),
        "expired" => format!("Held by rule {rule}; nobody decided, or nobody came back, in time."),
        state => format!("Held by rule {rule}: {state}."),
    }
}
