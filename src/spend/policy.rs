//! Whether a purchase is one that its person agreed to in advance.
//!
//! A [`PolicyConfig`] belongs to an agent and counts over all of its wallets; the
//! wallet's own limits stand beside it. They are asked twice:
//!
//! 1. Before anything is sent ([`Spender::screen`]): a host that is denied is not
//!    even called, and denied rails are not looked at.
//! 2. Where the intent is admitted ([`Case::judge`]), in the ledger transaction that
//!    reserves the cost, so that no two calls share what is left.
//!
//! Rules are looked at in this order, and the first that is broken decides: names
//! (hosts, sellers, capabilities, rails), limits of the wallet, of the policy, of
//! the policy for this host, seller, capability or rail, and last the line above
//! which a person has to agree. What each said is kept with the purchase.
//!
//! It never moves money, and never lets through what it cannot read: a call whose
//! seller is unknown is refused where only some sellers are allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use feria_paywall::amount::Msat;
use parking_lot::RwLock;

use super::call::Job;
use super::price::Listed;
use super::{Rail, Refusal, SpendError, Spender};
use crate::config::{DEFAULT_POLICY, Names, PolicyConfig, PolicyLimits};
use crate::store::StoreError;
use crate::store::ledger::approvals::Approval;
use crate::store::ledger::intents::judgement::{Check, Scope, Spending, Unit, Windows};
use crate::store::ledger::intents::{Budget, Judgement, NewIntent, Subject, Verdict, Way};
use crate::wallet::TREASURY;

/// A policy and the name of its file.
pub(super) type Named = (String, Arc<PolicyConfig>);

/// The policies that count now; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies(Arc<RwLock<BTreeMap<String, Arc<PolicyConfig>>>>);

impl Policies {
    /// Returns the policy of `agent`: its own, else the default one.
    pub(super) fn of(&self, agent: &str) -> Option<Named> {
        let policies = self.0.read();
        [agent, DEFAULT_POLICY]
            .into_iter()
            .find_map(|name| Some((name.to_owned(), Arc::clone(policies.get(name)?))))
    }

    /// Replaces all of them.
    fn replace(&self, policies: BTreeMap<String, PolicyConfig>) {
        *self.0.write() = policies
            .into_iter()
            .map(|(name, policy)| (name, Arc::new(policy)))
            .collect();
    }
}

/// A purchase to be judged, with all that is known of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) policy: Option<Named>,
    /// The wallet's own limits.
    pub(super) budget: Budget,
    pub(super) subject: Subject,
    pub(super) seller: Option<String>,
    /// Price and fee limit.
    pub(super) asked: Msat,
    pub(super) now: u64,
}

impl Case {
    /// Returns what all rules say, looking at earlier spending through `spending`.
    pub(super) fn judge(&self, spending: &dyn Spending) -> Result<Judgement, StoreError> {
        let mut judgement = Judgement {
            policy: self.policy.as_ref().map(|(name, _)| name.clone()),
            verdict: Verdict::Admitted,
            rule: String::new(),
            reason: String::new(),
            checks: Vec::new(),
            hold_secs: 0,
        };
        if let Some((rule, reason)) = self.forbidden() {
            return Ok(Judgement {
                verdict: Verdict::Refused,
                rule,
                reason,
                ..judgement
            });
        }
        let checks = &mut judgement.checks;
        let wallet = Windows::from(self.budget);
        wallet.look(&Scope::Wallet, spending, self.asked, self.now, checks)?;
        for (scope, limits) in self.scoped() {
            windows(&limits).look(&scope, spending, self.asked, self.now, checks)?;
        }
        if let Some(broken) = judgement.checks.iter().find(|check| !check.is_kept()) {
            judgement.verdict = Verdict::Refused;
            judgement.reason = describe(broken);
            judgement.rule.clone_from(&broken.rule);
            return Ok(judgement);
        }
        for (scope, limits) in self.scoped() {
            let Some(line) = limits.approve_above.filter(|line| self.asked > *line) else {
                continue;
            };
            judgement.verdict = Verdict::Held;
            judgement.rule = scope.rule("approve-above");
            judgement.reason = format!("{} is above {line}", self.asked);
            judgement.hold_secs = self
                .policy
                .as_ref()
                .map_or(0, |(_, policy)| policy.approval_secs);
            break;
        }
        Ok(judgement)
    }

