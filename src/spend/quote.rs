//! What a call would cost, by which ways, with nothing paid and nothing recorded.

use feria_paywall::amount::Msat;
use serde::Serialize;

use super::call::Job;
use super::challenge::{Asked, Binding};
use super::journal::stub;
use super::plan::Plan;
use super::policy::rail_of_way;
use super::price::Listed;
use super::router::Candidate;
use super::{FetchRequest, SpendError, Spender};
use crate::clock::random_id;

/// The answer to "what would it cost?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// What the endpoint answered to a call without payment.
    pub status: u16,
    /// `origin` and path, without the query.
    pub endpoint: String,
    /// The lowest price asked; `None` when nothing payable is asked.
    pub price_msat: Option<u64>,
    /// Coordinate of the signed listing, when one is known.
    pub listing: Option<String>,
    /// What that listing says.
    pub listed_msat: Option<u64>,
    /// Each payable challenge.
    pub asks: Vec<QuotedAsk>,
    /// Each way to pay, the one that would be taken first.
    pub ways: Vec<QuotedWay>,
    /// One sentence.
    pub decision: String,
    /// The word for programs of why it would not be paid; `None` when it would.
    pub refusal: Option<&'static str>,
    /// Challenges that cannot be used, with the reason.
    pub faults: Vec<String>,
    /// Whether a credential bought earlier would be used instead.
    pub has_credential: bool,
}

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuotedAsk {
    /// `l402`, `mpp` or `nut24`.
    pub rail: &'static str,
    /// The price.
    pub price_msat: u64,
    /// Whose ecash is taken; empty for Lightning, and where any is.
    pub mints: Vec<String>,
    /// Whether the seller names a key to lock ecash to.
    pub is_lockable: bool,
    /// Whether the token is known to belong to the invoice.
    pub is_bound: bool,
    /// When the invoice ends, unix seconds.
    pub expires_at: Option<u64>,
}

/// A way to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuotedWay {
    /// What a person calls it.
    pub way: String,
    /// What the seller gets.
    pub price_msat: u64,
    /// The most it may cost beside; `None` when nobody was asked.
    pub fee_msat: Option<u64>,
    /// How long paying took there of late.
    pub latency_ms: Option<u64>,
    /// Why not; `None` when it is open.
    pub excluded: Option<String>,
}

impl Spender {
    /// Calls the endpoint once without paying, and says what paying would cost.
    ///
    /// # Errors
    /// When the request makes no sense, the seller does not answer, or the ledger fails.
    pub async fn quote(&self, mut request: FetchRequest) -> Result<Quote, SpendError> {
        let parts = &self.inner.parts;
        // Nothing of it is recorded, a refusal neither.
        request.dry_run = true;
        let id = random_id(parts.entropy.as_ref());
        let job = Job::read(request, id, parts.clock.now_millis())?;
        let job = self.screen(job).await?;
        let listed = self.find_listed(&job).await?;
        let answer = self.ask(&job).await?;
        let asked = if answer.status == 402 {
            Asked::read(&answer.headers, parts.clock.now())
        } else {
            Asked::default()
        };
        let lowest = asks(&asked).iter().map(|ask| ask.price_msat).min();
        let row = listed.row_for(Msat::new(lowest.unwrap_or(0)));
        let mut quote = Quote {
            status: answer.status,
            endpoint: format!("{}{}", job.origin, job.path),
            price_msat: lowest,
            listing: row.map(|row| row.coordinate.clone()),
            listed_msat: row.and_then(|row| row.price_msat),
            asks: asks(&asked),
            ways: Vec::new(),
            decision: String::new(),
            refusal: None,
            faults: asked.faults.iter().map(ToString::to_string).collect(),
            has_credential: parts
                .ledger
                .has_credential(stub(&job, parts.clock.now()))
                .await?,
        };
        if answer.status != 402 {
            quote.decision = "The endpoint asks for nothing.".to_owned();
            return Ok(quote);
        }
        match self.plan_for(&job, asked, &listed).await? {
            Ok(mut plan) => {
                if !plan.is_quoted {
                    self.quote_others(&job, &mut plan).await;
                }
                quote.ways = plan.decision.candidates.iter().map(way).collect();
                let why = plan.decision.why.replacen("Paid", "Would be paid", 1);
                match self.judge(&job, &listed, &plan, &why).await {
                    Ok(why) => quote.decision = why,
                    Err(SpendError::Refused { refusal, .. }) => {
                        quote.decision = format!("Would not be paid: {refusal}.");
                        quote.refusal = Some(refusal.code());
                    }
                    Err(error) => return Err(error),
                }
            }
            Err((_, refusal)) => {
                quote.decision = format!("Would not be paid: {refusal}.");
                quote.refusal = Some(refusal.code());
            }
        }
        Ok(quote)
    }

    /// Returns `why` with what the agent's policy would say of the way taken first.
    async fn judge(
        &self,
        job: &Job,
        listed: &Listed,
        plan: &Plan,
        why: &str,
    ) -> Result<String, SpendError> {
        let Some(first) = plan.decision.open().next() else {
            return Ok(why.to_owned());
        };
        let price = Msat::new(first.price_msat);
        let fee_limit = Msat::new(first.fee_msat.unwrap_or(0));
        let mut new = self.new_intent(job, listed, price, fee_limit, String::new());
        new.subject.rail = rail_of_way(first.way);
        self.try_out(&new, why).await
    }
}

fn asks(asked: &Asked) -> Vec<QuotedAsk> {
    let invoice = asked.invoice.iter().map(|invoiced| QuotedAsk {
        rail: invoiced.scheme.as_str(),
        price_msat: invoiced.invoice.amount.as_u64(),
        mints: Vec::new(),
        is_lockable: false,
        is_bound: invoiced.binding == Binding::Checked,
        expires_at: Some(invoiced.invoice.expires_at),
    });
    let requests = asked.requests.iter().map(|terms| QuotedAsk {
        rail: "nut24",
        price_msat: terms.amount.to_msat().as_u64(),
        mints: terms.mints.clone(),
        is_lockable: terms.lock_key.is_some(),
        is_bound: true,
        expires_at: None,
    });
    requests.chain(invoice).collect()
}

fn way(candidate: &Candidate) -> QuotedWay {
    QuotedWay {
        way: candidate.label(),
        price_msat: candidate.price_msat,
        fee_msat: candidate.fee_msat,
        latency_ms: candidate.latency_ms,
        excluded: candidate.excluded.clone(),
    }
}
