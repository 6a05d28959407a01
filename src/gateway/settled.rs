//! Books what the Lightning backends say was paid, each from where it was read last.

use super::{Core, GatewayError};
use crate::lightning::LightningBackend;
use crate::store::ledger::receipts::Settled;

/// How many invoices the backend returns at most: fewer means that the end was reached.
const PAGE: usize = 1_000;

impl Core {
    /// Books every settled invoice once. Returns how many were new. A backend that is
    /// away does not keep the others from being read.
    pub(super) async fn sync_settled(&self) -> Result<u64, GatewayError> {
        let mut new = 0;
        let mut away = None;
        for backend in self.lightning.iter() {
            match self.sync_backend(backend).await {
                Ok(count) => new += count,
                Err(GatewayError::Lightning(error)) => away = away.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        away.map_or(Ok(new), |error| Err(error.into()))
    }

    async fn sync_backend(&self, backend: &dyn LightningBackend) -> Result<u64, GatewayError> {
        let name = backend.name().to_owned();
        let mut new = 0;
        loop {
            let cursor = self.ledger.settled_cursor(name.clone()).await?;
            let settled: Vec<Settled> = backend
                .settled_since(cursor)
                .await?
                .into_iter()
                .map(|invoice| Settled {
                    index: invoice.index,
                    payment_hash: invoice.payment_hash,
                    amount: invoice.amount,
                })
                .collect();
            let (count, last) = (settled.len(), settled.iter().map(|one| one.index).max());
            if count > 0 {
                new += self
                    .ledger
                    .book_settled(name.clone(), settled, self.now())
                    .await?;
            }
            // A backend that repeats itself must not keep us here.
            if count < PAGE || last <= Some(cursor) {
                return Ok(new);
            }
        }
    }
}
