//! Payments that buy no answer: an invoice, or a payment request outside a 402.
//!
//! They are purchases like calls: an intent, a reservation in the budget, the same
//! states. An invoice is over when it is paid, `delivered`; who asks for it again
//! under another key is told which purchase paid it.

use feria_paywall::amount::{MAX_MSAT, Msat, Sat};
use feria_paywall::l402::check_invoice;
use feria_paywall::xcashu::request::{PaymentTerms, Transport, parse_payment};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use url::Url;

use super::call::{Answer, AnswerBody, Carriage, Job};
use super::challenge::{Asked, Binding, Invoiced};
use super::credential::Scheme;
use super::price::Listed;
use super::stream::OpenAnswer;
use super::{FetchRequest, Fetched, Purchase, Rail, Refusal, SpendError, Spender};
use crate::clock::random_id;
use crate::store::ledger::intents::{Intent, IntentState};

/// A payment to make.
#[derive(Debug, Clone)]
pub struct PayRequest {
    /// The wallet that pays.
    pub wallet_id: String,
    /// BOLT11, or a payment request: `creqA…` or `CREQB1…`.
    pub target: String,
    /// What to give where a payment request leaves it to the payer.
    pub amount: Option<Sat>,
    /// The most it may ask, fees left out; `None` leaves it to the configuration.
    pub max_cost: Option<Msat>,
    /// The most that fees may add; `None` leaves it to the configuration.
    pub max_fee: Option<Msat>,
    /// Names this payment: the same key again never pays again. `None` makes one up.
    pub idempotency_key: Option<String>,
}

impl Spender {
    /// Pays an invoice.
    ///
    /// # Errors
    /// By variant of [`SpendError`]; each says where the money is.
    pub async fn pay_invoice(&self, request: PayRequest) -> Result<Purchase, SpendError> {
        let bolt11 = request.target.trim().to_owned();
        let invoice = check_invoice(&bolt11, Msat::new(MAX_MSAT), self.inner.parts.clock.now())
            .map_err(|error| SpendError::BadRequest(format!("the invoice: refused to {error}")))?;
        let place = format!("lightning:{}", invoice.payment_hash);
        let job = self.payment_job(request, &place, Rail::Lightning)?;
        let asked = Asked {
            invoice: Some(Invoiced {
                scheme: Scheme::L402,
                token: None,
                binding: Binding::Checked,
                bolt11,
                invoice,
            }),
            ..Asked::default()
        };
        let answer = self.pay_once(&job, asked).await?;
        answer
            .purchase
            .ok_or_else(|| SpendError::BadRequest("the payment left no record".to_owned()))
    }

    /// Pays a payment request in ecash. The answer holds what the payee said; where
    /// he named no way for the token, its body is the token.
    ///
    /// # Errors
    /// By variant of [`SpendError`]; [`SpendError::BadRequest`] also for one that is
    /// paid by Nostr message, which is not this part's business.
    pub async fn pay_request(&self, request: PayRequest) -> Result<Fetched, SpendError> {
        let PaymentTerms {
            terms,
            id,
            transports,
        } = parse_payment(&request.target, request.amount)
            .map_err(|error| SpendError::BadRequest(format!("the payment request: {error}")))?;
        if terms.unit != "sat" {
            return Err(SpendError::BadRequest(
                "the payment request is not in sat".to_owned(),
            ));
        }
        let post = transports.iter().find_map(|transport| match transport {
            Transport::Post(url) => Some(url.clone()),
            Transport::Nostr(_) => None,
        });
        let (place, carriage) = match post {
            Some(url) => (url, Carriage::Payload(id)),
            None if transports.is_empty() => ("cashu:request".to_owned(), Carriage::Hand),
            None => {
                let reason = "the payment request is answered by Nostr message";
                return Err(SpendError::BadRequest(reason.to_owned()));
            }
        };
        let target = request.target.trim().to_owned();
        let mut job = self.payment_job(request, &place, Rail::Cashu)?;
        job.digest = digest(&target);
        job.carriage = carriage;
        let asked = Asked {
            requests: vec![terms],
            ..Asked::default()
        };
        let answer = self.pay_once(&job, asked).await?;
        self.read_whole(answer).await
    }

    /// Returns the job of a payment to `place`.
    fn payment_job(&self, request: PayRequest, place: &str, rail: Rail) -> Result<Job, SpendError> {
        let parts = &self.inner.parts;
        let bad = |reason: &str| SpendError::BadRequest(reason.to_owned());
        let is_http = place.starts_with("http:") || place.starts_with("https:");
        let id = random_id(parts.entropy.as_ref());
        let fetch = FetchRequest {
            method: if is_http {
                Method::POST
            } else {
                Method::from_bytes(b"PAY").map_err(|_| bad("no such method"))?
            },
            max_cost: request.max_cost,
            max_fee: request.max_fee,
            rail,
            idempotency_key: request.idempotency_key,
            ..FetchRequest::get(request.wallet_id, place)
        };
        if is_http {
            return Job::read(fetch, id, parts.clock.now_millis());
        }
        let url = Url::parse(place).map_err(|_| bad("what is to be paid has no name"))?;
        // The checks of a call's key, on an address that they know.
        let checked = FetchRequest {
            url: "http://localhost/".to_owned(),
            ..fetch.clone()
        };
        Ok(Job {
            request: fetch,
            origin: url.scheme().to_owned(),
            path: url.path().to_owned(),
            digest: digest(place),
            url,
            ..Job::read(checked, id, parts.clock.now_millis())?
        })
    }

    async fn pay_once(&self, job: &Job, asked: Asked) -> Result<OpenAnswer, SpendError> {
        let wallet_id = &job.request.wallet_id;
        let turn = self.inner.turns.take(wallet_id, &job.key).await;
        let ledger = &self.inner.parts.ledger;
        if let Some(intent) = ledger.find_intent_by_key(wallet_id, &job.key).await? {
            return Box::pin(self.repeat_payment(job, intent)).await;
        }
        let job = &self.screen(job.clone()).await?;
        let listed = Listed::default();
        if let Some(paid) = ledger.find_paid_intent(wallet_id, job.digest).await? {
            let refusal = Refusal::AlreadyPaid(paid.id);
            return Err(self.refuse(job, &listed, asked.price(), refusal).await);
        }
        let planned = self.plan_for(job, asked, &listed).await?;
        let nothing = Answer {
            status: 402,
            headers: HeaderMap::new(),
            body: AnswerBody::Whole(Ok(bytes::Bytes::new())),
        };
        let mut answer = Box::pin(self.carry_through(job, planned, &listed, nothing)).await?;
        answer.body = answer.body.holding(turn);
        Ok(answer)
    }

    /// The key was used before: gives the recorded outcome, having found it out if it must.
    async fn repeat_payment(&self, job: &Job, intent: Intent) -> Result<OpenAnswer, SpendError> {
        if intent.payment_hash.is_none() || intent.request_digest != job.digest {
            // Ecash goes the way of a call: the same token again, or what was recorded.
            return self.repeat(job, intent).await;
        }
        let intent = self.settled_enough(intent).await?;
        if intent.state == IntentState::Delivered {
            return Ok(OpenAnswer::paid(self.find_purchase(&intent.id).await?));
        }
        match self.recorded(&intent).await? {
            Some(recorded) => recorded,
            None => Err(SpendError::Unknown {
                id: intent.id,
                reason: intent.detail,
            }),
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update("PAY");
    digest.update([0]);
    digest.update(text);
    digest.finalize().into()
}
