//! What each agent gave away: calls in shadow mode and free trials.
//!
//! In memory, from the start of the process; money is never counted here.

use std::collections::HashMap;

use feria_paywall::amount::Msat;
use feria_paywall::verdict::Outcome;
use http::Response;
use parking_lot::Mutex;
use serde::Serialize;

use super::Body;

/// What one agent gave away since the node was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GivenAway {
    /// Calls let through in shadow mode.
    pub shadow_calls: u64,
    /// What they would have cost, in millisatoshi.
    pub shadow_msat: u64,
    /// Free trial calls that were served.
    pub trial_calls: u64,
}

/// Counts by agent. Only names of own agents get in, so it stays small.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<HashMap<String, GivenAway>>);

impl Counts {
    /// Counts what was given away with `response`.
    pub(super) fn note(&self, agent: &str, response: &Response<Body>) {
        match response.extensions().get() {
            Some(Outcome::Shadow { price }) => {
                let price = price.unwrap_or(Msat::ZERO);
                tracing::info!(
                    agent,
                    amount_msat = price.as_u64(),
                    "A call of {agent} passed in shadow mode; it would have cost {price}"
                );
                self.add(agent, |count| {
                    count.shadow_calls += 1;
                    count.shadow_msat = count.shadow_msat.saturating_add(price.as_u64());
                });
            }
            Some(Outcome::Trial {
                is_served: true, ..
            }) => self.add(agent, |count| count.trial_calls += 1),
            _ => {}
        }
    }

    pub(super) fn of(&self, agent: &str) -> GivenAway {
        self.0.lock().get(agent).copied().unwrap_or_default()
    }

    fn add(&self, agent: &str, add: impl FnOnce(&mut GivenAway)) {
        add(self.0.lock().entry(agent.to_owned()).or_default());
    }
}
