//! Decisions about Nostr data: what is taken into the index, what is published, what is found.
//!
//! | module | question |
//! |---|---|
//! | [`indexer`] | is this event taken, and what does the catalog say about it? |
//! | [`policy`] | where are the limits? |
//! | [`reading`] | what do relays have that is not here yet? |
//! | [`publisher`] | what does an own agent publish, and did it arrive? |
//! | [`search`] | what is for sale? |
//! | [`alike`] | which listings belong together? |
//! | [`check`] | why does nobody see this listing? |
//!
//! Nothing here opens a connection or runs SQL: that is `relay` and `store::index`.

pub mod alike;
pub mod check;
pub mod client_rules;
pub mod indexer;
pub mod policy;
pub mod publisher;
pub mod reading;
pub mod search;
#[cfg(test)]
mod tests;

pub use alike::Alike;
pub use check::{CheckReport, QuotedPrice};
pub use indexer::{Admission, Indexer, Reason, SeenEvent};
pub use policy::{GiftWraps, Policy};
pub use publisher::{OwnAgent, PublishReport, Publisher};
pub use reading::{ReadError, Reader};
pub use search::{Page, SearchQuery};

use crate::clock::SharedClock;
use crate::relay::Relays;
use crate::store::StoreError;
use crate::store::index::{CatalogRow, Index};

/// The market of one node; clones share it.
#[derive(Debug, Clone)]
pub struct Market {
    /// What was taken in.
    pub index: Index,
    /// Takes events in.
    pub indexer: Indexer,
    /// Publishes for own agents.
    pub publisher: Publisher,
    relays: Relays,
    clock: SharedClock,
}

impl Market {
    /// Returns what reads relays into this market.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(
            self.relays.clone(),
            self.index.clone(),
            self.indexer.clone(),
            self.clock.clone(),
        )
    }

    /// Returns the market over `index` and `relays`.
    #[must_use]
    pub fn new(index: Index, relays: Relays, policy: Policy, clock: SharedClock) -> Self {
        let indexer = Indexer::new(index.clone(), clock.clone(), policy);
        let publisher = Publisher::new(relays.clone(), indexer.clone(), clock.clone());
        Self {
            index,
            indexer,
            publisher,
            relays,
            clock,
        }
    }

    /// Returns a page of the catalog.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search(&self, query: SearchQuery) -> Result<Page, StoreError> {
        search::search(&self.index, query, self.clock.now()).await
    }

    /// Returns the offers of the listing at `coordinate`; empty when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_listing(&self, coordinate: &str) -> Result<Vec<CatalogRow>, StoreError> {
        self.index.find_listing(coordinate, self.clock.now()).await
    }

    /// Returns the offers of other listings that share an endpoint or an interface
    /// with `offers`, which are those of the listing at `coordinate`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_alike(
        &self,
        coordinate: &str,
        offers: &[CatalogRow],
    ) -> Result<Alike, StoreError> {
        alike::find(&self.index, coordinate, offers, self.clock.now()).await
    }

    /// Reads the listing of `agent` back from every relay as a stranger and says
    /// what keeps it from being seen. `quoted` is what its endpoint asked just now.
    pub async fn check(&self, agent: &OwnAgent, quoted: Option<QuotedPrice>) -> CheckReport {
        check::check(&self.relays, agent, quoted, self.clock.now()).await
    }
}
