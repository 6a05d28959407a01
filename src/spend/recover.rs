//! Finds out, before anything new is paid, what became of interrupted purchases.

use feria_paywall::amount::Msat;

use super::{SpendError, SpendRecovery, Spender};
use crate::store::ledger::intents::{Intent, IntentState, Way};

impl Spender {
    /// Resolves every open purchase that nobody is working on; call at start,
    /// after [`crate::wallet::Wallets::recover`] and before the first
    /// [`Spender::fetch`], and now and then for what is locked or pending.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. A mint or a backend that does
    /// not answer leaves its purchases unknown.
    pub async fn recover(&self) -> Result<SpendRecovery, SpendError> {
        let mut report = SpendRecovery {
            floats_home: self.bring_floats_home().await?,
            ..SpendRecovery::default()
        };
        for intent in self.inner.parts.ledger.list_open_intents().await? {
            let turn = self
                .inner
                .turns
                .try_take(&intent.wallet_id, &intent.idempotency_key);
            if turn.is_none() {
                continue;
            }
            // It may have moved on while we waited for the others.
            let intent = self.reread(&intent.id).await?;
            let list = match self.resolve(&intent).await? {
                IntentState::Paid | IntentState::Delivered => &mut report.paid,
                IntentState::Planned | IntentState::Paying | IntentState::Unknown => {
                    &mut report.unknown
                }
                IntentState::Refunded | IntentState::Refused | IntentState::Failed => {
                    &mut report.released
                }
            };
            list.push(intent.id);
        }
        Ok(report)
    }

    /// Resolves one purchase; a state that is not open stays.
    pub(super) async fn resolve(&self, intent: &Intent) -> Result<IntentState, SpendError> {
        match (intent.state, intent.way) {
            (IntentState::Planned, _) | (IntentState::Paying, None) => {
                self.release(
                    &intent.id,
                    IntentState::Failed,
                    Msat::ZERO,
                    "interrupted before paying",
                )
                .await?;
                Ok(IntentState::Failed)
            }
            (IntentState::Paying | IntentState::Unknown, Some(Way::Ecash)) => {
                self.resolve_ecash(intent).await
            }
            (IntentState::Paying | IntentState::Unknown, Some(Way::Melt | Way::Backend)) => {
                self.resolve_lightning(intent).await
            }
            (state, _) => Ok(state),
        }
    }

    /// Returns the purchase as it stands now.
    pub(super) async fn reread(&self, intent_id: &str) -> Result<Intent, SpendError> {
        self.inner
            .parts
            .ledger
            .find_intent(intent_id)
            .await?
            .ok_or_else(|| SpendError::BadRequest(format!("there is no purchase {intent_id}")))
    }
}
