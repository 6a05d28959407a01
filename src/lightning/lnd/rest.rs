//! The REST interface of an lnd: single answers and streams of lines, all bounded.
//!
//! Each fault says whether lnd may have acted, because that decides whether money
//! may have moved.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wire::{self, Line};
use crate::client::{ClientError, HttpClient, HttpError, HttpResponse, pinned_client};

/// Carries the macaroon, in hexadecimal.
const MACAROON: HeaderName = HeaderName::from_static("grpc-metadata-macaroon");
/// The largest single answer: a page of 500 invoices has about one megabyte.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// The longest line of a stream. A payment names each of its tries, hop by hop.
const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The most that one stream may send.
const MAX_STREAM_BYTES: usize = 32 * 1024 * 1024;
/// The longest complaint that is read, and how much of it is told.
const MAX_COMPLAINT_BYTES: usize = 64 * 1024;
const MAX_MESSAGE_CHARS: usize = 200;
/// How long a single answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Status codes of gRPC that matter here.
pub(super) const NOT_FOUND: i32 = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No connection: lnd has not seen the request.
    #[error("no connection: {0}")]
    NotSent(String),
    /// The request may have been carried out.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// lnd refused.
    #[error("lnd says: {message}")]
    Said { code: i32, message: String },
    /// Not what an lnd answers, or more than fits.
    #[error("no answer of an lnd: {0}")]
    Nonsense(String),
}

/// One lnd and the right to use it.
pub(super) struct Rest {
    http: HttpClient,
    /// Without a slash at its end.
    base: String,
    macaroon: HeaderValue,
}

/// The lines of one answer.
pub(super) struct Lines {
    response: HttpResponse,
    buffer: Vec<u8>,
    /// Where the next line begins, and from where its end is to be looked for.
    start: usize,
    searched: usize,
    received: usize,
}

impl Rest {
    /// `macaroon` is in hexadecimal.
    pub(super) fn new(
        url: &str,
        mut macaroon: HeaderValue,
        certificates: Option<&str>,
    ) -> Result<Self, ClientError> {
        macaroon.set_sensitive(true);
        Ok(Self {
            http: pinned_client(certificates)?,
            base: url.trim_end_matches('/').to_owned(),
            macaroon,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.single(path, None).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, Fault> {
        self.single(path, Some(body)).await
    }

    async fn single<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Fault> {
        let asking = async {
            let mut response = self.send(path, body).await?;
            let body = read_body(&mut response, MAX_ANSWER_BYTES).await?;
            serde_json::from_slice(&body)
                .map_err(|error| Fault::Nonsense(format!("{path}: {}", kind(&error))))
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| Err(silent(PATIENCE)))
    }

    /// Opens a stream. lnd sends the head of its answer with the first line, so
    /// this waits for it as long as it takes: the caller sets a deadline.
    pub(super) async fn open(&self, path: &str, body: Option<&Value>) -> Result<Lines, Fault> {
        Ok(Lines {
            response: self.send(path, body).await?,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            received: 0,
        })
    }

    async fn send(&self, path: &str, body: Option<&Value>) -> Result<HttpResponse, Fault> {
        let url = format!("{}{path}", self.base);
        let request = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let request = request.header(MACAROON, self.macaroon.clone());
        let mut response = request
            .send()
            .await
            .map_err(|error| unsent_or_lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read_body(&mut response, MAX_COMPLAINT_BYTES);
        let body = tokio::time::timeout(PATIENCE, body)
            .await
            .unwrap_or_else(|_| Err(silent(PATIENCE)))?;
        match wire::complaint(&body) {
            Some(said) => Err(refusal(said)),
            None => Err(Fault::Nonsense(format!("HTTP {}", status.as_u16()))),
        }
    }
}

impl Lines {
    /// Returns the next line; `None` at the end. Safe to drop half way: what has
    /// arrived stays.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        loop {
            let unseen = &self.buffer[self.searched..];
            if let Some(found) = unseen.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + found;
                let line = self.buffer[self.start..end].trim_ascii();
                (self.start, self.searched) = (end + 1, end + 1);
                if line.is_empty() {
                    continue;
                }
                return parse(line).map(Some);
            }
            // Moved once a chunk, not once a line: lines may be empty.
            self.buffer.drain(..self.start);
            (self.start, self.searched) = (0, self.buffer.len());
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Fault::Nonsense("a line without end".to_owned()));
            }
            let chunk = self.response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| Fault::Lost(describe(&error)))? else {
                let rest = std::mem::take(&mut self.buffer);
                self.searched = 0;
                let rest = rest.trim_ascii();
                return (!rest.is_empty()).then(|| parse(rest)).transpose();
            };
            self.received = self.received.saturating_add(chunk.len());
            if self.received > MAX_STREAM_BYTES {
                return Err(Fault::Nonsense("a stream without end".to_owned()));
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Fault> {
    match wire::line(line) {
        Some(Line::Result(result)) => Ok(result),
        Some(Line::Error(said)) => Err(refusal(said)),
        None => Err(Fault::Nonsense("a line that is no result".to_owned())),
    }
}

async fn read_body(response: &mut HttpResponse, cap: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| Fault::Lost(describe(&error)))? else {
            return Ok(body);
        };
        if body.len() + chunk.len() > cap {
            return Err(Fault::Nonsense(format!("more than {cap} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
}

fn refusal(said: wire::Complaint) -> Fault {
    Fault::Said {
        code: said.code,
        message: said.message.chars().take(MAX_MESSAGE_CHARS).collect(),
    }
}

fn silent(patience: Duration) -> Fault {
    Fault::Lost(format!("silent for {} s", patience.as_secs()))
}

fn unsent_or_lost(error: &HttpError) -> Fault {
    if error.is_connect() || error.is_builder() {
        return Fault::NotSent(describe(error));
    }
    Fault::Lost(describe(error))
}

/// Returns the innermost cause, which names no URL.
fn describe(error: &HttpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(MAX_MESSAGE_CHARS).collect()
}

/// What is wrong with JSON, without quoting it: it may hold a preimage.
fn kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "a field is missing or of the wrong kind",
        _ => "not JSON",
    }
}
