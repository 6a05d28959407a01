//! Gathers what the router decides on: prices, balances and quotes.

use feria_paywall::amount::{Msat, Sat};
use feria_paywall::xcashu::request::CashuTerms;

use super::call::{Answer, Job};
use super::challenge::{Asked, Binding, Invoiced};
use super::price::{Limits, Listed};
use super::router::{
    Candidate, Decision, Holding, ecash_candidates, ecash_fee, melt_candidate, melt_exclusion,
    same_mint, transfer_candidate,
};
use super::{Rail, Refusal, SpendError, Spender};
use crate::store::ledger::intents::Way;
use crate::wallet::{MeltOffer, TREASURY, WalletError};

/// Transfers that one plan asks quotes for: each costs two mints a request.
const MAX_TRANSFERS: usize = 4;

/// How a call could be paid.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) asked: Asked,
    pub(super) decision: Decision,
    /// Whether mints and backend were asked what everything beside ecash in hand costs.
    pub(super) is_quoted: bool,
    pub(super) limits: Limits,
    holdings: Vec<Holding>,
    seller_mints: Vec<String>,
}

/// A plan, or what was asked and why we do not pay it.
pub(super) type Planned = Result<Plan, (Msat, Refusal)>;

impl Spender {
    /// Plans the payment of the 402 `answer`. Quotes cost a round trip to a
    /// mint: they are only asked for when ecash in hand will not do.
    pub(super) async fn plan(
        &self,
        job: &Job,
        answer: &Answer,
        listed: &Listed,
    ) -> Result<Planned, SpendError> {
        let asked = Asked::read(&answer.headers, self.inner.parts.clock.now());
        self.plan_for(job, asked, listed).await
    }

    /// Plans the payment of what `asked` asks.
    pub(super) async fn plan_for(
        &self,
        job: &Job,
        mut asked: Asked,
        listed: &Listed,
    ) -> Result<Planned, SpendError> {
        let price = asked.price();
        if asked.is_empty() {
            return Ok(Err((price, Refusal::NoUsableChallenge(asked.faults))));
        }
        let limits = self.limits(job);
        if let Err(refusal) = limits.admit(&mut asked, listed) {
            return Ok(Err((price, refusal)));
        }
        let mut seller_mints = listed.ecash_mints();
        let named = asked.requests.iter().flat_map(|terms| terms.mints.iter());
        seller_mints.extend(named.cloned());
        let mut plan = Plan {
            holdings: self.holdings(job).await?,
            asked,
            decision: Decision::default(),
            is_quoted: false,
            limits,
            seller_mints,
        };
        let mut candidates = plan.ecash(job.request.rail);
        if job.request.rail != Rail::Lightning {
            candidates.extend(self.float_candidates(job, &plan).await?);
        }
        plan.decide(self, candidates, job.request.rail);
        if plan.decision.chosen.is_none() {
            self.quote_others(job, &mut plan).await;
        }
        if plan.decision.chosen.is_some() {
            return Ok(Ok(plan));
        }
        Ok(Err((price, plan.no_rail())))
    }

    /// Adds to `plan` what Lightning and moving ecash would cost. A mint that
    /// does not answer is a closed candidate.
    pub(super) async fn quote_others(&self, job: &Job, plan: &mut Plan) {
        plan.is_quoted = true;
        let mut candidates = std::mem::take(&mut plan.decision.candidates);
        if job.request.rail != Rail::Cashu
            && let Some(invoiced) = plan.asked.invoice.clone()
        {
            self.quote_lightning(job, plan, &invoiced, &mut candidates)
                .await;
        }
        if job.request.rail != Rail::Lightning {
            self.quote_transfers(job, plan, &mut candidates).await;
        }
        plan.decide(self, candidates, job.request.rail);
    }

    async fn quote_lightning(
        &self,
        job: &Job,
        plan: &Plan,
        invoiced: &Invoiced,
        candidates: &mut Vec<Candidate>,
    ) {
        let price = invoiced.invoice.amount;
        for holding in &plan.holdings {
            if let Some(excluded) = melt_exclusion(holding, price, &plan.seller_mints) {
                candidates.push(Candidate::closed(Way::Melt, &holding.mint, price, excluded));
                continue;
            }
            let quote = self
                .inner
                .parts
                .wallets
                .melt_offer(&job.request.wallet_id, &holding.mint, &invoiced.bolt11)
                .await;
            candidates.push(match quote {
                Ok(offer) if offer.payment_hash == invoiced.invoice.payment_hash => {
                    melt_candidate(holding, offer, price, plan.limits.max_fee)
                }
                Ok(_) => Candidate::closed(
                    Way::Melt,
                    &holding.mint,
                    price,
                    "the mint quotes another invoice".to_owned(),
                ),
                Err(error) => Candidate::closed(Way::Melt, &holding.mint, price, error.to_string()),
            });
        }
        for backend in self.inner.parts.lightning.payers() {
            // Its ecash is melted above, by the wallet that holds it.
            if backend.ecash_mint().is_some() {
                continue;
            }
            candidates.push(Candidate {
                fee_msat: Some(plan.limits.max_fee.as_u64()),
                excluded: self.backend_exclusion(job),
                ..Candidate::at(Way::Backend, backend.name(), price)
            });
        }
    }