    /// Returns the name that may not be paid, as rule and reason.
    fn forbidden(&self) -> Option<(String, String)> {
        let (_, policy) = self.policy.as_ref()?;
        let subject = &self.subject;
        forbids("hosts", "host", &policy.hosts, Some(&subject.host))
            .or_else(|| forbids("sellers", "seller", &policy.sellers, self.seller.as_deref()))
            .or_else(|| {
                let capability = subject.capability.as_deref();
                forbids(
                    "capabilities",
                    "capability",
                    &policy.capabilities,
                    capability,
                )
            })
            .or_else(|| forbids("rails", "rail", &policy.rails, subject.rail))
    }

    /// Returns the limits of the policy that this purchase counts for.
    fn scoped(&self) -> Vec<(Scope, PolicyLimits)> {
        let Some((_, policy)) = &self.policy else {
            return Vec::new();
        };
        let subject = &self.subject;
        let mut scoped = vec![(Scope::Agent, policy.limits)];
        for only in &policy.only {
            let same = |named: &Option<String>, own: Option<&str>| {
                named.clone().filter(|name| own == Some(name.as_str()))
            };
            let scope = same(&only.host, Some(&subject.host))
                .map(Scope::Host)
                .or_else(|| same(&only.seller, self.seller.as_deref()).map(Scope::Seller))
                .or_else(|| {
                    same(&only.capability, subject.capability.as_deref()).map(Scope::Capability)
                })
                .or_else(|| same(&only.rail, subject.rail).map(Scope::Rail));
            scoped.extend(scope.map(|scope| (scope, only.limits)));
        }
        scoped
    }
}

impl Spender {
    /// Replaces the policies; purchases that are open keep what they were judged by.
    pub fn set_policies(&self, policies: BTreeMap<String, PolicyConfig>) {
        self.inner.policies.replace(policies);
    }

    /// Returns `job` with the agent it is for, and bound to the rails that its policy
    /// allows.
    ///
    /// # Errors
    /// [`SpendError::Refused`] when its host, or every rail, is forbidden.
    pub(super) async fn screen(&self, mut job: Job) -> Result<Job, SpendError> {
        job.agent = self.agent_of(&job.request.wallet_id).await?;
        let Some((name, policy)) = self.inner.policies.of(&job.agent) else {
            return Ok(job);
        };
        let refused = forbids("hosts", "host", &policy.hosts, Some(&host_of(&job)))
            .or_else(|| narrow(&mut job, &policy.rails));
        let Some((rule, reason)) = refused else {
            return Ok(job);
        };
        let judgement = Judgement {
            policy: Some(name),
            verdict: Verdict::Refused,
            rule,
            reason,
            checks: Vec::new(),
            hold_secs: 0,
        };
        Err(self.refuse_by(&job, judgement).await)
    }

    /// Returns what is judged of the purchase `new`.
    pub(super) async fn case(&self, new: &NewIntent) -> Result<Case, SpendError> {
        Ok(Case {
            policy: self.inner.policies.of(&new.subject.agent),
            budget: self.budget(&new.wallet_id).await?,
            subject: new.subject.clone(),
            seller: new.seller.clone(),
            asked: new.price.saturating_add(new.fee_limit),
            now: self.inner.parts.clock.now(),
        })
    }

    /// Returns what is judged of the open purchase `id` when it is to be paid otherwise.
    pub(super) async fn case_again(
        &self,
        id: &str,
        asked: Msat,
        rail: Option<&'static str>,
    ) -> Result<Case, SpendError> {
        let intent = self.reread(id).await?;
        Ok(Case {
            policy: self.inner.policies.of(&intent.agent),
            budget: self.budget(&intent.wallet_id).await?,
            subject: Subject {
                agent: intent.agent,
                host: intent.host,
                capability: intent.capability,
                rail,
            },
            seller: intent.seller,
            asked,
            now: self.inner.parts.clock.now(),
        })
    }

