//! Which Lightning credentials paid for calls, and withdrawing them.
//!
//! Only used ones are known: an unpaid challenge keeps no row, and a paid one is
//! heard of at its first use.

use super::{Gateway, GatewayError};
use crate::store::ledger::limits::UsedCredential;

impl Gateway {
    /// Returns up to `limit` used credentials, the newest first; see
    /// [`crate::store::ledger::Ledger::list_used_credentials`].
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list_credentials(
        &self,
        agent: Option<String>,
        before: Option<(u64, [u8; 32])>,
        limit: u32,
    ) -> Result<Vec<UsedCredential>, GatewayError> {
        let ledger = &self.core.ledger;
        Ok(ledger.list_used_credentials(agent, before, limit).await?)
    }

    /// Refuses the credential `token_id` from now on, with 402 and the reason
    /// `credential_revoked`. Returns since when it is refused.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn revoke_credential(&self, token_id: [u8; 32]) -> Result<u64, GatewayError> {
        let now = self.core.now();
        let revoked_at = self.core.ledger.revoke_credential(token_id, now).await?;
        self.core.passes.close_all();
        Ok(revoked_at)
    }
}
