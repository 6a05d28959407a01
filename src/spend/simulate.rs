//! What another policy would have done with the purchases of the past.
//!
//! They are judged again, oldest first, by the same rules as live ones; what the
//! other policy refuses is not counted for those that follow. Nothing is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::policy::Case;
use super::{SpendError, Spender};
use crate::config::PolicyConfig;
use crate::store::StoreError;
use crate::store::ledger::intents::judgement::{Scope, Spending};
use crate::store::ledger::intents::{Budget, Intent, Subject, Verdict};

/// The most purchases that are replayed; the newest count.
const MAX_REPLAYED: u32 = 50_000;
/// The most calls that are named one by one; all are counted.
const MAX_NAMED: usize = 200;

/// What another policy would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// Purchases looked at.
    pub purchases: u64,
    /// What they cost, fees included, millisatoshi.
    pub spent_msat: u64,
    /// Those that it would have refused.
    pub refused: u64,
    /// What those had cost, millisatoshi.
    pub refused_msat: u64,
    /// Those that it would have held for a person. They are counted as spent.
    pub held: u64,
    /// Refused and held ones by the rule that decided.
    pub by_rule: BTreeMap<String, u64>,
    /// The first of those refused or held, oldest first.
    pub calls: Vec<SimulatedCall>,
}

/// One past purchase that would have gone otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedCall {
    /// The purchase.
    pub id: String,
    /// Whose wallet paid.
    pub agent: String,
    /// Origin and path.
    pub endpoint: String,
    /// What it cost, fees included, millisatoshi.
    pub cost_msat: u64,
    /// `refused` or `held`.
    pub verdict: Verdict,
    /// The rule that decides.
    pub rule: String,
    /// Why, with its figures.
    pub reason: String,
    /// Unix seconds.
    pub created_at: u64,
}

impl Spender {
    /// Replays the purchases since `since` under `policy`, those of `agent` or of all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn simulate(
        &self,
        policy: PolicyConfig,
        agent: Option<&str>,
        since: u64,
    ) -> Result<Simulated, SpendError> {
        let ledger = &self.inner.parts.ledger;
        let past = ledger
            .list_purchases_since(agent, since, MAX_REPLAYED)
            .await?;
        Ok(replay(&past, &Arc::new(policy))?)
    }
}

/// Judges `past`, oldest first, by `policy`.
fn replay(past: &[Intent], policy: &Arc<PolicyConfig>) -> Result<Simulated, StoreError> {
    let mut simulated = Simulated::default();
    let mut histories: HashMap<&str, History> = HashMap::new();
    for intent in past {
        let cost = intent.counted;
        simulated.purchases += 1;
        simulated.spent_msat = simulated.spent_msat.saturating_add(cost.as_u64());
        let case = case(intent, policy);
        let history = histories.entry(&intent.agent).or_default();
        let judgement = case.judge(history)?;
        if judgement.verdict != Verdict::Refused {
            history.add(&case, cost, intent.created_at);
        }
        match judgement.verdict {
            Verdict::Admitted => continue,
            Verdict::Held => simulated.held += 1,
            Verdict::Refused => {
                simulated.refused += 1;
                simulated.refused_msat = simulated.refused_msat.saturating_add(cost.as_u64());
            }
        }
        *simulated.by_rule.entry(judgement.rule.clone()).or_default() += 1;
        if simulated.calls.len() < MAX_NAMED {
            simulated.calls.push(SimulatedCall {
                id: intent.id.clone(),
                agent: intent.agent.clone(),
                endpoint: format!("{}{}", intent.origin, intent.path),
                cost_msat: cost.as_u64(),
                verdict: judgement.verdict,
                rule: judgement.rule,
                reason: judgement.reason,
                created_at: intent.created_at,
            });
        }
    }
    Ok(simulated)
}

/// A call on a credential paid for nothing: price and fee limit are 0, and so is what is asked.
fn case(intent: &Intent, policy: &Arc<PolicyConfig>) -> Case {
    Case {
        policy: Some(("simulated".to_owned(), Arc::clone(policy))),
        budget: Budget::default(),
        subject: Subject {
            agent: intent.agent.clone(),
            host: intent.host.clone(),
            capability: intent.capability.clone(),
            rail: match intent.rail_kind.as_deref() {
                Some("cashu") => Some("cashu"),
                Some("lightning") => Some("lightning"),
                _ => None,
            },
        },
        seller: intent.seller.clone(),
        asked: intent.price.saturating_add(intent.fee_limit),
        now: intent.created_at,
    }
}

/// What was let through so far, with running sums by scope.
#[derive(Default)]
struct History {
    by_scope: HashMap<Scope, Vec<Passed>>,
}

/// One call that was let through: the sums include it.
struct Passed {
    at: u64,
    spent: Msat,
    calls: u64,
}

impl History {
    fn add(&mut self, case: &Case, cost: Msat, at: u64) {
        let subject = &case.subject;
        let scopes = [
            Some(Scope::Agent),
            Some(Scope::Host(subject.host.clone())),
            case.seller.clone().map(Scope::Seller),
            subject.capability.clone().map(Scope::Capability),
            subject.rail.map(|rail| Scope::Rail(rail.to_owned())),
        ];
        let calls = u64::from(subject.rail.is_some());
        for scope in scopes.into_iter().flatten() {
            let passed = self.by_scope.entry(scope).or_default();
            let (spent, before) = passed
                .last()
                .map_or((Msat::ZERO, 0), |last| (last.spent, last.calls));
            passed.push(Passed {
                at,
                spent: spent.saturating_add(cost),
                calls: before + calls,
            });
        }
    }

    /// Returns the sums of what came in `scope` since `since`.
    fn since(&self, scope: &Scope, since: u64) -> (Msat, u64) {
        let Some((passed, last)) = self
            .by_scope
            .get(scope)
            .and_then(|passed| Some((passed, passed.last()?)))
        else {
            return (Msat::ZERO, 0);
        };
        let earlier = passed.partition_point(|one| one.at < since);
        let before = earlier.checked_sub(1).and_then(|index| passed.get(index));
        let (spent, calls) = before.map_or((Msat::ZERO, 0), |one| (one.spent, one.calls));
        (
            last.spent.saturating_sub(spent),
            last.calls.saturating_sub(calls),
        )
    }
}

impl Spending for History {
    fn spent(&self, scope: &Scope, since: u64) -> Result<Msat, StoreError> {
        Ok(self.since(scope, since).0)
    }

    fn calls(&self, scope: &Scope, since: u64) -> Result<u64, StoreError> {
        Ok(self.since(scope, since).1)
    }
}