    /// Returns `why` with what would be said of the purchase `new`; reserves nothing.
    ///
    /// # Errors
    /// [`SpendError::Refused`] when it would be refused.
    pub(super) async fn try_out(&self, new: &NewIntent, why: &str) -> Result<String, SpendError> {
        let case = self.case(new).await?;
        let ledger = &self.inner.parts.ledger;
        let look = move |spending: &dyn Spending| case.judge(spending);
        let judgement = ledger
            .look_at_spending(&new.wallet_id, &new.subject.agent, look)
            .await?;
        if judgement.verdict == Verdict::Refused {
            return Err(SpendError::Refused {
                id: String::new(),
                refusal: judgement.into(),
            });
        }
        Ok(format!("{why} {}", sentence(&judgement))
            .trim_end()
            .to_owned())
    }

    /// Returns the agent of the wallet `wallet_id`; the treasury has its own name.
    pub(super) async fn agent_of(&self, wallet_id: &str) -> Result<String, SpendError> {
        if wallet_id == TREASURY {
            return Ok(TREASURY.to_owned());
        }
        let wallet = self
            .inner
            .parts
            .wallets
            .find_agent_wallet(wallet_id)
            .await?;
        Ok(wallet.map_or_else(|| wallet_id.to_owned(), |wallet| wallet.agent))
    }

    /// Records that `job` was refused by `judgement`, before it was asked for its price.
    async fn refuse_by(&self, job: &Job, judgement: Judgement) -> SpendError {
        let refusal = Refusal::from(judgement.clone());
        if job.request.dry_run {
            return SpendError::Refused {
                id: String::new(),
                refusal,
            };
        }
        let new = self.new_intent(
            job,
            &Listed::default(),
            Msat::ZERO,
            Msat::ZERO,
            "{}".to_owned(),
        );
        let ledger = &self.inner.parts.ledger;
        let reason = judgement.reason.clone();
        let recorded = ledger
            .insert_refused_intent(new, reason, Some(judgement))
            .await;
        if let Err(error) = recorded {
            return error.into();
        }
        self.note_refusal(job, Msat::ZERO).await;
        SpendError::Refused {
            id: job.id.clone(),
            refusal,
        }
    }

    /// Says that a purchase waits for a person, in the wallet's audit chain too.
    pub(super) async fn hold(&self, job: &Job, approval: Approval) -> SpendError {
        let price = Msat::new(approval.price_msat);
        self.note_decision(&job.request.wallet_id, "held", price, &approval.id)
            .await;
        SpendError::Refused {
            id: approval.id.clone(),
            refusal: Refusal::NeedsApproval(Box::new(approval)),
        }
    }
}

/// Returns the host of `job` as policies spell it.
pub(super) fn host_of(job: &Job) -> String {
    job.url.host_str().unwrap_or_default().to_ascii_lowercase()
}

/// Returns the rail, as policies name it, that `way` pays on.
pub(super) const fn rail_of_way(way: Way) -> Option<&'static str> {
    match way {
        Way::Ecash => Some("cashu"),
        Way::Melt | Way::Backend => Some("lightning"),
        Way::Credential => None,
    }
}

/// Binds `job` to the rails that `rails` allows, or says why none is left.
fn narrow(job: &mut Job, rails: &Names) -> Option<(String, String)> {
    let denied = |rail| forbids("rails", "rail", rails, Some(rail));
    let (cashu, lightning) = (denied("cashu"), denied("lightning"));
    match (job.request.rail, cashu, lightning) {
        (Rail::Auto, Some(refused), Some(_))
        | (Rail::Cashu, Some(refused), _)
        | (Rail::Lightning, _, Some(refused)) => Some(refused),
        (Rail::Auto, Some(_), None) => {
            job.request.rail = Rail::Lightning;
            None
        }
        (Rail::Auto, None, Some(_)) => {
            job.request.rail = Rail::Cashu;
            None
        }
        _ => None,
    }
}

