//! Asks a seller's own service what a call costs.
//!
//! It is sent `{"service", "capability", "method", "path", "query"}` by `POST`, never
//! the request's headers or body, and answers `{"price_msat": n}`. What comes too
//! late, cannot be read, is 0 or above the setting's `max_price` is no answer: then
//! the listed price counts or the call is refused, as the setting says.

use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;
use feria_paywall::price::{NoPrice, Pricer, Terms};
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::Core;
use super::routes::Matched;
use crate::client::{ClientError, HttpClient, http_client};
use crate::config::{PriceFallback, PricerConfig};

/// No setting allows a longer wait.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// A price is a short document.
const MAX_ANSWER_BYTES: usize = 4 * 1_024;
/// Questions that may be open at a time; more get no answer.
const MAX_OPEN: usize = 64;

/// Asks HTTP pricers.
#[derive(Debug)]
pub(super) struct HttpPricer {
    client: HttpClient,
    open: Semaphore,
}

/// Why there is no price.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("too many questions are open")]
    Busy,
    #[error("it did not answer in time")]
    TimeOut,
    #[error("it could not be asked: {0}")]
    Http(String),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer is not {{\"price_msat\": n}} with a number above 0")]
    Garbage,
    #[error("it asks for {0}, more than max_price")]
    OverCap(Msat),
}

#[derive(Deserialize)]
struct Answer {
    price_msat: u64,
}

impl HttpPricer {
    pub(super) fn new() -> Result<Self, ClientError> {
        Ok(Self {
            client: http_client(MAX_WAIT)?,
            open: Semaphore::new(MAX_OPEN),
        })
    }

    async fn ask(
        &self,
        pricer: &PricerConfig,
        question: &serde_json::Value,
    ) -> Result<Msat, Fault> {
        let Ok(_permit) = self.open.try_acquire() else {
            return Err(Fault::Busy);
        };
        let patience = Duration::from_millis(pricer.timeout_ms);
        let answer = tokio::time::timeout(patience, self.answer(&pricer.url, question))
            .await
            .map_err(|_| Fault::TimeOut)??;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| Fault::Garbage)?;
        match Msat::new(answer.price_msat) {
            Msat::ZERO => Err(Fault::Garbage),
            price if price > pricer.max_price => Err(Fault::OverCap(price)),
            price => Ok(price),
        }
    }

    async fn answer(&self, url: &str, question: &serde_json::Value) -> Result<Vec<u8>, Fault> {
        let fault = |error: crate::client::HttpError| Fault::Http(error.without_url().to_string());
        let asked = self.client.post(url).json(question).send().await;
        let mut response = asked.map_err(fault)?;
        if !response.status().is_success() {
            return Err(Fault::Status(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Fault::Garbage);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Pricer for Core {
    #[tracing::instrument(name = "gateway.price.ask", skip_all, fields(agent = %terms.service))]
    async fn price(&self, request: &Parts, terms: &Terms) -> Result<Msat, NoPrice> {
        let Some(Matched(route)) = request.extensions.get() else {
            return Err(NoPrice);
        };
        let Some((sold, pricer)) = route
            .terms()
            .and_then(|sold| Some((sold, sold.pricer.as_ref()?)))
        else {
            return Err(NoPrice);
        };
        let question = json!({
            "service": route.agent(),
            "capability": sold.capability,
            "method": request.method.as_str(),
            "path": route.below(&request.uri),
            "query": request.uri.query().unwrap_or_default(),
        });
        match self.pricer.ask(pricer, &question).await {
            Ok(price) => Ok(price),
            Err(fault) => {
                let agent = route.agent();
                tracing::warn!(agent, %fault, "The pricer of {agent} gave no price: {fault}");
                match pricer.fallback {
                    PriceFallback::Listed => Ok(sold.price),
                    PriceFallback::Refuse => Err(NoPrice),
                }
            }
        }
    }
}
