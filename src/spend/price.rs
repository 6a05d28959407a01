//! Whether a price is one we agreed to: the caller's cap, the configuration's,
//! and the seller's signed listing.

use feria_paywall::amount::Msat;

use super::call::Job;
use super::challenge::Asked;
use super::{Refusal, SpendError, Spender};
use crate::store::index::CatalogRow;

const PERCENT: u64 = 100;

/// What signed listings say about a URL.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    pub(super) rows: Vec<CatalogRow>,
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Price, fees left out.
    pub(super) max_price: Msat,
    /// Fees.
    pub(super) max_fee: Msat,
    /// By how much a 402 may exceed its listing.
    pub(super) tolerance_percent: u32,
}

impl Spender {
    /// Returns what signed listings say about the URL of `job`.
    pub(super) async fn find_listed(&self, job: &Job) -> Result<Listed, SpendError> {
        let parts = &self.inner.parts;
        let mut url = job.url.clone();
        url.set_query(None);
        let mut rows = parts
            .index
            .list_offers_at(url.as_str(), parts.clock.now())
            .await?;
        if let Some(coordinate) = &job.request.listing {
            rows.retain(|row| &row.coordinate == coordinate);
        }
        let is_same_method =
            |row: &CatalogRow| row.method.eq_ignore_ascii_case(job.request.method.as_str());
        if rows.iter().any(is_same_method) {
            rows.retain(is_same_method);
        }
        Ok(Listed { rows })
    }

    /// Returns the limits of `job`: the caller may ask for less than the configuration allows, never for more.
    pub(super) fn limits(&self, job: &Job) -> Limits {
        let config = &self.inner.parts.config;
        let least =
            |asked: Option<Msat>, allowed: Msat| asked.map_or(allowed, |asked| asked.min(allowed));
        Limits {
            max_price: least(job.request.max_cost, config.max_price),
            max_fee: least(job.request.max_fee, config.max_fee),
            tolerance_percent: config.price_tolerance_percent,
        }
    }
}

impl Listed {
    /// Returns the row that `price` agrees with, or else the one that it exceeds least.
    ///
    /// Several listings may name one URL, and anybody can sign one. The caller's
    /// cap holds in any case; a caller who knows the seller names the listing.
    pub(super) fn row_for(&self, price: Msat) -> Option<&CatalogRow> {
        let listed = |row: &&CatalogRow| row.price_msat.unwrap_or(0);
        self.rows
            .iter()
            .filter(|row| {
                row.price_msat
                    .is_some_and(|listed| listed >= price.as_u64())
            })
            .min_by_key(listed)
            .or_else(|| {
                self.rows
                    .iter()
                    .filter(|row| row.price_msat.is_some())
                    .max_by_key(listed)
            })
            .or_else(|| self.rows.first())
    }

    /// Returns the mints whose ecash the seller takes according to its listings.
    pub(super) fn ecash_mints(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter(|row| {
                row.rails
                    .iter()
                    .any(|rail| rail == "nut24" || rail == "cashu")
            })
            .flat_map(|row| row.mints.iter().cloned())
            .collect()
    }
}

impl Limits {
    /// Drops what costs too much from `asked`.
    ///
    /// # Errors
    /// Why, when nothing is left.
    pub(super) fn admit(&self, asked: &mut Asked, listed: &Listed) -> Result<(), Refusal> {
        let mut refusal = None;
        let mut is_fine = |price| match self.check(price, listed) {
            Ok(()) => true,
            Err(found) => {
                refusal.get_or_insert(found);
                false
            }
        };
        asked.invoice = asked
            .invoice
            .take()
            .filter(|invoiced| is_fine(invoiced.invoice.amount));
        asked
            .requests
            .retain(|terms| is_fine(terms.amount.to_msat()));
        match refusal {
            Some(refusal) if asked.is_empty() => Err(refusal),
            _ => Ok(()),
        }
    }

    fn check(&self, asked: Msat, listed: &Listed) -> Result<(), Refusal> {
        if asked > self.max_price {
            return Err(Refusal::OverCap {
                asked,
                cap: self.max_price,
            });
        }
        let Some(row) = listed.row_for(asked) else {
            return Ok(());
        };
        let Some(price) = row.price_msat.map(Msat::new) else {
            return Ok(());
        };
        let tolerated = price
            .as_u64()
            .saturating_mul(PERCENT + u64::from(self.tolerance_percent))
            / PERCENT;
        // Sellers round a price up to whole satoshi.
        let tolerated = Msat::new(tolerated).ceil_sat().to_msat();
        if asked > tolerated {
            return Err(Refusal::AboveListing {
                asked,
                listed: price,
                coordinate: row.coordinate.clone(),
            });
        }
        Ok(())
    }
}
