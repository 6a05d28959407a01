//! The door for agents written in Rust: calls that a running node pays for.
//!
//! A node alone writes its ledger, so any number of processes buy through it at once
//! under one budget. The client is an HTTP client of the node's API: it holds no
//! money, and may do what its token permits.
//!
//! ```no_run
//! # async fn buy() -> Result<(), Box<dyn std::error::Error>> {
//! use feria::spend::Client;
//! use feria_paywall::amount::Msat;
//!
//! let client = Client::open("/home/me/.local/share/feria".as_ref())?;
//! let answer = client
//!     .get("https://seller.example/a/translate/")
//!     .wallet("scout")
//!     .max_cost(Msat::new(50_000))
//!     .send()
//!     .await?;
//! println!("{}", answer.text().await?);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use feria_paywall::amount::Msat;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{Purchase, Rail};
use crate::client::{HttpClient, HttpResponse, UpstreamProtocol, upstream_client};
use crate::config::{NODE_FILE, TOKEN_FILE};

/// How long a node on this machine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 256 * 1024;
/// The longest problem that is read, in bytes.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// Why a call did not end in an answer of the seller.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node runs on the folder, or its token cannot be read.
    #[error("find the node: {0}")]
    NoNode(String),
    /// The node does not answer, or not as one.
    #[error("reach the node: {0}")]
    Unreachable(String),
    /// The node did not do it; the problem says why, and where the money is.
    #[error("{}: {}", text(.0, "code"), text(.0, "detail"))]
    Problem(Value),
    /// The answer broke off. If it was paid for, the same idempotency key asks for
    /// it again and does not pay again.
    #[error("read the answer: it broke off")]
    BrokenOff,
}

impl ClientError {
    /// Returns the problem's word for programs, such as `over_budget`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NoNode(_) | Self::Unreachable(_) => "node_unreachable",
            Self::Problem(problem) => text(problem, "code"),
            Self::BrokenOff => "paid_not_delivered",
        }
    }
}

fn text<'a>(problem: &'a Value, key: &str) -> &'a str {
    problem.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A way to a node. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: HttpClient,
    base: String,
    token: SecretString,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Returns the client of the node that runs on `data_dir`, with the token that it
    /// keeps there for its owner.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] when none has said that it runs.
    pub fn open(data_dir: &Path) -> Result<Self, ClientError> {
        let base = announced(data_dir).ok_or_else(|| {
            ClientError::NoNode(format!("none is running on {}", data_dir.display()))
        })?;
        let path = data_dir.join(TOKEN_FILE);
        let token = std::fs::read_to_string(&path)
            .map_err(|error| ClientError::NoNode(format!("{}: {error}", path.display())))?;
        Self::new(&base, token.trim())
    }

    /// Returns the client of the API at `base`, such as `http://127.0.0.1:7403`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when HTTP cannot be set up.
    pub fn new(base: &str, token: &str) -> Result<Self, ClientError> {
        let http = upstream_client(&UpstreamProtocol {
            connect_timeout: CONNECT_TIMEOUT,
            is_http2: false,
            authorities: None,
        })
        .map_err(|error| ClientError::Unreachable(error.to_string()))?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned().into(),
        })
    }

    /// Returns this client with another token: it may do what that one permits.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned().into(),
            ..self.clone()
        }
    }

    /// Begins a GET of `url`.
    pub fn get(&self, url: impl Into<String>) -> Call {
        self.call(Method::GET, url)
    }

    /// Begins a POST of `body` to `url`.
    pub fn post(&self, url: impl Into<String>, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, url).body(body)
    }

    /// Begins a call. Its wallet must be named before it is sent.
    pub fn call(&self, method: Method, url: impl Into<String>) -> Call {
        Call {
            client: self.clone(),
            headers: Map::new(),
            request: json!({ "method": method.as_str(), "url": url.into() }),
        }
    }

    /// Sends a request of the API's `fetch` as it is; the body follows as it comes.
    ///
    /// # Errors
    /// By variant of [`ClientError`].
    pub async fn fetch(&self, mut request: Value) -> Result<Reply, ClientError> {
        request["stream"] = json!(true);
        let mut response = self.post_to("fetch", &request).await?;
        let mut begun = BytesMut::new();
        loop {
            if let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
                let head = begun.split_to(end + 1);
                return Reply::read(&head, begun.freeze(), response);
            }
            match response.chunk().await.map_err(|_| ClientError::BrokenOff)? {
                Some(part) if begun.len() <= MAX_HEAD_BYTES => begun.extend_from_slice(&part),
                _ => {
                    return Err(ClientError::Unreachable(
                        "the answer has no head".to_owned(),
                    ));
                }
            }
        }
    }

    async fn post_to(&self, route: &str, request: &Value) -> Result<HttpResponse, ClientError> {
        let unreachable = |error: &dyn fmt::Display| ClientError::Unreachable(error.to_string());
        let mut response = self
            .http
            .post(format!("{}/api/v1/{route}", self.base))
            .bearer_auth(self.token.expose_secret())
            .json(request)
            .send()
            .await
            .map_err(|error| unreachable(&error.without_url()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let mut problem = BytesMut::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| unreachable(&error.without_url()))?
        {
            if problem.len() + part.len() > MAX_PROBLEM_BYTES {
                return Err(unreachable(&"its problem is too long"));
            }
            problem.extend_from_slice(&part);
        }
        let problem = serde_json::from_slice(&problem)
            .map_err(|_| unreachable(&format!("it answers {}", response.status())))?;
        Err(ClientError::Problem(problem))
    }
}