/// Returns rule and reason when `names` does not let `name` through.
fn forbids(list: &str, what: &str, names: &Names, name: Option<&str>) -> Option<(String, String)> {
    let matches = |pattern: &String| match (pattern.strip_prefix("*."), name) {
        (_, None) => false,
        (Some(parent), Some(name)) if list == "hosts" => name
            .strip_suffix(parent)
            .is_some_and(|rest| rest.ends_with('.')),
        (_, Some(name)) => pattern == name,
    };
    if names.deny.iter().any(matches) {
        let name = name.unwrap_or_default();
        return Some((format!("{list}.deny"), format!("{what} {name} is denied")));
    }
    if names.allow.is_empty() || names.allow.iter().any(matches) {
        return None;
    }
    let reason = match name {
        Some(name) => format!("{what} {name} is not among those allowed"),
        None => format!("only some {list} are allowed, and no signed listing names the {what}"),
    };
    Some((format!("{list}.allow"), reason))
}

/// Returns every limit of `policy` that counts, with what it counts.
pub(super) fn scopes(policy: &PolicyConfig) -> Vec<(Scope, Windows)> {
    let mut scopes = vec![(Scope::Agent, windows(&policy.limits))];
    for only in &policy.only {
        let scope = [
            only.host.clone().map(Scope::Host),
            only.seller.clone().map(Scope::Seller),
            only.capability.clone().map(Scope::Capability),
            only.rail.clone().map(Scope::Rail),
        ]
        .into_iter()
        .flatten()
        .next();
        scopes.extend(scope.map(|scope| (scope, windows(&only.limits))));
    }
    scopes
}

fn windows(limits: &PolicyLimits) -> Windows {
    Windows {
        per_call: limits.per_call,
        hourly: limits.hourly,
        daily: limits.daily,
        total: limits.total,
        calls_per_minute: limits.calls_per_minute,
    }
}

fn describe(broken: &Check) -> String {
    match broken.unit {
        Unit::Msat => format!(
            "{} on top of {} is more than {}",
            Msat::new(broken.asked),
            Msat::new(broken.used),
            Msat::new(broken.limit)
        ),
        Unit::Calls => format!(
            "{} calls were let through in the last minute, {} are the most",
            broken.used, broken.limit
        ),
    }
}

impl From<Judgement> for Refusal {
    fn from(judgement: Judgement) -> Self {
        match judgement.broken() {
            Some(check) if check.unit == Unit::Msat => Self::OverBudget {
                window: check.rule.clone(),
                limit: Msat::new(check.limit),
                used: Msat::new(check.used),
                asked: Msat::new(check.asked),
            },
            _ => Self::ByPolicy {
                policy: judgement.policy.unwrap_or_default(),
                rule: judgement.rule,
                reason: judgement.reason,
            },
        }
    }
}

/// Returns what a policy said about a purchase, in a sentence; empty when it said nothing.
pub(super) fn sentence(judgement: &Judgement) -> String {
    let policy = match &judgement.policy {
        Some(name) => format!("policy {name}"),
        None => "the wallet's limits".to_owned(),
    };
    match judgement.verdict {
        Verdict::Refused => format!(
            "Refused by rule {} of {policy}: {}.",
            judgement.rule, judgement.reason
        ),
        Verdict::Held => format!(
            "Held by rule {} of {policy}: {}.",
            judgement.rule, judgement.reason
        ),
        Verdict::Admitted if judgement.policy.is_none() => String::new(),
        Verdict::Admitted if !judgement.rule.is_empty() => format!(
            "Let through by {policy} in spite of rule {}: {}.",
            judgement.rule, judgement.reason
        ),
        Verdict::Admitted => {
            let nearest = judgement
                .checks
                .iter()
                .min_by_key(|check| check.left_permille());
            nearest.map_or_else(
                || format!("Let through by {policy}."),
                |check| format!("Let through by {policy}; nearest limit: {}.", stand(check)),
            )
        }
    }
}

fn stand(check: &Check) -> String {
    let taken = check.used.saturating_add(check.asked);
    match check.unit {
        Unit::Msat => format!(
            "{}, {} of {} with this call",
            check.rule,
            Msat::new(taken),
            Msat::new(check.limit)
        ),
        Unit::Calls => format!("{}, {taken} of {} with this call", check.rule, check.limit),
    }
}
