//! The node's Lightning backends: who makes invoices, and who may pay, in which order.
//!
//! No backend stands in for another. An invoice is made by the one that receives or
//! not at all, and what became of a payment is asked of the one that was told to
//! pay: its name is kept with the payment. Only a payment that has certainly failed
//! may be made by the next.

use std::sync::Arc;

use feria_paywall::payment::PaymentHash;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::supervised::{BackendHealth, Supervised};
use super::{InvoiceState, LightningBackend, LightningError};
use crate::clock::SharedClock;

/// The backends of a node; none by default. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Lightning {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    backends: Vec<Supervised>,
    /// The place of the one that makes invoices.
    receiver: Option<usize>,
    /// The places of those that may pay, in order.
    payers: Vec<usize>,
}

/// A role for a backend that is not there.
#[derive(Debug, thiserror::Error)]
#[error("there is no Lightning backend {0}")]
pub struct NoSuchBackend(pub String);

impl Lightning {
    /// Returns `backends` with their roles, by name.
    ///
    /// # Errors
    /// When a role names none of them.
    pub fn new(
        backends: Vec<Arc<dyn LightningBackend>>,
        receiver: Option<&str>,
        payers: &[&str],
        clock: &SharedClock,
    ) -> Result<Self, NoSuchBackend> {
        let place = |name: &str| {
            backends
                .iter()
                .position(|backend| backend.name() == name)
                .ok_or_else(|| NoSuchBackend(name.to_owned()))
        };
        let receiver = receiver.map(place).transpose()?;
        let payers = payers
            .iter()
            .map(|name| place(name))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                receiver,
                payers,
                backends: backends
                    .into_iter()
                    .map(|backend| Supervised::new(backend, Arc::clone(clock)))
                    .collect(),
            }),
        })
    }

    /// Returns `backend` alone, in every role.
    #[must_use]
    pub fn single(backend: Arc<dyn LightningBackend>, clock: SharedClock) -> Self {
        Self {
            inner: Arc::new(Inner {
                backends: vec![Supervised::new(backend, clock)],
                receiver: Some(0),
                payers: vec![0],
            }),
        }
    }

    /// Returns the backend that makes invoices; without it nothing is sold over Lightning.
    #[must_use]
    pub fn receiver(&self) -> Option<&dyn LightningBackend> {
        let place = self.inner.receiver?;
        self.inner.backends.get(place).map(as_backend)
    }

    /// Returns the backends that may pay, in order.
    pub fn payers(&self) -> impl Iterator<Item = &dyn LightningBackend> {
        let places = self.inner.payers.iter();
        places.filter_map(|place| self.inner.backends.get(*place).map(as_backend))
    }

    /// Returns every backend.
    pub fn iter(&self) -> impl Iterator<Item = &dyn LightningBackend> {
        self.inner.backends.iter().map(as_backend)
    }

    /// Returns the backend of this name, whatever its role is now.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&dyn LightningBackend> {
        self.iter().find(|backend| backend.name() == name)
    }

    /// Resolves when a backend has heard of something settled.
    pub async fn news(&self) {
        let mut news: FuturesUnordered<_> = self.iter().map(LightningBackend::news).collect();
        if news.next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Returns how each is doing.
    #[must_use]
    pub fn health(&self) -> Vec<BackendHealth> {
        let inner = &self.inner;
        let backends = inner.backends.iter().enumerate();
        backends
            .map(|(place, backend)| {
                let receives = inner.receiver == Some(place);
                backend.health(receives, inner.payers.contains(&place))
            })
            .collect()
    }

    /// Returns the state of an own invoice. It keeps no row until it is paid, so the
    /// backend that makes invoices is asked first, then those that may have made
    /// some under an earlier configuration.
    ///
    /// # Errors
    /// When a backend that may know it does not answer, and no other knows it.
    pub async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        let receiver = self.receiver().into_iter();
        let others = self.inner.backends.iter().enumerate();
        let others = others
            .filter(|(place, _)| Some(*place) != self.inner.receiver)
            .map(|(_, backend)| as_backend(backend));
        let mut silent = None;
        for backend in receiver.chain(others) {
            match backend.invoice_state(hash).await {
                Ok(InvoiceState::NotFound) => {}
                Ok(state) => return Ok(state),
                Err(error) => silent = silent.or(Some(error)),
            }
        }
        silent.map_or(Ok(InvoiceState::NotFound), Err)
    }
}

fn as_backend(backend: &Supervised) -> &dyn LightningBackend {
    backend
}

#[cfg(test)]
mod tests;
