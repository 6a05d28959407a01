//! The network as one account's Lightning backend.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;

use super::{MARK, SimulatedNetwork, route};
use crate::lightning::{
    Invoice, InvoiceState, LightningBackend, LightningError, PaymentState, SettledInvoice,
};

/// The network as seen by one account.
#[derive(Clone)]
pub struct SimulatedBackend {
    network: SimulatedNetwork,
    account: String,
}

impl SimulatedBackend {
    /// Returns the backend of `account`.
    #[must_use]
    pub fn new(network: SimulatedNetwork, account: impl Into<String>) -> Self {
        let account = account.into();
        Self { network, account }
    }

    fn check_up(&self) -> Result<(), LightningError> {
        if self.network.inner.knobs.read().is_down {
            return Err(LightningError::Unavailable {
                backend: self.account.clone(),
                reason: format!("{MARK} the network is down"),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for SimulatedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedBackend([simulated] {})", self.account)
    }
}

#[async_trait]
impl LightningBackend for SimulatedBackend {
    fn name(&self) -> &str {
        &self.account
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        self.check_up()?;
        self.network
            .create_invoice(&self.account, amount, description, expiry)
            .await
            .map_err(|error| LightningError::Refused {
                backend: self.account.clone(),
                reason: error.to_string(),
            })
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.check_up()?;
        Ok(self.network.invoice_state(&self.account, hash))
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        self.network
            .pay(&self.account, bolt11, fee_limit, patience)
            .await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        if let Err(error) = self.check_up() {
            return route::unknown(&error.to_string());
        }
        self.network.payment_state(&self.account, hash)
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.check_up()?;
        Ok(self.network.settled_since(&self.account, index))
    }
}
