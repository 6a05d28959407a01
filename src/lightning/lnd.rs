//! An lnd, over its REST interface.
//!
//! Its certificate is pinned, its macaroon comes from a file or a variable and is
//! never shown. Before the first question it is asked which network it is on: a
//! wrong one is refused for everything, so no money goes the wrong way.
//!
//! What its words mean for a payment is the table in the head of `payment.rs`. lnd
//! keeps every payment by its hash, so what became of one is found after a restart
//! of either side. Its settled invoices have an index of their own (`settled.rs`).
//!
//! <https://lightning.engineering/api-docs/api/lnd/>

mod payment;
mod rest;
mod settled;
mod wire;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::l402::check_invoice;
use feria_paywall::payment::PaymentHash;
use http::HeaderValue;
use serde_json::json;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use self::payment::{HandedOver, Order};
use self::rest::{Fault, NOT_FOUND, Rest};
use self::settled::FinalUpTo;
use self::wire::{AddedInvoice, Info, OwnInvoice};
use super::{
    Invoice, InvoiceState, LightningBackend, LightningError, PaymentState, SettledInvoice, fitting,
};
use crate::client::ClientError;
use crate::clock::SharedClock;
use crate::config::{ConfigError, LndConfig, Network, SecretRef};

/// An lnd, as a backend.
pub struct LndBackend {
    name: String,
    rest: Rest,
    private_hints: bool,
    network: Network,
    is_checked: OnceCell<()>,
    handed_over: HandedOver,
    final_up_to: FinalUpTo,
    clock: SharedClock,
}

/// An lnd that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum LndError {
    /// The macaroon or the certificate is missing, or not safely kept.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate is none.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the variable holds is no macaroon.
    #[error("read the macaroon of lnd: write it in hexadecimal")]
    Macaroon,
}

impl LndBackend {
    /// Reads macaroon and certificate; lnd itself is not asked before it is needed.
    ///
    /// # Errors
    /// When one of them is missing or cannot be used.
    pub fn open(
        name: &str,
        config: &LndConfig,
        network: Network,
        data_dir: &Path,
        clock: SharedClock,
    ) -> Result<Self, LndError> {
        let macaroon = read_macaroon(&config.macaroon, data_dir)?;
        let certificate = config.read_certificate(data_dir)?;
        Ok(Self {
            name: name.to_owned(),
            rest: Rest::new(&config.url, macaroon, certificate.as_deref())?,
            private_hints: config.private_hints,
            network,
            is_checked: OnceCell::new(),
            handed_over: HandedOver::default(),
            final_up_to: FinalUpTo::default(),
            clock,
        })
    }

    /// Asks lnd once which network it is on.
    async fn check_network(&self) -> Result<(), LightningError> {
        let check = || async {
            let info: Info = self
                .rest
                .get("/v1/getinfo")
                .await
                .map_err(|fault| self.fault(fault))?;
            let network = info.chains.first().map(|chain| chain.network.as_str());
            let is_right = match self.network {
                Network::Mainnet => network == Some("mainnet"),
                Network::Regtest => matches!(network, Some("regtest" | "simnet")),
                Network::Simulated => false,
            };
            if is_right {
                return Ok(());
            }
            Err(self.refused(format!(
                "it is on {}, this node on {}",
                network.unwrap_or("no network"),
                self.network.as_str()
            )))
        };
        self.is_checked.get_or_try_init(check).await.copied()
    }

    fn refused(&self, reason: String) -> LightningError {
        LightningError::Refused {
            backend: self.name.clone(),
            reason,
        }
    }

    fn fault(&self, fault: Fault) -> LightningError {
        match fault {
            Fault::Said { message, .. } => self.refused(message),
            fault => LightningError::Unavailable {
                backend: self.name.clone(),
                reason: fault.to_string(),
            },
        }
    }
}

