//! How much of its limits an agent has used.

use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};

use super::policy::scopes;
use super::{SpendError, Spender};
use crate::config::PolicyConfig;
use crate::store::ledger::intents::judgement::{Check, Scope, Spending, Windows};

/// What an agent may still spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The wallet looked at.
    pub wallet: String,
    /// Whose it is.
    pub agent: String,
    /// The policy that counts for it; `None` when there is none.
    pub policy: Option<String>,
    /// Every limit, with what is used of it; `asked` is 0.
    pub limits: Vec<Check>,
    /// What the policy says beside limits.
    pub settings: Option<PolicyConfig>,
}

impl Spender {
    /// Returns how the wallet `wallet_id` and its agent stand to their limits.
    ///
    /// # Errors
    /// When there is no such wallet or the ledger cannot be read.
    pub async fn standing(&self, wallet_id: &str) -> Result<Standing, SpendError> {
        let parts = &self.inner.parts;
        let agent = self.agent_of(wallet_id).await?;
        let budget = self.budget(wallet_id).await?;
        let policy = self.inner.policies.of(&agent);
        let mut looked = vec![(Scope::Wallet, Windows::from(budget))];
        if let Some((_, policy)) = &policy {
            looked.extend(scopes(policy));
        }
        let now = parts.clock.now();
        let look = move |spending: &dyn Spending| {
            let mut checks = Vec::new();
            for (scope, windows) in looked {
                windows.look(&scope, spending, Msat::ZERO, now, &mut checks)?;
            }
            Ok(checks)
        };
        let mut limits = parts
            .ledger
            .look_at_spending(wallet_id, &agent, look)
            .await?;
        for limit in &mut limits {
            limit.asked = 0;
        }
        Ok(Standing {
            wallet: wallet_id.to_owned(),
            agent,
            policy: policy.as_ref().map(|(name, _)| name.clone()),
            limits,
            settings: policy.map(|(_, policy)| (*policy).clone()),
        })
    }
}
