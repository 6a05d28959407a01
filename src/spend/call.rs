//! One HTTP call of a seller: what is sent, and how much of the answer is read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use url::Url;

use super::{FetchRequest, SpendError};
use crate::client::{HttpClient, HttpError, HttpResponse, UpstreamProtocol, upstream_client};
use crate::protocol::text::clean;

/// The header of NUT-24: a request in a 402, a token elsewhere.
pub(super) const X_CASHU: HeaderName = HeaderName::from_static("x-cashu");
/// Most header bytes read of an answer.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Most body bytes read of a 402.
const MAX_CHALLENGE_BODY_BYTES: usize = 64 * 1024;
/// Most body bytes kept of any other answer.
pub(super) const MAX_ANSWER_BODY_BYTES: usize = 32 * 1024 * 1024;
/// How long a TCP and TLS connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_URL_BYTES: usize = 8 * 1024;
/// The longest path the journal keeps.
const MAX_PATH_BYTES: usize = 2_048;
const MAX_KEY_BYTES: usize = 200;

/// A checked request.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// As the caller wrote it.
    pub(super) request: FetchRequest,
    /// Where it goes.
    pub(super) url: Url,
    /// Scheme, host and port.
    pub(super) origin: String,
    /// Without the query.
    pub(super) path: String,
    /// SHA-256 of method, URL and body.
    pub(super) digest: [u8; 32],
    /// The caller's, or made up.
    pub(super) key: String,
    /// Of the intent, should one be opened.
    pub(super) id: String,
    /// Whose wallet pays; empty until its policy was asked.
    pub(super) agent: String,
    /// Milliseconds since the epoch.
    pub(super) started_millis: u64,
    /// How a token reaches the seller.
    pub(super) carriage: Carriage,
}

/// How a token reaches the seller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carriage {
    /// In a header of the call.
    Header,
    /// As the body of the call: a payment payload with this id.
    Payload(Option<String>),
    /// By hand: the caller is given the token.
    Hand,
}

impl Job {
    /// Reads `request`; `id` names its intent.
    pub(super) fn read(
        request: FetchRequest,
        id: String,
        started_millis: u64,
    ) -> Result<Self, SpendError> {
        let bad = |reason: &str| SpendError::BadRequest(reason.to_owned());
        if request.url.len() > MAX_URL_BYTES {
            return Err(bad("the URL is too long"));
        }
        let mut url = Url::parse(&request.url)
            .map_err(|error| SpendError::BadRequest(format!("the URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad("the URL is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("the URL holds a user name"));
        }
        url.set_fragment(None);
        if url.path().len() > MAX_PATH_BYTES {
            return Err(bad("the path is too long"));
        }
        let key = request
            .idempotency_key
            .clone()
            .unwrap_or_else(|| id.clone());
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(bad("the idempotency key is empty or longer than 200 bytes"));
        }
        let mut digest = Sha256::new();
        digest.update(request.method.as_str());
        digest.update([0]);
        digest.update(url.as_str());
        digest.update([0]);
        digest.update(&request.body);
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            path: url.path().to_owned(),
            digest: digest.finalize().into(),
            request,
            url,
            key,
            id,
            agent: String::new(),
            started_millis,
            carriage: Carriage::Header,
        })
    }
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: AnswerBody,
}

/// The body of an answer: of a refusal all that is read of it, else a stream.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// The error says why it is not complete.
    Whole(Result<Bytes, String>),
    /// On its way.
    Open(Box<HttpResponse>),
}

impl Answer {
    /// Returns what was read of the body.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.body {
            AnswerBody::Whole(Ok(bytes)) => bytes,
            AnswerBody::Whole(Err(_)) | AnswerBody::Open(_) => &[],
        }
    }

    /// Returns whether all of it is here.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.body, AnswerBody::Whole(Ok(_)))
    }

    /// Returns a problem's `code` or `reason` and `detail`, made fit for a log: what the seller says went wrong.
    pub(super) fn complaint(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(self.bytes()).unwrap_or_default();
        let said: Vec<&str> = ["code", "reason", "detail"]
            .into_iter()
            .filter_map(|field| problem.get(field)?.as_str())
            .collect();
        let said = clean(&said.join(": "), 200);
        if said.is_empty() {
            format!("the seller answered {}", self.status)
        } else {
            format!("the seller answered {} ({said})", self.status)
        }
    }
}

