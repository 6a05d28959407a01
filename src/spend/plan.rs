//! Gathers what the router decides on: prices, balances and quotes.

use feria_paywall::amount::Msat;

use super::call::{Answer, Job};
use super::challenge::Asked;
use super::price::{Limits, Listed};
use super::router::{
    Candidate, Decision, Holding, ecash_candidates, melt_candidate, melt_exclusion,
};
use super::{Rail, Refusal, SpendError, Spender};
use crate::store::ledger::intents::Way;

/// How a call could be paid.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) asked: Asked,
    pub(super) decision: Decision,
    /// Whether mints and backend were asked what Lightning costs.
    pub(super) is_lightning_quoted: bool,
    holdings: Vec<Holding>,
    seller_mints: Vec<String>,
    limits: Limits,
}

/// A plan, or what was asked and why we do not pay it.
pub(super) type Planned = Result<Plan, (Msat, Refusal)>;

impl Spender {
    /// Plans the payment of the 402 `answer`. Quotes cost a round trip to a
    /// mint: they are only asked for when ecash is not open.
    pub(super) async fn plan(
        &self,
        job: &Job,
        answer: &Answer,
        listed: &Listed,
    ) -> Result<Planned, SpendError> {
        let parts = &self.inner.parts;
        let mut asked = Asked::read(&answer.headers, parts.clock.now());
        let price = asked.price();
        if asked.is_empty() {
            return Ok(Err((price, Refusal::NoUsableChallenge(asked.problems))));
        }
        let limits = self.limits(job);
        if let Err(refusal) = limits.admit(&mut asked, listed) {
            return Ok(Err((price, refusal)));
        }
        let mut seller_mints = listed.ecash_mints();
        if let Some(terms) = &asked.cashu {
            seller_mints.extend(terms.mints.iter().cloned());
        }
        let mut plan = Plan {
            holdings: self.holdings(job).await?,
            asked,
            decision: Decision::default(),
            is_lightning_quoted: false,
            seller_mints,
            limits,
        };
        plan.decision = Decision::new(plan.ecash(job.request.rail), job.request.rail);
        if plan.decision.chosen.is_none() {
            self.quote_lightning(job, &mut plan).await;
        }
        if plan.decision.chosen.is_some() {
            return Ok(Ok(plan));
        }
        let mut reasons = plan.decision.exclusions();
        reasons.extend(plan.asked.problems);
        if reasons.is_empty() {
            reasons.push("the seller offers nothing on the rail asked for".to_owned());
        }
        Ok(Err((price, Refusal::NoRail(reasons))))
    }

    /// Adds what Lightning would cost to `plan`. A mint that does not answer is a closed candidate.
    pub(super) async fn quote_lightning(&self, job: &Job, plan: &mut Plan) {
        plan.is_lightning_quoted = true;
        if job.request.rail == Rail::Cashu {
            return;
        }
        let Some(l402) = plan.asked.l402.clone() else {
            return;
        };
        let price = l402.invoice.amount;
        let mut candidates = std::mem::take(&mut plan.decision.candidates);
        for holding in &plan.holdings {
            if let Some(excluded) = melt_exclusion(holding, price, &plan.seller_mints) {
                candidates.push(closed(Way::Melt, &holding.mint, price, excluded));
                continue;
            }
            let quote = self
                .inner
                .parts
                .wallets
                .melt_offer(&job.request.wallet_id, &holding.mint, &l402.bolt11)
                .await;
            candidates.push(match quote {
                Ok(offer) if offer.payment_hash == l402.invoice.payment_hash => {
                    melt_candidate(holding, offer, price, plan.limits.max_fee)
                }
                Ok(_) => closed(
                    Way::Melt,
                    &holding.mint,
                    price,
                    "the mint quotes another invoice".to_owned(),
                ),
                Err(error) => closed(Way::Melt, &holding.mint, price, error.to_string()),
            });
        }
        for backend in self.inner.parts.lightning.payers() {
            // Its ecash is melted above, by the wallet that holds it.
            if backend.ecash_mint().is_some() {
                continue;
            }
            let excluded = self.backend_exclusion(job);
            candidates.push(Candidate {
                way: Way::Backend,
                place: backend.name().to_owned(),
                price_msat: price.as_u64(),
                fee_msat: Some(plan.limits.max_fee.as_u64()),
                excluded,
                offer: None,
            });
        }
        plan.decision = Decision::new(candidates, job.request.rail);
    }

    /// The backend's money is the node's, not an agent wallet's.
    fn backend_exclusion(&self, job: &Job) -> Option<String> {
        (job.request.wallet_id != crate::wallet::TREASURY)
            .then(|| "only the treasury pays from the node's own Lightning".to_owned())
    }

    async fn holdings(&self, job: &Job) -> Result<Vec<Holding>, SpendError> {
        let wallets = &self.inner.parts.wallets;
        let mut holdings = Vec::new();
        for mint in wallets.mints() {
            let balance = wallets.balance(&job.request.wallet_id, &mint.url).await?;
            if balance.as_u64() == 0 {
                continue;
            }
            let input_fee_ppk = match wallets.mint_keys(&mint.url).await {
                Ok(keys) => keys
                    .keysets
                    .values()
                    .filter(|keyset| keyset.unit == "sat")
                    .map(|keyset| keyset.input_fee_ppk)
                    .max()
                    .unwrap_or(0),
                // A mint that does not answer now can still be tried: the payment says so itself.
                Err(_) => 0,
            };
            holdings.push(Holding {
                mint: mint.url,
                balance,
                input_fee_ppk,
            });
        }
        Ok(holdings)
    }
}

impl Plan {
    fn ecash(&self, rail: Rail) -> Vec<Candidate> {
        match &self.asked.cashu {
            Some(terms) if rail != Rail::Lightning => ecash_candidates(
                terms.amount,
                &terms.mints,
                &self.holdings,
                self.limits.max_fee,
            ),
            _ => Vec::new(),
        }
    }
}

fn closed(way: Way, place: &str, price: Msat, excluded: String) -> Candidate {
    Candidate {
        way,
        place: place.to_owned(),
        price_msat: price.as_u64(),
        fee_msat: None,
        excluded: Some(excluded),
        offer: None,
    }
}