    /// The backend's money is the node's, not an agent wallet's.
    fn backend_exclusion(&self, job: &Job) -> Option<String> {
        (job.request.wallet_id != TREASURY)
            .then(|| "only the treasury pays from the node's own Lightning".to_owned())
    }

    /// Asks what moving ecash to a mint of the seller would cost, where the wallet
    /// holds too little at it and the operator trusts it.
    async fn quote_transfers(&self, job: &Job, plan: &Plan, candidates: &mut Vec<Candidate>) {
        let trusted = self.inner.parts.wallets.mints();
        let mut asked = 0;
        for terms in &plan.asked.requests {
            for mint in &terms.mints {
                let is_open = candidates.iter().any(|candidate| {
                    candidate.excluded.is_none()
                        && candidate.is_plain_ecash()
                        && same_mint(&candidate.place, mint)
                });
                let Some(mint) = trusted.iter().find(|trust| same_mint(&trust.url, mint)) else {
                    continue;
                };
                let sources = plan
                    .holdings
                    .iter()
                    .filter(|holding| !same_mint(&holding.mint, &mint.url))
                    .filter(|holding| holding.balance > terms.amount);
                for holding in sources.filter(|_| !is_open) {
                    if asked == MAX_TRANSFERS {
                        return;
                    }
                    asked += 1;
                    candidates.push(
                        match self
                            .quote_transfer(job, plan, holding, &mint.url, terms)
                            .await
                        {
                            Ok(candidate) => candidate,
                            Err(error) => Candidate {
                                from: Some(holding.mint.clone()),
                                ..Candidate::closed(
                                    Way::Ecash,
                                    &mint.url,
                                    terms.amount.to_msat(),
                                    error.to_string(),
                                )
                            },
                        },
                    );
                }
            }
        }
    }

    async fn quote_transfer(
        &self,
        job: &Job,
        plan: &Plan,
        holding: &Holding,
        mint: &str,
        terms: &CashuTerms,
    ) -> Result<Candidate, WalletError> {
        let wallets = &self.inner.parts.wallets;
        let fee = ecash_fee(terms.amount, self.input_fee_ppk(mint).await);
        let needed = terms.amount.saturating_add(fee);
        let quote = wallets.request_funding(TREASURY, mint, needed).await?;
        let offer: MeltOffer = wallets
            .melt_offer(&job.request.wallet_id, &holding.mint, &quote.bolt11)
            .await?;
        let max_fee = plan.limits.max_fee;
        Ok(Candidate {
            quote_id: Some(quote.quote_id),
            ..transfer_candidate(holding, mint, terms, needed, offer, max_fee)
        })
    }

    async fn holdings(&self, job: &Job) -> Result<Vec<Holding>, SpendError> {
        let wallets = &self.inner.parts.wallets;
        let mut holdings = Vec::new();
        for mint in wallets.mints() {
            let balance = wallets.balance(&job.request.wallet_id, &mint.url).await?;
            if balance == Sat::ZERO {
                continue;
            }
            holdings.push(Holding {
                input_fee_ppk: self.input_fee_ppk(&mint.url).await,
                mint: mint.url,
                balance,
            });
        }
        Ok(holdings)
    }

    /// Returns the highest input fee of a mint's keysets; 0 for one that does not
    /// answer now, because it can still be tried: the payment says so itself.
    async fn input_fee_ppk(&self, mint: &str) -> u64 {
        match self.inner.parts.wallets.mint_keys(mint).await {
            Ok(keys) => keys
                .keysets
                .values()
                .filter(|keyset| keyset.unit == "sat")
                .map(|keyset| keyset.input_fee_ppk)
                .max()
                .unwrap_or(0),
            Err(_) => 0,
        }
    }
}

impl Plan {
    fn ecash(&self, rail: Rail) -> Vec<Candidate> {
        if rail == Rail::Lightning {
            return Vec::new();
        }
        let requests = self.asked.requests.iter();
        requests
            .flat_map(|terms| ecash_candidates(terms, &self.holdings, self.limits.max_fee))
            .collect()
    }

    fn decide(&mut self, spender: &Spender, mut candidates: Vec<Candidate>, rail: Rail) {
        for candidate in &mut candidates {
            candidate.latency_ms = spender.inner.paces.expect(candidate);
        }
        self.decision = Decision::new(candidates, rail);
        let is_by_invoice = self
            .decision
            .open()
            .next()
            .is_some_and(|chosen| chosen.way != Way::Ecash);
        let is_opaque = self
            .asked
            .invoice
            .as_ref()
            .is_some_and(|invoiced| invoiced.binding == Binding::Opaque);
        if is_by_invoice && is_opaque {
            self.decision.why.push_str(
                " The seller's token is opaque: that it belongs to the invoice could not be checked.",
            );
        }
    }

    /// Says why nothing is open.
    pub(super) fn no_rail(self) -> Refusal {
        let mut reasons = self.decision.exclusions();
        reasons.extend(self.asked.faults.iter().map(ToString::to_string));
        if reasons.is_empty() {
            reasons.push("the seller offers nothing on the rail asked for".to_owned());
        }
        Refusal::NoRail(reasons)
    }
}