/// No answer.
#[derive(Debug)]
pub(super) struct CallFault {
    /// For a person.
    pub(super) reason: String,
    /// Nothing was sent: the connection never opened.
    pub(super) is_unsent: bool,
}

/// Sends requests, each once. Redirects are not followed: a payment is for one address.
#[derive(Debug)]
pub(super) struct Caller {
    client: HttpClient,
    /// For the head of an answer, and between two parts of its body.
    pub(super) patience: Duration,
}

impl Caller {
    pub(super) fn new(patience: Duration) -> Result<Self, SpendError> {
        upstream_client(&UpstreamProtocol {
            connect_timeout: CONNECT_TIMEOUT.min(patience),
            is_http2: false,
            authorities: None,
        })
        .map(|client| Self { client, patience })
        .map_err(|error| SpendError::Network {
            origin: "this machine".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Sends the call, with `payment` in place of whatever the caller put there.
    pub(super) async fn call(
        &self,
        job: &Job,
        payment: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Answer, CallFault> {
        let mut headers = job.request.headers.clone();
        for name in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING, X_CASHU] {
            headers.remove(name);
        }
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "feria/",
                env!("CARGO_PKG_VERSION")
            )));
        if let Some((name, mut value)) = payment {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let request = self
            .client
            .request(job.request.method.clone(), job.url.clone())
            .headers(headers)
            .body(job.request.body.clone());
        self.send(request).await
    }

    /// Sends a payment payload, which is money.
    pub(super) async fn post(&self, job: &Job, payload: String) -> Result<Answer, CallFault> {
        let request = self
            .client
            .post(job.url.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(payload);
        self.send(request).await
    }

    /// Asks the seller's node for the value of a token that paid for a failed call.
    pub(super) async fn refund(&self, origin: &str, token: &str) -> Result<Answer, CallFault> {
        let request = self
            .client
            .post(format!("{origin}/v1/refund"))
            .json(&serde_json::json!({ "token": token }));
        let mut answer = self.send(request).await?;
        if let AnswerBody::Open(response) = answer.body {
            let body = self.read_body(*response, MAX_CHALLENGE_BODY_BYTES).await;
            answer.body = AnswerBody::Whole(body);
        }
        Ok(answer)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, CallFault> {
        let late = |_| CallFault {
            is_unsent: false,
            reason: "no answer in time".to_owned(),
        };
        let mut response = tokio::time::timeout(self.patience, request.send())
            .await
            .map_err(late)?
            .map_err(|error| CallFault {
                is_unsent: error.is_connect() || error.is_builder(),
                reason: describe(&error),
            })?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let header_bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if header_bytes > MAX_HEADER_BYTES {
            return Err(CallFault {
                reason: format!("the headers of the answer exceed {MAX_HEADER_BYTES} bytes"),
                is_unsent: false,
            });
        }
        let body = match status {
            402 => AnswerBody::Whole(self.read_body(response, MAX_CHALLENGE_BODY_BYTES).await),
            400.. => AnswerBody::Whole(self.read_body(response, MAX_ANSWER_BODY_BYTES).await),
            _ => AnswerBody::Open(Box::new(response)),
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Reads a body that a decision waits for, in the time that a head has.
    async fn read_body(&self, response: HttpResponse, limit: usize) -> Result<Bytes, String> {
        tokio::time::timeout(self.patience, read_body(response, limit))
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

async fn read_body(mut response: HttpResponse, limit: usize) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(too_long(limit));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(describe(&error)),
        }
    }
}

pub(super) fn too_long(limit: usize) -> String {
    format!("the answer is longer than {limit} bytes")
}

/// Says what happened without the URL, whose query may hold secrets.
pub(super) fn describe(error: &HttpError) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else if error.is_builder() {
        "the request cannot be sent"
    } else {
        "the connection broke"
    };
    kind.to_owned()
}
