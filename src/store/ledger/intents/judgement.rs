//! What limits say about a purchase: each with its figures, and the one that decides.
//!
//! [`Windows`] are the limits that count; whoever opens a purchase adds rules of
//! its own. They are looked at over a [`Spending`]: the ledger within the
//! transaction that reserves, or a history that is replayed.

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

const SECS_PER_MINUTE: u64 = 60;
const SECS_PER_HOUR: u64 = 3_600;
const SECS_PER_DAY: u64 = 24 * SECS_PER_HOUR;

/// What a limit counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This wallet alone.
    Wallet,
    /// All wallets of its agent.
    Agent,
    /// Of those, what went to this host.
    Host(String),
    /// Of those, what went to this seller (public key).
    Seller(String),
    /// Of those, what bought this capability.
    Capability(String),
    /// Of those, what was paid on this rail.
    Rail(String),
}

/// What was spent before the purchase that is looked at.
pub trait Spending {
    /// Returns what was spent or reserved since `since`, Unix seconds.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn spent(&self, scope: &Scope, since: u64) -> Result<Msat, StoreError>;

    /// Returns how many paid calls were let through since `since`; those on a
    /// credential bought earlier are none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn calls(&self, scope: &Scope, since: u64) -> Result<u64, StoreError>;
}

/// Limits that count; `None` sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Windows {
    /// Price and fees of one call.
    pub per_call: Option<Msat>,
    /// The last hour.
    pub hourly: Option<Msat>,
    /// The last 24 hours.
    pub daily: Option<Msat>,
    /// Everything ever.
    pub total: Option<Msat>,
    /// Calls in the last minute.
    pub calls_per_minute: Option<u32>,
}

/// The unit of the figures of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Millisatoshi.
    Msat,
    /// Calls.
    Calls,
}

/// One limit and how a purchase stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Such as `daily`, or `daily of host api.example`.
    pub rule: String,
    /// The most it allows.
    pub limit: u64,
    /// Used before.
    pub used: u64,
    /// What the purchase adds.
    pub asked: u64,
    /// Of all three.
    pub unit: Unit,
}

impl Check {
    /// Returns whether the purchase stays within the limit.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.used.saturating_add(self.asked) <= self.limit
    }

    /// Returns what is left of the limit with the purchase, from 0 to 1000 thousandths.
    #[must_use]
    pub fn left_permille(&self) -> u64 {
        let taken = u128::from(self.used.saturating_add(self.asked)).saturating_mul(1_000);
        let taken = taken / u128::from(self.limit.max(1));
        1_000_u64.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX))
    }
}

impl Windows {
    /// Adds to `checks` how a purchase of `asked` at `now` stands to each limit.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn look(
        &self,
        scope: &Scope,
        spending: &dyn Spending,
        asked: Msat,
        now: u64,
        checks: &mut Vec<Check>,
    ) -> Result<(), StoreError> {
        let amounts = [
            ("per-call", self.per_call, None),
            ("total", self.total, Some(0)),
            (
                "hourly",
                self.hourly,
                Some(now.saturating_sub(SECS_PER_HOUR)),
            ),
            ("daily", self.daily, Some(now.saturating_sub(SECS_PER_DAY))),
        ];
        for (name, limit, since) in amounts {
            let Some(limit) = limit else { continue };
            let used = match since {
                Some(since) => spending.spent(scope, since)?,
                None => Msat::ZERO,
            };
            checks.push(Check {
                rule: scope.rule(name),
                limit: limit.as_u64(),
                used: used.as_u64(),
                asked: asked.as_u64(),
                unit: Unit::Msat,
            });
        }
        if let Some(limit) = self.calls_per_minute {
            let since = now.saturating_sub(SECS_PER_MINUTE);
            checks.push(Check {
                rule: scope.rule("calls-per-minute"),
                limit: u64::from(limit),
                used: spending.calls(scope, since)?,
                asked: 1,
                unit: Unit::Calls,
            });
        }
        Ok(())
    }
}

impl Scope {
    /// Returns the name of the rule `name` in this scope.
    #[must_use]
    pub fn rule(&self, name: &str) -> String {
        match self {
            Self::Wallet => format!("{name} of the wallet"),
            Self::Agent => name.to_owned(),
            Self::Host(host) => format!("{name} of host {host}"),
            Self::Seller(seller) => format!("{name} of seller {seller}"),
            Self::Capability(capability) => format!("{name} of capability {capability}"),
            Self::Rail(rail) => format!("{name} of rail {rail}"),
        }
    }
}

/// What is to become of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may be paid.
    Admitted,
    /// It is not paid.
    Refused,
    /// A person has to agree.
    Held,
}

/// What all limits together say, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The policy looked at; `None` when there is none but the wallet's own limits.
    pub policy: Option<String>,
    /// What is to become of the purchase.
    pub verdict: Verdict,
    /// The rule that decided; empty when nothing stood against it.
    pub rule: String,
    /// For a person, a clause.
    pub reason: String,
    /// Every limit that was looked at.
    pub checks: Vec<Check>,
    /// How long a held purchase waits, in seconds.
    #[serde(skip)]
    pub hold_secs: u64,
}

impl Judgement {
    /// Returns what is kept of it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Returns the limit that decided, when one did.
    #[must_use]
    pub fn broken(&self) -> Option<&Check> {
        self.checks
            .iter()
            .find(|check| check.rule == self.rule && !check.is_kept())
    }
}