/// A call that was not sent yet.
#[derive(Debug)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    client: Client,
    headers: Map<String, Value>,
    request: Value,
}

impl Call {
    /// Names the wallet that pays: its id, or the name of its agent.
    pub fn wallet(self, wallet: &str) -> Self {
        self.with("wallet", json!(wallet))
    }

    /// Sends `value` as header `name` with every attempt.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), json!(value));
        self
    }

    /// Sends `body` with every attempt.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.with("body_base64", json!(STANDARD.encode(body.into())))
    }

    /// The most the call may cost, fees left out.
    pub fn max_cost(self, amount: Msat) -> Self {
        self.with("max_cost_msat", json!(amount.as_u64()))
    }

    /// The most that fees may add.
    pub fn max_fee(self, amount: Msat) -> Self {
        self.with("max_fee_msat", json!(amount.as_u64()))
    }

    /// Which way to pay.
    pub fn rail(self, rail: Rail) -> Self {
        self.with("rail", json!(rail))
    }

    /// Names the purchase: the same key again never pays again.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.with("idempotency_key", json!(key))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.request[key] = value;
        self
    }

    /// Makes the call, which is paid for if it has to be.
    ///
    /// # Errors
    /// [`ClientError::Problem`] says why it was not made or not answered, and what
    /// became of the money.
    pub async fn send(mut self) -> Result<Reply, ClientError> {
        self.request["headers"] = Value::Object(self.headers);
        self.client.fetch(self.request).await
    }
}

/// The seller's answer.
pub struct Reply {
    /// The seller's status.
    pub status: u16,
    /// The seller's headers, without those that carry money.
    pub headers: HeaderMap,
    /// What it cost, as it stood when the head was here; `None` when nothing was asked.
    pub purchase: Option<Purchase>,
    begun: Bytes,
    rest: HttpResponse,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("purchase", &self.purchase)
            .finish_non_exhaustive()
    }
}

impl Reply {
    fn read(head: &[u8], begun: Bytes, rest: HttpResponse) -> Result<Self, ClientError> {
        let unreadable = || ClientError::Unreachable("the head cannot be read".to_owned());
        let mut head: Value = serde_json::from_slice(head).map_err(|_| unreadable())?;
        let status = head["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok());
        Ok(Self {
            status: status.ok_or_else(unreadable)?,
            headers: read_headers(&head["headers"]),
            purchase: serde_json::from_value(head["purchase"].take()).map_err(|_| unreadable())?,
            begun,
            rest,
        })
    }

    /// Returns the next part of the body; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError::BrokenOff`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        self.rest.chunk().await.map_err(|_| ClientError::BrokenOff)
    }

    /// Reads the whole body, however long it is.
    ///
    /// # Errors
    /// [`ClientError::BrokenOff`].
    pub async fn bytes(mut self) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        while let Some(part) = self.chunk().await? {
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    /// Reads the whole body as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`ClientError::BrokenOff`].
    pub async fn text(self) -> Result<String, ClientError> {
        let body = self.bytes().await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Reads headers as the API writes them: a text each, or a list of texts.
fn read_headers(document: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        for value in values.iter().filter_map(Value::as_str) {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(name.clone(), value);
            }
        }
    }
    headers
}

/// Returns where the node of `data_dir` says that it listens. One that was killed
/// leaves that behind, so an answer is not sure.
#[must_use]
pub fn announced(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(NODE_FILE)).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    let mut address: SocketAddr = document.get("admin")?.as_str()?.parse().ok()?;
    if address.ip().is_unspecified() {
        // It listens everywhere; the listener answers to names of this machine only.
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Some(format!("http://{address}"))
}