#[async_trait]
impl LightningBackend for LndBackend {
    fn name(&self) -> &str {
        &self.name
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        self.check_network().await?;
        let body = json!({
            "memo": fitting(description),
            "value_msat": amount.as_u64().to_string(),
            "expiry": expiry.as_secs().to_string(),
            "private": self.private_hints,
        });
        let added: AddedInvoice = self
            .rest
            .post("/v1/invoices", &body)
            .await
            .map_err(|fault| self.fault(fault))?;
        let checked = check_invoice(&added.payment_request, amount, 0)
            .map_err(|refusal| self.refused(format!("its invoice is of no use: {refusal}")))?;
        if checked.amount != amount || checked.payment_hash != added.r_hash {
            return Err(self.refused("its invoice is not the one asked for".to_owned()));
        }
        Ok(Invoice {
            bolt11: added.payment_request,
            payment_hash: checked.payment_hash,
            expires_at: checked.expires_at,
        })
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.check_network().await?;
        let path = format!("/v1/invoice/{hash}");
        let invoice: OwnInvoice = match self.rest.get(&path).await {
            Err(Fault::Said { code, .. }) if code == NOT_FOUND => {
                return Ok(InvoiceState::NotFound);
            }
            answer => answer.map_err(|fault| self.fault(fault))?,
        };
        if invoice.r_hash != *hash {
            return Err(self.refused("it tells of another invoice".to_owned()));
        }
        match invoice.state.as_str() {
            "SETTLED" => Ok(InvoiceState::Settled {
                amount: Msat::new(invoice.amt_paid_msat),
            }),
            "CANCELED" => Ok(InvoiceState::Expired),
            "OPEN" | "ACCEPTED" => Ok(InvoiceState::Open {
                expires_at: invoice.creation_date.saturating_add(invoice.expiry),
            }),
            _ => Err(self.refused("it names a state that is not known here".to_owned())),
        }
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        let failed = |reason: String| PaymentState::Failed { reason };
        let invoice = match check_invoice(bolt11, Msat::new(MAX_MSAT), 0) {
            Ok(invoice) => invoice,
            Err(refusal) => return failed(refusal.to_string()),
        };
        // Nothing was handed over yet.
        if let Err(error) = self.check_network().await {
            return failed(error.to_string());
        }
        let order = Order {
            bolt11,
            hash: invoice.payment_hash,
            fee_limit,
            patience,
        };
        let now_millis = self.clock.now_millis();
        payment::pay(&self.rest, &self.handed_over, now_millis, &order).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        if let Err(error) = self.check_network().await {
            return PaymentState::Unknown {
                reason: error.to_string(),
            };
        }
        let now_millis = self.clock.now_millis();
        payment::state(&self.rest, &self.handed_over, now_millis, hash).await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.check_network().await?;
        settled::settled_since(&self.rest, &self.final_up_to, index)
            .await
            .map_err(|fault| self.fault(fault))
    }
}

impl fmt::Debug for LndBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LndBackend({})", self.name)
    }
}

/// Reads the macaroon as the header wants it. A file holds it as lnd writes it, or
/// in hexadecimal as a variable does.
fn read_macaroon(reference: &SecretRef, data_dir: &Path) -> Result<HeaderValue, LndError> {
    let bytes = reference.read_bytes(data_dir)?;
    let text = bytes.trim_ascii();
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let text = match reference {
        _ if is_hex => Zeroizing::new(String::from_utf8_lossy(text).into_owned()),
        SecretRef::File(_) if !bytes.is_empty() => Zeroizing::new(hex::encode(&*bytes)),
        _ => return Err(LndError::Macaroon),
    };
    HeaderValue::from_str(&text).map_err(|_| LndError::Macaroon)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_macaroon_is_read_as_lnd_writes_it_or_as_text() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            read_macaroon(&SecretRef::File(name.into()), folder.path())
        };

        assert_eq!(write("binary", &[2, 1, 3, 0xff]).unwrap(), "020103ff");
        assert_eq!(write("text", b"020103ff\n").unwrap(), "020103ff");
        assert!(matches!(write("empty", b""), Err(LndError::Macaroon)));
    }
}
